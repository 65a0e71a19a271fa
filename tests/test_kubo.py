"""The store on an IPFS node: what is on its way, pins, and how it is named by its URL."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from fedpact.errors import BlockMissing, FedpactError, StoreError
from fedpact.store import Cid, DirectoryBlocks, MemoryBlocks, fetch, keep
from fedpact.store.counting import CountedBlocks, Moved
from fedpact.store.opening import open_store
from fedpact.store.remote import kubo as kubo_module
from fedpact.store.remote.http import Place
from fedpact.store.remote.kubo import KuboBlocks
from fedpact.store.remote.node_http import HttpNode
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import LEAF, add, build, open_file
from gateways import Gateway, respond
from kubo_stores import CID, DATA, on, whatever
from rpc_nodes import Options, RpcNode, answer, body, refuse
from test_gateway import cut, nonsense

# ---------------------------------------------------------------------------------------------------------- on its way


def test_little_is_kept_back() -> None:
    """Blocks are sent whenever 16 MiB have come together, so that memory does not grow with the file."""
    sent: list[int] = []

    def does(to: BaseHTTPRequestHandler, options: Options) -> None:
        length = len(body(to))
        sent.append(length)
        answer(to)

    with RpcNode() as node:
        node.faults["dag/import"] = does
        blocks = on(node.url)
        for number in range(40):
            leaf = bytes([number]) * LEAF
            blocks.put(Cid.of(leaf), leaf)
            assert sum(map(len, blocks._pending.values())) == blocks._gathered < 16 << 20
        assert len(sent) == 2
        assert all(16 << 20 < length < 17 << 20 for length in sent)
        blocks.close()
        assert len(sent) == 3


def test_memory_does_not_grow_with_what_nobody_takes() -> None:
    """Where the node is down each block beyond the first 16 MiB is refused at once; when it is back they are sent."""
    leaves = [bytes([number]) * LEAF for number in range(40)]
    with RpcNode() as node:
        blocks = on(node.url)
        node.faults["dag/import"] = whatever(lambda to: refuse(to, "no space left on device"))
        for leaf in leaves[:15]:
            blocks.put(Cid.of(leaf), leaf)
        with pytest.raises(StoreError, match="did not take 16 blocks: no space left on device"):
            blocks.put(Cid.of(leaves[15]), leaves[15])
        for leaf in leaves[16:]:
            with pytest.raises(StoreError, match="does not take blocks, as was found a moment ago"):
                blocks.put(Cid.of(leaf), leaf)
        assert len(blocks._pending) == 15
        assert blocks._gathered == 15 * LEAF
        assert node.asked == ["dag/import"]
        node.faults.clear()
        dag = add(blocks, b"".join(leaves[:15]))
        assert node.pins == {dag.root}
        for leaf in leaves:
            blocks.put(Cid.of(leaf), leaf)
        blocks.close()
        assert node.blocks.keys() >= {Cid.of(leaf) for leaf in leaves}


def test_what_is_on_its_way_is_there(tmp_path: Path) -> None:
    """It is read and found before the node has it, and counts once however often it was put."""
    with RpcNode() as node:
        blocks = on(node.url)
        for _ in range(3):
            keep(blocks, CID, DATA)
        assert blocks.has(CID)
        assert fetch(blocks, CID) == DATA
        assert node.asked == []
        assert blocks._gathered == len(DATA)
        blocks.close()
        assert node.blocks == {CID: DATA}
        assert node.pins == set()


def test_a_store_that_is_closed_without_its_node_says_what_was_lost(caplog: pytest.LogCaptureFixture) -> None:
    """It does not fail: whoever closes has failed before, or did not ask for the blocks to be kept."""
    with RpcNode() as node:
        blocks = on(node.url)
        blocks.put(CID, DATA)
    blocks.close()
    [line] = caplog.messages
    assert line.startswith(f"put, but not sent: node {node.url} did not take block {CID}: cannot be reached")


def test_threads_put_and_settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each artifact is whole and pinned when its `add` returns, whoever sent its blocks; nothing is left behind."""
    monkeypatch.setattr(kubo_module, "_GATHERED", 1 << 20)
    with RpcNode() as node:
        blocks = on(node.url)
        start = threading.Barrier(6)

        def work(number: int) -> None:
            start.wait(timeout=60)
            for step in range(3):
                data = os.urandom(LEAF + 1000 * number + step)
                dag = add(blocks, data)
                assert dag.root in node.pins
                assert {*dag.leaves, *(cid for cid, _ in dag.nodes)} <= node.blocks.keys()
                assert open_file(blocks, dag.root, dag.size).read() == data

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
        assert (blocks._pending, blocks._gathered) == ({}, 0)
        assert len(node.pins) == 18
        blocks.close()


def test_a_connection_that_breaks_is_tried_once_more() -> None:
    """A node that closes a kept connection as it is used costs nothing."""
    failed: list[str] = []

    def once(to: BaseHTTPRequestHandler, options: Options) -> None:
        body(to)
        command = to.path.partition("/api/v0/")[2].partition("?")[0]
        if command not in failed:
            failed.append(command)
            to.close_connection = True
        else:
            del node.faults[command]
            node.do(command, to, options)

    def import_once(to: BaseHTTPRequestHandler, options: Options) -> None:
        if failed:
            node.do("dag/import", to, options)
        else:
            once(to, options)

    with RpcNode() as node:
        node.faults = {"dag/import": import_once, "pin/add": once, "block/get": once}
        blocks = on(node.url)
        add(blocks, DATA)
        assert failed == ["dag/import", "pin/add", "block/get"]
        blocks.close()


def test_many_threads_share_few_connections() -> None:
    """Threads that wait for a connection get it in their turn."""
    with RpcNode() as node:
        node.blocks = {Cid.of(bytes([each])): bytes([each]) for each in range(64)}
        place = Place.read(node.url)
        assert place is not None
        blocks = KuboBlocks(HttpNode(place, connections=2))
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(lambda cid: fetch(blocks, cid), node.blocks)) == list(node.blocks.values())
        blocks.close()


def test_a_damaged_answer_of_has_is_an_error() -> None:
    """Whether a block is there is not guessed."""
    with RpcNode() as node:
        blocks = on(node.url)
        for fault in (lambda to: refuse(to, "the disk is broken"), lambda to: respond(to, b"{}x"), nonsense):
            node.faults["block/stat"] = whatever(fault)
            with pytest.raises(StoreError, match=f"block {CID}: node {node.url}: ") as caught:
                blocks.has(CID)
            assert type(caught.value) is StoreError
        blocks.close()


# ---------------------------------------------------------------------------------------------------------------- pins


def test_pins_come_and_go() -> None:
    """What is pinned is listed, with the roots that others pinned as far as they are of our kind."""
    with RpcNode() as node:
        blocks = on(node.url)
        blocks.put(CID, DATA)
        blocks.pin(CID)
        assert node.blocks == {CID: DATA}
        node.faults["pin/ls"] = lambda to, options: answer(
            to,
            *(
                {"Cid": text, "Type": "recursive"}
                for text in (str(CID), "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnu3cp")
            ),
        )
        assert blocks.pinned() == {CID}
        node.faults.clear()
        blocks.unpin(CID)
        blocks.unpin(CID)
        assert blocks.pinned() == node.pins == frozenset()
        with pytest.raises(BlockMissing, match=f"block {Cid.of(b'x')}: not in node .*, or not all that is below it"):
            blocks.pin(Cid.of(b"x"))
        blocks.close()


PINS: dict[str, tuple[Callable[[BaseHTTPRequestHandler], None], str]] = {
    "an error behind": (lambda to: answer(to, {"Cid": str(CID)}, error="datastore closed"), "datastore closed"),
    "an error inside": (lambda to: answer(to, {"Cid": str(CID)}, {"Message": "no", "Type": "error"}), "no"),
    "no address": (lambda to: answer(to, {"Keys": {}}), "expected a Cid in each line, found {'Keys': {}}"),
    "cut off": (cut, "the answer is broken off"),
}


@pytest.mark.parametrize("fault", list(PINS))
def test_half_a_list_of_pins_is_none(fault: str) -> None:
    """Whoever decides what nobody needs is not told half."""
    with RpcNode() as node:
        node.faults["pin/ls"] = whatever(PINS[fault][0])
        blocks = on(node.url)
        with pytest.raises(StoreError, match=f"node {node.url} did not list its pins: .*{PINS[fault][1]}"):
            blocks.pinned()
        blocks.close()


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"", b"\r\n0"], ids=["whole", "open", "another"])
def test_what_looks_like_a_trailer_inside_a_block_is_none(end: bytes) -> None:
    """Only what stands behind the last chunk counts."""
    data = b"\r\n0\r\nX-Stream-Error: made up" + end

    def chunked(to: BaseHTTPRequestHandler, options: Options) -> None:
        to.wfile.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
        )

    with RpcNode() as node:
        blocks = on(node.url)
        node.blocks[Cid.of(data)] = data
        assert fetch(blocks, Cid.of(data)) == data
        node.faults["block/get"] = chunked
        assert fetch(blocks, Cid.of(data)) == data
        blocks.close()


# -------------------------------------------------------------------------------------------------------------- by URL


def test_a_password_is_sent_and_never_shown(tmp_path: Path) -> None:
    """A proxy before a node may ask for one."""
    with RpcNode() as node:
        url = node.url.replace("http://", "kubo+http://user:se%2Fcret@")
        blocks = open_store([url])
        add(blocks, DATA)
        assert node.headers["authorization"] == "Basic dXNlcjpzZS9jcmV0"
        assert blocks.moved == {f"node {node.url}": Moved(0, 0, 1, len(DATA))}
        node.faults["block/get"] = whatever(lambda to: respond(to, status=401))
        with pytest.raises(StoreError, match="HTTP status 401") as caught:
            blocks.get(CID)
        assert "cret" not in str(caught.value)
        assert "cret" not in repr(Place.read(url.removeprefix("kubo+")))
        blocks.close()


def test_a_node_below_a_path_is_asked_there() -> None:
    """As a proxy may have it."""
    with RpcNode() as node:
        blocks = open_store([f"kubo+{node.url}/ipfs-node/"])
        add(blocks, DATA)
        assert node.blocks == {CID: DATA}
        blocks.close()


@pytest.mark.parametrize("write", ["first", "all"])
def test_writes_go_to_the_first_or_to_all(write: str, tmp_path: Path) -> None:
    """Copies are in every store but gateways, whole, and pinned where a store pins."""
    data = os.urandom(LEAF + 1)
    with RpcNode() as first, RpcNode() as second, Gateway(lambda to: respond(to, status=404)) as gateway:
        urls = [f"kubo+{first.url}", f"gateway+{gateway.url}", str(tmp_path / "store"), f"kubo+{second.url}"]
        blocks = open_store(urls, write=write, sync=False)  # type: ignore[arg-type]  # One of the two.
        dag = add(blocks, data)
        blocks.close()
        assert gateway.asked == []
        assert first.pins == {dag.root}
        assert second.pins == ({dag.root} if write == "all" else set())
        directory = DirectoryBlocks(tmp_path / "store")
        assert directory.has(dag.root) == (write == "all")
        if write == "all":
            assert first.blocks == second.blocks
            assert open_file(directory, dag.root, dag.size).read() == data


def test_a_copy_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """Whoever counts on copies hears which store did not take one."""
    with RpcNode() as node:
        blocks = open_store([str(tmp_path), f"kubo+{node.url}"], write="all", sync=False)
    with pytest.raises(StoreError, match=f"node {node.url} did not take block {CID}: cannot be reached"):
        add(blocks, DATA)
    assert fetch(DirectoryBlocks(tmp_path), CID) == DATA
    blocks.close()


def test_each_copy_is_looked_at_by_itself() -> None:
    """A block that the first store has, and another does not, is written to the other; a damaged copy is mended."""
    stores = [MemoryBlocks(), MemoryBlocks(), MemoryBlocks()]
    blocks = SeveralBlocks([CountedBlocks(each, str(place)) for place, each in enumerate(stores)], copies=(2,))
    stores[0].put(CID, DATA)
    assert keep(blocks, CID, DATA)
    stores[2].put(CID, b"damaged")
    assert keep(blocks, CID, DATA)
    assert not keep(blocks, CID, DATA)
    assert [each.has(CID) for each in stores] == [True, False, True]
    assert fetch(stores[2], CID) == DATA
    assert [blocks.moved[name].blocks_written for name in "012"] == [0, 0, 2]


def test_what_is_opened_to_be_read_from_settles_nothing() -> None:
    """As it keeps nothing."""
    blocks = SeveralBlocks([CountedBlocks(MemoryBlocks(), "memory")], writable=False)
    for write in (lambda: keep(blocks, CID, DATA), lambda: blocks.settle(CID), lambda: blocks.put(CID, DATA)):
        with pytest.raises(StoreError, match="opened to be read from"):
            write()


def test_a_dead_node_is_passed_over(tmp_path: Path) -> None:
    """A node that is down costs little for each block, and is an error where nobody else has it."""
    with RpcNode() as node:
        pass
    honest = DirectoryBlocks(tmp_path, sync=False)
    leaves = [bytes([each]) * 1000 for each in range(100)]
    for leaf in leaves:
        honest.put(Cid.of(leaf), leaf)
    blocks = open_store([f"kubo+{node.url}", str(tmp_path)], writable=False)
    started = time.monotonic()
    assert [fetch(blocks, Cid.of(leaf)) for leaf in leaves] == leaves
    assert time.monotonic() - started < 3
    with pytest.raises(FedpactError, match=f"block {CID}: node {node.url}: cannot be reached") as caught:
        fetch(blocks, CID)
    assert type(caught.value) is StoreError
    blocks.close()


def test_the_dag_is_built_here() -> None:
    """What a node is handed are the blocks of our DAG, whatever its own settings are."""
    data = os.urandom(3 * LEAF + 5)
    with RpcNode() as node:
        blocks = on(node.url)
        dag = add(blocks, data)
        expected = build(dag.leaves, len(data))
        assert node.blocks.keys() == {*expected.leaves, expected.root}
        blocks.close()
