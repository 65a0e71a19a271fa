"""Real IPFS nodes agree with us on every address, pass blocks to one another, and fail in ways that are told apart."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fedpact.errors import BlockMissing, InvalidDag, StoreError, Unreachable
from fedpact.store import Cid, DirectoryBlocks, MemoryBlocks, fetch
from fedpact.store.opening import open_store
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import LEAF, add, add_leaf, add_nodes, find_file, open_file
from ipfs_node import IpfsNode, running
from test_unixfs import VECTORS, pieces_of

pytestmark = pytest.mark.nodes

PROFILE = {"cid_version": 1, "raw_leaves": "true", "chunker": f"size-{LEAF}", "pin": "false"}
"""Our profile, as far as js-ipfs has settings for it: its nodes have at most 174 links."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[IpfsNode]]:
    """Two nodes that are connected."""
    with running(tmp_path_factory.mktemp("pair"), 2) as nodes:
        yield nodes


def on(*nodes: IpfsNode, **options: Any) -> SeveralBlocks:
    """The store on some nodes."""
    return open_store([f"kubo+{node.url}" for node in nodes], **options)


# --------------------------------------------------------------------------------------------------------- agreement


def added(node: IpfsNode, data: bytes) -> Cid:
    """The address that a node itself gives a file."""
    return Cid.parse(node.ask("add", data, cid_base="base32", **PROFILE)[-1]["Hash"])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['seed']}-{vector['bytes']}")
def test_the_node_agrees_on_every_vector(ipfs: IpfsNode, vector: dict[str, Any]) -> None:
    """What we upload it gives back as one file; what it adds itself with the same profile has the same address."""
    blocks = on(ipfs)
    leaves, size = [], 0
    data = bytearray()  # All of a small file, the end of a large one.
    for piece in pieces_of(vector):
        leaves.append(add_leaf(blocks, piece))
        size += len(piece)
        data = (data + piece)[-64 * LEAF :] if vector["bytes"] <= 64 * LEAF else (data + piece)[-100:]
    root = add_nodes(blocks, leaves, size).root
    assert str(root) == vector["cid"]
    blocks.close()
    if vector["bytes"] <= 64 * LEAF:
        assert added(ipfs, bytes(data)) == root
        assert ipfs.ask_bytes("cat", arg=root) == data
    else:
        assert ipfs.ask_bytes("cat", arg=root, offset=size - 100, length=100) == data


@pytest.mark.parametrize("size", [0, 1, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF, 10 * LEAF + 12345])
def test_what_the_node_adds_we_address_and_read(ipfs: IpfsNode, size: int) -> None:
    """Its own import with the same profile is one of our files."""
    data = os.urandom(size)
    root = added(ipfs, data)
    blocks = on(ipfs, writable=False)
    assert add(MemoryBlocks(), data).root == root
    assert open_file(blocks, root, size).read() == find_file(blocks, root, size).read() == data
    blocks.close()


@pytest.mark.parametrize("count", [1024, 1025, 1030])
def test_more_leaves_than_a_node_of_the_dag_has_links(ipfs: IpfsNode, count: int) -> None:
    """Around 1024 leaves, where a second level begins: the node takes the DAG for one file of the right length."""
    size = (count - 1) * LEAF + 77
    blocks = on(ipfs)
    same, last = os.urandom(LEAF), os.urandom(77)
    leaf = add_leaf(blocks, same)
    dag = add_nodes(blocks, [leaf] * (count - 1) + [add_leaf(blocks, last)], size)
    blocks.close()
    assert ipfs.ask("files/stat", arg=f"/ipfs/{dag.root}")[0]["Size"] == size
    assert ipfs.ask_bytes("cat", arg=dag.root, offset=size - 177) == same[-100:] + last
    assert ipfs.ask_bytes("cat", arg=dag.root, offset=LEAF - 5, length=10) == same[-5:] + same[:5]


def test_a_file_of_another_profile_is_none_of_ours(ipfs: IpfsNode) -> None:
    """What the node adds with its default settings is refused in words, not read."""
    data = os.urandom(3 * LEAF)
    root = Cid.parse(ipfs.ask("add", data, cid_base="base32", cid_version=1)[-1]["Hash"])
    blocks = on(ipfs, writable=False)
    with pytest.raises(InvalidDag, match=str(root)):
        open_file(blocks, root, len(data))
    blocks.close()


# ---------------------------------------------------------------------------------------------------- between the nodes


def test_blocks_move_between_nodes(pair: Sequence[IpfsNode]) -> None:
    """What one node was given another gives back, verified, and has then itself, by bitswap."""
    ours, theirs = on(pair[0]), on(pair[1])
    data = os.urandom(4 * LEAF + 9)
    dag = add(ours, data)
    file = open_file(theirs, dag.root, dag.size)
    with ThreadPoolExecutor(5) as pool:
        assert b"".join(pool.map(file.leaf, range(5))) == data
    assert theirs.has(dag.root)
    ours.close()
    theirs.close()


def test_a_pin_brings_what_is_missing(pair: Sequence[IpfsNode]) -> None:
    """A model that was pinned elsewhere outlives the node that made it."""
    ours, theirs = on(pair[0]), on(pair[1])
    data = os.urandom(2 * LEAF)
    dag = add(ours, data)
    [pins] = [each.blocks for each in theirs._stores]
    pins.pin(dag.root)  # type: ignore[attr-defined]  # A node pins.
    assert dag.root in pins.pinned()  # type: ignore[attr-defined]
    pair[0].ask("pin/rm", arg=dag.root)
    pair[0].ask("repo/gc")
    pair[1].ask("repo/gc")
    assert open_file(theirs, dag.root, dag.size).read() == data
    ours.close()
    theirs.close()


def test_what_was_settled_survives_a_collection(pair: Sequence[IpfsNode]) -> None:
    """Pinned is pinned; what was only put is not."""
    blocks = on(pair[0])
    data, loose = os.urandom(LEAF + 5), os.urandom(100)
    dag = add(blocks, data)
    blocks.put(Cid.of(loose), loose)
    blocks.close()
    assert fetch(blocks, Cid.of(loose)) == loose
    pair[0].ask("repo/gc")
    assert open_file(blocks, dag.root, dag.size).read() == data
    assert not blocks.has(Cid.of(loose))
    blocks.close()


def test_what_nobody_has_is_missing_within_its_time(pair: Sequence[IpfsNode]) -> None:
    """A node asks its peers for a while, then it is missing: neither an error of the node nor a wait without end."""
    blocks = on(pair[0])
    began = time.monotonic()
    with pytest.raises(BlockMissing) as caught:
        fetch(blocks, Cid.of(os.urandom(5)))
    assert not isinstance(caught.value, Unreachable)
    assert time.monotonic() - began < 20
    blocks.close()


# ----------------------------------------------------------------------------------------------------- a node that ends


def test_a_node_that_ends_in_the_middle(tmp_path: Path) -> None:
    """While it is down it is named, and a copy elsewhere is read; when it is back the next run goes on."""
    with running(tmp_path / "nodes") as (node,):
        copies = open_store([f"kubo+{node.url}", str(tmp_path / "copy")], write="all", sync=False)
        data = os.urandom(20 * LEAF)
        dag = add(copies, data)
        blocks = on(node)
        pieces = [os.urandom(LEAF) for _ in range(20)]
        for piece in pieces[:18]:
            add_leaf(blocks, piece)  # The first 16 are there.
        url = node.url
        node.stop()
        with pytest.raises(StoreError, match=f"node {url} did not take .*: (cannot be reached|the connection broke)"):
            add_nodes(blocks, [add_leaf(blocks, piece) for piece in pieces], 20 * LEAF)
        assert open_file(copies, dag.root, dag.size).read() == data
        with pytest.raises(StoreError, match=f"node {url}: cannot be reached") as caught:
            fetch(copies, Cid.of(b"nobody has it"))
        assert not isinstance(caught.value, BlockMissing)
        copies.close()
        blocks.close()
        node.start()
        again = on(node)
        made = add(again, b"".join(pieces))
        assert open_file(again, made.root, made.size).read() == b"".join(pieces)
        assert open_file(again, dag.root, dag.size).read() == data
        assert fetch(DirectoryBlocks(tmp_path / "copy"), dag.leaves[0]) == data[:LEAF]
        again.close()
