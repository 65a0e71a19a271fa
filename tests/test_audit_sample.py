"""Audits of a sample: what is drawn is derived and compared, and nothing is said of the rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from fedpact.audit import Scope, Verdict
from fedpact.errors import InputError
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
)

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
def test_an_altered_block_is_found_exactly_where_it_is_drawn(tmp_path: Path, kind: str) -> None:
    """Whichever block it is, whichever are drawn, for every kind of rule; the honest rounds agree."""
    stage = Stage(tmp_path, kind)
    stage.three()
    altered_in = {}
    for leaf in range(LEAVES):
        current = stage.three(stage.with_model(lambda data, leaf=leaf: altered(data, leaf)))
        assert current.model is not None
        altered_in[current.number] = leaf, str(open_file(stage.blocks, current.model, stage.layout.size).leaves[leaf])
    stage.three()
    seen = set()
    for share in ("0.3", "0.5"):
        for seed in (1, 2, 3):
            told = stage.audit(seed, share)
            expected = []
            for number, (leaf, address) in altered_in.items():
                there = leaf in drawn(number, seed, share)
                seen.add((leaf, there, share))
                if there:
                    expected.append((number, f"model, block {leaf}", address))
            assert [(each.round, each.what, each.ledger) for each in told.all_findings] == expected
            assert told.verdict is (Verdict.DIFFERS if expected else Verdict.SAMPLED)
            assert told.exit_code == (1 if expected else 0)
            differing = {number for number, _, _ in expected}
            assert {each.number for each in told.rounds if each.verdict is not Verdict.SAMPLED} == differing
            assert {each.derived for each in told.rounds} == {len(drawn(1, seed, share))}
    assert len(seen) == LEAVES * 2 * 2
    everywhere = {(number, f"model, block {leaf}") for number, (leaf, _) in altered_in.items()}
    assert everywhere <= set(found(stage.audit(share=None)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_record_agrees(tmp_path: Path, kind: str) -> None:
    """With any number of threads and of rounds at once, and with an update that is excluded for what is in it."""
    stage = Stage(tmp_path, kind)
    stage.three()
    stage.publish(*(stage.update() for _ in range(3)), altered(stage.update(), 2, NAN[2]))
    stage.three()
    for leaf in (0, 2):  # Of the second round: without, and with what the update is excluded for.
        seed = seed_for(2, {leaf})
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
        for wanted in (index, (index + 1) % LEAVES):
            told = stage.audit(seed_for(2, {wanted}))
            read = kind in SURVEYING or index == wanted
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
