"""`fedpact store gc`, on records of any history."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import pytest
from chains import KEYS, MEMBERS
from fedpact.artifacts import manifest as manifests
from fedpact.errors import LedgerError
from fedpact.keeping import DAY, Artifact, Kind
from fedpact.keys import write_keystore
from fedpact.ledger.actions import Submit
from fedpact.ledger.facts import Update
from fedpact.store import Cid, DirectoryBlocks, MemoryBlocks
from fedpact.store.counting import CountedBlocks
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import LEAF, add, read_small
from fedpact.upkeep import tidy
from kept import MOMENTUM, Place, place, three_rounds

__all__ = ["place"]


def test_updates_go_when_their_retention_is_over(place: Place) -> None:
    """And nothing else does. Dry, it says the same and changes nothing; afterwards there is nothing left to do."""
    history = three_rounds(place)
    view = history.view
    over = [each.update for number in (1, 2) for each in view.rounds[number].submissions]
    before, blocks = place.files(), place.blocks()
    dry = place.run("gc", "--dry-run", "--json")
    assert place.files() == before
    done = place.run("gc", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.told == dry.told | {"dry_run": False}
    assert done.told["unpinned"] == [
        {"kind": "update", "round": number, "silo": silo, "cid": str(over[2 * number + silo - 3].cid), "size": 12 + 72}
        for number in (1, 2)
        for silo in (1, 2)
    ]
    size = history.layout.size
    assert done.told["removed"] == {"store": {"blocks": 4, "bytes": 4 * size, "too_new": 0}}
    assert done.told["unknown"] == []
    assert done.told["needed"] == len(blocks) - 4
    assert place.blocks() == blocks - {str(each.cid) for each in over}
    assert history.blocks.pinned() == {Cid.parse(name) for name in place.blocks()}
    again = place.run("gc", "--json").told
    assert (again["unpinned"], again["removed"]["store"]["blocks"]) == ([], 0)


def test_what_is_unpinned_is_said_line_by_line(place: Place) -> None:
    """With its kind, its round, its silo, its address and its size."""
    history = three_rounds(place)
    first = history.view.rounds[1].submissions[0].update
    dry, done = place.run("gc", "--dry-run").out.splitlines(), place.run("gc").out.splitlines()
    line = f"unpinned: update, round 1, silo 1, {first.cid}, {first.size} bytes"
    assert dry[0] == f"would be {line}"
    assert done[0] == line
    assert dry[4:] == [
        f"would be removed: 4 blocks, {4 * first.size:,} bytes from store",
        "gc: 4 would be unpinned; pinned as before: 10 that the federation needs, 0 others",
    ]
    assert done[4:] == [each.replace("would be ", "") for each in dry[4:]]


def test_what_the_ledger_does_not_know_stays_where_it_is_pinned(place: Place) -> None:
    """What was added by hand; what was written by nobody in particular goes, once it is old."""
    history = three_rounds(place)
    (place.path / "file").write_bytes(b"by hand")
    mine = place.run("add", "file").out.strip()
    loose = add(history.blocks, b"what nobody pinned").root
    young = place.run("gc", "--json").told
    assert (young["unknown"], young["removed"]["store"]["blocks"], young["removed"]["store"]["too_new"]) == (
        [mine],
        4,
        1,
    )
    place.age()
    assert place.run("gc", "--json").told["removed"]["store"]["blocks"] == 1
    assert str(loose) not in place.blocks()
    assert mine in place.blocks()
    place.run("unpin", mine)
    assert place.run("gc", "--json").told["removed"]["store"]["blocks"] == 1
    assert mine not in place.blocks()


def test_a_submission_cannot_have_the_pins_of_others_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member submits what somebody pinned by hand, and what makes no model: both stay, but for its own store."""
    history = place.found(store={"retention_days": 0})
    by_hand, bad = add(history.blocks, b"by hand"), add(history.blocks, history.weights(math.nan))
    current = history.open()
    history.ledger.send(MEMBERS[2], Submit(current.number, Update(by_hand.root, 10, 0, by_hand.size)))
    history.ledger.send(MEMBERS[3], Submit(current.number, Update(bad.root, 10, 0, bad.size)))
    history.submit(current, 1.0, 2.0)
    derived = history.derived(current)
    assert derived.model is not None
    history.close(current, derived.model.root, derived.manifest)
    history.ledger.advance(history.ledger.now() + DAY)
    good = add(history.blocks, history.weights(1.0)).root
    for root in (by_hand.root, bad.root, good):
        history.blocks.pin(root)
    place.age()
    done = place.run("gc", "--json").told
    assert [each["cid"] for each in done["unpinned"]] == [str(good)]
    assert set(done["unknown"]) == {str(by_hand.root), str(bad.root)}
    assert {str(by_hand.root), str(bad.root)} <= place.blocks()
    monkeypatch.setenv("FEDPACT_KEY", "0x" + "1" * 65)
    refused = place.run("gc", "--json")
    assert refused.told["unpinned"] == []
    assert "warning: variable FEDPACT_KEY: expected" in refused.err
    monkeypatch.setenv("FEDPACT_KEY", KEYS[4].key.hex())
    assert [each["cid"] for each in place.run("gc", "--json").told["unpinned"]] == [str(by_hand.root)]
    write_keystore(place.path / "key.json", KEYS[5], "a password that nobody is asked for", iterations=2)
    done = place.run("gc", "--json", "--key-file", "key.json")
    assert [each["cid"] for each in done.told["unpinned"]] == [str(bad.root)]
    assert place.blocks().isdisjoint(map(str, (by_hand.root, bad.root)))


def test_what_is_needed_stays_without_a_pin(place: Place) -> None:
    """A store from before there were pins loses nothing that an audit needs."""
    history = three_rounds(place)
    for cid in history.blocks.pinned():
        history.blocks.unpin(cid)
    before = place.blocks()
    over = {str(each.update.cid) for number in (1, 2) for each in history.view.rounds[number].submissions}
    done = place.run("gc", "--json").told
    assert (done["unpinned"], done["needed"]) == ([], 0)
    assert place.blocks() == before - over


def test_the_state_of_an_optimiser_stays(place: Place) -> None:
    """Its manifests are read: the ledger does not name it."""
    history = three_rounds(place, optimiser=MOMENTUM)
    for cid in history.blocks.pinned():
        history.blocks.unpin(cid)
    place.run("gc")
    for number in (1, 2, 3):
        cid = history.view.rounds[number].manifest
        assert cid is not None
        manifest = manifests.decode(read_small(history.blocks, cid, manifests.MAX_BYTES))
        assert manifest.optimiser is not None
        assert set(manifest.optimiser.state.values()) <= place.blocks()


@pytest.mark.parametrize("fault", ["missing", "damaged"])
@pytest.mark.parametrize("charter", [{}, {"optimiser": MOMENTUM}])
def test_a_manifest_that_nobody_has_keeps_its_round_and_no_other(
    place: Place, charter: dict[str, Any], fault: str
) -> None:
    """Nobody knows what it names: its updates stay, pinned or not, and so does what is pinned. All else goes."""
    history = three_rounds(place, **charter)
    rounds = history.view.rounds
    cid = rounds[2].manifest
    assert cid is not None
    path = place.path / "store" / "blocks" / str(cid)[-3:-1] / str(cid)
    path.unlink() if fault == "missing" else path.write_bytes(b"damaged")
    bare = rounds[2].submissions[1].update.cid
    history.blocks.unpin(bare)
    before = place.blocks()
    done = place.run("gc", "--json")
    assert (done.code, done.told["without_manifest"]) == (0, [2])
    assert f"warning: 1 manifest could not be read, of round 2: block {cid}: " in done.err
    assert "the updates of the round stay" in done.err
    assert len(done.err.splitlines()) == 1
    over = {str(each.update.cid) for each in rounds[1].submissions}
    assert {each["cid"] for each in done.told["unpinned"]} == over
    assert place.blocks() == before - over
    assert str(bare) in before


def test_a_manifest_that_is_none_names_nothing(place: Place) -> None:
    """A coordinator may publish any address as its manifest: that keeps nobody from collecting."""
    history = place.found(store={"retention_days": 0}, optimiser=MOMENTUM)
    current = history.open()
    history.submit(current, 1.0)
    derived = history.derived(current)
    assert derived.model is not None
    history.close(current, derived.model.root, derived.manifest)
    current.manifest = current.model
    history.ledger.advance(history.ledger.now() + DAY)
    assert place.run("gc").code == 0


def test_a_ledger_that_cannot_be_read_whole_unpins_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, exit code 1."""
    history = three_rounds(place)

    def broken(*_: object) -> None:
        raise LedgerError("rpc: no node gives an answer")

    monkeypatch.setattr(history.ledger, "read", broken)
    before = place.files()
    done = place.run("gc")
    assert (done.code, done.out, done.err) == (1, "", "rpc: no node gives an answer\n")
    assert place.files() == before


def test_a_charter_that_cannot_be_read_keeps_its_updates(place: Place) -> None:
    """How long they are needed is not known."""
    history = three_rounds(place)
    cid = str(history.view.charter)
    (place.path / "store" / "blocks" / cid[-3:-1] / cid).unlink()
    history.blocks.unpin(history.view.charter)
    assert place.run("gc", "--json").told["unpinned"] == []


def test_a_chain_that_is_ahead_of_the_clock_is_not_believed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is removed cannot be brought back."""
    three_rounds(place)
    monkeypatch.setattr("fedpact.cli.upkeep._AHEAD", 3600)
    assert place.run("gc", "--json").told["unpinned"] == []


def test_a_chain_that_is_behind_the_clock_is_not_believed(place: Place) -> None:
    """A node may date any block in the past: what was pinned for less than its retention by the clock here stays."""
    history = three_rounds(place)
    first = history.view.rounds[1].submissions[0].update.cid
    pin = place.path / "store" / "pins" / str(first)
    for age, gone in ((DAY - 100, False), (DAY + 100, True)):
        os.utime(pin, (time.time() - age,) * 2)
        for dry in (("--dry-run",), ()):
            unpinned = {each["cid"] for each in place.run("gc", "--json", *dry).told["unpinned"]}
            assert (str(first) in unpinned, len(unpinned)) == (gone, 1 if gone else 3)
        assert (str(first) not in place.blocks(), pin.exists()) == (gone, not gone)


def test_what_is_pinned_again_while_it_is_let_go_of_stays(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silo submits the same update in the next round, after the ledger was read: whether that is just before the pin
    goes or just after, neither pin nor block is gone in the end."""
    history = three_rounds(place)
    before, after = (each.update.cid for each in history.view.rounds[1].submissions)
    release = DirectoryBlocks.release

    def meanwhile(self: DirectoryBlocks, root: Cid, since: int) -> bool:
        other = DirectoryBlocks(self.directory, sync=False)
        if root == before:
            other.pin(root)
        released = release(self, root, since)
        if root == after:
            other.pin(root)
        return released

    monkeypatch.setattr(DirectoryBlocks, "release", meanwhile)
    done = place.run("gc", "--json").told
    assert (len(done["unpinned"]), done["unknown"]) == (3, [str(before)])
    assert {str(before), str(after)} <= place.blocks()
    assert {before, after} <= history.blocks.pinned()


def test_what_is_being_written_stays(place: Place) -> None:
    """A coordinator has put the leaves of a model, and neither its root nor a pin."""
    history = place.found(model={"weight": {"dtype": "F32", "shape": [LEAF]}}, store={"retention_days": 0})
    current = history.open()
    history.submit(current, 1.0, 2.0)
    before = place.blocks()
    derived = history.derived(current)
    assert derived.model is not None
    place.run("gc")
    assert place.blocks() > before
    history.close(current, derived.model.root, derived.manifest)
    history.blocks.pin(derived.model.root)
    place.age()
    history.ledger.advance(history.ledger.now() + DAY)
    place.run("gc")
    history.blocks.pin(derived.model.root)
    assert str(current.submissions[0].update.cid) not in place.blocks()


def test_what_is_no_directory_collects_by_itself() -> None:
    """It is unpinned there, in every store that is written to, and nothing is removed."""
    stores = [MemoryBlocks(), MemoryBlocks()]
    several = SeveralBlocks([CountedBlocks(each, f"node {place}") for place, each in enumerate(stores)], copies=[1])
    over, kept, foreign = (add(several, data).root for data in (b"an update", b"a model", b"by hand"))
    for root in (over, kept, foreign):
        several.pin(root)
    found = [Artifact(Kind.UPDATE, over, 1, 1, until=9, pinned_for_us=True), Artifact(Kind.MODEL, kept, 1)]
    assert tidy(several, found, 9, began=0, dry_run=True).unpinned == []
    assert tidy(several, found, 10, began=0, dry_run=True).unpinned == found[:1]
    assert several.pinned() == {over, kept, foreign}
    done = tidy(several, found, 10, began=0)
    assert (done.unpinned, done.needed, done.unknown) == (found[:1], 1, {foreign})
    assert (done.left, done.collected) == (["node 0", "node 1"], {})
    assert [each.pinned() for each in stores] == [{kept, foreign}] * 2
    assert stores[0].has(over)


def test_a_damaged_pin_stops_it_before_anything_is_removed(place: Place) -> None:
    """One line that says what to do; `store pin` mends it from another store."""
    history = place.found(model={"weight": {"dtype": "F32", "shape": [LEAF]}}, store={"retention_days": 0})
    current = history.publish(1.0)
    model = str(current.model)
    history.blocks.pin(Cid.parse(model))
    history.blocks.close()
    place.age()
    elsewhere = DirectoryBlocks(place.path / "elsewhere", sync=False)
    add(elsewhere, history.weights(1.0))
    (place.path / "store" / "blocks" / model[-3:-1] / model).write_bytes(b"damaged")
    before = place.files()
    done = place.run("gc")
    assert done.code == 1
    assert f"fedpact store pin {model} fetches it" in done.err
    assert place.files() == before
    assert place.run("pin", model, "--store", "store", "--store", "elsewhere").code == 0
    assert place.run("gc").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("pin", "bafkrei"), 2, "expected 59 characters"),
        (("unpin", "bafkrei"), 2, "expected 59 characters"),
        (("pin", str(Cid.of(b"nowhere"))), 1, f"block {Cid.of(b'nowhere')}: not in store"),
    ],
)
def test_what_cannot_be_pinned_is_one_line(place: Place, arguments: tuple[str, ...], code: int, said: str) -> None:
    """It names the thing."""
    done = place.run(*arguments)
    assert (done.code, len(done.err.splitlines())) == (code, 1)
    assert said in done.err
