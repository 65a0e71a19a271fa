"""What a federation needs, and until when: nothing that is needed is ever let go of, for any ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from chains import COORDINATOR, MEMBERS, OWNER, START
from charters import small_charter
from fedpact.artifacts.charter import Charter
from fedpact.artifacts.manifest import Decision, Line, Manifest, OptimiserState, Reason
from fedpact.artifacts.moments import layout_for
from fedpact.keeping import DAY, Artifact, Kind, artifacts, for_publication, needed, released, when_verified
from fedpact.ledger.actions import Admit, AmendCharter, Appoint, Attest, CancelRound, OpenRound, Publish, Rewind, Submit
from fedpact.ledger.facts import NO_TERMS, Address, Identity, RoundNumber, Update
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Cursor
from fedpact.ledger.view import Round, Status, Submission
from fedpact.store import Cid
from hypothesis import given
from hypothesis import strategies as st

CHARTERS = [small_charter(name=str(days), store={"retention_days": days, "copies": days + 1}) for days in range(3)]
SIZE = CHARTERS[0].layout().size
POOL = [Cid.of(bytes([number])) for number in range(8)]
"""Few addresses, so that one content is often several things."""


@dataclass
class Story:
    """A federation whose artifacts are any addresses."""

    ledger: MemoryLedger = field(init=False)
    states: dict[int, list[Cid]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first = CHARTERS[0]
        identity = Identity(1, OWNER)
        self.ledger = MemoryLedger(
            OWNER, Cid.of(first.encode()), POOL[0], first.contract_limits(), identity=identity, now=START
        )
        self.ledger.send(OWNER, Admit(tuple(MEMBERS)))
        self.ledger.send(OWNER, Appoint(COORDINATOR))

    def open(self) -> Round:
        """Opens a round."""
        number = RoundNumber(self.ledger.view.number + 1)
        self.ledger.send(COORDINATOR, OpenRound(number, CHARTERS[0].terms(self.ledger.now())))
        return self.ledger.view.rounds[number]

    def submit(self, place: int, cid: Cid, size: int = SIZE, samples: int = 10) -> None:
        """A member submits an address."""
        number = RoundNumber(self.ledger.view.number)
        self.ledger.send(MEMBERS[place], Submit(number, Update(cid, samples, 0, size)))

    def publish(self, model: Cid, manifest: Cid, *states: Cid) -> Round:
        """The open round ends with a model."""
        current = self.ledger.view.open_round
        assert current is not None
        self.ledger.advance(current.terms.submit_by + 1)
        self.states[current.number] = list(states)
        self.ends[current.number] = self.ledger.now()
        self.ledger.send(COORDINATOR, Publish(current.number, current.transcript, model, manifest, NO_TERMS))
        return current

    def cancel(self) -> None:
        """The open round ends without one."""
        number = RoundNumber(self.ledger.view.number)
        self.ends[number] = self.ledger.now()
        self.ledger.send(OWNER, CancelRound(number))

    def manifest(self, current: Round, *, lines: list[Line] | None = None) -> Manifest:
        """What a coordinator would write of a round."""
        state = {f"m{place}": str(cid) for place, cid in enumerate(self.states.get(current.number, []))}
        return Manifest(
            format="fedpact-manifest/1",
            round=current.number,
            charter=str(current.charter),
            base=str(current.base),
            transcript="0x" + current.transcript.hex(),
            rule="fedavg",
            version=1,
            submissions=[_line(each) for each in current.submissions] if lines is None else lines,
            model=str(current.model),
            size=SIZE,
            optimiser=OptimiserState(name="fedavgm", version=1, state=state) if state else None,
        )

    def found(
        self, known: Mapping[Cid, Charter] | None = None, confirmed: int = 10**9, own: Address | None = None
    ) -> list[Artifact]:
        """All that it names."""
        entries = self.ledger.read(Cursor()).entries
        charters = {Cid.of(each.encode()): each for each in CHARTERS} if known is None else known
        return artifacts(self.ledger.view, entries, confirmed, charters, self.manifest, own)


def _line(submission: Submission, decision: Decision = "included", reason: Reason = "") -> Line:
    """What a manifest says of a submission."""
    update = submission.update
    return Line(
        index=submission.index,
        member=submission.member,
        update=str(update.cid),
        samples=update.samples,
        score=0,
        size=update.size,
        decision=decision,
        weight=0,
        reason=reason,
        detail="",
    )


addresses = st.sampled_from(POOL)
rounds = st.fixed_dictionaries(
    {
        "updates": st.lists(addresses, min_size=0, max_size=4),
        "end": st.sampled_from(["publish", "publish", "publish", "cancel", "open"]),
        "model": addresses,
        "manifest": addresses,
        "states": st.lists(addresses, max_size=2),
        "days": st.integers(0, 3),
        "amend": st.sampled_from([None, None, 0, 1, 2]),
        "rewind": st.booleans(),
        "report": st.none() | addresses,
    }
)


@given(
    told=st.lists(rounds, max_size=6),
    readable=st.sets(st.integers(0, 2)),
    days=st.integers(0, 12),
    seconds=st.integers(-2, 2),
    unconfirmed=st.integers(0, 6),
    own=st.sampled_from([None, *MEMBERS]),
)
def test_exactly_the_updates_that_nothing_needs_are_released(
    told: list[dict[str, object]], readable: set[int], days: int, seconds: int, unconfirmed: int, own: Address | None
) -> None:
    """For any ledger, any time, whichever charters can be read, and however many blocks are not confirmed yet: those
    of published rounds, and one's own."""
    story = Story()
    for each in told:
        _live(story, each)
        if each["end"] == "open":
            break
    view, entries = story.ledger.view, story.ledger.read(Cursor()).entries
    known = {Cid.of(CHARTERS[place].encode()): CHARTERS[place] for place in readable}
    confirmed = entries[-1].block - unconfirmed
    found = story.found(known, confirmed, own)
    now = START + days * DAY + seconds
    kept, gone = needed(found, now), {each.cid for each in released(found, now)}

    always = {view.genesis, view.base, view.charter}
    within: set[Cid] = set()
    over: set[Cid] = set()
    blocks = {entry.time: entry.block for entry in entries}
    for current in view.rounds.values():
        always |= {current.base, current.charter, *story.states.get(current.number, [])}
        always |= {each for each in (current.model, current.manifest) if each is not None}
        ended = story.ends.get(current.number)
        charter = known.get(current.charter)
        for submission in current.submissions:
            has_ended = ended is not None and blocks[ended] <= confirmed
            last = max(ended or 0, current.terms.submit_by)
            if charter is None or not has_ended or now - last <= charter.store.retention_days * DAY:
                within.add(submission.update.cid)
            elif current.status is Status.PUBLISHED or submission.member == own:
                over.add(submission.update.cid)
    always |= {each.report for each in view.attestations}
    assert always <= kept
    assert within <= kept
    assert gone == over - always - within
    assert not gone & kept
    later = {each.cid for each in released(found, now + DAY)}
    assert gone <= later
    assert {each.kind for each in released(found, now + 10**9)} <= {Kind.UPDATE}


def _live(story: Story, told: dict[str, object]) -> None:
    """One round, and what is between it and the next."""
    view = story.ledger.view
    current = story.open()
    for place, cid in enumerate(told["updates"]):  # type: ignore[arg-type, var-annotated]  # As drawn.
        story.submit(place, cid)
    if told["end"] == "open":
        return
    if told["end"] == "publish" and told["updates"]:
        story.publish(told["model"], told["manifest"], *told["states"])  # type: ignore[arg-type, misc]  # As drawn.
        if told["report"] is not None:
            story.ledger.send(MEMBERS[0], Attest(current.number, True, told["report"]))  # type: ignore[arg-type]  # As drawn.
    else:
        story.cancel()
    story.ledger.advance(story.ledger.now() + int(str(told["days"])) * DAY)
    if told["amend"] is not None:
        charter = CHARTERS[int(str(told["amend"]))]
        story.ledger.send(OWNER, AmendCharter(Cid.of(charter.encode()), charter.contract_limits()))
    if told["rewind"]:
        story.ledger.send(OWNER, Rewind(RoundNumber(1), view.rounds[1].base))


def test_retention_counts_from_the_end_of_the_round_by_its_own_charter() -> None:
    """To the second; a later charter changes nothing of it."""
    story = Story()
    two = CHARTERS[2]
    story.ledger.send(OWNER, AmendCharter(Cid.of(two.encode()), two.contract_limits()))
    story.open()
    story.submit(1, POOL[1])
    story.publish(POOL[2], POOL[3])
    zero = CHARTERS[0]
    story.ledger.send(OWNER, AmendCharter(Cid.of(zero.encode()), zero.contract_limits()))
    found = story.found()
    (update,) = [each for each in found if each.kind is Kind.UPDATE]
    assert (update.cid, update.round, update.silo, update.copies) == (POOL[1], 1, 2, 3)
    assert update.until == story.ends[1] + 2 * DAY
    assert released(found, story.ends[1] + 2 * DAY) == []
    assert released(found, story.ends[1] + 2 * DAY + 1) == [update]


@pytest.mark.parametrize(
    ("decision", "reason", "size", "goes"),
    [
        ("included", "", SIZE, True),
        ("included", "", SIZE + 1, False),
        ("not_selected", "", SIZE, False),
        ("excluded", "wrong_size", SIZE + 1, False),
        ("excluded", "not_finite", SIZE, False),
        ("excluded", "unavailable", SIZE, False),
    ],
)
def test_a_submission_that_is_in_no_model_unpins_nothing(
    decision: Decision, reason: Reason, size: int, goes: bool
) -> None:
    """A member may submit the address of a file that others pinned for other reasons; its own pin is its own matter."""
    story = Story()
    story.open()
    story.submit(0, POOL[1], size=size)
    current = story.publish(POOL[2], POOL[3])
    lines = [_line(current.submissions[0], decision, reason)]
    entries = story.ledger.read(Cursor()).entries
    known = {current.charter: CHARTERS[0]}
    for own, expected in ((None, goes), (MEMBERS[1], goes), (MEMBERS[0], True)):
        found = artifacts(
            story.ledger.view, entries, 10**9, known, lambda current: story.manifest(current, lines=lines), own
        )
        assert [each.cid for each in released(found, START + 9 * DAY)] == [POOL[1]] * expected


def test_without_its_manifest_a_round_unpins_nothing() -> None:
    """Nor does one that says so of another address, or a round that has none."""
    story = Story()
    story.open()
    story.submit(0, POOL[1])
    current = story.publish(POOL[2], POOL[3])
    other = _line(current.submissions[0]).model_copy(update={"update": str(POOL[4])})
    story.open()
    story.submit(0, POOL[5])
    story.cancel()
    entries = story.ledger.read(Cursor()).entries
    known = {current.charter: CHARTERS[0]}
    for manifest in (None, story.manifest(current, lines=[]), story.manifest(current, lines=[other])):
        found = artifacts(story.ledger.view, entries, 10**9, known, lambda _, given=manifest: given)
        assert released(found, START + 9 * DAY) == []
    own = artifacts(story.ledger.view, entries, 10**9, known, lambda _: None, MEMBERS[0])
    assert [each.cid for each in released(own, START + 9 * DAY)] == [POOL[1], POOL[5]]


def test_a_round_that_is_said_to_have_ended_long_ago_ended_no_earlier_than_by_its_terms() -> None:
    """A node may date a block as it likes; when submissions end is part of the head."""
    story = Story()
    story.open()
    story.submit(0, POOL[1])
    current = story.publish(POOL[2], POOL[3])
    entries = [replace(entry, time=1) for entry in story.ledger.read(Cursor()).entries]
    found = artifacts(story.ledger.view, entries, 10**9, {current.charter: CHARTERS[0]}, story.manifest)
    (update,) = [each for each in found if each.kind is Kind.UPDATE]
    assert update.until == current.terms.submit_by


def test_everything_is_named_once_with_its_size() -> None:
    """Charters, the first model, updates, manifest, state, model, reports; sizes as the charter of the round says."""
    story = Story()
    story.open()
    story.submit(0, POOL[1])
    story.submit(1, POOL[2], size=SIZE + 1)
    current = story.publish(POOL[3], POOL[4], POOL[5])
    story.ledger.send(MEMBERS[0], Attest(current.number, True, POOL[6]))
    story.open()
    story.submit(3, POOL[7])
    seen = [(each.kind.value, each.cid, each.round, each.silo, each.size, each.derived_from) for each in story.found()]
    assert seen == [
        ("charter", Cid.of(CHARTERS[0].encode()), 1, None, None, True),
        ("genesis", POOL[0], 0, None, SIZE, True),
        ("update", POOL[1], 1, 1, SIZE, True),
        ("update", POOL[2], 1, 2, None, False),
        ("manifest", POOL[4], 1, None, None, True),
        ("state", POOL[5], 1, None, layout_for(CHARTERS[0].layout()).size, True),
        ("model", POOL[3], 1, None, SIZE, True),
        ("update", POOL[7], 2, 4, SIZE, True),
        ("report", POOL[6], 1, 1, None, False),
    ]
    unread = [each for each in story.found({}) if each.kind in (Kind.MODEL, Kind.STATE, Kind.GENESIS)]
    assert [each.size for each in unread] == [None] * 3


@pytest.mark.parametrize(
    ("decision", "reason", "derived_from", "malformed"),
    [
        ("included", "", True, False),
        ("not_selected", "", False, False),
        ("excluded", "not_finite", True, False),
        ("excluded", "wrong_header", True, False),
        ("excluded", "malformed", True, True),
        ("excluded", "unavailable", False, False),
        ("excluded", "duplicate", False, False),
        ("excluded", "too_many_samples", False, False),
        ("excluded", "score_out_of_range", False, False),
    ],
)
def test_what_was_never_fetched_is_no_loss(decision: str, reason: str, derived_from: bool, malformed: bool) -> None:
    """What a manifest says of an update decides whether somebody derives something from it; it is kept in any case."""
    story = Story()
    story.open()
    story.submit(0, POOL[1])
    current = story.publish(POOL[2], POOL[3])
    line = {"index": 1, "member": MEMBERS[0], "update": str(POOL[1]), "samples": 10, "score": 0, "size": SIZE}
    line |= {"decision": decision, "weight": 0, "reason": reason, "detail": ""}
    manifest = story.manifest(current, lines=[Line.model_validate(line)])
    entries = story.ledger.read(Cursor()).entries
    known = {current.charter: CHARTERS[0]}
    found = artifacts(story.ledger.view, entries, 10**9, known, lambda _: manifest)
    (update,) = [each for each in found if each.kind is Kind.UPDATE]
    assert (update.derived_from, update.malformed, update.until) == (derived_from, malformed, story.ends[1])


def test_nothing_is_derived_from_a_cancelled_round() -> None:
    """Its updates are kept as others."""
    story = Story()
    story.open()
    story.submit(0, POOL[1])
    story.cancel()
    (update,) = [each for each in story.found() if each.kind is Kind.UPDATE]
    assert (update.derived_from, update.until) == (False, story.ledger.view.rounds[1].terms.submit_by)
    assert story.ledger.view.rounds[1].status is Status.CANCELLED


def test_an_address_that_is_none_is_passed_over() -> None:
    """A manifest says what its coordinator likes."""
    story = Story()
    story.open()
    story.submit(0, POOL[1])
    current = story.publish(POOL[2], POOL[3], POOL[4])
    manifest = story.manifest(current)
    assert manifest.optimiser is not None
    forged = OptimiserState(name="fedavgm", version=1, state={"m0": "nothing", "m1": str(POOL[5])})
    other = manifest.model_copy(update={"optimiser": forged})
    entries = story.ledger.read(Cursor()).entries
    found = artifacts(story.ledger.view, entries, 10**9, {}, lambda _: other)
    assert [each.cid for each in found if each.kind is Kind.STATE] == [POOL[5]]


def test_what_a_coordinator_and_a_member_pin() -> None:
    """All that the model is made of and goes on from; of an unpublished round a member pins nothing but its charter."""
    story = Story()
    current = story.open()
    assert when_verified(current) == (current.charter,)
    story.submit(0, POOL[1])
    story.submit(1, POOL[2])
    story.publish(POOL[3], POOL[4], POOL[5])
    lines = [
        Line(
            index=place + 1,
            member=MEMBERS[place],
            update=str(POOL[place + 1]),
            samples=10,
            score=0,
            size=SIZE,
            decision="excluded" if place else "included",
            weight=0,
            reason="not_finite" if place else "",
            detail="",
        )
        for place in range(2)
    ]
    pinned = for_publication(story.manifest(current, lines=lines), POOL[4])
    assert set(pinned) == {current.charter, POOL[0], POOL[1], POOL[3], POOL[4], POOL[5]}
    assert set(when_verified(current)) == {current.charter, POOL[3], POOL[4]}
