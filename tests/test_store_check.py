"""`fedpact store check`, on records of any history, against directories and gateways."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from chains import MEMBERS, OWNER
from faulty_blocks import FaultyBlocks
from fedpact.keeping import Artifact, Kind
from fedpact.ledger.actions import Attest, CancelRound, Submit
from fedpact.ledger.facts import Update
from fedpact.presence import look
from fedpact.store import Cid, Codec, DirectoryBlocks
from fedpact.store.counting import CountedBlocks
from fedpact.store.remote.gateway import GatewayBlocks
from fedpact.store.serving.server import BlockServer
from fedpact.store.unixfs import LEAF, add, read_small
from gateways import Gateway, respond
from kept import Place, place, three_rounds

__all__ = ["place"]


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
