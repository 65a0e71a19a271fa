"""Audits of a sample: an optimiser's state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fedpact.artifacts import report as reports
from fedpact.artifacts.manifest import Manifest, OptimiserState
from fedpact.artifacts.moments import layout_for
from fedpact.audit import Verdict
from fedpact.audit.report import report
from fedpact.ledger.view import Round
from fedpact.store import Cid
from fedpact.store.cid import Codec
from fedpact.store.unixfs import LEAF, add, open_file
from histories import IDENTITY
from sampled import (
    LEAVES,
    SINGLE,
    Stage,
    drawn,
    found,
)


def _moments_of(stage: Stage, current: Round, name: str) -> list[Cid]:
    """The leaves of a moment after a round."""
    state = stage.manifest(current.number).optimiser
    assert state is not None
    root = Cid.parse(state.state[name])
    return list(open_file(stage.blocks, root, layout_for(stage.layout).size).leaves)


@pytest.mark.parametrize("leaf", range(LEAVES))
def test_an_altered_state_is_found_where_its_elements_are_drawn(tmp_path: Path, leaf: int) -> None:
    """A moment's blocks are not the model's: what counts is whose elements they are."""
    stage = Stage(tmp_path, "fedadam", model=SINGLE)
    kept = layout_for(stage.layout)
    element = (leaf * LEAF + 100_000) // 4

    def change(state: dict[str, str]) -> dict[str, str]:
        data = bytearray(stage.read(state["second_moment"], kept))
        place = len(kept.header) + 4 * element
        data[place : place + 4] = np.float32(7).tobytes()
        return state | {"second_moment": str(add(stage.blocks, bytes(data)).root)}

    stage.three()
    stage.three(stage.with_state(change))
    stage.three()
    for seed in range(9):
        there = leaf in drawn(2, seed)
        assert found(stage.audit(seed)) == ([(2, "state, second_moment")] if there else [])
    assert {leaf in drawn(2, seed) for seed in range(9)} == {True, False}


def test_a_state_that_is_missing_leaves_the_rounds_unchecked_that_read_it(tmp_path: Path) -> None:
    """The round that made it and the one after; its first block is always read, for its header."""
    stage = Stage(tmp_path, "fedadam", model=SINGLE)
    stage.three()
    stage.three()
    for number, readers in ((1, (1, 2)), (2, (2,))):
        leaves = _moments_of(stage, stage.view.rounds[number], "first_moment")
        assert len(leaves) == LEAVES
        for index, leaf in enumerate(leaves):
            stage.faulty.missing = {leaf}
            for seed in range(5):
                told = stage.audit(seed)
                expected = [each for each in readers if index in (0, *drawn(each, seed))]
                assert [each.number for each in told.rounds if each.verdict is Verdict.UNCHECKED] == expected
                assert found(told) == []
                assert told.exit_code == (2 if expected else 0)


HOSTILE: dict[str, Callable[[Stage], str]] = {
    "empty": lambda stage: "",
    "no address": lambda stage: "/etc/passwd\x1b[2J",
    "not ASCII": lambda stage: "b" + "\xe4" * 58,
    "a small file": lambda stage: str(add(stage.blocks, b"short").root),
    "the model": lambda stage: str(add(stage.blocks, stage.update()).root),
    "a longer file": lambda stage: str(add(stage.blocks, bytes(5 << 20)).root),
    "a file of zeros": lambda stage: str(add(stage.blocks, bytes(layout_for(stage.layout).size)).root),
    "a DAG that is none": lambda stage: str(_kept(stage, b"\x12\x00")),
    "a DAG that ends": lambda stage: str(_kept(stage, b"")),
}


def _kept(stage: Stage, node: bytes) -> Cid:
    cid = Cid.of(node, Codec.DAG_PB)
    stage.blocks.put(cid, node)
    return cid


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_address_of_a_state_is_a_finding(tmp_path: Path, case: str) -> None:
    """Of the round that names it; the next one cannot go on from it."""
    stage = Stage(tmp_path, "fedadam")
    address = HOSTILE[case](stage)
    stage.three(stage.with_state(lambda state: state | {"second_moment": address}))
    told = stage.audit()
    assert found(told) == [(1, "state, second_moment")]
    assert told.all_findings[0].ledger == address
    assert reports.decode(report(IDENTITY, told).encode()).verdict == "differs"


def test_other_moments_than_the_optimisers_are_found(tmp_path: Path) -> None:
    """More, fewer, of other names, or those of another optimiser, although they cannot be fetched."""
    missing = str(Cid.of(b"missing", Codec.DAG_PB))
    changes: list[Callable[[dict[str, str]], dict[str, str]]] = [
        lambda state: state | {"third_moment": missing},
        lambda state: {"first_moment": state["first_moment"]},
        lambda state: {"m": missing, "v": missing},
        lambda state: {},
    ]
    for number, change in enumerate(changes):
        stage = Stage(tmp_path / str(number), "fedadam")
        stage.three(stage.with_state(change))
        assert found(stage.audit()) == [(1, "manifest, optimiser, moments")]

    def other(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
        state = OptimiserState(name="fedyogi", version=1, state={"first_moment": missing, "second_moment": missing})
        return model, manifest.model_copy(update={"optimiser": state})

    def none(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
        return model, manifest.model_copy(update={"optimiser": None})

    for name, forge in (("other", other), ("none", none)):
        stage = Stage(tmp_path / name, "fedadam")
        stage.three(forge)
        assert found(stage.audit()) == [(1, "manifest, optimiser")]
