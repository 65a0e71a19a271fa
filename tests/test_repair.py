"""`fedpact store repair`: what a store has lost comes from others, or is derived again."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from fedpact.store import Cid, DirectoryBlocks
from histories import History
from kept import MOMENTUM, Place, place

__all__ = ["place"]


def _federation(place: Place, **charter: Any) -> History:
    """Three rounds, in one of them an update that is excluded; all in the store, and a copy of it in `other`."""
    history = place.found(**charter)
    for number in range(3):
        history.publish(1.0 + number, 2.5 + number, math.nan if number == 1 else 4.0)
    history.blocks.close()
    shutil.copytree(place.path / "store", place.path / "other")
    return history


def _lose(store: Path, *roots: Cid | None) -> None:
    for root in roots:
        (file,) = store.glob(f"blocks/*/{root}")
        file.unlink()


def test_a_store_that_is_gone_comes_back_from_another(place: Place) -> None:
    """All of it, pinned; the second time there is nothing to do."""
    history = _federation(place)
    before = place.blocks()
    shutil.rmtree(place.path / "store")
    done = place.run("repair", "--store", "store", "--store", "other", "--json")
    assert (done.code, done.told["lost"], done.told["derived"], done.told["whole"]) == (0, [], [], 0)
    assert len(done.told["fetched"]) == 2 + 3 * 5
    assert place.blocks() == before
    assert history.view.rounds[3].model in history.blocks.pinned()
    again = place.run("repair")
    assert (again.code, again.out) == (0, "repair: 17 were whole, 0 fetched, 0 derived again, 0 lost\n")


def test_what_nobody_has_is_derived_again(place: Place) -> None:
    """Models, manifests and states, of every round: each goes on from the one before."""
    history = _federation(place, optimiser=MOMENTUM)
    before = place.blocks()
    made = [root for each in history.view.published for root in (each.model, each.manifest)]
    _lose(place.path / "store", *made)
    done = place.run("repair")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(" 6 derived again, 0 lost\n")
    assert place.blocks() == before


def test_what_is_damaged_is_replaced(place: Place) -> None:
    """A flipped bit of an update, of which another store has the right bytes."""
    history = _federation(place)
    file = next(place.path.glob(f"store/blocks/*/{history.view.rounds[1].model}"))
    right = file.read_bytes()
    file.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    done = place.run("repair", "--store", "store", "--store", "other")
    assert f"fetched: model, round 1, {history.view.rounds[1].model}" in done.out
    assert file.read_bytes() == right


def test_what_follows_from_nothing_is_lost_by_name(place: Place) -> None:
    """An update that only this store had: it is said, and the model without which nothing else is missing stays."""
    history = _federation(place)
    first = history.view.rounds[1]
    _lose(place.path / "store", first.submissions[0].update.cid, first.model)
    done = place.run("repair")
    assert done.code == 1
    assert f"- lost: update, round 1, silo 1, {first.submissions[0].update.cid}: " in done.out
    assert f"- lost: model, round 1, {first.model}: cannot be derived: " in done.out
    assert done.out.endswith(" 0 derived again, 2 lost\n")


def test_another_model_is_never_taken_for_the_lost_one(place: Place) -> None:
    """What was published does not follow from the updates: then nothing is called derived."""
    history = place.found()
    current = history.publish(1.0, 2.0, forge=lambda model, manifest: (history.view.genesis, manifest))
    history.blocks.close()
    _lose(place.path / "store", current.model)
    done = place.run("repair")
    assert done.code == 1
    assert "round 1, " in done.out
    assert "another model" in done.out


def test_what_is_in_no_model_is_not_pinned(place: Place) -> None:
    """An update that was excluded is kept, as the audit looks at it; nobody would let go of a pin."""
    history = _federation(place)
    shutil.rmtree(place.path / "store")
    assert place.run("repair", "--store", "store", "--store", "other").code == 0
    excluded = history.view.rounds[2].submissions[2].update.cid
    included = history.view.rounds[2].submissions[0].update.cid
    blocks = DirectoryBlocks(place.path / "store")
    assert blocks.has(excluded)
    assert excluded not in blocks.pinned()
    assert included in blocks.pinned()


def test_another_model_is_not_even_stored(place: Place) -> None:
    """On a node, what is stored is pinned: so it is derived into nothing before it is known to be the right one."""
    history = _federation(place)
    first = history.view.rounds[1]
    assert first.manifest is not None
    # Without manifest and update, the other updates make another model.
    _lose(place.path / "store", first.submissions[0].update.cid, first.model, first.manifest)
    before = place.blocks()
    done = place.run("repair", "--json")
    assert done.code == 1
    assert {each["kind"] for each in done.told["lost"]} == {"update", "model", "manifest"}
    assert place.blocks() == before


def test_a_store_that_does_not_answer_ends_it(place: Place) -> None:
    """It would be asked for each artifact, and wait each time."""
    _federation(place)
    url = "kubo+http://127.0.0.1:1"
    done = place.run("repair", "--store", url, "--store", "other")
    assert done.code == 1
    assert "cannot be reached" in done.err
    assert len(done.err.splitlines()) <= 2


@pytest.mark.parametrize("what", ["charter", "genesis"])
def test_what_everything_begins_with_cannot_be_derived(place: Place, what: str) -> None:
    """Charter and first model are their authors' alone."""
    history = _federation(place)
    root = history.view.charter if what == "charter" else history.view.genesis
    _lose(place.path / "store", root)
    done = place.run("repair", "--json")
    assert done.code == 1
    assert {"kind": what, "cid": str(root)}.items() <= done.told["lost"][0].items()
