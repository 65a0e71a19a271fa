"""The state of a federation, folded from its entries.

`View` holds what the contract holds, and the history that the contract forgets. It is changed by `fold` alone. What
`fold` checks is that an entry can follow the ones before it at all (numbers, indexes, hashes), so a missing or altered
entry does not go unseen; whether the contract would have *allowed* it is the matter of `fedpact.ledger.pact`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fedpact.errors import RecordInconsistent
from fedpact.ledger import events, hashes
from fedpact.ledger.events import Entry, Event
from fedpact.ledger.facts import (
    FOREVER,
    NO_HASH,
    NO_TRANSCRIPT,
    ZERO_ADDRESS,
    Address,
    Hash,
    Identity,
    Limits,
    Phase,
    RoundNumber,
    Terms,
    Update,
)
from fedpact.store.cid import Cid


@dataclass(slots=True)
class Member:
    """One member's place in the federation; as in the contract, but with the key that it announced.

    It changes as the federation does: copy what is to stay.
    """

    address: Address
    index: int
    since: int
    until: int
    registered: int = 0
    committed: int = 0
    submitted: int = 0
    commitment: Hash = NO_HASH
    key: Hash = NO_HASH

    def belongs(self, round_number: int) -> bool:
        """Whether the round counts it among the members."""
        return self.since <= round_number < self.until


@dataclass(frozen=True, slots=True)
class Submission:
    """One update on the ledger.

    Attributes:
        index: the member's index; the order in which updates enter a model.
        member: who submitted it.
        update: what it says of itself.
    """

    index: int
    member: Address
    update: Update


class Status(enum.Enum):
    """How a round stands or ended."""

    OPEN = "open"
    PUBLISHED = "published"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Round:
    """One round, from its opening to its end.

    Attributes:
        charter: the charter in force when it opened.
        expected: members that it waits for: all when it opened, or those who registered so far.
        committed: members that committed so far.
        transcript: rolling hash over the submissions (28 bytes).
        head: the federation's head after it ended; before that the one that it started from.
        published_by: who published it.
        origin: the round that its base came from, whose optimiser it goes on with: the one that published it, or the
            origin of the round whose base the federation was rewound to. None where that is the genesis.
        opened_in: block of its opening.
        changed_in: block of the last entry that changed it; attestations change nothing.
    """

    number: RoundNumber
    opener: Address
    charter: Cid
    base: Cid
    terms: Terms
    expected: int
    transcript: Hash
    head: Hash
    status: Status = Status.OPEN
    committed: int = 0
    submissions: list[Submission] = field(default_factory=list)
    model: Cid | None = None
    manifest: Cid | None = None
    published_by: Address | None = None
    opened_in: int | None = None
    changed_in: int | None = None
    # Each leads to the one before it: to print or compare one would be to print or compare them all.
    origin: Round | None = field(default=None, repr=False, compare=False)

    @property
    def awaited(self) -> int:
        """How many submissions it waits for, once its earlier phases are over."""
        return self.committed if self.terms.commit_by else self.expected

    @property
    def takeover_by(self) -> int:
        """The last second in which another coordinator may publish it."""
        return 2 * self.terms.publish_by - self.terms.submit_by

    def hopeless(self, phase: Phase) -> bool:
        """Whether it can no longer reach its quorum, in a phase."""
        quorum = self.terms.quorum
        return (
            (phase > Phase.REGISTRATION and self.expected < quorum)
            or (phase > Phase.COMMITMENT and self.awaited < quorum)
            or (phase > Phase.SUBMISSION and len(self.submissions) < quorum)
        )

    def phase(self, now: int) -> Phase:
        """The phase in a block with timestamp `now`."""
        terms = self.terms
        if self.status is not Status.OPEN:
            return Phase.IDLE
        if now <= terms.register_by:
            return Phase.REGISTRATION
        if now <= terms.commit_by and self.committed < self.expected:
            return Phase.COMMITMENT
        if now <= terms.submit_by and len(self.submissions) < self.awaited:
            return Phase.SUBMISSION
        if now <= terms.publish_by:
            return Phase.PUBLICATION
        return Phase.TAKEOVER if now <= self.takeover_by else Phase.EXPIRED


@dataclass(frozen=True, slots=True)
class Attestation:
    """A member's word on a round's model."""

    round: RoundNumber
    member: Address
    reproduced: bool
    report: Cid


class View:
    """The state of one federation.

    Args:
        identity: which federation; heads depend on it.
        entries: what to fold at once.

    Attributes:
        origin: the round that the base came from, as in `Round`.
    """

    def __init__(self, identity: Identity, entries: Iterable[Entry] = ()) -> None:
        self.identity = identity
        self.founded = False
        self.owner = ZERO_ADDRESS
        self.pending_owner = ZERO_ADDRESS
        self.coordinators: set[Address] = set()
        self.members: dict[Address, Member] = {}
        self.member_count = 0
        self.charter: Cid
        self.genesis: Cid
        self.base: Cid
        self.origin: Round | None = None
        self.limits: Limits
        self.head = NO_HASH
        self.rounds: dict[int, Round] = {}
        self.number = RoundNumber(0)
        self.attestations: list[Attestation] = []
        self.entries = 0
        for entry in entries:
            self.fold(entry)

    @property
    def round(self) -> Round | None:
        """The current round, or the last; none before the first."""
        return self.rounds.get(self.number)

    @property
    def last_transcript(self) -> Hash:
        """The transcript of the current round, or the last; zeros before the first."""
        current = self.round
        return NO_TRANSCRIPT if current is None else current.transcript

    @property
    def open_round(self) -> Round | None:
        """The round that is open, if one is."""
        current = self.round
        return current if current is not None and current.status is Status.OPEN else None

    @property
    def published(self) -> list[Round]:
        """The rounds that ended with a model, in order."""
        return [each for each in self.rounds.values() if each.status is Status.PUBLISHED]

    def phase(self, now: int) -> Phase:
        """The phase in a block with timestamp `now`."""
        current = self.round
        return Phase.IDLE if current is None else current.phase(now)

    def takes_part(self, account: Address, current: Round) -> bool:
        """Whether a round counts on an account: as a member, or as one who registered."""
        member = self.members.get(account)
        if member is None:
            return False
        if current.terms.register_by:
            return member.registered == current.number
        return member.belongs(current.number)

    def fold(self, entry: Entry) -> None:
        """Takes the next entry in.

        Raises:
            RecordInconsistent: it cannot follow the entries before it.
        """
        event = entry.event
        try:
            if self.founded is (type(event) is events.Founded):
                raise RecordInconsistent("an entry before or after the founding")
            _FOLDS[type(event)](self, event)
        except RecordInconsistent as error:
            raise RecordInconsistent(f"entry {self.entries} ({type(event).__name__}): {error}") from None
        self.entries += 1
        if isinstance(event, _OF_A_ROUND):
            current = self.rounds[event.round]
            current.changed_in = entry.block
            if isinstance(event, events.RoundOpened):
                current.opened_in = entry.block

    # ------------------------------------------------------------------------------------------------ one fold an event

    def _founded(self, event: events.Founded) -> None:
        derived = hashes.first_head(self.identity, event.owner, event.charter, event.genesis, event.limits)
        self._require_equal("head", derived, event.head)
        self.founded = True
        self.owner, self.charter, self.limits = event.owner, event.charter, event.limits
        self.genesis = self.base = event.genesis
        self.head = event.head

    def _ownership_offered(self, event: events.OwnershipOffered) -> None:
        self._require_equal("owner", self.owner, event.owner)
        self.pending_owner = event.pending

    def _ownership_transferred(self, event: events.OwnershipTransferred) -> None:
        self._require_equal("owner", self.owner, event.previous)
        self.owner, self.pending_owner = event.owner, ZERO_ADDRESS

    def _member_admitted(self, event: events.MemberAdmitted) -> None:
        member = self.members.get(event.member, Member(event.member, len(self.members) + 1, 0, 0))
        self._require(member.until != FOREVER, f"{event.member} is a member already")
        self._require_equal("index", member.index, event.index)
        member.since, member.until = event.since, FOREVER
        self.members[event.member] = member
        self.member_count += 1

    def _member_removed(self, event: events.MemberRemoved) -> None:
        member = self._member(event.member)
        self._require(member.until == FOREVER, f"{event.member} is no member")
        member.until = event.until
        self.member_count -= 1

    def _key_announced(self, event: events.KeyAnnounced) -> None:
        self._member(event.member).key = event.key

    def _coordinator_appointed(self, event: events.CoordinatorAppointed) -> None:
        self.coordinators.add(event.coordinator)

    def _coordinator_dismissed(self, event: events.CoordinatorDismissed) -> None:
        self.coordinators.discard(event.coordinator)

    def _charter_amended(self, event: events.CharterAmended) -> None:
        self.charter, self.limits = event.charter, event.limits

    def _round_opened(self, event: events.RoundOpened) -> None:
        self._require(self.open_round is None, f"round {self.number} is open")
        self._require_equal("round", self.number + 1, event.round)
        self._require_equal("base", self.base, event.base)
        self._require_equal("expected", 0 if event.terms.register_by else self.member_count, event.expected)
        seed = hashes.first_transcript(
            self.head,
            self.last_transcript,
            event.round,
            self.charter,
            event.base,
            event.coordinator,
            event.terms,
            event.expected,
        )
        self._require_equal("transcript", seed, event.transcript)
        self.number = event.round
        self.rounds[event.round] = Round(
            event.round,
            event.coordinator,
            self.charter,
            event.base,
            event.terms,
            event.expected,
            seed,
            self.head,
            origin=self.origin,
        )

    def _member_registered(self, event: events.MemberRegistered) -> None:
        current, member = self._current(event.round), self._member(event.member)
        self._require(member.registered < event.round, f"{event.member} registered already")
        member.registered = event.round
        current.expected += 1

    def _update_committed(self, event: events.UpdateCommitted) -> None:
        current, member = self._current(event.round), self._member(event.member)
        self._require(member.committed < event.round, f"{event.member} committed already")
        member.committed, member.commitment = event.round, event.commitment
        current.committed += 1

    def _update_submitted(self, event: events.UpdateSubmitted | events.UpdateRevealed) -> None:
        current, member = self._current(event.round), self._member(event.member)
        if member.submitted >= event.round:
            raise RecordInconsistent(f"{event.member} submitted already")
        if isinstance(event, events.UpdateRevealed):
            made = hashes.commitment(self.identity, event.round, event.member, event.update, event.salt)
            self._require_equal("commitment", member.commitment, made)
        member.submitted = event.round
        current.submissions.append(Submission(member.index, event.member, event.update))
        current.transcript = hashes.next_transcript(current.transcript, event.member, event.update)

    def _round_published(self, event: events.RoundPublished) -> None:
        current = self._current(event.round)
        self._require_equal("transcript", current.transcript, event.transcript)
        head = hashes.published_head(self.head, event.round, event.transcript, event.model, event.manifest)
        self._require_equal("head", head, event.head)
        current.status, current.published_by = Status.PUBLISHED, event.coordinator
        current.model, current.manifest, current.head = event.model, event.manifest, head
        self.base, self.origin, self.head = event.model, current, head

    def _round_cancelled(self, event: events.RoundCancelled) -> None:
        self._current(event.round).status = Status.CANCELLED

    def _rewound(self, event: events.Rewound) -> None:
        self._require(self.open_round is None, f"round {self.number} is open")
        self._require(event.round in self.rounds, f"there was no round {event.round}")
        head = hashes.rewound_head(self.head, event.round, event.base)
        self._require_equal("head", head, event.head)
        self.base, self.origin, self.head = event.base, self.rounds[event.round].origin, head

    def _round_attested(self, event: events.RoundAttested) -> None:
        self.attestations.append(Attestation(event.round, event.member, event.reproduced, event.report))

    # ----------------------------------------------------------------------------------------------------------- checks

    def _member(self, account: Address) -> Member:
        self._require(account in self.members, f"{account} was never admitted")
        return self.members[account]

    def _current(self, number: RoundNumber) -> Round:
        current = self.open_round
        if current is None or current.number != number:
            raise RecordInconsistent(f"round {number} is not open")
        return current

    @staticmethod
    def _require(condition: bool, otherwise: str) -> None:
        if not condition:
            raise RecordInconsistent(otherwise)

    @staticmethod
    def _require_equal(name: str, derived: object, recorded: object) -> None:
        if derived != recorded:
            raise RecordInconsistent(f"{name}: the ledger says {_shown(recorded)}, derived {_shown(derived)}")


def _shown(value: object) -> object:
    return "0x" + value.hex() if isinstance(value, bytes) else value


_OF_A_ROUND = (
    events.UpdateSubmitted,
    events.RoundOpened,
    events.MemberRegistered,
    events.UpdateCommitted,
    events.UpdateRevealed,
    events.RoundPublished,
    events.RoundCancelled,
)

_FOLDS: dict[type[Event], Callable[..., None]] = {
    events.Founded: View._founded,
    events.OwnershipOffered: View._ownership_offered,
    events.OwnershipTransferred: View._ownership_transferred,
    events.MemberAdmitted: View._member_admitted,
    events.MemberRemoved: View._member_removed,
    events.KeyAnnounced: View._key_announced,
    events.CoordinatorAppointed: View._coordinator_appointed,
    events.CoordinatorDismissed: View._coordinator_dismissed,
    events.CharterAmended: View._charter_amended,
    events.RoundOpened: View._round_opened,
    events.MemberRegistered: View._member_registered,
    events.UpdateCommitted: View._update_committed,
    events.UpdateSubmitted: View._update_submitted,
    events.UpdateRevealed: View._update_submitted,
    events.RoundPublished: View._round_published,
    events.RoundCancelled: View._round_cancelled,
    events.Rewound: View._rewound,
    events.RoundAttested: View._round_attested,
}
