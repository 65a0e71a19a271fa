"""A silo's step: what a trainer gives is checked before anything is stored or submitted, and nothing is done twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from chains import COORDINATOR, MEMBERS, OWNER, START, STRANGER
from charters import small_charter
from faulty_blocks import FaultyBlocks
from fedpact.artifacts.charter import Charter
from fedpact.artifacts.weights import Weights
from fedpact.errors import (
    BlockMismatch,
    BlockMissing,
    CharterError,
    ContentError,
    ContractRejected,
    FedpactError,
    InvalidDocument,
    LedgerError,
    NotInstalled,
    StoreError,
    TrainingFailed,
)
from fedpact.ledger.actions import Admit, Appoint, OpenRound, Publish
from fedpact.ledger.events import Entry, UpdateSubmitted
from fedpact.ledger.facts import NO_TERMS, Identity, RoundNumber, Update
from fedpact.ledger.port import Cursor, Follower
from fedpact.ledger.view import Submission
from fedpact.store.unixfs import add, address, open_file
from fedpact_client.owe import Nothing, Refuse, Released, Train
from fedpact_client.silo import Silo
from fedpact_client.trainer import Config, Fit
from lossy_ledger import LossyLedger

CHARTER = small_charter(trainer={"epochs": 3}, limits={"min_score": "0", "max_score": "1"})
LAYOUT = CHARTER.layout()
FIRST = RoundNumber(1)
ACCOUNT = MEMBERS[0]


def filled(value: float) -> dict[str, Any]:
    """Tensors of the charter that all have one value."""
    return {tensor.name: np.full(tensor.shape, value, np.float32) for tensor in LAYOUT.tensors}


class FakeTrainer:
    """Adds one to every weight, or does what the test says instead.

    Attributes:
        calls: what it was told, call by call.
        gives: what is different in what it gives.
        raises: what it raises instead.
    """

    def __init__(self) -> None:
        self.calls: list[Config] = []
        self.gives: dict[str, Any] = {}
        self.raises: BaseException | None = None

    def fit(self, weights: Weights, config: Config) -> Fit:
        self.calls.append(config)
        if self.raises is not None:
            raise self.raises
        trained = {name: array + np.float32(1) for name, array in weights.items()}
        return Fit(**{"weights": trained, "samples": 10, "metrics": {"accuracy": 0.5, "loss": 7.0}} | self.gives)

    def evaluate(self, weights: Weights) -> dict[str, float]:
        return {"accuracy": 0.5}


class Stage:
    """A federation with an open round, and one silo in it."""

    def __init__(self, charter: Charter = CHARTER, base: bytes | None = None) -> None:
        self.blocks, self.trainer = FaultyBlocks(), FakeTrainer()
        self.charter = add(self.blocks, charter.encode()).root
        self.base = add(self.blocks, LAYOUT.encode(filled(1.0)) if base is None else base).root
        self.ledger = LossyLedger(
            OWNER, self.charter, self.base, charter.contract_limits(), identity=Identity(1, STRANGER), now=START
        )
        self.ledger.send(OWNER, Admit(tuple(MEMBERS[:2])))
        self.ledger.send(OWNER, Appoint(COORDINATOR))
        self.ledger.send(COORDINATOR, OpenRound(FIRST, charter.terms(self.ledger.now())))
        self.before = self.entries()
        self.blocks.written.clear()
        self.silo = self.another()

    def another(self) -> Silo:
        """The silo's process, started anew: it knows nothing but what ledger and store know."""
        return Silo(self.ledger, ACCOUNT, self.blocks, Follower(self.ledger), self.trainer, self.charter)

    def entries(self) -> Sequence[Entry]:
        """All that is on the ledger."""
        return list(self.ledger.read(Cursor()).entries)

    def submissions(self) -> list[Submission]:
        """The round's submissions."""
        return self.ledger.view.rounds[1].submissions

    def fails(self, expected: type[FedpactError] | tuple[type[FedpactError], ...], match: str | None = None) -> None:
        """A step fails, and leaves nothing on the ledger nor in the store."""
        with pytest.raises(expected, match=match):
            self.silo.step()
        assert self.entries() == self.before
        assert self.blocks.written == []


@pytest.fixture
def stage() -> Stage:
    """An open round that waits for the silo."""
    return Stage()


# ------------------------------------------------------------------------------------------------- the trainer fails


@pytest.mark.parametrize("error", [ValueError("no data"), MemoryError(), KeyError("weight"), ZeroDivisionError("by 0")])
def test_a_trainer_that_raises_submits_nothing(stage: Stage, error: Exception) -> None:
    """Whatever the trainer raises becomes one kind of error that names it; the next step tries again."""
    stage.trainer.raises = error
    stage.fails(TrainingFailed, f"^round 1: trainer: {type(error).__name__}: ")
    stage.trainer.raises = None
    assert stage.silo.step()[1] is not None


def test_a_charter_whose_rule_is_not_installed_is_refused() -> None:
    """A silo that could not check a model does not begin."""
    with pytest.raises(NotInstalled, match=r"rule\.version: expected 1, found 2"):
        Stage(small_charter(rule={"name": "median", "version": 2}))


@pytest.mark.parametrize(
    "gives",
    [
        {"metrics": None},
        {"metrics": 3},
        {"weights": None},
        {"weights": {"bias": "much", "weight": object()}},
        {"weights": {"bias": np.array([None] * 3), "weight": np.zeros((4, 3), np.float32)}},
    ],
)
def test_a_trainer_that_gives_something_else_submits_nothing(stage: Stage, gives: dict[str, Any]) -> None:
    """Whatever it is: one line, not a traceback."""
    stage.trainer.gives = gives
    stage.fails((TrainingFailed, ContentError), "tensor|^round 1: trainer: ")


def test_what_a_trainer_says_is_one_short_line(stage: Stage) -> None:
    """However long it is."""
    stage.trainer.raises = ValueError("a\nb" * 10_000)
    with pytest.raises(TrainingFailed) as caught:
        stage.silo.step()
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


def test_what_comes_too_late_is_remembered_as_such(stage: Stage) -> None:
    """The round closed while the silo trained: the refusal is what its owner hears."""
    fit, submit_by = stage.trainer.fit, stage.ledger.view.rounds[1].terms.submit_by

    def slowly(weights: Weights, config: Config) -> Fit:
        stage.ledger.advance(submit_by + 1)
        return fit(weights, config)

    stage.trainer.fit = slowly  # type: ignore[method-assign]
    with pytest.raises(ContractRejected) as caught:
        stage.silo.step()
    assert stage.silo.journal.rounds[1].failure == str(caught.value)
    assert isinstance(stage.silo.step()[0], Nothing)


def test_an_error_of_ours_in_the_trainer_is_kept(stage: Stage) -> None:
    """What says itself what went wrong is not wrapped."""
    stage.trainer.raises = StoreError("the silo's data are on a disk that is gone")
    stage.fails(StoreError, "^the silo's data are on a disk that is gone$")


def test_an_interrupt_is_no_failure_of_the_trainer(stage: Stage) -> None:
    """Who interrupts the training stops the silo, and nothing is submitted."""
    stage.trainer.raises = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        stage.silo.step()
    assert stage.entries() == stage.before


def test_a_trainer_that_ends_the_process_has_failed(stage: Stage) -> None:
    """A script's habit: the silo would be gone without a word, and with exit code 0."""
    stage.trainer.raises = SystemExit(0)
    stage.fails(TrainingFailed, r"^round 1: trainer: SystemExit: 0 \(test_silo.py, line \d+, in fit\)$")


def test_what_is_no_fit_is_named(stage: Stage) -> None:
    """Other frameworks' clients return a tuple."""
    stage.trainer.fit = lambda weights, config: (weights, 10, {})  # type: ignore[method-assign,return-value,assignment]  # The point.
    stage.fails(TrainingFailed, "^round 1: trainer: expected a Fit, found tuple$")


def test_a_count_of_numpy_is_a_count(stage: Stage) -> None:
    """The sum of a mask is one."""
    stage.trainer.gives = {"samples": np.int64(10)}
    stage.silo.step()
    assert [each.update.samples for each in stage.submissions()] == [10]


def test_a_trainer_cannot_alter_the_base(stage: Stage) -> None:
    """The weights that it is given are read only: one that trains in place fails, and harms nobody."""

    def in_place(weights: Any, config: Config) -> Fit:
        weights["weight"] += 1
        return Fit(weights, 10, {"accuracy": 0.5})

    stage.trainer.fit = in_place  # type: ignore[method-assign]
    stage.fails(TrainingFailed, "read-only")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["bias", "weight"])
def test_weights_that_are_not_finite_are_not_submitted(stage: Stage, name: str, value: float) -> None:
    """One such value in any tensor is enough."""
    weights = filled(1.0)
    weights[name].flat[-1] = value
    stage.trainer.gives = {"weights": weights}
    stage.fails(TrainingFailed, f"^round 1: tensor {name}: a value is NaN or infinite$")


MISFITS = {
    "a tensor is missing": {"bias": np.zeros(3, np.float32)},
    "a tensor too many": filled(0.0) | {"extra": np.zeros(1, np.float32)},
    "another shape": filled(0.0) | {"weight": np.zeros((3, 4), np.float32)},
    "another dtype": filled(0.0) | {"weight": np.zeros((4, 3), np.float64)},
    "no tensor": {},
}


@pytest.mark.parametrize("weights", MISFITS.values(), ids=MISFITS.keys())
def test_weights_of_another_layout_are_not_submitted(stage: Stage, weights: Weights) -> None:
    """Names, shapes and dtypes must be the charter's."""
    stage.trainer.gives = {"weights": weights}
    stage.fails(TrainingFailed, "^round 1: (trainer: )?tensor")


@pytest.mark.parametrize("samples", [0, -1, 1001, 2**64, True, 10.0, "10", None])
def test_wrong_samples_are_not_submitted(stage: Stage, samples: object) -> None:
    """Samples are a whole number from 1 to the charter's limit."""
    stage.trainer.gives = {"samples": samples}
    expected = f"a whole number, found {type(samples).__name__}"
    if type(samples) is int:
        expected = rf"1 to 1000 \(the charter's limits.max_samples\), found {samples}"
    stage.fails(TrainingFailed, f"^round 1: samples: expected {expected}$")


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_score_that_is_not_finite_is_not_submitted(stage: Stage, score: float) -> None:
    """What is no number has no place in a mean."""
    stage.trainer.gives = {"metrics": {"accuracy": score}}
    stage.fails(TrainingFailed, f"^round 1: accuracy: expected a finite number, found {score}$")


@pytest.mark.parametrize("score", [None, "0.5", [0.5]])
def test_a_score_that_is_no_number_is_not_submitted(stage: Stage, score: object) -> None:
    """A trainer that breaks its port is reported like any other that fails."""
    stage.trainer.gives = {"metrics": {"accuracy": score}}
    stage.fails(TrainingFailed, "accuracy")


@pytest.mark.parametrize(
    ("metrics", "found"),
    [({}, "none$"), ({"loss": 0.1, "Accuracy": 0.5}, r"loss, Accuracy; did you mean Accuracy\?$")],
)
def test_without_the_charters_metric_nothing_is_submitted(stage: Stage, metrics: dict[str, float], found: str) -> None:
    """The charter names the metric that is the score; others do not stand in for it."""
    stage.trainer.gives = {"metrics": metrics}
    stage.fails(TrainingFailed, rf"^round 1: metrics: expected accuracy \(the charter's score\), found {found}")


# ---------------------------------------------------------------------------------------------- store and ledger fail


@pytest.mark.parametrize("part", ["root", "leaf"])
@pytest.mark.parametrize("fault", ["damaged", "missing", "broken"])
def test_a_base_that_cannot_be_read_is_refused(fault: str, part: str) -> None:
    """A silo trains on the very bytes that the ledger names, or not at all."""
    charter = small_charter(model={"w": {"dtype": "F32", "shape": [300_000]}})
    stage = Stage(charter, charter.layout().encode({"w": np.zeros(300_000, np.float32)}))
    leaves = open_file(stage.blocks, stage.base, charter.layout().size).leaves
    assert len(leaves) == 2
    cid = stage.base if part == "root" else leaves[1]
    if fault == "damaged":
        stage.blocks.damaged[cid] = stage.blocks.inner.get(cid)[:-1] + b"!"
    else:
        getattr(stage.blocks, fault).add(cid)
    stage.fails({"damaged": BlockMismatch, "missing": BlockMissing, "broken": StoreError}[fault], str(cid))
    assert stage.trainer.calls == []


@pytest.mark.parametrize("base", [b"x" * LAYOUT.size, b"", b"x" * (LAYOUT.size + 1)])
def test_a_base_of_another_layout_is_refused(base: bytes) -> None:
    """Intact bytes that are not the charter's tensors are no base either."""
    stage = Stage(base=base)
    stage.fails(ContentError)
    assert stage.trainer.calls == []


def test_an_accepted_charter_that_cannot_be_read_stops_the_silo(stage: Stage) -> None:
    """Without its charter a silo does not start: not with other bytes, nor with bytes that are no charter."""
    stage.blocks.damaged[stage.charter] = b"other"
    with pytest.raises(BlockMismatch):
        stage.another()
    stage.charter = add(stage.blocks, b"{}").root
    with pytest.raises((InvalidDocument, CharterError)):
        stage.another()


def test_an_update_that_cannot_be_stored_is_not_submitted(stage: Stage) -> None:
    """What nobody could fetch is not put on the ledger; once the store is well, it is."""
    cid = address(LAYOUT.encode(filled(2.0)))
    stage.blocks.broken.add(cid)
    stage.fails(StoreError, str(cid))
    stage.blocks.broken.clear()
    stage.silo.step()
    assert [each.update.cid for each in stage.submissions()] == [cid]


@pytest.mark.parametrize("lost", ["action", "receipt"])
def test_what_is_lost_on_the_way_is_submitted_once(stage: Stage, lost: str) -> None:
    """Where the ledger did not answer, the next step finds out whether the update arrived."""
    stage.ledger.lost = lost
    with pytest.raises(LedgerError):
        stage.silo.step()
    assert len(stage.submissions()) == (lost == "receipt")
    stage.ledger.lost = ""
    debt, receipt = stage.silo.step()
    assert (isinstance(debt, Train), receipt is not None) == ((lost == "action",) * 2)
    assert len(stage.submissions()) == 1
    assert len(stage.trainer.calls) == 1


def test_a_crash_between_store_and_ledger_does_no_harm(stage: Stage) -> None:
    """A silo that starts anew trains again, and submits what it would have submitted."""
    debt = stage.silo.owes(Follower(stage.ledger).refresh(), stage.ledger.now())
    assert isinstance(debt, Train)
    prepared = stage.silo.prepare(debt)
    assert stage.entries() == stage.before
    stage.another().step()
    assert [each.update for each in stage.submissions()] == [prepared.update]


@pytest.mark.parametrize(("score_of", "score"), [(None, 500_000), ("base", 250_000)])
def test_the_score_is_of_the_update_or_of_the_base_as_the_charter_says(score_of: str | None, score: int) -> None:
    """The base is evaluated as it was before training."""
    stage = Stage(small_charter(trainer={"epochs": 3}, limits={"min_score": "0", "max_score": "1"}, score_of=score_of))
    seen: list[Weights] = []

    def evaluate(weights: Weights) -> dict[str, float]:
        seen.append(weights)
        return {"accuracy": 0.25}

    stage.trainer.evaluate = evaluate  # type: ignore[method-assign]  # As the others of this trainer.
    stage.silo.step()
    assert [each.update.score for each in stage.submissions()] == [score]
    assert [{name: array.tolist() for name, array in each.items()} for each in seen] == (
        [{name: array.tolist() for name, array in filled(1.0).items()}] if score_of else []
    )


# ------------------------------------------------------------------------------------------------- a silo submits


def test_a_silo_submits_what_it_trained(stage: Stage) -> None:
    """Address, samples, score and size of the trained weights are on the ledger, and the weights in the store."""
    debt, receipt = stage.silo.step()
    assert isinstance(debt, Train)
    assert debt.base == stage.base
    trained = LAYOUT.encode(filled(2.0))
    update = Update(address(trained), 10, 500_000, len(trained))
    assert receipt is not None
    assert receipt.events == (UpdateSubmitted(FIRST, ACCOUNT, update),)
    assert open_file(stage.blocks, update.cid, update.size).read() == trained
    assert [(each.member, each.update) for each in stage.submissions()] == [(ACCOUNT, update)]


def test_the_trainer_is_told_the_charters_settings_and_the_round(stage: Stage) -> None:
    """The charter's section `trainer`, and the number of the round."""
    stage.silo.step()
    assert stage.trainer.calls == [{"name": "none", "epochs": 3, "round": 1}]


class Unconfirmed(Follower):
    """Reads a ledger whose blocks are confirmed up to a limit."""

    limit = -1

    def is_confirmed(self, place: Entry | int | None) -> bool:
        return isinstance(place, int) and place <= self.limit


def test_nobody_leaves_before_the_end_is_confirmed() -> None:
    """A reorganisation may take back the last round, with the submission of one who has left."""
    stage = Stage(small_charter(rounds={"quorum": 1}, stop={"rounds": 1}))
    assert stage.silo.step()[1] is not None
    stage.ledger.send(COORDINATOR, publication(stage))
    changed = stage.ledger.view.rounds[1].changed_in
    assert changed is not None
    follower = Unconfirmed(stage.ledger)
    careful = Silo(stage.ledger, ACCOUNT, stage.blocks, follower, stage.trainer, stage.charter)
    assert careful.step() == (Nothing(f"the last round ended in block {changed}, not confirmed yet"), None)
    follower.limit = changed
    assert careful.step() == (Released("1 round, as the charter says"), None)


def publication(stage: Stage) -> Publish:
    """Ends the round, with whatever model."""
    stage.ledger.advance(stage.ledger.view.rounds[1].terms.submit_by + 1)
    model, manifest = address(b"model"), address(b"manifest")
    return Publish(FIRST, stage.ledger.view.rounds[1].transcript, model, manifest, NO_TERMS)


def test_a_second_step_submits_nothing(stage: Stage) -> None:
    """Neither the same process nor one that was started anew trains or submits twice."""
    stage.silo.step()
    once, written = stage.entries(), list(stage.blocks.written)
    for silo in (stage.silo, stage.another()):
        assert silo.step() == (Nothing("submitted in round 1"), None)
    assert stage.entries() == once
    assert stage.blocks.written == written
    assert len(stage.trainer.calls) == 1


def test_a_silo_trains_on_nothing_that_its_owner_did_not_accept(stage: Stage) -> None:
    """Under another charter it neither reads the base nor trains."""
    other = add(stage.blocks, small_charter(name="another").encode()).root
    stage.blocks.written.clear()
    silo = Silo(stage.ledger, ACCOUNT, stage.blocks, Follower(stage.ledger), stage.trainer, other)
    debt, receipt = silo.step()
    assert isinstance(debt, Refuse)
    assert receipt is None
    assert (stage.trainer.calls, stage.entries(), stage.blocks.written) == ([], stage.before, [])
    assert stage.blocks.read[stage.base] == 0


@pytest.mark.parametrize("samples", [1, 1000])
def test_samples_at_the_charters_limits_are_submitted(stage: Stage, samples: int) -> None:
    """One sample is enough, and the charter's limit is not too many."""
    stage.trainer.gives = {"samples": samples}
    stage.silo.step()
    assert [each.update.samples for each in stage.submissions()] == [samples]


@pytest.mark.parametrize(
    ("score", "kept"),
    [
        (0.0, 0),
        (1.0, 1_000_000),
        (0.1234567, 123_457),
        (np.float32(0.25), 250_000),
        (1, 1_000_000),
        (1.0000004, 1_000_000),
        (1.5, 1_000_000),
        (-3.0, 0),
        (1e300, 1_000_000),
        (1.7e308, 1_000_000),
        (-1.7e308, 0),
        (np.float32(3e38), 1_000_000),
    ],
)
def test_a_score_is_kept_within_the_charters_limits(stage: Stage, score: float, kept: int) -> None:
    """The ledger keeps millionths; any finite score beyond the charter's limits counts as the limit."""
    stage.trainer.gives = {"metrics": {"accuracy": score}}
    stage.silo.step()
    assert [each.update.score for each in stage.submissions()] == [kept]


def test_the_score_is_the_charters_metric() -> None:
    """Another charter, another metric of the same fit."""
    stage = Stage(small_charter(score="loss", limits={"max_score": "100"}))
    stage.silo.step()
    assert [each.update.score for each in stage.submissions()] == [7_000_000]
