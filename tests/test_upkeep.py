"""`fedpact store gc` and `fedpact store check`: on records of any history, against directories and gateways."""

from __future__ import annotations

import io
import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chains import KEYS, MEMBERS, OWNER
from faulty_blocks import FaultyBlocks
from fedpact.artifacts import manifest as manifests
from fedpact.cli import connection
from fedpact.cli.application import application
from fedpact.errors import FedpactError, LedgerError
from fedpact.keeping import DAY, Artifact, Kind
from fedpact.keys import write_keystore
from fedpact.ledger.actions import Attest, CancelRound, Submit
from fedpact.ledger.facts import Update
from fedpact.presence import look
from fedpact.store import Cid, Codec, DirectoryBlocks, MemoryBlocks
from fedpact.store.counting import CountedBlocks
from fedpact.store.remote.gateway import GatewayBlocks
from fedpact.store.serving.server import BlockServer
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import LEAF, add, read_small
from fedpact.upkeep import tidy
from gateways import Gateway, respond
from histories import History

MOMENTUM = {"name": "fedavgm", "parameters": {"learning_rate": "1", "momentum": "0.9"}}


@dataclass
class Done:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


class Place:
    """A directory with a store, and a federation whose record the commands read."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path, self._patch = path, patch
        self.history: History

    def found(self, **charter: Any) -> History:
        """A federation."""
        self.history = History(self.path, **charter)
        ledger = self.history.ledger
        ledger.close = lambda: None  # type: ignore[attr-defined]  # As that of a contract has one.
        self._patch.setattr(connection, "open_ledger", lambda settings: ledger)
        return self.history

    def run(self, *arguments: str) -> Done:
        """A command, as a user would run it in the directory."""
        out, err = io.StringIO(), io.StringIO()
        with chdir(self.path), redirect_stdout(out), redirect_stderr(err):
            try:
                code = application()(["store", *arguments], prog_name="fedpact", standalone_mode=False)
            except FedpactError as error:
                code = error.exit_code
                err.write(f"{error}\n")
        return Done(code or 0, out.getvalue(), err.getvalue())

    def age(self, seconds: float = 7200) -> None:
        """Makes everything in the store older: two hours, and what is pinned a week besides."""
        for file in self.path.glob("store/blocks/*/*"):
            os.utime(file, (file.stat().st_mtime - seconds,) * 2)
        for file in self.path.glob("store/pins/*"):
            os.utime(file, (file.stat().st_mtime - seconds - 7 * DAY,) * 2)

    def files(self) -> dict[Path, tuple[int, int]]:
        """All that is in the directory, with its time."""
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in self.path.rglob("*")}

    def blocks(self) -> set[str]:
        """The names of the blocks in the store."""
        return {file.name for file in self.path.glob("store/blocks/*/*")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty directory. The chain of a history is in another century: its time is believed here."""
    for name in [name for name in os.environ if name.startswith("FEDPACT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("fedpact.cli.upkeep._AHEAD", 10**12)
    return Place(tmp_path, monkeypatch)


def three_rounds(place: Place, **charter: Any) -> History:
    """Three rounds of two updates each, a day after one another; retention is a day. All is pinned as services do."""
    history = place.found(store={"retention_days": 1}, **charter)
    for number in range(3):
        history.ledger.advance(history.ledger.now() + DAY)
        history.publish(1.0 + 3 * number, 2.0 + 3 * number)
    for file in place.path.glob("store/blocks/*/*"):
        history.blocks.pin(Cid.parse(file.name))
    history.blocks.close()
    place.age()
    return history


# ----------------------------------------------------------------------------------------------------------- collecting


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


# ------------------------------------------------------------------------------------------------------------- checking


@pytest.fixture
def served() -> Iterator[Callable[[DirectoryBlocks], str]]:
    """Makes a gateway of a store; returns its URL as a store's."""
    with ExitStack() as stack:

        def serve(blocks: DirectoryBlocks) -> str:
            server = BlockServer(blocks)
            stack.callback(server.stop)
            server.start()
            return f"gateway+{server.url}"

        yield serve


def test_every_artifact_is_found_where_it_is(place: Place, served: Callable[[DirectoryBlocks], str]) -> None:
    """In how many stores, and whether the charter asks for more; what is no longer needed is not asked for."""
    history = three_rounds(place)
    other = DirectoryBlocks(place.path / "other", sync=False)
    url = served(other)
    current = history.view.rounds[3]
    assert current.model is not None
    add(other, b"".join([history.blocks.get(current.model)]))
    done = place.run("check", "--json", "--store", "store", "--store", url)
    assert (done.code, done.err) == (0, "")
    told = done.told
    assert told["stores"] == ["store", url.replace("gateway+", "gateway ")]
    assert (told["ok"], told["without_copy"], told["too_few"]) == (True, 0, 0)
    kinds = [(each["kind"], each["round"]) for each in told["artifacts"]]
    assert kinds == [
        ("charter", 1),
        ("genesis", 0),
        ("manifest", 1),
        ("model", 1),
        ("manifest", 2),
        ("model", 2),
        ("update", 3),
        ("update", 3),
        ("manifest", 3),
        ("model", 3),
    ]
    for each in told["artifacts"]:
        has = each["cid"] == str(current.model)
        assert each["answers"] == ["whole", "whole" if has else "missing"]
        assert (each["copies"], each["wanted"]) == (2 if has else 1, 1)
        assert each["size"] == len(read_small(history.blocks, Cid.parse(each["cid"]), 1 << 20))
    text = place.run("check", "--store", "store", "--store", url).out.splitlines()
    assert text[:2] == ["store 1: store", f"store 2: gateway {url.removeprefix('gateway+')}"]
    assert text[-2].split() == ["model", "3", "-", str(history.layout.size), text[-2].split()[4], "2/1", "1", "2"]
    assert text[-1] == "check: 10 artifacts are needed; 0 without a copy"


def test_rounds_can_be_chosen(place: Place) -> None:
    """Those from one on, or up to one; the founding belongs to none."""
    three_rounds(place)
    chosen = place.run("check", "--json", "--from", "2", "--to", "2").told["artifacts"]
    assert {each["round"] for each in chosen} == {2}
    assert {each["round"] for each in place.run("check", "--json", "--to", "1").told["artifacts"]} == {0, 1}


def test_what_has_no_copy_is_named_and_fails(place: Place) -> None:
    """Missing or damaged: it cannot be had."""
    history = three_rounds(place)
    current = history.view.rounds[3]
    update = current.submissions[1].update.cid
    for cid, fault in ((update, "missing"), (current.model, "damaged")):
        path = place.path / "store" / "blocks" / str(cid)[-3:-1] / str(cid)
        path.unlink() if fault == "missing" else path.write_bytes(b"damaged")
    done = place.run("check")
    assert done.code == 1
    assert done.out.splitlines()[-1] == "check: 10 artifacts are needed; 2 without a copy"
    assert f"- update, round 3, silo 2, {update}: store 1: block {update}: not in store" in done.out.splitlines()
    assert f"- model, round 3, {current.model}: store 1: block {current.model}: its bytes hash to" in done.out
    assert "2 with fewer copies that answer than the charter asks for" in done.err
    told = place.run("check", "--json").told
    assert (told["ok"], told["without_copy"], told["too_few"]) == (False, 2, 2)


def test_too_few_copies_are_a_warning(place: Place) -> None:
    """The exit code is 0: nothing is lost."""
    place.found(store={"copies": 2}).publish(1.0)
    done = place.run("check", "--json")
    assert (done.code, done.told["too_few"], done.told["without_copy"]) == (0, 5, 0)
    assert "warning: 5 with fewer copies" in done.err


def test_a_leaf_that_is_damaged_is_found_when_all_are_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise where it is drawn."""
    history = place.found(model={"weight": {"dtype": "F32", "shape": [3 * LEAF // 4]}})
    history.publish(1.0)
    dag = add(history.blocks, history.weights(1.0))
    leaf = str(dag.leaves[1])
    (place.path / "store" / "blocks" / leaf[-3:-1] / leaf).write_bytes(b"damaged")
    for drawn, options, code in ((0, (), 0), (1, (), 1), (0, ("--full",), 1)):
        monkeypatch.setattr(look, "__kwdefaults__", {"full": False, "choose": lambda count, at=drawn: at % count})
        assert place.run("check", *options).code == code


def test_what_nobody_derives_anything_from_may_be_gone(place: Place) -> None:
    """Updates of a cancelled round, one that was never fetched, and reports: said, and no failure."""
    history = place.found()
    cancelled = history.open()
    history.submit(cancelled, 5.0)
    update = cancelled.submissions[0].update.cid
    (place.path / "store" / "blocks" / str(update)[-3:-1] / str(update)).unlink()
    assert place.run("check").code == 1
    history.ledger.send(OWNER, CancelRound(cancelled.number))
    published = history.publish(1.0)
    history.ledger.send(MEMBERS[0], Attest(published.number, True, Cid.of(b"a report")))
    done = place.run("check")
    assert done.code == 0
    assert f"- update, round 1, silo 1, {update} (nothing is derived from it): store 1: block" in done.out
    assert "- report, round 2, silo 1, " in done.out


@pytest.mark.parametrize("published", [False, True])
def test_an_update_of_another_size_is_not_looked_for(place: Place, published: bool) -> None:
    """Its DAG may be of 64 GiB, or say so: whatever a manifest says of it, nothing is derived from it."""
    history = place.found()
    current = history.open()
    node = Cid.of(b"the root of 64 GiB", Codec.DAG_PB)
    history.ledger.send(MEMBERS[3], Submit(current.number, Update(node, 10, 0, 1 << 36)))
    history.submit(current, 1.0)
    if published:
        derived = history.derived(current)
        assert derived.model is not None
        lines = [
            each.model_copy(update={"decision": "included", "reason": ""}) if each.update == str(node) else each
            for each in derived.manifest.submissions
        ]
        history.close(current, derived.model.root, derived.manifest.model_copy(update={"submissions": lines}))
    with Gateway(lambda to: respond(to, b"", status=404)) as gateway:
        done = place.run("check", "--json", "--full", "--store", "store", "--store", f"gateway+{gateway.url}")
    assert done.code == 0
    assert [each["silo"] for each in done.told["artifacts"] if each["kind"] == "update"] == [1]
    assert not any(str(node) in path for path in gateway.asked)


def test_a_malformed_update_is_there_when_its_proof_is(place: Place) -> None:
    """That it is no file of weights is what the manifest says of it."""
    history = place.found(model={"weight": {"dtype": "F32", "shape": [3 * LEAF // 8]}})
    current = history.open()
    other = add(history.blocks, bytes(3 * LEAF))
    history.ledger.send(MEMBERS[3], Submit(current.number, Update(other.root, 10, 0, history.layout.size)))
    history.submit(current, 1.0, math.nan)
    derived = history.derived(current)
    assert derived.model is not None
    assert [line.reason for line in derived.manifest.submissions] == ["", "not_finite", "malformed"]
    history.close(current, derived.model.root, derived.manifest)
    assert place.run("check").code == 0
    (place.path / "store" / "blocks" / str(other.root)[-3:-1] / str(other.root)).unlink()
    assert place.run("check").code == 1


def test_silent_stores_cost_seconds(place: Place) -> None:
    """Two that take every request and answer none, for fifty artifacts: each is waited for once, both at a time."""
    history = place.found()
    cids = [add(history.blocks, bytes([number])).root for number in range(50)]
    over = threading.Event()

    with Gateway(lambda _: over.wait(60) and None) as one, Gateway(lambda _: over.wait(60) and None) as two:
        stores = [CountedBlocks(history.blocks, "store")]
        stores += [CountedBlocks(GatewayBlocks(each.url, seconds=1), each.url) for each in (one, two)]
        began = time.monotonic()
        found = look(stores, [Artifact(Kind.MODEL, cid, 1, size=1) for cid in cids])
        took = time.monotonic() - began
        over.set()
        for each in stores:
            each.close()
    assert took < 10
    states = {tuple(answer.state.value for answer in each.answers) for each in found}
    assert states == {("whole", "silent", "silent")}
    assert {each.copies for each in found} == {1}
    assert len(one.asked) + len(two.asked) < 100


def test_a_store_that_is_silent_again_and_again_is_not_asked_again() -> None:
    """Whatever it would take to answer."""
    silent = FaultyBlocks()
    cids = [add(silent, bytes([number])).root for number in range(50)]
    silent.silent |= set(cids)
    found = look([CountedBlocks(silent, "silent")], [Artifact(Kind.MODEL, cid, 1, size=1) for cid in cids])
    assert {each.answers[0].state.value for each in found} == {"silent"}
    assert found[-1].answers[0].detail.startswith("not asked again after: block ")
    assert silent.read.total() <= 3 + 8  # Those that are asked for at once.


def test_a_store_that_lies_is_no_copy(place: Place) -> None:
    """Whatever it answers with."""
    place.found().publish(1.0)
    with Gateway(lambda to: respond(to, b"something else")) as liar:
        done = place.run("check", "--json", "--store", f"gateway+{liar.url}", "--store", "store")
    assert {tuple(each["answers"]) for each in done.told["artifacts"]} == {("damaged", "whole")}


def test_a_store_that_fails_is_no_copy(place: Place) -> None:
    """It is said why, for what nothing else has."""
    cid = place.found().publish(1.0).model
    done = place.run("check", "--store", "long" * 100)
    assert done.code == 1
    assert re.search(
        rf"- model, round 1, {cid}: store 1: (not asked again after: )?block \S+: cannot look into l", done.out
    )
