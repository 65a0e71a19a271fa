"""Audits of a sample: what manifests say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fedpact.artifacts.manifest import Manifest
from fedpact.audit import Finding, Verdict
from fedpact.store import Cid
from fedpact.store.unixfs import open_file
from sampled import (
    KINDS,
    LEAVES,
    NAN,
    SURVEYING,
    Stage,
    altered,
    drawn,
    found,
    seed_for,
    with_line,
)


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
    for leaf in range(LEAVES):
        told = stage.audit(seed_for(1, {leaf}))
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
    for wanted in range(LEAVES):
        seen = kind in SURVEYING or leaf == wanted
        assert (decision in found(stage.audit(seed_for(1, {wanted})))) == seen


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
