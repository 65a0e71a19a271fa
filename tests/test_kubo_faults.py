"""The store on an IPFS node that lies, dawdles or refuses: each fault is named within its bound."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from fedpact.errors import BlockMismatch, BlockMissing, StoreError
from fedpact.store import MAX_BLOCK, Cid, DirectoryBlocks, fetch
from fedpact.store.counting import CountedBlocks
from fedpact.store.remote.kubo import KuboBlocks
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import LEAF, add, open_file
from gateways import Gateway, respond
from kubo_stores import CID, DATA, SECONDS, endless, endless_lines, haste, hasty, on, silent, whatever
from rpc_nodes import Options, RpcNode, answer, body, refuse
from test_gateway import cut, endless_hints, gzip_bomb, nonsense, trickling_body, trickling_head

__all__ = ["haste"]

GET: dict[str, tuple[Callable[[BaseHTTPRequestHandler], None], type[Exception], str]] = {
    "one bit flipped": (lambda to: respond(to, DATA[:-1] + b"e"), BlockMismatch, "its bytes hash to"),
    "truncated": (lambda to: respond(to, DATA[:-1]), BlockMismatch, "its bytes hash to"),
    "another block": (lambda to: respond(to, b"something else"), BlockMismatch, "its bytes hash to"),
    "endless body": (endless, BlockMismatch, "more than 2097152 bytes"),
    "error inside": (lambda to: respond(to, b'{"Message": "no", "Type": "error"}'), BlockMismatch, "hash to"),
    "error behind": (lambda to: answer(to, error="disk on fire"), StoreError, "disk on fire"),
    "body that trickles": (trickling_body, StoreError, "no answer in time"),
    "head that trickles": (trickling_head, BlockMissing, "not in node http://127.0.0.1"),
    "hints without end": (endless_hints, BlockMissing, "not in node http://127.0.0.1"),
    "silence": (silent, BlockMissing, "not in node http://127.0.0.1"),
    "gzip bomb": (gzip_bomb, StoreError, "Content-Encoding: expected identity, found 'gzip'"),
    "cut in the middle": (cut, StoreError, "broken off, or not HTTP"),
    "no HTTP": (nonsense, StoreError, "broken off, or not HTTP"),
    "forbidden": (lambda to: respond(to, b"403", status=403), StoreError, "HTTP status 403"),
    "no such command": (lambda to: respond(to, b"404 not found", status=404), StoreError, "HTTP status 404"),
    "long error": (lambda to: refuse(to, "x\n\x1b" * 10**3), StoreError, r"127.0.0.1:\d+: x .{1,200}$"),
    "not here": (lambda to: refuse(to, "ipld: could not find bafy"), BlockMissing, "not in node http://127.0.0.1"),
    "nowhere": (lambda to: refuse(to, "context deadline exceeded"), BlockMissing, "not in node http://127.0.0.1"),
}


@pytest.mark.usefixtures("haste")
@pytest.mark.parametrize("fault", list(GET))
def test_a_fault_is_named_within_its_bound_and_another_store_is_asked(fault: str, tmp_path: Path) -> None:
    """Whatever a node gives as a block: one line in bounded time, and a second store gives the block all the same."""
    does, kind, said = GET[fault]
    with RpcNode() as node:
        node.faults["block/get"] = whatever(does)
        blocks = hasty(node.url)
        started = time.monotonic()
        with pytest.raises(kind, match=said) as caught:
            fetch(blocks, CID)
        assert type(caught.value) is kind
        assert time.monotonic() - started < 5 * SECONDS + 1
        assert str(CID) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 400
        if kind is StoreError:
            assert node.url in str(caught.value)
        honest = DirectoryBlocks(tmp_path, sync=False)
        honest.put(CID, DATA)
        several = SeveralBlocks([CountedBlocks(blocks, "first"), CountedBlocks(honest, "second")], writable=False)
        assert fetch(several, CID) == DATA
        several.close()


@pytest.mark.usefixtures("haste")
@pytest.mark.parametrize("fault", list(GET))
def test_a_fault_in_a_whole_file_costs_no_more_than_time(fault: str) -> None:
    """A node that spoils a file which it gives in one answer is asked for its blocks."""
    data = os.urandom(5 * LEAF)
    with RpcNode() as node:
        blocks = hasty(node.url)
        root = add(blocks, data).root
        node.faults = {"cat": whatever(GET[fault][0])}
        began = time.monotonic()
        assert open_file(blocks, root, len(data)).read() == data
        assert time.monotonic() - began < 10
        assert node.asked.count("cat") == 1
        assert node.asked[-5:] == ["block/get"] * 5
        blocks.close()


def test_a_connection_serves_one_file_after_the_other() -> None:
    """Each answer is read to its end."""
    data = os.urandom(5 * LEAF)
    with RpcNode() as node:
        blocks = on(node.url)
        root = add(blocks, data).root
        node.connections.clear()
        for _ in range(3):
            assert open_file(blocks, root, len(data)).read() == data
        assert node.asked.count("cat") == 3
        assert len(set(node.connections)) == 1
        blocks.close()


@pytest.mark.usefixtures("haste")
def test_a_node_that_has_to_look_for_a_file_is_soon_asked_for_blocks() -> None:
    """Which it can look for at once; and so it is for a while."""
    data = os.urandom(5 * LEAF)

    def dawdles(to: BaseHTTPRequestHandler, options: Options) -> None:
        time.sleep(2 * SECONDS)  # That is the fault; the client goes away before the end.

    with RpcNode() as node:
        blocks = hasty(node.url)
        root = add(blocks, data).root
        node.faults = {"cat": dawdles}
        for most in (SECONDS + 1, 1):
            began = time.monotonic()
            assert open_file(blocks, root, len(data)).read() == data
            assert time.monotonic() - began < most
        assert node.asked.count("cat") == 1
        blocks.close()


@pytest.mark.usefixtures("haste")
def test_a_node_that_answers_nothing_at_all_is_no_missing_block() -> None:
    """A node that is there and does not find a block lacks it; one that says nothing to anything has failed."""
    with RpcNode() as node:
        node.faults |= {"block/get": whatever(silent), "version": whatever(silent)}
        blocks = hasty(node.url)
        with pytest.raises(StoreError, match=f"block {CID}: node {node.url}: no answer in time") as caught:
            blocks.get(CID)
        assert type(caught.value) is StoreError
        blocks.close()


def imports(*lines: dict[str, object], error: str = "") -> Callable[[RpcNode], None]:
    """A node that takes what it is sent, and says something else about it."""

    def prepare(node: RpcNode) -> None:
        def does(to: BaseHTTPRequestHandler, options: Options) -> None:
            list(node._take(body(to), options))
            answer(to, *lines, error=error)

        node.faults["dag/import"] = does

    return prepare


def instead(command: str, fault: Callable[[BaseHTTPRequestHandler], None]) -> Callable[[RpcNode], None]:
    """A node that does something else at a command."""

    def prepare(node: RpcNode) -> None:
        node.faults[command] = whatever(fault)

    return prepare


def drops_everything(node: RpcNode) -> None:
    instead("dag/import", lambda to: answer(to, {"Stats": {"BlockCount": 1}}))(node)


def drops_everything_and_lies(node: RpcNode) -> None:
    drops_everything(node)
    instead("pin/add", lambda to: answer(to, {"Pins": [str(CID)]}))(node)


def does_not_read(to: BaseHTTPRequestHandler, options: Options) -> None:
    silent(to)


SETTLE: dict[str, tuple[Callable[[RpcNode], None], str]] = {
    "pin error in an import": (
        imports({"Root": {"Cid": {"/": str(CID)}, "PinErrorMsg": "disk\nfull"}}),
        "did not take block .*: disk full",
    ),
    "error in the trailers": (imports(error="unexpected EOF"), "did not take block .*: unexpected EOF"),
    "error after 200": (imports({"Message": "no car", "Code": 0, "Type": "error"}), "did not take block .*: no car"),
    "not all taken": (imports({"Stats": {"BlockCount": 0}}), "did not take block .*: it counts 0 of 1 blocks"),
    "refused": (instead("dag/import", lambda to: refuse(to, "too large")), "did not take block .*: too large"),
    "no JSON": (
        instead("dag/import", lambda to: respond(to, b"<html>")),
        "something else than a JSON object: b'<html>'",
    ),
    "no object": (
        instead("dag/import", lambda to: respond(to, b"[1]")),
        r"something else than a JSON object: b'\[1\]'",
    ),
    "deep JSON": (instead("dag/import", lambda to: respond(to, b"[" * 60000)), "something else than a JSON object"),
    "long number": (instead("dag/import", lambda to: respond(to, b"1" * 60000)), "something else than a JSON object"),
    "endless line": (instead("dag/import", endless), "answers with more than expected"),
    "endless lines": (instead("dag/import", endless_lines), "answers with more than expected"),
    "silence at an import": (instead("dag/import", silent), "did not take block .*: no answer in time"),
    "nothing read": (lambda node: node.faults.update({"dag/import": does_not_read}), "no answer in time"),
    "trickling import": (instead("dag/import", trickling_body), "did not take block .*: no answer in time"),
    "lies about the import": (drops_everything, "did not pin it: block was not found locally"),
    "lies about everything": (drops_everything_and_lies, "pinned it, but does not give block .* back: block was not"),
    "pin refused": (instead("pin/add", lambda to: refuse(to, "pinner is sick")), "did not pin it: pinner is sick"),
    "another pin": (
        instead("pin/add", lambda to: answer(to, {"Pins": [str(Cid.of(b"another"))]})),
        r"did not pin it: it names \['bafkrei\w+'\] as pinned",
    ),
    "no pin": (instead("pin/add", lambda to: answer(to, {"Progress": 7})), "did not pin it: it names nothing"),
    "no answer to a pin": (instead("pin/add", respond), "did not pin it: it names nothing"),
    "pins that are none": (instead("pin/add", lambda to: answer(to, {"Pins": [7]})), "it names nothing as pinned"),
    "long trailers": (imports(error="x" * 2000), "did not take block .*: answers with longer trailers than expected"),
    "pin without end": (instead("pin/add", silent), "did not pin it: no answer in time"),
    "other bytes back": (instead("block/get", lambda to: respond(to, b"x")), "does not give block .* back: .* hash to"),
}


@pytest.mark.usefixtures("haste")
@pytest.mark.parametrize("fault", list(SETTLE))
def test_what_did_not_arrive_is_said(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a node does with what it is handed: no artifact is believed to be kept that is not, in bounded time."""
    prepare, said = SETTLE[fault]
    with RpcNode() as node:
        prepare(node)
        blocks = hasty(node.url)
        started = time.monotonic()
        with pytest.raises(StoreError, match=said) as caught:
            add(blocks, DATA)
        assert type(caught.value) is StoreError
        assert time.monotonic() - started < 5 * SECONDS + 1
        assert node.url in str(caught.value)
        assert str(CID) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 600
        node.faults.clear()
        monkeypatch.undo()
        blocks._seconds = blocks._pin_seconds = 30
        add(blocks, DATA)
        assert (node.blocks, node.pins) == ({CID: DATA}, {CID})
        blocks.close()


@pytest.mark.parametrize("command", ["block/get", "block/stat", "dag/import", "pin/add", "pin/rm", "pin/ls"])
def test_a_redirect_is_not_followed(command: str) -> None:
    """Where a node sends us elsewhere, nobody goes, and no model is sent there."""
    calls: dict[str, Callable[[KuboBlocks], object]] = {
        "block/get": lambda blocks: blocks.get(CID),
        "block/stat": lambda blocks: blocks.has(CID),
        "dag/import": lambda blocks: add(blocks, DATA),
        "pin/add": lambda blocks: blocks.pin(CID),
        "pin/rm": lambda blocks: blocks.unpin(CID),
        "pin/ls": lambda blocks: blocks.pinned(),
    }
    with Gateway(lambda to: respond(to, DATA)) as other, RpcNode() as node:
        node.faults[command] = whatever(lambda to: respond(to, status=307, location=other.url + to.path))
        blocks = on(node.url)
        with pytest.raises(StoreError, match="HTTP status 307"):
            calls[command](blocks)
        assert other.asked == []
        node.faults.clear()
        blocks.close()


def test_little_memory_is_taken_whatever_a_node_sends() -> None:
    """Of an answer without end little more is held than a block has."""
    with RpcNode() as node:
        node.faults |= {"block/get": whatever(endless), "pin/ls": whatever(endless)}
        blocks = on(node.url)
        tracemalloc.start()
        try:
            assert len(blocks.get(CID)) == MAX_BLOCK + 1
            with pytest.raises(StoreError, match="did not list its pins: pin/ls: answers with more than expected"):
                blocks.pinned()
            assert tracemalloc.get_traced_memory()[1] < 5 * MAX_BLOCK
        finally:
            tracemalloc.stop()
        blocks.close()
