"""What a record says of a federation, round by round and silo by silo: what a report is made of.

Facts of three kinds, which a page must not mix: what the ledger holds; what manifests say was decided, which an audit
derives again; and what a run measured of itself, or what a chain took for its transactions, which no head commits to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fedpact import overview
from fedpact.artifacts.charter_words import describe
from fedpact.artifacts.manifest import Manifest
from fedpact.audit import Audited, RoundAudit
from fedpact.ending import mean_score
from fedpact.errors import RecordInconsistent
from fedpact.ledger.events import CharterAmended, Entry, Founded, Rewound, RoundPublished
from fedpact.ledger.facts import FOREVER, SCORE_UNIT, Address, Hash, Identity
from fedpact.ledger.record import Record
from fedpact.ledger.view import Attestation, Round, View
from fedpact.overview import Documents, Times
from fedpact.report.gas import Gas
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid


@dataclass(frozen=True, slots=True)
class Submitted:
    """One submission, and what the manifest says was decided about it.

    Attributes:
        score: what the member says, in millionths.
        decision: none where no manifest says one.
        share: of the weight of all that the model is made of; 0 where it is not among them.
    """

    index: int
    member: Address
    update: Cid
    samples: int
    score: int
    size: int
    decision: str | None
    share: float
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """One round.

    Attributes:
        status: published, disowned (published, and rewound since), cancelled or open.
        score: the members' mean score on the ledger; none where there is none, or its charter could not be read.
        measured: what the run measured of the model; nothing where the record is of a chain.
        gas: what it cost; none where nobody says.
        audited: what the audit found; none where it was not asked, or there is no model.
    """

    round: Round
    status: str
    times: Times
    rule: str | None
    submissions: tuple[Submitted, ...]
    score: float | None
    measured: Mapping[str, float]
    gas: Gas | None
    audited: RoundAudit | None

    @property
    def number(self) -> int:
        """Its number."""
        return self.round.number

    def count(self, decision: str | None) -> int:
        """How many submissions this was decided about."""
        return sum(each.decision == decision for each in self.submissions)

    @property
    def submitted_bytes(self) -> int:
        """The bytes of all updates, as the ledger says."""
        return sum(each.size for each in self.submissions)

    @property
    def selected_bytes(self) -> int:
        """The bytes of the updates that were not left aside: whoever makes or checks the model fetches no others."""
        return sum(each.size for each in self.submissions if each.decision != "not_selected")


@dataclass(frozen=True, slots=True)
class Silo:
    """One member over all rounds that were published, also those that were disowned.

    Attributes:
        since, until: the rounds it belongs to, `until` not among them; none where it is a member still.
        submitted: in how many rounds at all.
        decisions: in how many what was decided about its update.
        samples: of the updates that were included, all together.
        share: its mean share of a model's weight, over the rounds that were published.
    """

    index: int
    address: Address
    since: int
    until: int | None
    submitted: int
    decisions: Mapping[str, int]
    samples: int
    share: float


@dataclass(frozen=True, slots=True)
class Link:
    """One link in the chain of heads: an entry that made a new one."""

    what: str
    head: Hash
    entry: Entry


@dataclass(frozen=True, slots=True)
class CharterFacts:
    """A charter that is or was in force.

    Attributes:
        words: what it says; empty where it could not be read.
        since: the first round it could be in force in.
    """

    cid: Cid
    since: int
    name: str
    score: str
    words: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of the rounds beyond ledger and store, by round.

    Attributes:
        metrics: of each round's model, as a run measured them.
        elsewhere: the gas of what belongs to no round; none where nobody says.
        notes: what could not be learned, and why.
    """

    metrics: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    gas: Mapping[int, Gas] = field(default_factory=dict)
    elsewhere: int | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All that a page says.

    Attributes:
        kind: what kept the record, in words.
        is_record: whether it is one at all; a dry run is none.
        charters: in the order in which they came into force; at least one.
        audited: none where no audit was made.
        verdict: its answer in a sentence.
        findings: what it found, and what it could not check, line by line.
        unread: what could not be read of the store, of the ledger or of a run, and why.
    """

    identity: Identity
    kind: str
    is_record: bool
    head: Hash
    owner: Address
    coordinators: Sequence[Address]
    genesis: Cid
    charters: Sequence[CharterFacts]
    rounds: Sequence[RoundFacts]
    silos: Sequence[Silo]
    links: Sequence[Link]
    attestations: Sequence[Attestation]
    last: Entry
    measured: Measured
    audited: Audited | None
    verdict: str
    findings: Sequence[str]
    unread: Sequence[str]

    @property
    def charter(self) -> CharterFacts:
        """The charter in force."""
        return self.charters[-1]

    @property
    def published(self) -> list[RoundFacts]:
        """The rounds that ended with a model."""
        return [each for each in self.rounds if each.round.model is not None]


def gather(
    read: Record,
    blocks: Blocks,
    *,
    is_record: bool,
    measured: Measured,
    audited: Audited | None = None,
    verdict: str = "",
    place: str = "",
) -> Report:
    """Gathers the facts of a record. Entries that cannot follow one another end it, and are named.

    Args:
        blocks: where the artifacts are.
        audited: the audit of this very record; none where none was made.
        verdict: its answer in a sentence.
        place: where on this machine all that lies. Whoever a page is handed to need not know: it says DIR.

    Raises:
        RecordInconsistent: there is no federation in it.
    """
    view, entries, links, amended = View(read.identity), [], [], []
    unread: list[str] = []
    for entry in read.entries:
        try:
            view.fold(entry)
        except RecordInconsistent as error:
            unread.append(f"ledger: what follows is not shown, as the contract cannot have written it: {error}")
            break
        entries.append(entry)
        match entry.event:
            case Founded(charter=charter):
                links.append(Link("founded", view.head, entry))
                amended.append((charter, 1))
            case CharterAmended(charter=charter):
                amended.append((charter, view.number + 1))
            case RoundPublished(number):
                links.append(Link(f"round {number} published", view.head, entry))
            case Rewound(number):
                links.append(Link(f"rewound to the base of round {number}", view.head, entry))
    if not view.founded:
        raise RecordInconsistent(unread[0] if unread else "ledger: expected a founding entry, found none")

    def without_place(line: object) -> str:
        return str(line).replace(place, "DIR") if place else str(line)

    documents = Documents(blocks)
    findings = [] if audited is None else [*audited.audit.all_findings, *audited.audit.all_unchecked]
    rounds = _rounds(view, entries, documents, measured, audited)
    charters = [_charter(cid, since, documents) for cid, since in amended]
    return Report(
        identity=read.identity,
        kind=read.kind,
        is_record=is_record,
        head=view.head,
        owner=view.owner,
        coordinators=sorted(view.coordinators),
        genesis=view.genesis,
        charters=charters,
        rounds=rounds,
        silos=_silos(view, rounds),
        links=links,
        attestations=view.attestations,
        last=entries[-1],
        measured=measured,
        audited=audited,
        verdict=verdict,
        findings=list(map(without_place, findings)),
        unread=[*unread, *(without_place(f"{cid}: {why}") for cid, why in documents.missing.items()), *measured.notes],
    )


def _charter(cid: Cid, since: int, documents: Documents) -> CharterFacts:
    charter = documents.charter(cid)
    if charter is None:
        return CharterFacts(cid, since, "", "score", ())
    return CharterFacts(cid, since, charter.name, charter.score, describe(charter))


def _rounds(
    view: View, entries: Iterable[Entry], documents: Documents, measured: Measured, audited: Audited | None
) -> list[RoundFacts]:
    when, stand = overview.times(entries), {each.number for each in overview.standing(view)}
    audits = {} if audited is None else {each.number: each for each in audited.audit.rounds}
    found = []
    for number, each in sorted(view.rounds.items()):
        manifest, charter = documents.manifest(each), documents.charter(each.charter)
        score = None
        if charter is not None and each.submissions:
            score = float(mean_score(each, charter) / SCORE_UNIT)
        disowned = each.model is not None and each.number not in stand
        found.append(
            RoundFacts(
                round=each,
                status="disowned" if disowned else each.status.value,
                times=when[each.number],
                rule=None if manifest is None else f"{manifest.rule} {manifest.version}",
                submissions=_submissions(each, manifest),
                score=score,
                measured=measured.metrics.get(number, {}),
                gas=measured.gas.get(number),
                audited=audits.get(number),
            )
        )
    return found


def _submissions(each: Round, manifest: Manifest | None) -> tuple[Submitted, ...]:
    lines = {} if manifest is None else {line.index: line for line in manifest.submissions}
    counted = {index: line.weight for index, line in lines.items() if line.decision == "included" and line.weight > 0}
    total = sum(counted.values())
    found = []
    for one in sorted(each.submissions, key=lambda submission: submission.index):
        line, update, weight = lines.get(one.index), one.update, counted.get(one.index, 0)
        found.append(
            Submitted(
                index=one.index,
                member=one.member,
                update=update.cid,
                samples=update.samples,
                score=update.score,
                size=update.size,
                decision=None if line is None else line.decision,
                share=weight / total if weight else 0.0,
                reason="" if line is None else line.reason,
                detail="" if line is None else line.detail,
            )
        )
    return tuple(found)


def _silos(view: View, rounds: Sequence[RoundFacts]) -> list[Silo]:
    own: dict[int, list[Submitted]] = {member.index: [] for member in view.members.values()}
    for each in rounds:
        for submission in each.submissions:
            own[submission.index].append(submission)
    published = sum(each.round.model is not None for each in rounds) or 1
    found = []
    for member in sorted(view.members.values(), key=lambda one: one.index):
        mine = own[member.index]
        decisions: dict[str, int] = {}
        for submission in mine:
            if submission.decision is not None:
                decisions[submission.decision] = decisions.get(submission.decision, 0) + 1
        found.append(
            Silo(
                index=member.index,
                address=member.address,
                since=member.since,
                until=None if member.until == FOREVER else member.until,
                submitted=len(mine),
                decisions=decisions,
                samples=sum(one.samples for one in mine if one.decision == "included"),
                share=sum(one.share for one in mine) / published,
            )
        )
    return found
