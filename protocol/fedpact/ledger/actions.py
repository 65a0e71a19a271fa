"""What an account can ask of the contract: one class per function of `IFederation`, its fields in order."""

from __future__ import annotations

from dataclasses import dataclass

from fedpact.ledger.facts import Address, Hash, Limits, RoundNumber, Terms, Update
from fedpact.store.cid import Cid


@dataclass(frozen=True, slots=True)
class TransferOwnership:
    """Offers the ownership to `pending`."""

    pending: Address


@dataclass(frozen=True, slots=True)
class AcceptOwnership:
    """Takes the ownership that was offered to the sender."""


@dataclass(frozen=True, slots=True)
class Admit:
    """Makes accounts members from the next round on."""

    members: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """Ends a membership from the next round on."""

    member: Address


@dataclass(frozen=True, slots=True)
class Appoint:
    """Lets an account open and publish rounds."""

    coordinator: Address


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Forbids an account to open and publish rounds."""

    coordinator: Address


@dataclass(frozen=True, slots=True)
class AmendCharter:
    """Sets charter and limits for the next opened round on."""

    charter: Cid
    limits: Limits


@dataclass(frozen=True, slots=True)
class Rewind:
    """Makes `base`, the base of the earlier `round`, the base of the next one."""

    round: RoundNumber
    base: Cid


@dataclass(frozen=True, slots=True)
class OpenRound:
    """Opens the round after the last."""

    round: RoundNumber
    terms: Terms


@dataclass(frozen=True, slots=True)
class Register:
    """The sender will take part in the round."""

    round: RoundNumber


@dataclass(frozen=True, slots=True)
class Commit:
    """The sender commits to an update (see `fedpact.ledger.hashes.commitment`)."""

    round: RoundNumber
    commitment: Hash


@dataclass(frozen=True, slots=True)
class Submit:
    """The sender submits its update."""

    round: RoundNumber
    update: Update


@dataclass(frozen=True, slots=True)
class Reveal:
    """The sender submits the update that it committed to."""

    round: RoundNumber
    update: Update
    salt: Hash


@dataclass(frozen=True, slots=True)
class Publish:
    """Ends a round with a model, and opens the next one unless `next` is `NO_TERMS`."""

    round: RoundNumber
    transcript: Hash
    model: Cid
    manifest: Cid
    next: Terms


@dataclass(frozen=True, slots=True)
class CancelRound:
    """Ends a round without a model."""

    round: RoundNumber


@dataclass(frozen=True, slots=True)
class Announce:
    """Announces the sender's public sealing key."""

    key: Hash


@dataclass(frozen=True, slots=True)
class Attest:
    """The sender says whether it could re-derive a round's model."""

    round: RoundNumber
    reproduced: bool
    report: Cid


Action = (
    TransferOwnership
    | AcceptOwnership
    | Admit
    | Remove
    | Appoint
    | Dismiss
    | AmendCharter
    | Rewind
    | OpenRound
    | Register
    | Commit
    | Submit
    | Reveal
    | Publish
    | CancelRound
    | Announce
    | Attest
)

ACTIONS: dict[str, type[Action]] = {cls.__name__[0].lower() + cls.__name__[1:]: cls for cls in Action.__args__}
"""Every action by the name of its function in the contract."""
