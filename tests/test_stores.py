"""Stores: one contract for all of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faulty_blocks import FaultyBlocks
from fedpact.errors import BlockMismatch, BlockMissing, ContentError, StoreError
from fedpact.store import MAX_BLOCK, Blocks, Cid, Codec, DirectoryBlocks, MemoryBlocks, fetch, keep
from fedpact.store.opening import open_store
from fedpact.store.pins import Pins, hold
from fedpact.store.unixfs import LEAF, Dag, add
from gateways import ServedBlocks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ipfs_node import IpfsNode, running
from rpc_nodes import GatheringBlocks, RpcNode, SentBlocks

DATA = b"what a silo trained"
CID = Cid.of(DATA)


def served(store: type[SentBlocks], node: RpcNode) -> Blocks:
    """A store on a node that ends with it."""
    return store(node.url, node.close)


STORES: dict[str, Callable[[Path], Blocks]] = {
    "memory": lambda directory: MemoryBlocks(),
    "directory": lambda directory: DirectoryBlocks(directory / "store"),
    "directory, not synced": lambda directory: DirectoryBlocks(directory / "store", sync=False),
    "gateway": lambda directory: ServedBlocks(MemoryBlocks()),
    "node": lambda directory: served(GatheringBlocks, RpcNode()),
    "node, nothing kept back": lambda directory: served(SentBlocks, RpcNode(check=False)),
    "one by URL": lambda directory: open_store([str(directory / "store")], sync=False),
    "several by URL": lambda directory: open_store([str(directory / each) for each in "ab"], sync=False),
}
"""Every store that can be written to, by a name for the test's output; a new store is added here."""
MAPS = {name: make for name, make in STORES.items() if not name.startswith("node, nothing")}
"""Those in which a few hundred steps take a moment."""
PINNING = [name for name in STORES if name != "gateway"]
"""Those that also pin."""


@pytest.fixture(scope="module")
def own_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpfsNode]:
    """A real IPFS node without the pins of other tests: it collects after each test here, and walks all pins then."""
    with running(tmp_path_factory.mktemp("ipfs")) as (node,):
        yield node


@pytest.fixture(params=[*STORES, pytest.param("a real IPFS node", marks=pytest.mark.nodes)])
def blocks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blocks]:
    """An empty store of each kind."""
    if request.param in STORES:
        with closed_after(STORES[request.param](tmp_path)) as store:
            yield store
        return
    node: IpfsNode = request.getfixturevalue("own_node")
    with closed_after(HonestBlocks(node.url, lambda: node.ask("repo/gc"))) as store:
        yield store


class HonestBlocks(SentBlocks):
    """A store on a real node, which is not sent what it would rightly refuse: such blocks stay on their way."""

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        self.gather(cid, data)
        if len(data) <= MAX_BLOCK and Cid.of(data) == cid:
            self._send(0)

    def close(self) -> None:
        self._pending.clear()
        super().close()


@contextmanager
def closed_after(store: Blocks) -> Iterator[Blocks]:
    """A store that is closed in the end, if it can be closed."""
    yield store
    getattr(store, "close", lambda: None)()


# ------------------------------------------------------------------------------------------------ the shared contract


def test_what_was_never_put_is_missing(blocks: Blocks) -> None:
    """A block that nobody put is a `BlockMissing` that names it, from the store and from `fetch`."""
    assert not blocks.has(CID)
    for read in (blocks.get, lambda cid: fetch(blocks, cid)):
        with pytest.raises(BlockMissing, match=str(CID)) as caught:
            read(CID)
        assert caught.value.cid == str(CID)


def test_the_same_hash_under_another_codec_is_another_block(blocks: Blocks) -> None:
    """A raw block is not found as a dag-pb block of the same bytes; but nodes know blocks by their hash alone."""
    blocks.put(CID, DATA)
    if isinstance(blocks, HonestBlocks):
        assert fetch(blocks, Cid(CID.digest, Codec.DAG_PB)) == DATA
        return
    assert not blocks.has(Cid(CID.digest, Codec.DAG_PB))
    with pytest.raises(BlockMissing):
        blocks.get(Cid(CID.digest, Codec.DAG_PB))


WRONG = {"other": b"something else", "empty": b"", "truncated": DATA[:-1], "longer": DATA + b"\x00"}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_wrong_bytes_are_never_believed(blocks: Blocks, wrong: bytes) -> None:
    """Bytes that are not those of their address come out of the store, but not out of `fetch`."""
    blocks.put(CID, wrong)
    assert blocks.get(CID) == wrong
    with pytest.raises(BlockMismatch) as caught:
        fetch(blocks, CID)
    assert isinstance(caught.value, ContentError)
    assert (caught.value.expected, caught.value.found) == (str(CID), str(Cid.of(wrong)))


def test_an_oversized_block_is_bounded_before_it_is_hashed(blocks: Blocks) -> None:
    """Of a block that grew to many MiB one byte too many is read, and it is a mismatch even where its hash is right."""
    huge = bytes(MAX_BLOCK + 100_000)
    blocks.put(Cid.of(huge), huge)
    assert len(blocks.get(Cid.of(huge))) == MAX_BLOCK + 1
    with pytest.raises(BlockMismatch, match=f"more than {MAX_BLOCK} bytes"):
        fetch(blocks, Cid.of(huge))


def test_keep_puts_the_right_bytes_in_the_place_of_damaged_ones(blocks: Blocks) -> None:
    """A damaged block is mended by whoever has the right bytes."""
    blocks.put(CID, b"damaged")
    keep(blocks, CID, DATA)
    assert fetch(blocks, CID) == DATA


@pytest.mark.parametrize("length", [0, 1, 1 << 20, MAX_BLOCK])
def test_a_block_of_any_length_is_given_back(blocks: Blocks, length: int) -> None:
    """Blocks from nothing to 2 MiB are kept whole, as bytes, and are found."""
    data = os.urandom(length)
    blocks.put(Cid.of(data), data)
    assert blocks.has(Cid.of(data))
    assert blocks.get(Cid.of(data)) == fetch(blocks, Cid.of(data)) == data
    assert type(blocks.get(Cid.of(data))) is bytes


def test_putting_twice_is_harmless(blocks: Blocks) -> None:
    """The same block put and kept again is the same block."""
    blocks.put(CID, DATA)
    blocks.put(CID, DATA)
    keep(blocks, CID, DATA)
    assert fetch(blocks, CID) == DATA


def test_a_block_does_not_change_with_the_buffer_that_it_came_in(blocks: Blocks) -> None:
    """A buffer may be used again once `put` has returned."""
    buffer = bytearray(DATA)
    blocks.put(CID, buffer)  # type: ignore[arg-type]  # As a caller does who fills one buffer again and again.
    buffer[:] = bytes(len(buffer))
    assert fetch(blocks, CID) == DATA


def test_many_threads_write_and_read_the_same_blocks(blocks: Blocks) -> None:
    """Threads that put and read the same few blocks at once never see half of one, and lose none."""
    pieces = [bytes([number]) * 50_000 for number in range(5)]
    start = threading.Barrier(6)

    def work(offset: int) -> None:
        start.wait(timeout=60)
        for step in range(20):
            piece = pieces[(step + offset) % len(pieces)]
            keep(blocks, Cid.of(piece), piece)
            blocks.put(Cid.of(piece), piece)
            assert fetch(blocks, Cid.of(piece)) == piece

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert [fetch(blocks, Cid.of(piece)) for piece in pieces] == pieces


operations = st.lists(
    st.tuples(st.sampled_from(["put", "keep", "damage", "read"]), st.sampled_from([b"", b"a", b"bb", b"ccc"])),
    max_size=12,
)


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS.keys())
@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # Each example makes its own directory.
@given(steps=operations)
def test_a_store_is_a_map_from_addresses_to_bytes(
    make: Callable[[Path], Blocks], steps: list[tuple[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After any sequence of writes and damages each address has what was written there last, or nothing."""
    expected: dict[Cid, bytes] = {}
    with closed_after(make(tmp_path_factory.mktemp("map"))) as blocks:
        for step, data in steps:
            cid = Cid.of(data)
            if step == "keep":
                keep(blocks, cid, data)
            elif step != "read":
                blocks.put(cid, data if step == "put" else b"damaged")
            if step != "read":
                expected[cid] = b"damaged" if step == "damage" else data
            assert blocks.has(cid) == (cid in expected)
            if cid in expected:
                assert blocks.get(cid) == expected[cid]


# -------------------------------------------------------------------------------- the shared contract of those that pin


@pytest.fixture(params=PINNING)
def pins(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An empty store of each kind that pins."""
    with closed_after(STORES[request.param](tmp_path)) as store:
        assert isinstance(store, Pins)
        yield store


def three_leaves(blocks: Blocks) -> Dag:
    """A file of three leaves in a store."""
    return add(blocks, bytes(LEAF) + b"\x01" * LEAF + b"\x02")


def test_what_is_pinned_is_named_until_it_is_unpinned(pins: Any) -> None:
    """Roots of one leaf and of several; each once, however often it is pinned or unpinned. On a node all is pinned."""
    small, large = add(pins, DATA).root, three_leaves(pins).root
    assert pins.pinned() == (frozenset({small, large}) if isinstance(pins, SentBlocks) else frozenset())
    hold(pins, small, large, small)
    pins.pin(small)
    assert pins.pinned() == {small, large}
    pins.unpin(small)
    pins.unpin(small)
    assert pins.pinned() == {large}
    assert fetch(pins, small) == DATA


def test_unpinning_what_was_never_pinned_is_harmless(pins: Any) -> None:
    """Also before anything was written."""
    pins.unpin(CID)
    assert pins.pinned() == frozenset()


def test_what_is_not_here_cannot_be_pinned(pins: Any) -> None:
    """Neither a root that is missing, nor one whose node or leaf is."""
    dag = three_leaves(MemoryBlocks())
    with pytest.raises(BlockMissing, match=str(dag.root)):
        pins.pin(dag.root)
    pins.put(*dag.nodes[0])
    with pytest.raises(BlockMissing, match="|".join(map(str, dag.leaves))):
        pins.pin(dag.root)
    assert pins.pinned() == frozenset()
    three_leaves(pins)
    pins.pin(dag.root)
    assert pins.pinned() == {dag.root}


def test_what_is_no_file_cannot_be_pinned(pins: Any) -> None:
    """A damaged root is found, and so is one whose bytes are right and no node of ours."""
    if isinstance(pins, SentBlocks):
        return  # An IPFS node looks at that itself, and knows more kinds of nodes.
    damaged, foreign = three_leaves(pins).root, Cid.of(b"foreign", Codec.DAG_PB)
    pins.put(damaged, b"damaged")
    pins.put(foreign, b"foreign")
    for root in (damaged, foreign):
        with pytest.raises(ContentError, match=str(root)):
            pins.pin(root)
    assert pins.pinned() == frozenset()


def test_a_store_that_cannot_pin_is_left_alone() -> None:
    """It is said to keep everything."""
    hold(FaultyBlocks(), CID)


# ---------------------------------------------------------------------------------------------------------- keep alone


def test_keep_does_not_hide_that_a_store_is_broken() -> None:
    """Where the store cannot say what it has, `keep` fails and writes nothing."""
    blocks = FaultyBlocks()
    blocks.put(CID, DATA)
    blocks.written.clear()
    blocks.broken.add(CID)
    with pytest.raises(StoreError, match="the store is broken"):
        keep(blocks, CID, DATA)
    assert blocks.written == []


def test_keep_does_not_write_what_is_there() -> None:
    """An intact block is read, not written again."""
    blocks = FaultyBlocks()
    keep(blocks, CID, DATA)
    keep(blocks, CID, DATA)
    assert blocks.written == [CID]
    assert blocks.read[CID] == 1


def test_keep_writes_a_block_that_vanishes_under_it() -> None:
    """A block that is collected between the question and the reading is written as if it had never been there."""

    class Vanishing(MemoryBlocks):
        def has(self, cid: Cid) -> bool:
            return True

    blocks = Vanishing()
    keep(blocks, CID, DATA)
    assert fetch(blocks, CID) == DATA
