"""Who pins what, and when: before it is said on the ledger, so that a process killed in between has lost nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from chains import COORDINATOR, MEMBERS, OWNER, START, STRANGER
from charters import small_charter
from faulty_blocks import FaultyBlocks
from fedpact.artifacts import manifest as manifests
from fedpact.errors import BlockMissing, StoreError
from fedpact.ledger.actions import Action, Admit, Appoint, Publish, Submit
from fedpact.ledger.facts import Address, Identity, Update
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Follower, Receipt
from fedpact.ledger.view import Status
from fedpact.store import Cid, MemoryBlocks
from fedpact.store.counting import CountedBlocks
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import add, read_small
from fedpact_client.journal import Journal
from fedpact_client.silo import Silo
from fedpact_client.verification import Verifier
from fedpact_coordinator.coordinator import Coordinator
from test_silo import FakeTrainer, filled

CHARTER = small_charter(
    rounds={"quorum": 2},
    optimiser={"name": "fedavgm", "parameters": {"learning_rate": "1", "momentum": "0.9"}},
    stop={"rounds": 2},
)
LAYOUT = CHARTER.layout()


class Killed(BaseException):
    """The process was killed."""


class Ledger(MemoryLedger):
    """A ledger that asks the test before anything is sent.

    Attributes:
        before: called with what is to be sent.
    """

    before: Any = staticmethod(lambda action: None)

    def send(self, sender: Address, action: Action) -> Receipt:
        self.before(action)
        return super().send(sender, action)


class Stage:
    """A federation of three members; everybody else's store is one, and each process has one of its own in front."""

    def __init__(self) -> None:
        self.others = FaultyBlocks()
        self.charter = add(self.others, CHARTER.encode()).root
        self.genesis = add(self.others, LAYOUT.encode(filled(1.0))).root
        limits = CHARTER.contract_limits()
        self.ledger = Ledger(OWNER, self.charter, self.genesis, limits, identity=Identity(1, STRANGER), now=START)
        for action in (Admit(tuple(MEMBERS[:3])), Appoint(COORDINATOR)):
            self.ledger.send(OWNER, action)
        self.own = MemoryBlocks()

    def blocks(self, own: MemoryBlocks | None = None) -> SeveralBlocks:
        """A store of its own, and what others have."""
        return SeveralBlocks([CountedBlocks(own or self.own, "own"), CountedBlocks(self.others, "others")])

    def coordinator(self) -> Coordinator:
        """A coordinator's process."""
        return Coordinator(self.ledger, COORDINATOR, self.blocks(), Follower(self.ledger))

    def silo(self, journal: Journal | None = None, *, verify: bool = True) -> Silo:
        """The first member's process."""
        blocks = self.blocks()
        verifier = Verifier(self.ledger.identity, blocks, Decimal(1)) if verify else None
        parts = (self.ledger, MEMBERS[0], blocks, Follower(self.ledger), FakeTrainer(), self.charter)
        return Silo(*parts, journal=journal, verifier=verifier)

    def submit(self, *values: float) -> list[Cid]:
        """Members submit updates of these values."""
        cids = []
        for place, value in enumerate(values):
            dag = add(self.others, LAYOUT.encode(filled(value)))
            self.ledger.send(MEMBERS[place], Submit(self.ledger.view.number, Update(dag.root, 10, 0, dag.size)))
            cids.append(dag.root)
        return cids

    def submitted(self, *values: float) -> list[Cid]:
        """A round is opened, members submit, and the deadline passes."""
        if self.ledger.view.open_round is None:
            self.coordinator().step()
        cids = self.submit(*values)
        current = self.ledger.view.open_round
        assert current is not None
        self.ledger.advance(current.terms.submit_by + 1)
        return cids

    def published(self, number: int) -> tuple[set[Cid], set[Cid]]:
        """Model and manifest of a round, and the state that the manifest names."""
        current = self.ledger.view.rounds[number]
        assert current.model is not None
        assert current.manifest is not None
        manifest = manifests.decode(read_small(self.blocks(), current.manifest, 1 << 20))
        assert manifest.optimiser is not None
        return {current.model, current.manifest}, set(map(Cid.parse, manifest.optimiser.state.values()))


@pytest.fixture
def stage() -> Stage:
    """A federation before its first round."""
    return Stage()


def test_a_coordinator_pins_all_that_it_publishes_before_it_does(stage: Stage) -> None:
    """Charter, base, the updates in the model, state, manifest and model; what is excluded need not be whole."""
    good = stage.submitted(5.0, 2.0, float("nan"))[:2]
    pinned: list[frozenset[Cid]] = []
    stage.ledger.before = lambda action: pinned.append(stage.own.pinned()) if isinstance(action, Publish) else None
    stage.coordinator().step()
    published, state = stage.published(1)
    assert state
    assert stage.genesis not in {*good, *published, *state}
    assert pinned == [frozenset({stage.charter, stage.genesis, *good, *published, *state})]
    stage.others.missing |= pinned[0]
    for cid in pinned[0]:
        stage.own.pin(cid)  # All of it is here.
    stage.others.missing.clear()

    again = stage.submitted(3.0, 4.0)
    stage.coordinator().step()
    assert stage.own.pinned() == {*pinned[0], *again, *(cid for each in stage.published(2) for cid in each)}


def test_a_coordinator_killed_between_pin_and_publication_publishes_the_same(stage: Stage) -> None:
    """What it pinned is what the next process publishes; nothing else is pinned."""

    def killed(action: Action) -> None:
        if isinstance(action, Publish):
            raise Killed

    stage.submitted(1.0, 2.0)
    stage.ledger.before = killed
    with pytest.raises(Killed):
        stage.coordinator().step()
    pinned = stage.own.pinned()
    assert stage.ledger.view.rounds[1].status is Status.OPEN
    stage.ledger.before = lambda action: None
    stage.coordinator().step()
    published, state = stage.published(1)
    assert stage.own.pinned() == pinned
    assert pinned >= published | state


@pytest.mark.parametrize("what", ["disk", "update"])
def test_what_cannot_be_pinned_is_not_published(stage: Stage, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A pin that fails fails the step; the next one does it."""
    cids = stage.submitted(1.0, 2.0)
    pin = MemoryBlocks.pin

    def failing(self: MemoryBlocks, root: Cid) -> None:
        if root == cids[0]:
            raise StoreError("pin: no space") if what == "disk" else BlockMissing(str(root), "own")
        pin(self, root)

    monkeypatch.setattr(MemoryBlocks, "pin", failing)
    with pytest.raises(StoreError):
        stage.coordinator().step()
    assert stage.ledger.view.rounds[1].status is Status.OPEN
    monkeypatch.setattr(MemoryBlocks, "pin", pin)
    stage.coordinator().step()
    assert stage.ledger.view.rounds[1].status is Status.PUBLISHED


def test_a_silo_pins_its_update_before_it_submits(stage: Stage) -> None:
    """And after a kill in between the next process submits the same."""

    def killed(action: Action) -> None:
        if isinstance(action, Submit):
            raise Killed

    stage.coordinator().step()
    stage.own, journal = MemoryBlocks(), Journal()
    stage.ledger.before = killed
    with pytest.raises(Killed):
        stage.silo(journal).step()
    (pinned,) = stage.own.pinned()
    kept = journal.update(1, stage.genesis)
    assert kept is not None
    assert kept.cid == pinned
    stage.ledger.before = lambda action: None
    stage.silo(journal).step()
    assert [each.update.cid for each in stage.ledger.view.rounds[1].submissions] == [pinned]


def test_a_silo_whose_update_has_gone_trains_once_more(stage: Stage) -> None:
    """Its journal remembers an update of which a block is nowhere."""
    stage.coordinator().step()
    stage.own, journal = MemoryBlocks(), Journal()
    prepared = stage.silo(journal)
    debt = prepared.owes(stage.ledger.view, stage.ledger.now())
    first = prepared.prepare(debt)  # type: ignore[arg-type]  # It owes training.
    stage.own = MemoryBlocks()
    stage.silo(journal).step()
    assert stage.own.pinned() == {first.update.cid}


@pytest.mark.parametrize("verify", [True, False])
def test_a_member_pins_the_model_that_it_verified(stage: Stage, verify: bool) -> None:
    """With its manifest and its charter; one that does not look keeps nothing of others."""
    stage.submitted(1.0, 2.0)
    stage.coordinator().step()
    published, _ = stage.published(1)
    for cid in list(stage.own.pinned()):
        add(stage.others, read_small(stage.own, cid, 1 << 20))
    stage.own = MemoryBlocks()
    stage.silo(verify=verify).step()
    (own,) = [each.update.cid for each in stage.ledger.view.rounds[2].submissions]
    assert stage.own.pinned() == ({own, stage.charter, *published} if verify else {own})


def test_a_model_that_cannot_be_kept_keeps_nobody_from_training(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and others have to keep it."""
    stage.submitted(1.0, 2.0)
    stage.coordinator().step()
    published, _ = stage.published(1)
    pin = MemoryBlocks.pin

    def failing(self: MemoryBlocks, root: Cid) -> None:
        if root in published:
            raise BlockMissing(str(root), "own")
        pin(self, root)

    monkeypatch.setattr(MemoryBlocks, "pin", failing)
    stage.silo().step()
    assert len(stage.ledger.view.rounds[2].submissions) == 1
    assert "round 1: its model is not kept here: block" in caplog.text
