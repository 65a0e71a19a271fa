"""A coordinator's step: rounds from open to publish, nothing twice, and the same model whoever publishes it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from unittest import mock

import numpy as np
import pytest
from chains import ACCOUNTS, COORDINATOR, MEMBERS, OWNER, START, STRANGER
from charters import small_charter
from faulty_blocks import FaultyBlocks
from fedpact.artifacts import manifest as manifests
from fedpact.artifacts.charter import Charter
from fedpact.artifacts.manifest import Manifest
from fedpact.artifacts.weights import Layout
from fedpact.audit import audit
from fedpact.derivation import derive
from fedpact.ending import Standing
from fedpact.errors import BlockMismatch, LedgerError, NotInstalled, StoreError
from fedpact.ledger.actions import Admit, AmendCharter, Appoint, CancelRound, OpenRound, Publish, Submit
from fedpact.ledger.events import Entry, RoundCancelled, RoundOpened, RoundPublished
from fedpact.ledger.facts import NO_TERMS, Address, Identity, RoundNumber, Terms, Update
from fedpact.ledger.port import Cursor, Follower
from fedpact.ledger.view import Round, Status
from fedpact.store import Cid, MemoryBlocks
from fedpact.store.unixfs import add, address, open_file, read_small
from fedpact_coordinator.coordinator import Coordinator
from fedpact_coordinator.decide import Aggregate, Finished, Wait
from lossy_ledger import LossyLedger

CHARTER = small_charter(rounds={"quorum": 2}, stop={"rounds": 2})
LAYOUT = CHARTER.layout()
SECOND = ACCOUNTS[6]
FIRST = RoundNumber(1)


class Stage:
    """A federation of three members and two coordinators."""

    def __init__(self, charter: Charter = CHARTER) -> None:
        self.blocks = FaultyBlocks()
        self.charter = add(self.blocks, charter.encode()).root
        self.genesis = add(self.blocks, self.weights(0.0)).root
        self.ledger = LossyLedger(
            OWNER, self.charter, self.genesis, charter.contract_limits(), identity=Identity(1, STRANGER), now=START
        )
        self.ledger.asked = []
        for action in (Admit(tuple(MEMBERS[:3])), Appoint(COORDINATOR), Appoint(SECOND)):
            self.ledger.send(OWNER, action)
        self.first, self.second = self.coordinator(COORDINATOR), self.coordinator(SECOND)
        self.ledger.asked.clear()

    def coordinator(self, account: Address, blocks: FaultyBlocks | None = None) -> Coordinator:
        """A coordinator's process: it knows nothing but what ledger and store know."""
        return Coordinator(self.ledger, account, blocks or self.blocks, Follower(self.ledger))

    @staticmethod
    def weights(value: float) -> bytes:
        """An update of one value."""
        return LAYOUT.encode({tensor.name: np.full(tensor.shape, value, np.float32) for tensor in LAYOUT.tensors})

    def submit(self, *values: float) -> list[Cid]:
        """The first members submit updates of these values, the n-th with 10 n samples; returns their addresses."""
        cids = []
        for place, value in enumerate(values):
            dag = add(self.blocks, self.weights(value))
            update = Update(dag.root, 10 * (place + 1), 500_000, dag.size)
            self.ledger.send(MEMBERS[place], Submit(self.ledger.view.number, update))
            cids.append(dag.root)
        self.ledger.asked.clear()
        return cids

    def terms(self) -> Terms:
        """Of a round that opens now."""
        return CHARTER.terms(self.ledger.now())

    @property
    def current(self) -> Round:
        """The open round, or the last."""
        current = self.ledger.view.round
        assert current is not None
        return current

    def submitted(self, *values: float) -> list[Cid]:
        """The first coordinator opens a round, members submit, and the deadline passes."""
        self.first.step()
        cids = self.submit(*values)
        self.ledger.advance(self.current.terms.submit_by + 1)
        return cids

    def wait_for_updates(self) -> None:
        """As long as a coordinator asks for updates that cannot be fetched."""
        self.ledger.advance((self.current.terms.submit_by + self.current.terms.publish_by) // 2 + 1)

    def entries(self) -> Sequence[Entry]:
        """All that is on the ledger."""
        return list(self.ledger.read(Cursor()).entries)

    def manifest(self, number: int) -> Manifest:
        """The manifest of a published round."""
        cid = self.ledger.view.rounds[number].manifest
        assert cid is not None
        return manifests.decode(read_small(self.blocks, cid, manifests.MAX_BYTES))

    def model(self, number: int) -> bytes:
        """The model of a published round."""
        cid = self.ledger.view.rounds[number].model
        assert cid is not None
        return open_file(self.blocks, cid, LAYOUT.size).read()


@pytest.fixture
def stage() -> Stage:
    """A federation before its first round."""
    return Stage()


def test_a_charter_whose_rule_is_not_installed_is_refused() -> None:
    """No round is opened that this coordinator could not end, and the error says what to install."""
    stage = Stage(small_charter(rule={"name": "acme.mean", "code": "5" * 64}))
    with pytest.raises(
        NotInstalled, match=r"rule acme\.mean: expected an installed package that offers it, with code 5"
    ):
        stage.first.step()
    assert stage.ledger.asked == []


# ---------------------------------------------------------------------------------------------- too few usable updates


@pytest.mark.parametrize("fault", ["missing", "damaged", "not finite"])
def test_a_round_with_too_few_usable_updates_is_cancelled(stage: Stage, fault: str) -> None:
    """Two updates of which one cannot be used are below a quorum of two: no model, and the next round opens."""
    _, bad = stage.submitted(1.0, math.nan if fault == "not finite" else 2.0)
    if fault == "missing":
        stage.blocks.missing.add(bad)
    if fault == "damaged":
        stage.blocks.damaged[bad] = b"other"
    stage.wait_for_updates()
    decision, receipt = stage.first.step()
    assert decision == CancelRound(FIRST)
    assert receipt is not None
    assert receipt.events == (RoundCancelled(FIRST, COORDINATOR),)
    assert stage.ledger.view.base == stage.genesis
    decision, _ = stage.first.step()
    assert isinstance(decision, OpenRound)
    assert decision.round == 2


def test_a_round_with_too_few_submissions_is_cancelled(stage: Stage) -> None:
    """Below the quorum on the ledger nothing is fetched, and any coordinator cancels."""
    (cid,) = stage.submitted(1.0)
    stage.blocks.read.clear()
    assert stage.second.step()[0] == CancelRound(FIRST)
    assert stage.current.status is Status.CANCELLED
    assert stage.blocks.read[cid] == 0


def test_another_than_the_opener_waits_with_an_unusable_round(stage: Stage) -> None:
    """It may not cancel before the round expired; until then it neither asks nor derives again."""
    _, bad = stage.submitted(1.0, 2.0)
    stage.blocks.missing.add(bad)
    current = stage.current
    stage.ledger.advance(current.terms.publish_by + 1)
    waiting = Wait("round 1 has too few usable updates", current.takeover_by)
    assert stage.second.step() == (waiting, None)
    read = stage.blocks.read[bad]
    assert stage.second.step() == (waiting, None)
    assert stage.blocks.read[bad] == read
    assert stage.ledger.asked == []
    stage.ledger.advance(current.takeover_by + 1)
    assert stage.second.step()[0] == CancelRound(FIRST)


def test_what_was_unusable_in_one_round_says_nothing_of_the_next(stage: Stage) -> None:
    """After a cancelled round the same coordinator publishes the next one."""
    _, bad = stage.submitted(1.0, 2.0)
    stage.blocks.missing.add(bad)
    stage.wait_for_updates()
    stage.first.step()
    stage.submitted(3.0, 4.0)
    assert stage.first.step()[0] == Aggregate(RoundNumber(2), True)
    assert stage.ledger.view.rounds[2].status is Status.PUBLISHED


# ---------------------------------------------------------------------------------------------- store and ledger fail


def test_a_charter_that_cannot_be_read_opens_no_round(stage: Stage) -> None:
    """A coordinator does nothing by rules that it cannot read; once it can, it does."""
    stage.blocks.damaged[stage.charter] = b"other"
    with pytest.raises(BlockMismatch):
        stage.first.step()
    assert stage.ledger.asked == []
    stage.blocks.damaged.clear()
    assert stage.first.step()[0] == OpenRound(FIRST, stage.current.terms)


def test_a_store_that_fails_publishes_nothing_and_excludes_nobody(stage: Stage) -> None:
    """A broken store is not a missing update: the step fails, and succeeds once the store is well."""
    cid, _ = stage.submitted(1.0, 2.0)
    stage.blocks.broken.add(cid)
    with pytest.raises(StoreError, match="broken"):
        stage.first.step()
    assert stage.ledger.asked == []
    stage.blocks.broken.clear()
    stage.first.step()
    assert stage.manifest(1).excluded == []


@pytest.mark.parametrize("artifact", ["model", "manifest"])
def test_what_cannot_be_stored_is_not_published(artifact: str) -> None:
    """The ledger names no model and no manifest that the store does not have."""
    finished, stage = Stage(), Stage()
    finished.submitted(1.0, 2.0)
    finished.first.step()
    cid = getattr(finished.ledger.view.rounds[1], artifact)
    stage.submitted(1.0, 2.0)
    stage.blocks.broken.add(cid)
    with pytest.raises(StoreError, match=str(cid)):
        stage.first.step()
    assert stage.ledger.asked == []
    stage.blocks.broken.clear()
    stage.first.step()
    assert getattr(stage.ledger.view.rounds[1], artifact) == cid


@pytest.mark.parametrize("lost", ["action", "receipt"])
@pytest.mark.parametrize("what", ["open", "publish", "cancel"])
def test_what_is_lost_on_the_way_is_done_once(stage: Stage, what: str, lost: str) -> None:
    """Where the ledger did not answer, the next step finds out whether the action arrived."""
    if what != "open":
        stage.submitted(*([1.0, 2.0] if what == "publish" else [1.0]))
    before = stage.entries()
    stage.ledger.lost = lost
    with pytest.raises(LedgerError):
        stage.first.step()
    arrived = stage.entries()
    assert (len(arrived) > len(before)) == (lost == "receipt")
    stage.ledger.lost = ""
    stage.first.step()
    kinds = [type(entry.event) for entry in stage.entries()]
    assert kinds.count({"open": RoundOpened, "publish": RoundPublished, "cancel": RoundCancelled}[what]) == 1
    assert stage.ledger.view.number <= 2


# ------------------------------------------------------------------------------------------------- from open to publish


def test_a_round_from_open_to_publish(stage: Stage) -> None:
    """It opens under the charter's terms, waits, and publishes the weighted mean with a manifest of all updates."""
    now = stage.ledger.now()
    decision, receipt = stage.first.step()
    assert decision == OpenRound(FIRST, CHARTER.terms(now))
    assert receipt is not None
    assert stage.first.step() == (Wait("round 1 is in its phase submission", stage.current.terms.submit_by), None)
    cids = stage.submit(1.0, 4.0)
    transcript = stage.current.transcript
    stage.ledger.advance(stage.current.terms.submit_by + 1)
    published = stage.ledger.now()
    decision, receipt = stage.first.step()
    assert decision == Aggregate(FIRST, True)
    assert receipt is not None
    assert [type(event) for event in receipt.events] == [RoundPublished, RoundOpened]
    assert stage.model(1) == stage.weights(3.0)  # (10 * 1 + 20 * 4) / 30
    manifest = stage.manifest(1)
    assert [(line.update, line.decision, line.weight) for line in manifest.submissions] == [
        (str(cids[0]), "included", 10),
        (str(cids[1]), "included", 20),
    ]
    assert manifest.transcript == "0x" + transcript.hex()
    assert manifest.model == str(stage.ledger.view.base)
    assert stage.current.number == 2
    assert stage.current.terms == CHARTER.terms(published)


def test_a_federation_runs_to_its_end(stage: Stage) -> None:
    """The charter's last round opens no other, and then there is nothing left to do."""
    stage.submitted(1.0, 2.0)
    stage.first.step()
    stage.submit(3.0, 4.0, 5.0)
    decision, receipt = stage.first.step()
    assert decision == Aggregate(RoundNumber(2), False)
    assert receipt is not None
    assert [type(event) for event in receipt.events] == [RoundPublished]
    done = stage.entries()
    for coordinator in (stage.first, stage.second, stage.coordinator(COORDINATOR)):
        assert coordinator.step() == (Finished("2 rounds, as the charter says"), None)
    assert stage.entries() == done


def test_the_same_step_twice_does_nothing_twice(stage: Stage) -> None:
    """After an opening and after a publication, neither this coordinator nor another has anything to do."""
    stage.first.step()
    opened = stage.entries()
    for coordinator in (stage.first, stage.second, stage.coordinator(COORDINATOR)):
        decision, receipt = coordinator.step()
        assert isinstance(decision, Wait)
        assert receipt is None
    assert stage.entries() == opened
    stage.submitted(1.0, 2.0)
    stage.first.step()
    published, written = stage.entries(), list(stage.blocks.written)
    for coordinator in (stage.first, stage.second, stage.coordinator(COORDINATOR)):
        assert coordinator.step() == (Wait("round 2 is in its phase submission", stage.current.terms.submit_by), None)
    assert (stage.entries(), stage.blocks.written) == (published, written)


def test_an_excluded_update_does_not_stop_a_quorum(stage: Stage) -> None:
    """Three updates of which one cannot be fetched make a model of two, and the manifest says so."""
    stage.first.step()
    *_, bad = stage.submit(1.0, 4.0, 9.0)
    stage.blocks.missing.add(bad)
    stage.wait_for_updates()
    assert stage.first.step()[0] == Aggregate(FIRST, True)
    assert stage.model(1) == stage.weights(3.0)
    assert [(line.index, line.reason) for line in stage.manifest(1).excluded] == [(3, "unavailable")]


def test_a_gateway_out_of_reach_does_not_keep_a_round_open(stage: Stage) -> None:
    """Half of the time for publishing it is waited for; then what only it could have was not fetched."""
    stage.first.step()
    *_, bad = stage.submit(1.0, 4.0, 9.0)
    stage.blocks.silent.add(bad)
    assert isinstance(stage.first.step()[0], Wait)
    stage.wait_for_updates()
    assert stage.first.step()[0] == Aggregate(FIRST, True)
    assert [(line.index, line.reason) for line in stage.manifest(1).excluded] == [(3, "unavailable")]


def test_a_disk_of_ones_own_that_fails_is_no_reason_to_exclude(stage: Stage) -> None:
    """However long it lasts: the coordinator says so, and publishes when it is mended."""
    stage.first.step()
    *_, bad = stage.submit(1.0, 4.0, 9.0)
    stage.blocks.broken.add(bad)
    stage.wait_for_updates()
    for _ in range(2):
        with pytest.raises(StoreError, match="the store is broken"):
            stage.first.step()
    assert stage.ledger.asked == []
    stage.blocks.broken.clear()
    assert stage.first.step()[0] == Aggregate(FIRST, True)
    assert stage.manifest(1).excluded == []


def test_who_is_left_out_is_said_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """However often it takes to publish; and counted once."""
    stage.first.step()
    stage.submit(1.0, 4.0, math.nan)
    excluded: list[int] = []
    coordinator = Coordinator(
        stage.ledger,
        COORDINATOR,
        stage.blocks,
        Follower(stage.ledger),
        excluded=lambda line: excluded.append(line.index),
    )
    stage.ledger.lost = "action"
    for _ in range(3):
        with pytest.raises(LedgerError):
            coordinator.step()
    stage.ledger.lost = ""
    assert coordinator.step()[0] == Aggregate(FIRST, True)
    assert excluded == [3]
    said = [line for line in caplog.messages if "excluded" in line]
    assert said == ["round 1: member 3 excluded: bias[0] is nan"]


def test_an_update_that_cannot_be_fetched_is_waited_for(stage: Stage) -> None:
    """It is asked for again while half of the time for publishing lasts; once it is there, it counts."""
    stage.first.step()
    *_, bad = stage.submit(1.0, 4.0, 9.0)
    stage.blocks.missing.add(bad)
    terms = stage.current.terms
    until = (terms.submit_by + terms.publish_by) // 2
    waiting = Wait("round 1: the update of member 3 cannot be fetched yet", until)
    assert stage.first.step() == (waiting, None)
    stage.blocks.read.clear()
    assert stage.first.step() == (waiting, None)
    stage.ledger.advance(until)
    assert stage.first.step() == (waiting, None)
    assert stage.blocks.read.keys() <= {bad}  # The others are not aggregated again and again meanwhile.
    stage.blocks.missing.clear()
    assert stage.first.step()[0] == Aggregate(FIRST, True)
    assert stage.manifest(1).excluded == []


@pytest.mark.parametrize("fault", ["missing", "silent", "damaged"])
def test_all_of_an_update_is_waited_for(fault: str) -> None:
    """Not only its root: a block in the middle may be what is missing."""
    charter = small_charter(
        model={"bias": {"dtype": "F32", "shape": [600_000]}, "weight": {"dtype": "F32", "shape": [3]}},
        rounds={"quorum": 2},
        stop={"rounds": 2},
    )
    layout = charter.layout()
    stage = Stage(charter)
    stage.genesis = add(stage.blocks, _whole(layout, 0.0)).root
    stage.first.step()
    for place, value in enumerate((1.0, 2.0, 3.0)):
        dag = add(stage.blocks, _whole(layout, value))
        stage.ledger.send(MEMBERS[place], Submit(FIRST, Update(dag.root, 10, 500_000, dag.size)))
        bad = open_file(stage.blocks, dag.root, dag.size).leaves[1]
    if fault == "damaged":
        stage.blocks.damaged[bad] = b"other"
    else:
        getattr(stage.blocks, fault).add(bad)
    for _ in range(2):
        decision, _ = stage.first.step()
        assert isinstance(decision, Wait)
        assert decision.why == "round 1: the update of member 3 cannot be fetched yet"
    stage.blocks.damaged.clear()
    stage.blocks.missing.clear()
    stage.blocks.silent.clear()
    assert stage.first.step()[0] == Aggregate(FIRST, True)
    assert stage.manifest(1).excluded == []


def _whole(layout: Layout, value: float) -> bytes:
    return layout.encode({tensor.name: np.full(tensor.shape, value, np.float32) for tensor in layout.tensors})


def test_a_round_ends_as_it_was_begun_where_the_next_charter_cannot_be_read(stage: Stage) -> None:
    """It is published, or cancelled, under its own; no other is opened before the new charter can be read."""
    stage.submitted(1.0, 2.0)
    amended = small_charter(rounds={"quorum": 2}, stop={"rounds": 9})
    cid = address(amended.encode())
    stage.ledger.send(OWNER, AmendCharter(cid, amended.contract_limits()))
    decision, receipt = stage.first.step()
    assert decision == Aggregate(FIRST, True)
    assert receipt is not None
    assert [type(event) for event in receipt.events] == [RoundPublished]
    with pytest.raises(StoreError, match=f"^charter {cid}: .*; whoever put it in force must offer it$"):
        stage.first.step()
    add(stage.blocks, amended.encode())
    assert isinstance(stage.first.step()[0], OpenRound)


def test_a_round_is_cancelled_by_the_time_of_a_block_that_exists(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that says a later time for the next block does not end anybody's round; where no block comes, it does."""
    stage.first.step()
    stage.submit(1.0)
    began = stage.ledger.now()
    monkeypatch.setattr(stage.ledger, "now", lambda: began + 10**6)
    monkeypatch.setattr(stage.ledger, "passed", lambda: began)
    waiting = Wait("round 1: a block after its deadline is waited for")
    assert stage.first.step() == (waiting, None)
    monkeypatch.setattr(time, "monotonic", lambda clock=time.monotonic: clock() + 16.0)
    monkeypatch.setattr(stage.ledger, "passed", lambda: began + 1)
    assert stage.first.step() == (waiting, None)
    monkeypatch.setattr(time, "monotonic", lambda clock=time.monotonic: clock() + 16.0)
    assert stage.first.step()[0] == CancelRound(FIRST)


class Unconfirmed(Follower):
    """Reads a ledger of which nothing is confirmed until somebody says so."""

    limit = -1

    def is_confirmed(self, place: Entry | int | None) -> bool:
        return isinstance(place, int) and place <= self.limit


def test_nothing_is_built_on_what_is_not_confirmed(stage: Stage) -> None:
    """Neither a model on a submission, nor a round on an end, before it has its confirmations."""
    stage.first.step()
    stage.submit(1.0, 4.0, 9.0)
    follower = Unconfirmed(stage.ledger)
    careful = Coordinator(stage.ledger, COORDINATOR, stage.blocks, follower)
    changed = stage.current.changed_in
    assert changed is not None
    waiting = Wait(f"the last entry of round 1 is in block {changed}, not confirmed yet")
    assert careful.step() == (waiting, None)
    follower.limit = changed - 1
    assert careful.step() == (waiting, None)
    follower.limit = changed
    assert careful.step()[0] == Aggregate(FIRST, True)


def test_a_charter_amended_meanwhile_holds_from_the_next_round_on(stage: Stage) -> None:
    """The open round is aggregated under its own charter, the next one opens under the new."""
    stage.submitted(1.0, 2.0)
    amended = small_charter(
        rounds={"quorum": 3, "submission_seconds": 50}, limits={"max_samples": 5}, stop={"rounds": 9}
    )
    cid = add(stage.blocks, amended.encode()).root
    stage.ledger.send(OWNER, AmendCharter(cid, amended.contract_limits()))
    now = stage.ledger.now()
    stage.first.step()
    assert stage.manifest(1).charter == str(stage.charter)
    assert stage.manifest(1).excluded == []  # Under the new charter both would claim too many samples.
    assert (stage.current.number, stage.current.charter, stage.current.terms) == (2, cid, amended.terms(now))


# ------------------------------------------------------------------------------------------------- takeover


def test_the_round_is_the_openers_until_publish_by(stage: Stage) -> None:
    """Another coordinator waits to the last second, and fetches nothing."""
    cid, _ = stage.submitted(1.0, 2.0)
    stage.blocks.read.clear()
    stage.ledger.advance(stage.current.terms.publish_by)
    decision, receipt = stage.second.step()
    assert isinstance(decision, Wait)
    assert decision.until == stage.current.terms.publish_by
    assert receipt is None
    assert stage.blocks.read[cid] == 0


@pytest.mark.parametrize("values", [(1.0, 2.0), (0.1, 0.7, 0.3), (1.0, math.nan, 3.0)])
def test_a_second_coordinator_publishes_what_the_first_would(stage: Stage, values: tuple[float, ...]) -> None:
    """It takes over after publishBy, on a store of its own without the first one's results: same model, same
    manifest."""
    stage.first.step()
    stage.submit(*values)
    stage.ledger.advance(stage.current.terms.submit_by + 1)
    own, copied = MemoryBlocks(), list(stage.blocks.written)
    for cid in copied:
        own.put(cid, stage.blocks.inner.get(cid))
    stage.ledger.lost = "action"
    with pytest.raises(LedgerError):
        stage.first.step()
    (intended,) = stage.ledger.asked
    assert isinstance(intended, Publish)
    assert not own.has(intended.model)
    assert not own.has(intended.manifest)

    stage.ledger.lost = ""
    stage.ledger.advance(stage.current.terms.publish_by + 1)
    second = stage.coordinator(SECOND, FaultyBlocks(own))
    assert second.step()[0] == Aggregate(FIRST, True)
    published = stage.ledger.view.rounds[1]
    assert (published.model, published.manifest) == (intended.model, intended.manifest)
    assert published.published_by == SECOND
    assert own.has(intended.model)
    assert own.has(intended.manifest)
    assert stage.current.opener == SECOND

    done = stage.entries()
    decision, receipt = stage.first.step()
    assert isinstance(decision, Wait)
    assert receipt is None
    assert stage.entries() == done


def test_a_takeover_at_the_charters_end_opens_no_round() -> None:
    """Who takes over the last round ends the federation as the opener would."""
    stage = Stage(small_charter(rounds={"quorum": 2}, stop={"rounds": 1}))
    stage.submitted(1.0, 2.0)
    stage.ledger.advance(stage.current.terms.publish_by + 1)
    assert stage.second.step()[0] == Aggregate(FIRST, False)
    (action,) = stage.ledger.asked
    assert isinstance(action, Publish)
    assert action.next == NO_TERMS
    assert isinstance(stage.first.step()[0], Finished)


# ------------------------------------------------------------------------------------------------- after the end


def _openings(stage: Stage) -> list[tuple[int, str]]:
    """What an audit finds about rounds that should not have been opened; nothing else may differ."""
    found = audit(stage.ledger.identity, stage.entries(), stage.blocks).all_findings
    assert {each.what for each in found} <= {"opening"}
    return [(each.round, each.derived) for each in found]


def _finished(stage: Stage) -> None:
    """Two rounds, after which the charter ends the federation."""
    for _ in range(2):
        stage.submitted(1.0, 2.0)
        assert isinstance(stage.first.step()[0], Aggregate)
    assert isinstance(stage.first.step()[0], Finished)
    assert _openings(stage) == []


def test_an_audit_names_the_first_round_that_was_opened_after_the_end(stage: Stage) -> None:
    """A coordinator that goes on although the charter says it is over: the contract cannot know, an auditor does."""
    _finished(stage)
    for number in (3, 4):
        stage.ledger.send(COORDINATOR, OpenRound(RoundNumber(number), stage.terms()))
        stage.ledger.send(COORDINATOR, CancelRound(RoundNumber(number)))
    assert _openings(stage) == [(3, "its end: 2 rounds, as the charter says")]


def test_an_amendment_may_let_a_federation_go_on(stage: Stage) -> None:
    """A round is judged by the charter that was in force when it was opened."""
    _finished(stage)
    longer = small_charter(rounds={"quorum": 2}, stop={"rounds": 3})
    stage.ledger.send(OWNER, AmendCharter(add(stage.blocks, longer.encode()).root, longer.contract_limits()))
    stage.submitted(3.0, 4.0)
    assert isinstance(stage.first.step()[0], Aggregate)
    assert stage.ledger.view.number == 3
    assert _openings(stage) == []


def test_an_opening_that_an_amendment_overtook_is_nobodys_fault(stage: Stage) -> None:
    """A transaction names no charter: the first round by a new one counts only if the old one had ended it, too."""
    stage.submitted(1.0, 2.0)
    shorter = small_charter(rounds={"quorum": 2}, stop={"rounds": 1})
    stage.blocks.put(Cid.of(shorter.encode()), shorter.encode())
    stage.ledger.send(OWNER, AmendCharter(Cid.of(shorter.encode()), shorter.contract_limits()))
    opening = OpenRound(RoundNumber(2), stage.terms())
    publication = Publish(FIRST, stage.current.transcript, *_result(stage), opening.terms)
    stage.ledger.send(COORDINATOR, publication)
    assert stage.current.charter == Cid.of(shorter.encode())
    assert _openings(stage) == []
    stage.ledger.send(COORDINATOR, CancelRound(RoundNumber(2)))
    stage.ledger.send(COORDINATOR, OpenRound(RoundNumber(3), stage.terms()))
    assert _openings(stage) == [(3, "its end: 1 round, as the charter says")]


def _result(stage: Stage) -> tuple[Cid, Cid]:
    """Model and manifest of the open round."""
    derived = derive(stage.current, CHARTER, stage.blocks, into=stage.blocks)
    assert derived.model is not None
    return derived.model.root, add(stage.blocks, derived.manifest.encode()).root


def test_an_audit_judges_alternating_charters_in_linear_time() -> None:
    """Each charter's standing is kept: coming back to one does not count all rounds again."""
    stage = Stage(small_charter(rounds={"quorum": 2}, stop={"rounds": 9, "failures": 1000}))
    charters = [small_charter(rounds={"quorum": 2}, stop={"rounds": 9, "failures": 1000 + n}) for n in range(2)]
    cids = [add(stage.blocks, each.encode()).root for each in charters]
    for number in range(1, 41):
        stage.ledger.send(OWNER, AmendCharter(cids[number % 2], charters[0].contract_limits()))
        stage.ledger.send(COORDINATOR, OpenRound(RoundNumber(number), stage.terms()))
        stage.ledger.send(COORDINATOR, CancelRound(RoundNumber(number)))
    with mock.patch.object(Standing, "count", autospec=True, side_effect=Standing.count) as count:
        assert _openings(stage) == []
    assert count.call_count <= 2 * 40


def test_an_audit_names_a_round_opened_after_too_many_failures() -> None:
    """Cancelled rounds in a row end a federation as well."""
    stage = Stage(small_charter(rounds={"quorum": 2}, stop={"rounds": 9, "failures": 2}))
    for number in (1, 2, 3):
        stage.ledger.send(COORDINATOR, OpenRound(RoundNumber(number), stage.terms()))
        stage.ledger.send(COORDINATOR, CancelRound(RoundNumber(number)))
    assert _openings(stage) == [(3, "its end: 2 cancelled rounds in a row")]
