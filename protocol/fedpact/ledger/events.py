"""What the contract logs, as typed entries: one class per event of `IFederation`, its fields in the event's order."""

from __future__ import annotations

from dataclasses import dataclass

from fedpact.ledger.facts import Address, Hash, Limits, RoundNumber, Terms, Update
from fedpact.store.cid import Cid


@dataclass(frozen=True, slots=True)
class Founded:
    """The federation was founded; `head` is the first head."""

    owner: Address
    charter: Cid
    genesis: Cid
    limits: Limits
    head: Hash


@dataclass(frozen=True, slots=True)
class OwnershipOffered:
    """`owner` offered the ownership to `pending` (the zero address: took the offer back)."""

    owner: Address
    pending: Address


@dataclass(frozen=True, slots=True)
class OwnershipTransferred:
    """The ownership passed from `previous` to `owner`."""

    previous: Address
    owner: Address


@dataclass(frozen=True, slots=True)
class MemberAdmitted:
    """`member` belongs to the rounds from `since` on."""

    member: Address
    index: int
    since: RoundNumber


@dataclass(frozen=True, slots=True)
class MemberRemoved:
    """`member` no longer belongs to the rounds from `until` on."""

    member: Address
    until: RoundNumber


@dataclass(frozen=True, slots=True)
class KeyAnnounced:
    """`member` announced its public sealing key."""

    member: Address
    key: Hash


@dataclass(frozen=True, slots=True)
class CoordinatorAppointed:
    """`coordinator` may open and publish rounds."""

    coordinator: Address


@dataclass(frozen=True, slots=True)
class CoordinatorDismissed:
    """`coordinator` may no longer open or publish rounds."""

    coordinator: Address


@dataclass(frozen=True, slots=True)
class CharterAmended:
    """Charter and limits for the next opened round on."""

    charter: Cid
    limits: Limits


@dataclass(frozen=True, slots=True)
class RoundOpened:
    """A round is open. `transcript` is the rolling hash before its first submission."""

    round: RoundNumber
    coordinator: Address
    base: Cid
    terms: Terms
    expected: int
    transcript: Hash


@dataclass(frozen=True, slots=True)
class MemberRegistered:
    """`member` will take part in the round."""

    round: RoundNumber
    member: Address


@dataclass(frozen=True, slots=True)
class UpdateCommitted:
    """`member` committed to an update without showing it."""

    round: RoundNumber
    member: Address
    commitment: Hash


@dataclass(frozen=True, slots=True)
class UpdateSubmitted:
    """`member` submitted its update."""

    round: RoundNumber
    member: Address
    update: Update


@dataclass(frozen=True, slots=True)
class UpdateRevealed:
    """`member` showed the update that it committed to."""

    round: RoundNumber
    member: Address
    update: Update
    salt: Hash


@dataclass(frozen=True, slots=True)
class RoundPublished:
    """The round ended with a model, derived from the submissions in `transcript` as `manifest` says."""

    round: RoundNumber
    coordinator: Address
    transcript: Hash
    model: Cid
    manifest: Cid
    head: Hash


@dataclass(frozen=True, slots=True)
class RoundCancelled:
    """The round ended without a model."""

    round: RoundNumber
    by: Address


@dataclass(frozen=True, slots=True)
class Rewound:
    """The next round starts from `base`, which was the base of `round`."""

    round: RoundNumber
    base: Cid
    head: Hash


@dataclass(frozen=True, slots=True)
class RoundAttested:
    """`member` re-derived the model of the round, or could not; `report` says how."""

    round: RoundNumber
    member: Address
    reproduced: bool
    report: Cid


Event = (
    Founded
    | OwnershipOffered
    | OwnershipTransferred
    | MemberAdmitted
    | MemberRemoved
    | KeyAnnounced
    | CoordinatorAppointed
    | CoordinatorDismissed
    | CharterAmended
    | RoundOpened
    | MemberRegistered
    | UpdateCommitted
    | UpdateSubmitted
    | UpdateRevealed
    | RoundPublished
    | RoundCancelled
    | Rewound
    | RoundAttested
)

EVENTS: dict[str, type[Event]] = {cls.__name__: cls for cls in Event.__args__}
"""Every event by its name in the contract."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event and where it stands on the ledger.

    Attributes:
        block: number of its block.
        time: that block's timestamp, seconds since the epoch.
        transaction: hash of its transaction (32 bytes).
        position: its place among the entries of its block.
    """

    block: int
    time: int
    transaction: Hash
    position: int
    event: Event
