"""A silo derives the model again before it trains on it: it disputes what differs, and only that."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from chains import COORDINATOR, MEMBERS, OWNER, START, STRANGER
from charters import small_charter
from faulty_blocks import FaultyBlocks
from fedpact.artifacts import manifest as manifests
from fedpact.artifacts import report
from fedpact.derivation import derive
from fedpact.ledger.actions import Admit, Appoint, OpenRound, Publish, Submit
from fedpact.ledger.events import RoundAttested
from fedpact.ledger.facts import Identity, RoundNumber, Update
from fedpact.ledger.port import Cursor, Follower
from fedpact.store import Cid
from fedpact.store.unixfs import add, read_small
from fedpact_client.journal import Journal
from fedpact_client.owe import Refuse, Train
from fedpact_client.silo import Silo
from fedpact_client.status import statuses
from fedpact_client.trainer import Config, Fit
from fedpact_client.verification import Verifier
from lossy_ledger import LossyLedger

CHARTER = small_charter(rounds={"quorum": 2})
LAYOUT = CHARTER.layout()
FIRST, SECOND = RoundNumber(1), RoundNumber(2)
OWN = MEMBERS[0]


def weights(value: float) -> bytes:
    """A model of one value."""
    return LAYOUT.encode({tensor.name: np.full(tensor.shape, value, np.float32) for tensor in LAYOUT.tensors})


class AddTen:
    """A trainer that adds ten."""

    calls = 0

    def fit(self, base: object, config: Config) -> Fit:
        self.calls += 1
        return Fit({name: array + np.float32(10) for name, array in base.items()}, 10, {"accuracy": 0.5})  # type: ignore[attr-defined]

    def evaluate(self, base: object) -> dict[str, float]:
        return {"accuracy": 0.5}


class Stage:
    """A round that was published, of the updates 1 and 3, and one that starts from its model."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal"
        self.blocks, self.trainer = FaultyBlocks(), AddTen()
        self.charter = add(self.blocks, CHARTER.encode()).root
        genesis = add(self.blocks, weights(0.0)).root
        identity = Identity(1, STRANGER)
        self.ledger = LossyLedger(OWNER, self.charter, genesis, CHARTER.contract_limits(), identity=identity, now=START)
        for action in (Admit(tuple(MEMBERS[:2])), Appoint(COORDINATOR)):
            self.ledger.send(OWNER, action)
        self.ledger.send(COORDINATOR, OpenRound(FIRST, CHARTER.terms(self.ledger.now())))
        self.updates = []
        for member, value in zip(MEMBERS, (1.0, 3.0), strict=False):
            dag = add(self.blocks, weights(value))
            self.ledger.send(member, Submit(FIRST, Update(dag.root, 10, 500_000, dag.size)))
            self.updates.append(dag.root)

    def publish(self, model: float = 2.0) -> Cid:
        """Ends the round with a model, and opens the next; returns the model's address."""
        current = self.ledger.view.rounds[FIRST]
        derived = derive(current, CHARTER, self.blocks, into=self.blocks)
        root = add(self.blocks, weights(model)).root
        value = derived.manifest.model_dump() | {"model": str(root)}
        manifest = add(self.blocks, manifests.Manifest.model_validate(value).encode()).root
        terms = CHARTER.terms(self.ledger.now())
        self.ledger.send(COORDINATOR, Publish(FIRST, current.transcript, root, manifest, terms))
        self.blocks.read.clear()
        return root

    def silo(self, share: str = "1") -> Silo:
        """The silo's process, started anew."""
        verifier = Verifier(self.ledger.identity, self.blocks, Decimal(share))
        follower = Follower(self.ledger)
        return Silo(
            self.ledger,
            OWN,
            self.blocks,
            follower,
            self.trainer,
            self.charter,
            journal=Journal(self.path),
            verifier=verifier,
        )

    def attestations(self) -> list[RoundAttested]:
        """All that were ever made."""
        events = [entry.event for entry in self.ledger.read(Cursor()).entries]
        return [event for event in events if isinstance(event, RoundAttested)]

    def derived_again(self) -> str:
        """What the silo's status says of the first round."""
        follower = Follower(self.ledger)
        follower.refresh()
        return statuses(follower, OWN, Journal(self.path), self.blocks, 0, 0)[0].derived_again


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A round with two updates."""
    return Stage(tmp_path)


@pytest.mark.parametrize(("share", "verdict"), [("1", "reproduced"), ("0.01", "reproduced")])
def test_a_model_that_its_updates_make_is_trained_on(stage: Stage, share: str, verdict: str) -> None:
    """It is derived once, whatever restarts; a small model's only block is all of it."""
    stage.publish()
    debt, receipt = stage.silo(share).step()
    assert isinstance(debt, Train)
    assert receipt is not None
    assert stage.derived_again() == verdict
    read = stage.blocks.read[stage.updates[1]]
    assert read > 0
    stage.silo(share).step()
    assert stage.blocks.read[stage.updates[1]] == read
    assert stage.attestations() == []


def test_a_model_that_differs_is_disputed_and_never_trained_on(stage: Stage) -> None:
    """The silo attests once, with a report that can be read; after a restart it still refuses, and derives nothing."""
    model = stage.publish(5.0)
    debt, receipt = stage.silo().step()
    assert isinstance(debt, Refuse)
    assert "round 2 starts from the model of round 1, which differs from what its updates make" in debt.why
    assert receipt is not None
    (attested,) = stage.attestations()
    assert (attested.round, attested.member, attested.reproduced) == (1, OWN, False)
    found = report.decode(read_small(stage.blocks, attested.report, 1 << 20))
    assert str(model) in found.encode().decode()
    stage.blocks.read.clear()
    again = stage.silo()
    for silo in (again, again):
        assert isinstance(silo.step()[0], Refuse)
    assert stage.blocks.read[stage.updates[1]] == 0
    assert len(stage.attestations()) == 1
    assert (stage.trainer.calls, stage.derived_again()) == (0, "differs")


def test_a_dispute_that_is_lost_on_its_way_is_made_again(stage: Stage) -> None:
    """What is not on the ledger is not remembered as said."""
    stage.publish(5.0)
    stage.ledger.lost = "action"
    with pytest.raises(Exception, match="the node cannot be reached"):
        stage.silo().step()
    stage.ledger.lost = ""
    assert isinstance(stage.silo().step()[0], Refuse)
    assert len(stage.attestations()) == 1


@pytest.mark.parametrize("fault", ["missing", "silent", "broken", "damaged"])
@pytest.mark.parametrize("what", ["an update", "the manifest"])
def test_a_model_that_cannot_be_checked_is_trained_on(stage: Stage, fault: str, what: str) -> None:
    """Whoever withholds an update, or serves other bytes for one, must not stop everyone; nor is anybody accused."""
    stage.publish()
    manifest = stage.ledger.view.rounds[FIRST].manifest
    cid = stage.updates[1] if what == "an update" else manifest
    assert cid is not None
    if fault == "damaged":
        stage.blocks.damaged[cid] = b"other bytes"
    else:
        getattr(stage.blocks, fault).add(cid)
    debt, receipt = stage.silo().step()
    assert isinstance(debt, Train)
    assert receipt is not None
    assert (stage.attestations(), stage.derived_again()) == ([], "unchecked")
    assert Journal(stage.path).rounds[FIRST].detail != ""


def test_without_a_verifier_only_the_address_is_checked(stage: Stage) -> None:
    """As its owner chose."""
    stage.publish(5.0)
    silo = Silo(stage.ledger, OWN, stage.blocks, Follower(stage.ledger), stage.trainer, stage.charter)
    assert isinstance(silo.step()[0], Train)
    assert stage.blocks.read[stage.updates[1]] == 0


def test_the_first_model_has_nothing_to_be_derived_from(stage: Stage) -> None:
    """It is what the federation was founded with."""
    stage.ledger = LossyLedger(
        OWNER, stage.charter, Cid.of(weights(0.0)), CHARTER.contract_limits(), identity=Identity(1, STRANGER), now=START
    )
    for action in (Admit(tuple(MEMBERS[:2])), Appoint(COORDINATOR)):
        stage.ledger.send(OWNER, action)
    stage.ledger.send(COORDINATOR, OpenRound(FIRST, CHARTER.terms(stage.ledger.now())))
    assert isinstance(stage.silo().step()[0], Train)
    assert stage.derived_again() == ""
