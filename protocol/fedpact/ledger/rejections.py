"""Why the contract refuses: one class per error of `IFederation`, its fields in the error's order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedpact.errors import ContractRejected
from fedpact.ledger.facts import Address, Hash, Phase, RoundNumber


class Rejection(ContractRejected):
    """The contract refused; the subclass says why, its fields with what."""

    sentence: ClassVar[str]

    def __str__(self) -> str:
        return self.sentence.format_map({name: _shown(value) for name, value in vars(self).items()})


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return value.name.lower() if isinstance(value, Phase) else value


@dataclass(eq=False)
class NotOwner(Rejection):
    caller: Address
    owner: Address
    sentence = "{caller} is not the owner, {owner}"
    advice = "the owner's key is needed (--key-file)"


@dataclass(eq=False)
class NotPendingOwner(Rejection):
    caller: Address
    pending: Address
    sentence = "{caller} was not offered the ownership; {pending} was"
    advice = "the owner offers it: fedpact federation transfer"


@dataclass(eq=False)
class NotCoordinator(Rejection):
    caller: Address
    sentence = "{caller} is no coordinator"
    advice = "the owner appoints: fedpact federation appoint"


@dataclass(eq=False)
class NotMember(Rejection):
    caller: Address
    round: RoundNumber
    sentence = "{caller} is no member in round {round}"
    advice = "the owner admits, from the next round on: fedpact federation admit"


@dataclass(eq=False)
class NotRegistered(Rejection):
    member: Address
    round: RoundNumber
    sentence = "{member} did not register for round {round}"


@dataclass(eq=False)
class NotCommitted(Rejection):
    member: Address
    round: RoundNumber
    sentence = "{member} did not commit to an update in round {round}"


@dataclass(eq=False)
class NotOpener(Rejection):
    caller: Address
    opener: Address
    sentence = "until publishBy only the opener of the round, {opener}, may publish it, not {caller}"


@dataclass(eq=False)
class ZeroAddress(Rejection):
    sentence = "the zero address cannot have a role"


@dataclass(eq=False)
class AlreadyMember(Rejection):
    member: Address
    sentence = "{member} is a member already"


@dataclass(eq=False)
class AlreadyCoordinator(Rejection):
    coordinator: Address
    sentence = "{coordinator} is a coordinator already"


@dataclass(eq=False)
class FederationFull(Rejection):
    members: int
    sentence = "a federation has at most 65535 members, not {members}"


@dataclass(eq=False)
class InvalidLimits(Rejection):
    min_quorum: int
    min_phase: int
    max_round: int
    sentence = (
        "limits: expected a least quorum and a shortest phase of at least 1 and a longest round of two phases or more, "
        "found {min_quorum}, {min_phase} s and {max_round} s"
    )
    advice = "they follow from the charter's section rounds"


@dataclass(eq=False)
class InvalidCid(Rejection):
    digest: Hash
    codec: int
    sentence = "address: expected a digest that is not zero and codec 85 or 112, found {digest} and {codec}"


@dataclass(eq=False)
class EmptyUpdate(Rejection):
    samples: int
    size: int
    sentence = "update: expected at least 1 sample and 1 byte, found {samples} and {size}"


@dataclass(eq=False)
class WrongRound(Rejection):
    given: RoundNumber
    expected: RoundNumber
    sentence = "round: expected {expected}, found {given}"


@dataclass(eq=False)
class WrongPhase(Rejection):
    actual: Phase
    expected: Phase
    sentence = "phase: expected {expected}, found {actual}"


@dataclass(eq=False)
class RoundNotOpen(Rejection):
    round: RoundNumber
    sentence = "round {round} is not open"


@dataclass(eq=False)
class RoundIsOpen(Rejection):
    round: RoundNumber
    sentence = "round {round} is open"
    advice = "it ends by itself, or with fedpact federation cancel"


@dataclass(eq=False)
class QuorumOutOfRange(Rejection):
    quorum: int
    least: int
    most: int
    sentence = "quorum: expected {least} (the charter's least) to {most} (the members), found {quorum}"
    advice = "admit more members, or amend the charter"


@dataclass(eq=False)
class PhaseTooShort(Rejection):
    deadline: int
    earliest: int
    sentence = "deadline: expected {earliest} or later, found {deadline}"


@dataclass(eq=False)
class RoundTooLong(Rejection):
    publish_by: int
    latest: int
    sentence = "publishBy: expected {latest} or earlier, found {publish_by}"


@dataclass(eq=False)
class AlreadyRegistered(Rejection):
    member: Address
    round: RoundNumber
    sentence = "{member} registered for round {round} already"


@dataclass(eq=False)
class AlreadyCommitted(Rejection):
    member: Address
    round: RoundNumber
    sentence = "{member} committed in round {round} already"


@dataclass(eq=False)
class AlreadySubmitted(Rejection):
    member: Address
    round: RoundNumber
    sentence = "{member} submitted in round {round} already"


@dataclass(eq=False)
class CommitmentRequired(Rejection):
    round: RoundNumber
    sentence = "round {round} has commitments: reveal the update, do not submit it"


@dataclass(eq=False)
class CommitmentMismatch(Rejection):
    revealed: Hash
    committed: Hash
    sentence = "commitment: expected {committed}, found {revealed}"


@dataclass(eq=False)
class TranscriptMismatch(Rejection):
    given: Hash
    recorded: Hash
    sentence = "transcript: expected {recorded}, found {given}"


@dataclass(eq=False)
class QuorumNotReached(Rejection):
    submitted: int
    quorum: int
    sentence = "quorum: expected {quorum} submissions, found {submitted}"


@dataclass(eq=False)
class CannotCancel(Rejection):
    caller: Address
    phase: Phase
    sentence = "{caller} cannot cancel the round in its phase {phase}: only its opener and the owner can"
    advice = "after its deadlines anyone can"


REJECTIONS: dict[str, type[Rejection]] = {cls.__name__: cls for cls in Rejection.__subclasses__()}
"""Every rejection by the name of its error in the contract."""
