"""Audits of a sample: what is drawn is derived and compared, and nothing is said of the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_blocks import FaultyBlocks
from fedpact.artifacts import manifest as manifests
from fedpact.artifacts import report as reports
from fedpact.artifacts.dtypes import DTYPES
from fedpact.artifacts.manifest import Manifest, OptimiserState
from fedpact.artifacts.moments import layout_for
from fedpact.artifacts.weights import Layout
from fedpact.audit import Audit, Finding, Scope, Verdict, audit
from fedpact.audit.progress import ProgressFile
from fedpact.audit.report import report
from fedpact.errors import InputError
from fedpact.ledger.port import Cursor
from fedpact.ledger.view import Round
from fedpact.store import Cid
from fedpact.store.cid import Codec
from fedpact.store.unixfs import LEAF, add, leaf_count, open_file, read_small
from histories import IDENTITY, Forge, History, ten_rounds
from runs import Copy, fedpact

PUBLISHED = [1, 2, 3, 5, 6, 7, 8, 9, 10]
MODEL = {
    "steps": {"dtype": "I64", "shape": [5]},
    "double": {"dtype": "F64", "shape": [70_001]},
    "single": {"dtype": "F32", "shape": [200, 1_501]},
    "half": {"dtype": "F16", "shape": [250_001]},
}
"""Three leaves; none of the tensors ends where a leaf does."""
LEAVES = 3
KINDS: dict[str, dict[str, Any]] = {
    "fedavg": {"rule": {"name": "fedavg"}},
    "median": {"rule": {"name": "median"}},
    "krum": {"rule": {"name": "krum", "parameters": {"byzantine": 0}}, "rounds": {"quorum": 3}},
    "norm_clip": {"before": {"name": "norm_clip", "parameters": {"bound": "median"}}},
    "fedadam": {
        "optimiser": {
            "name": "fedadam",
            "parameters": {"learning_rate": "0.1", "beta1": "0.9", "beta2": "0.99", "tau": "0.001"},
        }
    },
}
SINGLE = {"f32": {"dtype": "F32", "shape": [600_000]}}
"""Three leaves of one kind; an optimiser's moments have the same layout."""
SURVEYING = ["krum", "norm_clip"]


def weights(seed: int, layout: Layout) -> bytes:
    """A file of random weights."""
    source = np.random.default_rng(seed)
    return layout.encode(
        {
            each.name: (source.standard_normal(each.shape) * 10).astype(DTYPES[each.dtype].array)
            for each in layout.tensors
        }
    )


def altered(data: bytes, leaf: int, value: bytes = b"\0\0") -> bytes:
    """The file with another element in the middle of a leaf: of float16 in the last, where a half is needed."""
    place = leaf * LEAF + (min(len(data) - leaf * LEAF, LEAF) // 16 * 8)
    return data[:place] + value + data[place + len(value) :]


NAN = {0: np.float64(np.nan).tobytes(), 1: np.float32(np.nan).tobytes(), 2: np.float16(np.nan).tobytes()}
"""What is not finite in the middle of each leaf."""


class Stage(History):
    """A history of a model with three leaves, in a store that can lose blocks; it is audited in this process."""

    def __init__(self, directory: Path, kind: str = "fedavg", **changes: Any) -> None:
        super().__init__(directory, **{"model": MODEL, **KINDS[kind], **changes})
        assert leaf_count(self.layout.size) == LEAVES
        self.faulty = FaultyBlocks(self.blocks)
        self._drawn = 0

    def manifest(self, number: int) -> Manifest:
        """The manifest of a published round."""
        cid = self.view.rounds[number].manifest
        assert cid is not None
        return manifests.decode(read_small(self.blocks, cid, manifests.MAX_BYTES))

    def update(self) -> bytes:
        """An update that there was not yet."""
        self._drawn += 1
        return weights(self._drawn, self.layout)

    def three(self, forge: Forge | None = None) -> Round:
        """A round of three updates."""
        return self.publish(self.update(), self.update(), self.update(), forge=forge)

    def audit(self, seed: int = 0, share: str | None = "0.3", **options: Any) -> Audit:
        """What an auditor finds."""
        scope = Scope(share=None if share is None else Decimal(share), seed=seed)
        entries = self.ledger.read(Cursor()).entries
        return audit(self.ledger.identity, entries, self.faulty, **{"scope": scope, **options})

    def read(self, cid: Cid | str, layout: Layout | None = None) -> bytes:
        """A file of weights."""
        address = Cid.parse(cid) if isinstance(cid, str) else cid
        return open_file(self.blocks, address, (layout or self.layout).size).read()

    def with_model(self, change: Callable[[bytes], bytes]) -> Forge:
        """Publishes other bytes than those of the model, and a manifest that names them."""

        def forge(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
            other = add(self.blocks, change(self.read(model))).root
            return other, manifest.model_copy(update={"model": str(other)})

        return forge

    def with_line(self, index: int, **changes: Any) -> Forge:
        """Publishes the model with a manifest that says something else of a submission."""
        return lambda model, manifest: (model, with_line(manifest, index, **changes))

    def with_state(self, change: Callable[[dict[str, str]], dict[str, str]]) -> Forge:
        """Publishes the model with other addresses of the optimiser's moments."""

        def forge(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
            assert manifest.optimiser is not None
            other = manifest.optimiser.model_copy(update={"state": change(manifest.optimiser.state)})
            return model, manifest.model_copy(update={"optimiser": other})

        return forge


def with_line(manifest: Manifest, index: int, **changes: Any) -> Manifest:
    """A manifest that says something else of a submission."""
    lines = list(manifest.submissions)
    lines[index - 1] = lines[index - 1].model_copy(update=changes)
    return manifest.model_copy(update={"submissions": lines})


def drawn(number: int, seed: int, share: str = "0.3") -> Sequence[int]:
    """The blocks of a round that are drawn."""
    found = Scope(share=Decimal(share), seed=seed).leaves(number, LEAVES)
    assert found is not None
    return found


def seed_for(number: int, wanted: Collection[int], share: str = "0.3") -> int:
    """The first seed that draws these blocks of a round."""
    return next(seed for seed in range(1000) if list(drawn(number, seed, share)) == sorted(wanted))


def found(told: Audit) -> list[tuple[int, str]]:
    """Where something differs."""
    return [(each.round, each.what) for each in told.all_findings]


# -------------------------------------------------------------------------------------------------------- what is drawn


@pytest.mark.parametrize(
    ("share", "count", "wanted"),
    [
        ("0.05", 1, 1),
        ("0.05", 19, 1),
        ("0.05", 20, 1),
        ("0.05", 21, 2),
        ("0.05", 43, 3),
        ("0.5", 3, 2),
        ("0.000000000000000001", 1000, 1),
        ("0.999999999999999999", 1000, 1000),
        ("0.1", 30, 3),
    ],
)
def test_as_many_blocks_are_drawn_as_the_share_says(share: str, count: int, wanted: int) -> None:
    """Rounded up, exactly, and each once."""
    for number in (1, 2, 77):
        leaves = Scope(share=Decimal(share), seed=number).leaves(number, count)
        assert leaves is not None
        assert len(leaves) == wanted
        assert leaves == sorted(set(leaves))
        assert set(leaves) <= set(range(count))


def test_blocks_are_drawn_by_seed_and_round() -> None:
    """The same again for the same, others for others, and none more often than by chance."""
    scope = Scope(share=Decimal("0.05"), seed=7)
    assert [scope.leaves(1, 100), scope.leaves(2, 100)] == [[30, 34, 36, 41, 90], [34, 52, 53, 62, 63]]
    assert scope.leaves(1, 100) != replace(scope, seed=8).leaves(1, 100)
    counts = Counter(leaf for number in range(1, 2001) for leaf in scope.leaves(number, 100) or ())
    assert len(counts) == 100
    assert all(50 < count < 150 for count in counts.values())  # 100 are expected, with a deviation of 10.


def test_without_a_share_everything_is_derived() -> None:
    """Nothing is drawn then."""
    assert Scope().leaves(1, 100) is None
    assert (Scope().sample, Scope(share=Decimal("0.0500")).sample) == (None, "0.05")
    assert Scope(share=Decimal("0.000000000000000001")).sample == "0.000000000000000001"


@pytest.mark.parametrize("share", ["0", "1", "-0.5", "2"])
def test_a_scope_has_no_share_that_is_none(share: str) -> None:
    """All of the blocks is no sample."""
    with pytest.raises(InputError, match="sample: expected a share of the blocks, more than 0 and less than 1, found"):
        Scope(share=Decimal(share))


@pytest.mark.parametrize("seed", [-1, 1 << 64])
def test_a_scope_has_no_seed_that_is_none(seed: int) -> None:
    """64 bits."""
    with pytest.raises(InputError, match=r"seed: expected a whole number from 0 to 2\^64 - 1, found"):
        Scope(share=Decimal("0.5"), seed=seed)


# --------------------------------------------------------------------------------------------------- models that differ


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leaf", range(LEAVES))
def test_an_altered_block_is_found_exactly_where_it_is_drawn(tmp_path: Path, kind: str, leaf: int) -> None:
    """Whichever block it is, whichever are drawn, for every kind of rule; the honest rounds agree."""
    stage = Stage(tmp_path, kind)
    stage.three()
    second = stage.three(stage.with_model(lambda data: altered(data, leaf)))
    if kind != "fedadam":  # Which goes on from the model that was published.
        stage.three()
    assert second.model is not None
    address = open_file(stage.blocks, second.model, stage.layout.size).leaves[leaf]
    for share, wanted in [
        ("0.3", (0,)),
        ("0.3", (1,)),
        ("0.3", (2,)),
        ("0.5", (0, 1)),
        ("0.5", (0, 2)),
        ("0.5", (1, 2)),
    ]:
        told = stage.audit(seed_for(2, wanted, share), share)
        there = leaf in wanted
        assert [(*each, str(address)) for each in found(told)] == (
            [(2, f"model, block {leaf}", told.all_findings[0].ledger)] if there else []
        )
        assert told.verdict is (Verdict.DIFFERS if there else Verdict.SAMPLED)
        assert told.exit_code == (1 if there else 0)
        assert {each.verdict for each in told.rounds if each.number != 2} == {Verdict.SAMPLED}
        assert {each.derived for each in told.rounds} == {len(wanted)}
    assert (2, f"model, block {leaf}") in found(stage.audit(share=None))


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_record_agrees(tmp_path: Path, kind: str) -> None:
    """With any number of threads and of rounds at once, and with an update that is excluded for what is in it."""
    stage = Stage(tmp_path, kind)
    stage.three()
    stage.publish(*(stage.update() for _ in range(3)), altered(stage.update(), 2, NAN[2]))
    stage.three()
    for seed in range(4):
        told = stage.audit(seed)
        assert told.verdict is Verdict.SAMPLED
        assert (told.agreeing, told.reproduced, told.exit_code) == (3, 0, 0)
        assert [each.included for each in told.rounds] == [3, 3, 3]
        assert [each.rejected for each in told.rounds] == [[], [4], []]
        assert [each.surveyed for each in told.rounds] == [kind in SURVEYING] * 3
        assert stage.audit(seed, threads=3, jobs=2) == told
    assert stage.audit(share=None).reproduced == 3


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_drawn_is_read(tmp_path: Path, kind: str) -> None:
    """One block of each file, and the first once more where it holds a header; where the rule surveys, all updates."""
    stage = Stage(tmp_path, kind)
    stage.three()
    current = stage.view.rounds[1]
    seed = seed_for(1, {1})
    stage.audit(seed)
    for submission in current.submissions:
        leaves = open_file(stage.blocks, submission.update.cid, stage.layout.size).leaves
        read = [index for index, leaf in enumerate(leaves) if stage.faulty.read[leaf]]
        assert read == ([0, 1, 2] if kind in SURVEYING else [1])
    assert current.model is not None
    leaves = open_file(stage.blocks, current.model, stage.layout.size).leaves
    if kind != "krum":  # Whose model is one of the updates.
        assert [stage.faulty.read[leaf] for leaf in leaves] == [0, 1, 0]


def test_a_damaged_block_of_the_stored_model_is_found_where_it_is_drawn(tmp_path: Path) -> None:
    """What the ledger says may be right: the bytes that people would fetch are not."""
    stage = Stage(tmp_path)
    model = stage.three().model
    assert model is not None
    stage.faulty.damaged[open_file(stage.blocks, model, stage.layout.size).leaves[1]] = b"damaged"
    assert found(stage.audit(seed_for(1, {1}))) == [(1, "model, block 1")]
    assert stage.audit(seed_for(1, {0})).exit_code == 0


def test_a_model_that_is_no_such_file_is_found(tmp_path: Path) -> None:
    """Of another size: it has no blocks to compare."""
    stage = Stage(tmp_path)
    stage.three(stage.with_model(lambda data: data + b"\0"))
    told = stage.audit()
    assert found(told) == [(1, "model")]
    assert "not the DAG of a file of" in told.all_findings[0].derived


# --------------------------------------------------------------------------------------------------- what manifests say


def test_a_manifest_that_names_another_model_is_found(tmp_path: Path) -> None:
    """Than the ledger does, even where that is the right one."""
    stage = Stage(tmp_path)
    other = str(Cid.of(b"other"))
    current = stage.three(lambda model, manifest: (model, manifest.model_copy(update={"model": other})))
    assert stage.audit().all_findings == [Finding(1, "manifest, model", str(current.model), other)]


@pytest.mark.parametrize(
    "change",
    [
        {"round": 9},
        {"charter": str(Cid.of(b"x"))},
        {"base": str(Cid.of(b"x"))},
        {"transcript": "0x"},
        {"rule": "median"},
        {"version": 2},
        {"size": 1},
        {"submissions": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_else_that_a_manifest_says_is_compared(tmp_path: Path, change: dict[str, Any]) -> None:
    """Field by field."""
    stage = Stage(tmp_path)
    stage.three(lambda model, manifest: (model, manifest.model_copy(update=change)))
    (name,) = change
    told = stage.audit()
    assert told.exit_code == 1
    assert all(name.removesuffix("s") in what for _, what in found(told)), found(told)


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_update_that_is_excluded_is_found(tmp_path: Path, kind: str) -> None:
    """Whichever blocks are drawn: what a manifest excludes is looked at in full."""
    stage = Stage(tmp_path, kind)
    detail = {"decision": "excluded", "weight": 0, "reason": "not_finite", "detail": "single[0, 0] is nan"}
    stage.publish(*(stage.update() for _ in range(4)), forge=stage.with_line(4, **detail))
    for seed in range(6):
        told = stage.audit(seed)
        assert (1, "manifest, submission of member 4, decision") in found(told)
        assert told.verdict is Verdict.DIFFERS


@pytest.mark.parametrize("leaf", range(LEAVES))
def test_an_update_is_excluded_for_the_very_reason_that_the_manifest_names(tmp_path: Path, leaf: int) -> None:
    """Not for any that is there: an element further on, or another fault."""
    stage = Stage(tmp_path)
    bad = altered(altered(stage.update(), leaf, NAN[leaf]), 2, NAN[2])
    stage.publish(stage.update(), bad, stage.update())
    assert {stage.audit(seed).exit_code for seed in range(6)} == {0}
    stage.publish(stage.update(), bad, stage.update(), forge=stage.with_line(2, detail="single[0, 0] is nan"))
    stage.publish(stage.update(), bad, stage.update(), forge=stage.with_line(2, reason="malformed"))
    for seed in range(6):
        line = "manifest, submission of member 2"
        assert found(stage.audit(seed)) == [(2, f"{line}, detail"), (3, f"{line}, reason")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leaf", range(LEAVES))
def test_a_bad_update_that_is_included_is_found_where_it_is_drawn(tmp_path: Path, kind: str, leaf: int) -> None:
    """In every case where the rule surveys."""
    stage = Stage(tmp_path, kind)
    good = [stage.update() for _ in range(3)]
    stage.publish(
        *good,
        altered(stage.update(), leaf, NAN[leaf]),
        forge=stage.with_line(4, decision="included", weight=13, reason="", detail=""),
    )
    decision = (1, "manifest, submission of member 4, decision")
    for seed in range(6):
        seen = kind in SURVEYING or leaf in drawn(1, seed)
        assert (decision in found(stage.audit(seed))) == seen


def test_an_excluded_update_that_is_missing_leaves_the_round_unchecked(tmp_path: Path) -> None:
    """Any block of it: nobody can say what is in it."""
    stage = Stage(tmp_path)
    bad = altered(stage.update(), 0, NAN[0])
    current = stage.publish(stage.update(), bad, stage.update())
    for leaf in open_file(stage.blocks, current.submissions[1].update.cid, stage.layout.size).leaves:
        stage.faulty.missing = {leaf}
        told = stage.audit(seed_for(1, {1}))
        assert (told.verdict, told.exit_code) == (Verdict.UNCHECKED, 2)
        assert str(leaf) in told.rounds[0].unchecked


def test_an_update_that_was_asserted_to_be_missing_is_said_to_be(tmp_path: Path) -> None:
    """It counts as missing although it is here."""
    stage = Stage(tmp_path)
    detail = {"decision": "excluded", "weight": 0, "reason": "unavailable"}
    words = "could not be fetched by the coordinator"
    stage.three(stage.with_line(2, detail=words, **detail))
    (told,) = stage.audit().rounds
    assert (told.asserted, told.present, told.included) == ([2], [2], 2)
    assert all(each.what.startswith("model, block") for each in told.findings)


def test_a_wrong_choice_of_krum_is_found(tmp_path: Path) -> None:
    """The survey is done again, over all blocks: the first two are the closest, and of equals the first is chosen."""
    stage = Stage(tmp_path, "krum")

    def forge(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
        return model, with_line(with_line(manifest, 1, weight=0), 2, weight=1)

    near = stage.update()
    updates = (near, altered(near, 0), stage.update())
    stage.publish(*updates)
    stage.publish(*updates, forge=forge)
    assert [line.weight for line in stage.manifest(1).submissions] == [1, 0, 0]
    for seed in range(6):
        assert found(stage.audit(seed)) == [(2, f"manifest, submission of member {index}, weight") for index in (1, 2)]


def test_another_weight_is_found_whatever_is_drawn(tmp_path: Path) -> None:
    """It follows from the ledger alone."""
    stage = Stage(tmp_path)
    stage.three(stage.with_line(2, weight=99))
    for seed in range(3):
        assert found(stage.audit(seed)) == [(1, "manifest, submission of member 2, weight")]


def test_too_few_usable_updates_make_no_model(tmp_path: Path) -> None:
    """Where what is drawn, or excluded, shows it."""
    stage = Stage(tmp_path, rounds={"quorum": 3})
    stage.three()
    current = stage.open()
    good, bad = stage.update(), altered(stage.update(), 1, NAN[1])
    stage.submit(current, good, altered(good, 0), bad)
    manifest = stage.derived(current).manifest
    assert manifest.model == ""
    model = stage.view.rounds[1].model
    assert model is not None
    stage.close(current, model, manifest)
    for seed in range(6):
        told = stage.audit(seed)
        assert told.verdict is Verdict.DIFFERS
        assert (2, "model") in found(told)
        assert (told.rounds[1].included, told.rounds[1].rejected, told.rounds[1].derived) == (2, [3], 0)
    line = with_line(manifest, 3, decision="included", weight=12, reason="", detail="")
    current = stage.open()
    stage.submit(current, good, altered(good, 0), bad)
    told_of = stage.view.rounds[1]
    assert told_of.model is not None
    stage.close(current, told_of.model, line)
    for seed in range(6):
        differs = (3, "model") in found(stage.audit(seed))
        assert differs == (1 in drawn(3, seed))


# ------------------------------------------------------------------------------------------------- an optimiser's state


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


# ------------------------------------------------------------------------------------------------------ what is missing


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_block_matters_where_it_is_read(tmp_path: Path, kind: str) -> None:
    """Where the rule surveys, that is everywhere; nothing was derived of the round, and the others agree."""
    stage = Stage(tmp_path, kind)
    stage.three()
    update = stage.three().submissions[1].update.cid
    stage.three()
    for index, leaf in enumerate(open_file(stage.blocks, update, stage.layout.size).leaves):
        stage.faulty.missing = {leaf}
        for seed in range(6):
            told = stage.audit(seed)
            read = kind in SURVEYING or index in drawn(2, seed)
            assert [each.verdict for each in told.rounds] == [
                Verdict.SAMPLED,
                Verdict.UNCHECKED if read else Verdict.SAMPLED,
                Verdict.SAMPLED,
            ]
            assert told.exit_code == (2 if read else 0)
            assert (told.rounds[1].sampled == 0) == read


@pytest.mark.parametrize("what", ["model", "manifest", "charter", "genesis"])
def test_what_is_always_read_cannot_be_missing(tmp_path: Path, what: str) -> None:
    """The model's inner node, the manifest, the charter and the first model."""
    stage = Stage(tmp_path)
    current = stage.three()
    missing = stage.view.genesis if what == "genesis" else getattr(current, what)
    stage.faulty.missing = {missing}
    for seed in range(3):
        told = stage.audit(seed)
        assert (told.verdict, told.exit_code) == (Verdict.UNCHECKED, 2)
        assert found(told) == []


def test_a_damaged_update_is_found_where_it_is_read(tmp_path: Path) -> None:
    """Other bytes in the store than those of the address."""
    stage = Stage(tmp_path)
    update = stage.three().submissions[0].update.cid
    stage.faulty.damaged[open_file(stage.blocks, update, stage.layout.size).leaves[2]] = b"damaged"
    assert found(stage.audit(seed_for(1, {2}))) == [(1, "update")]
    assert stage.audit(seed_for(1, {1})).exit_code == 0


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Nine published rounds, of which the sixth excludes an update."""
    return ten_rounds(tmp_path / "run", elements=300_000)  # Two leaves.


def _said(history: History, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    done = fedpact("audit", history.directory, "--json", *arguments)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_the_answer_says_what_was_looked_at(history: History) -> None:
    """How many blocks, which share, and how to draw them again; nothing is said to be reproduced."""
    done = fedpact("audit", history.directory, "--sample", "0.050", "--seed", "7", "--head", history.head())
    assert (done.returncode, done.stderr) == (0, "")
    *table, verdict, head = done.stdout.splitlines()
    assert verdict == (
        "audit: ok: a sample of 9 of 9 models agrees bit for bit; 9 of 18 blocks derived, "
        "at least a share of 0.05 of each; "
        "--seed 7 draws them again; the run did not finish; the record ends with the trusted head"
    )
    assert head == f"head: {history.head()}"
    assert [line.split()[0] for line in table if line.rstrip().endswith("sample agrees")] == [
        str(each) for each in PUBLISHED
    ]
    assert "reproduced" not in done.stdout


def test_a_program_reads_what_was_looked_at(history: History) -> None:
    """Share and seed as text, which no program rounds; a full audit has neither."""
    said = _said(history, "--sample", ".5", "--seed", str((1 << 64) - 1))
    assert (said["sample"], said["seed"]) == ("0.5", "18446744073709551615")
    assert (said["ok"], said["verdict"], said["agreeing"], said["reproduced"]) == (True, "sample agrees", 9, 0)
    said = _said(history)
    assert (said["sample"], said["seed"], said["verdict"], said["agreeing"]) == (None, None, "reproduced", 0)


def test_a_seed_that_was_printed_draws_the_same_blocks_again(history: History, tmp_path: Path) -> None:
    """Without one, every audit draws its own."""
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    first = _said(history, "--sample", "0.5", "--report", one)
    second = _said(history, "--sample", "0.50", "--report", other, "--seed", first["seed"], "--jobs", "3")
    assert first == second
    assert one.read_bytes() == other.read_bytes()
    assert reports.decode(one.read_bytes()).asked.seed == first["seed"]
    assert _said(history, "--sample", "0.5")["seed"] != first["seed"]


def test_an_altered_block_is_named_by_the_command(history: History) -> None:
    """Exit code 1 where it is drawn, 0 where it is not."""

    def forge(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
        data = altered(open_file(history.blocks, model, history.layout.size).read(), 1)
        other = add(history.blocks, data).root
        return other, manifest.model_copy(update={"model": str(other)})

    history.publish(1.0, 2.0, 3.0, forge=forge)
    history.save()
    codes = set()
    for seed in range(5):
        there = Scope(share=Decimal("0.5"), seed=seed).leaves(11, 2) == [1]
        done = fedpact("audit", history.directory, "--sample", "0.5", "--seed", str(seed))
        assert done.returncode == int(there)
        assert ("- round 11: model, block 1: the ledger says " in done.stdout) == there
        assert "reproduced" not in done.stdout
        codes.add(done.returncode)
        if there:
            assert (
                "audit: DIFFERS: a sample of 9 of 10 models agrees bit for bit; 10 of 20 blocks derived" in done.stdout
            )
    assert codes == {0, 1}


def test_a_share_of_one_is_a_full_audit(history: History, tmp_path: Path) -> None:
    """With or without a seed, which draws nothing then."""
    full = _said(history, "--report", tmp_path / "full.json")
    for options in (("--sample", "1"), ("--sample", "1.00"), ("--sample", "1", "--seed", "5")):
        assert _said(history, "--report", tmp_path / "other.json", *options) == full
        assert (tmp_path / "other.json").read_bytes() == (tmp_path / "full.json").read_bytes()
    done = fedpact("audit", history.directory, "--sample", "1", "--resume", tmp_path / "mine")
    assert done.returncode == 0
    assert "9 of 9 models reproduced bit for bit" in done.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--sample", "0"), "sample: expected a decimal number above 0, at most 1, found '0'"),
        (("--sample", "0.000"), "sample: expected a decimal number above 0, at most 1, found '0.000'"),
        (("--sample", "1.5"), "at most 1, found '1.5'"),
        (("--sample", "2"), "at most 1, found '2'"),
        (("--sample", "-0.5"), "at most 1, found '-0.5'"),
        (("--sample", "5%"), "at most 1, found '5%'"),
        (("--sample", "1e-3"), "at most 1, found '1e-3'"),
        (("--sample", "nan"), "at most 1, found 'nan'"),
        (("--sample", "\u0660.\u0665"), "at most 1, found '\u0660.\u0665'"),
        (("--sample", "0.5\n"), "at most 1, found '0.5\\n'"),
        (("--sample", ""), "at most 1, found ''"),
        (("--sample", "0." + "0" * 18 + "1"), "at most 1, found '0.0000000000000000001'"),
        (("--sample", "9" * 10_000), "at most 1, found '" + "9" * 80 + "'"),
        (("--sample", "0.5", "--seed", "-1"), "seed: expected a whole number from 0 to 2^64 - 1, found -1"),
        (("--sample", "0.5", "--seed", str(1 << 64)), "seed: expected a whole number from 0 to 2^64 - 1, found 18446"),
        (("--sample", "0.5", "--seed", "x"), "Invalid value for '--seed'"),
        (("--seed", "5"), "seed: expected with --sample, whose blocks it draws"),
    ],
)
def test_a_share_or_a_seed_that_is_none_is_bad_input(history: History, options: tuple[str, ...], says: str) -> None:
    """Exit code 2 and one line; nothing is said to agree."""
    done = fedpact("audit", history.directory, *options)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert says in done.stderr


def test_nothing_is_kept_of_a_sample(history: History, tmp_path: Path) -> None:
    """A round of which a sample agrees is none that was reproduced."""
    file = tmp_path / "mine"
    done = fedpact("audit", history.directory, "--sample", "0.5", "--resume", file)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "resume: expected without --sample, of which nothing is kept" in done.stderr
    assert not file.exists()
    entries = history.ledger.read(Cursor()).entries
    with pytest.raises(InputError, match="resume: expected without --sample"):
        audit(IDENTITY, entries, history.blocks, scope=Scope(share=Decimal("0.5")), memory=ProgressFile(file))


def test_an_interrupted_sample_is_not_told_to_resume(history: History) -> None:
    """One line, without advice that would be refused."""
    script = (
        "import os, signal, fedpact.audit.walk as walk\n"
        "derive, rounds = walk.audit_round, []\n"
        "def cut_off(current, *arguments, **options):\n"
        "    rounds.append(current)\n"
        "    if len(rounds) == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return derive(current, *arguments, **options)\n"
        "walk.audit_round = cut_off\n"
        "from fedpact.cli import main\n"
        "main()\n"
    )
    options = ("audit", str(history.directory), "--sample", "0.5", "--threads", "1")
    done = subprocess.run(
        [sys.executable, "-c", script, *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "fedpact: error: interrupted after 2 of 9 rounds\n"


def test_a_sample_of_some_rounds(history: History) -> None:
    """The range is said as ever; damage beyond it does not show."""
    (path,) = history.directory.glob(f"store/blocks/*/{history.view.rounds[2].manifest}")
    path.write_bytes(b"{}")
    options = ("--from", "3", "--to", "6", "--sample", "0.5", "--seed", "1")
    done = fedpact("audit", history.directory, *options)
    assert done.returncode == 0
    assert (
        "audit: ok: a sample of 3 of 3 models agrees bit for bit; 3 of 6 blocks derived, "
        "at least a share of 0.5 of each; "
        "--seed 1 draws them again; rounds 3 to 6 asked for: 3 of 9 published rounds, the others were not derived"
    ) in done.stdout
    said = _said(history, *options)
    assert (said["asked"], said["agreeing"], said["from"], said["to"]) == (3, 3, 3, 6)
    assert _said(history, "--sample", "0.5", code=1)["agreeing"] == 8


def test_what_a_rule_surveys_is_said_to_be_read_in_full(tmp_path: Path) -> None:
    """Of the rounds whose rule surveys."""
    history = History(tmp_path / "run", **KINDS["krum"])
    history.publish(1.0, 2.0, 3.0)
    history.save()
    done = fedpact("audit", history.directory, "--sample", "0.5", "--seed", "1")
    assert (
        "a sample of 1 of 1 models agrees bit for bit; 1 of 1 blocks derived, at least a share of 0.5 of each; "
        "--seed 1 draws them again; what the rule surveys was read in full for 1 of them"
    ) in done.stdout


def test_what_is_wrong_with_the_record_shows_with_any_sample(history: History) -> None:
    """Entries, heads and charters are checked as a whole."""
    assert _said(history, "--sample", "0.5", "--head", "0x" + "1" * 64, code=1)["findings"][0]["what"] == "head"
    copy = Copy(history.directory, history.directory.parent / "copy")
    copy.rewrite(lambda entries: entries[:7] + entries[8:])
    done = fedpact("audit", copy.path, "--sample", "0.5")
    assert done.returncode == 1
    assert "a sample of 0 of 0 models agrees" in done.stdout
    lines = (copy.path / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (copy.path / "ledger.jsonl").write_bytes(b"".join([*lines[:5], *lines[6:]]))
    done = fedpact("audit", copy.path, "--sample", "0.5", "--report", copy.path / "report.json")
    assert (done.returncode, done.stderr) == (1, "")
    assert reports.decode((copy.path / "report.json").read_bytes()).verdict == "differs"


def test_the_smallest_share_has_a_report(history: History, tmp_path: Path) -> None:
    """Which says it without an exponent."""
    share = "0." + "0" * 17 + "1"
    said = _said(history, "--sample", share, "--report", tmp_path / "report.json")
    assert said["sample"] == share
    told = reports.decode((tmp_path / "report.json").read_bytes())
    assert (told.asked.sample, told.asked.seed) == (share, said["seed"])
    assert (told.verdict, {each.verdict for each in told.rounds}) == ("sample agrees", {"sample agrees"})


def test_the_same_audit_of_a_run_with_its_model(history: History) -> None:
    """An exported model is read as a whole: what people would take away is no sample."""
    model = history.view.rounds[10].model
    assert model is not None
    data = open_file(history.blocks, model, history.layout.size).read()
    path = history.directory / "model.safetensors"
    path.write_bytes(data)
    assert _said(history, "--sample", "0.5")["ok"]
    path.write_bytes(altered(data, 1))
    assert [each["what"] for each in _said(history, "--sample", "0.5", code=1)["findings"]] == ["model.safetensors"]
