"""What an audit is asked, and what it answers."""

from __future__ import annotations

import enum
import hashlib
import itertools
import math
from dataclasses import dataclass, field
from decimal import Decimal

from fedpact.errors import BlockMismatch, FedpactError, InputError
from fedpact.ledger.facts import LAST_ROUND, NO_HASH, Hash, Identity
from fedpact.ledger.view import Round
from fedpact.store.cid import Cid


class Verdict(enum.Enum):
    """What an audit can say of a round."""

    REPRODUCED = "reproduced"
    SAMPLED = "sample agrees"
    DIFFERS = "differs"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rounds an audit derives again, and how much of each. The record as a whole is checked whatever the scope.

    Attributes:
        first: the first round.
        last: the last one; none: to the end of the record.
        share: the share of each model's blocks that is derived, less than 1, at least one block; none: all of them.
        seed: which blocks those are. Nobody may know it before the models are published.

    Raises:
        InputError: they are no range of rounds, or no share.
    """

    first: int = 1
    last: int | None = None
    share: Decimal | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.first <= LAST_ROUND:
            raise InputError(f"from: expected a round, 1 to {LAST_ROUND}, found {self.first}")
        if self.last is not None and not self.first <= self.last <= LAST_ROUND:
            raise InputError(f"to: expected a round, {self.first} to {LAST_ROUND}, found {self.last}")
        if self.share is not None and not 0 < self.share < 1:
            raise InputError(f"sample: expected a share of the blocks, more than 0 and less than 1, found {self.share}")
        if not 0 <= self.seed < 1 << 64:
            raise InputError(f"seed: expected a whole number from 0 to 2^64 - 1, found {self.seed}")

    def leaves(self, number: int, count: int) -> list[int] | None:
        """The blocks of a round's model that are derived, of so many; none where all of them are.

        They are drawn by the hash of the seed, the round and a counter, so that anybody can draw them again.
        """
        if self.share is None:
            return None
        wanted = max(1, math.ceil(self.share * count))
        drawn: set[int] = set()
        turns = itertools.count()
        while len(drawn) < wanted:
            digest = hashlib.sha256(f"{self.seed}/{number}/{next(turns)}".encode()).digest()
            drawn.add(int.from_bytes(digest) % count)
        return sorted(drawn)

    @property
    def sample(self) -> str | None:
        """The share as text, without exponent; none where all is derived."""
        return None if self.share is None else f"{self.share.normalize():f}"

    @property
    def is_everything(self) -> bool:
        """Whether no round is left out."""
        return self.first == 1 and self.last is None

    def __contains__(self, number: int) -> bool:
        return self.first <= number and (self.last is None or number <= self.last)

    def __str__(self) -> str:
        if self.is_everything:
            return "all rounds"
        if self.last is None:
            return f"rounds from {self.first} on"
        return f"round {self.first}" if self.first == self.last else f"rounds {self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as the ledger says.

    Attributes:
        what: the thing: `model, block 3`, `manifest, submission 2, weight`, ….
        ledger: the value on the ledger, or what it implies.
        derived: the value derived or found.
        round: the round concerned; 0 where it is the record as a whole.
    """

    round: int
    what: str
    ledger: str
    derived: str

    def __str__(self) -> str:
        where = f"round {self.round}: " if self.round else ""
        given = self.what in _NOT_OF_THE_LEDGER or self.derived.startswith(_OTHER_BYTES)
        return f"{where}{self.what}: {'expected' if given else 'the ledger says'} {self.ledger}, found {self.derived}"


_NOT_OF_THE_LEDGER = ("head", "update")
"""Of these an auditor knows what to expect from somewhere else."""
_OTHER_BYTES = "other bytes"


def damage(address: Cid | str, error: FedpactError) -> str:
    """What is wrong with what should be at an address, for a finding that names the address itself."""
    if isinstance(error, BlockMismatch) and error.expected == str(address):
        return f"{_OTHER_BYTES}, {error.in_words}"
    return str(error)


@dataclass(slots=True)
class RoundAudit:
    """What an audit found of one published round.

    Attributes:
        included: how many updates the model is made of.
        not_selected: how many submissions the charter's selection left aside.
        rejected: member indexes of the updates that were excluded by proof.
        asserted: members (by index) that the coordinator says it could not fetch: its word alone.
        present: those of them whose updates are in this store.
        unchecked: why the round could not be checked; empty where it could.
        remembered: whether an earlier audit reproduced it, and this one did not derive it again.
        blocks: how many blocks the model has; 0 where its charter could not be read.
        derived: how many of them were derived.
        sampled: whether not all of them were to be.
        surveyed: whether all of the updates were read for that, as the rule needs to know something of all elements.
    """

    number: int
    model: Cid
    included: int = 0
    rejected: list[int] = field(default_factory=list)
    asserted: list[int] = field(default_factory=list)
    present: list[int] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unchecked: str = ""
    not_selected: int = 0
    remembered: bool = False
    blocks: int = 0
    derived: int = 0
    sampled: bool = False
    surveyed: bool = False

    @property
    def verdict(self) -> Verdict:
        """Differs before unchecked before reproduced, of which a sample was, where it is one."""
        if self.findings:
            return Verdict.DIFFERS
        if self.unchecked:
            return Verdict.UNCHECKED
        return Verdict.SAMPLED if self.sampled else Verdict.REPRODUCED


@dataclass(slots=True)
class Audit:
    """What an audit found.

    Attributes:
        scope: which rounds were asked for.
        rounds: one for each published round in the scope, in order.
        published: every published round of the record, also those outside the scope.
        cancelled: how many rounds ended without a model.
        findings: what is wrong with the record as a whole.
        unchecked: what of the record as a whole could not be checked, and why.
        head: the head that the entries fold to.
        anchored: whether a trusted head was given and is this one.
        attested, disputed: how often a member's last word on a round is that it reproduced the model, or did not.
    """

    scope: Scope = field(default_factory=Scope)
    rounds: list[RoundAudit] = field(default_factory=list)
    published: list[Round] = field(default_factory=list)
    cancelled: int = 0
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    head: Hash = NO_HASH
    anchored: bool = False
    attested: int = 0
    disputed: int = 0

    @property
    def reproduced(self) -> int:
        """Rounds whose model was reproduced."""
        return sum(each.verdict is Verdict.REPRODUCED for each in self.rounds)

    @property
    def agreeing(self) -> int:
        """Rounds of which a sample agrees with what was published."""
        return sum(each.verdict is Verdict.SAMPLED for each in self.rounds)

    @property
    def remembered(self) -> int:
        """Rounds that an earlier audit reproduced, and this one did not derive again."""
        return sum(each.remembered for each in self.rounds)

    @property
    def all_findings(self) -> list[Finding]:
        """Everything that differs."""
        return self.findings + [finding for each in self.rounds for finding in each.findings]

    @property
    def all_unchecked(self) -> list[str]:
        """Everything that could not be checked, and why."""
        return self.unchecked + [f"round {each.number}: {each.unchecked}" for each in self.rounds if each.unchecked]

    @property
    def verdict(self) -> Verdict:
        """Of the record and the rounds in the scope: differs before unchecked before reproduced."""
        if self.all_findings:
            return Verdict.DIFFERS
        if self.all_unchecked:
            return Verdict.UNCHECKED
        return Verdict.REPRODUCED if self.scope.share is None else Verdict.SAMPLED

    @property
    def exit_code(self) -> int:
        """0: what the scope has of every model was reproduced; 1: something differs; 2: something was not checked."""
        return {Verdict.REPRODUCED: 0, Verdict.SAMPLED: 0, Verdict.DIFFERS: 1, Verdict.UNCHECKED: 2}[self.verdict]


@dataclass(frozen=True, slots=True)
class Audited:
    """An audit, and what it was of.

    Attributes:
        identity: which federation the record is of.
        is_record: whether what was audited is a record at all; a dry run is none.
        finished: whether the run that left it reported its end; a chain has none to report.
    """

    audit: Audit
    identity: Identity
    is_record: bool = True
    finished: bool = True
