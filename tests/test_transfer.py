"""A window over a distant store: the same results whoever reads, so much and no more on its way, nothing left over."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
from charters import TOLD
from faulty_blocks import FaultyBlocks
from fedpact.artifacts.weights import Layout, Tensor
from fedpact.errors import BlockMismatch, BlockMissing, StoreError
from fedpact.rules import RULES, engine, make
from fedpact.store import Cid, DirectoryBlocks, MemoryBlocks
from fedpact.store.blocks import is_distant
from fedpact.store.counting import CountedBlocks
from fedpact.store.opening import open_store
from fedpact.store.remote.gateway import GatewayBlocks
from fedpact.store.several import SeveralBlocks
from fedpact.store.transfer import AT_ONCE, Ahead, at_once, in_order
from fedpact.store.unixfs import LEAF, File, add, add_leaf, add_nodes, open_file
from hypothesis import given, settings
from hypothesis import strategies as st

LONG = 10.0
"""Seconds that a thread waits for another where that is about to come."""


@contextmanager
def nothing_left_running() -> Iterator[None]:
    """What is done inside leaves no thread behind."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


# ----------------------------------------------------------------------------------------------------------- the window


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_each_is_read_once_whatever_is_taken_or_dropped_when(data: st.DataObject) -> None:
    """Of any keys, taken and dropped in any order by any number of threads, none is read twice, and few are held."""
    keys = list(range(data.draw(st.integers(0, 30), "keys")))
    asked = data.draw(st.permutations(keys), "order")
    dropped = data.draw(st.sets(st.sampled_from(keys)), "dropped") if keys else set()
    threads, most = data.draw(st.integers(0, 4), "threads"), data.draw(st.integers(1, 6), "most")
    lock, read, taken, held = threading.Lock(), Counter[int](), 0, 0

    def one(key: int) -> int:
        nonlocal held
        with lock:
            read[key] += 1
            held = max(held, read.total() - taken)
        if key % 7 == 3:
            raise KeyError(key)
        return key * key

    with nothing_left_running(), Ahead(one, keys, threads, most=most) as ahead:
        for key in asked:
            if key in dropped:
                ahead.drop(key)
            elif key % 7 == 3:
                with pytest.raises(KeyError, match=str(key)):
                    ahead.take(key)
            else:
                assert ahead.take(key) == key * key
            with lock:
                taken += 1
    assert all(read[key] == 1 for key in keys if key not in dropped)
    assert max(read.values(), default=0) <= 1
    assert held <= most + 1  # One is read by who takes it.


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_results_come_in_order_and_an_error_in_its_place(threads: int) -> None:
    """Whoever is done first: what was before the one that failed comes before its error, and nothing after."""

    def work(number: int) -> int:
        if number == 20:
            raise StoreError("twenty")
        return number

    with nothing_left_running():
        results = in_order(work, range(40), threads)
        assert [next(results) for _ in range(20)] == list(range(20))
        with pytest.raises(StoreError, match="twenty"):
            next(results)
        assert list(results) == []


def test_who_stops_reading_leaves_nothing_running() -> None:
    """A reader that goes away after the first: a few were read, no more, and no thread is left."""
    read: list[int] = []
    with nothing_left_running(), closing(in_order(lambda number: read.append(number), range(1000), 4)) as results:
        next(results)
    assert len(read) <= 4 + 3


# ------------------------------------------------------------------------------------------------------ distant stores


class Waiting(MemoryBlocks):
    """A distant store that answers when so many are asked for at once, and never more."""

    distant = True

    def __init__(self, together: int) -> None:
        super().__init__()
        self._gate = threading.Barrier(together)
        self._lock = threading.Lock()
        self.open = False
        self.busy = self.most = 0

    def get(self, cid: Cid) -> bytes:
        with self._lock:
            self.busy += 1
            self.most = max(self.most, self.busy)
        try:
            if not self.open:
                self._gate.wait(LONG)
            return super().get(cid)
        finally:
            with self._lock:
                self.busy -= 1


def test_a_file_of_a_distant_store_is_read_with_a_window_of_requests() -> None:
    """Sixteen leaves are asked for at once, which the store waits for, and never more."""
    blocks = Waiting(AT_ONCE)
    data = random.Random(1).randbytes(2 * AT_ONCE * LEAF)
    root = add(MemoryBlocks(), data).root
    blocks.open = True
    add(blocks, data)
    file = open_file(blocks, root, len(data))
    blocks.open, blocks.most = False, 0
    with nothing_left_running():
        assert file.read() == data
    assert blocks.most == AT_ONCE


def test_which_stores_are_distant(tmp_path: Any) -> None:
    """A gateway is, and whatever may ask one; a directory and memory are not, and are read by the caller alone."""
    local, gateway = str(tmp_path), "gateway+http://127.0.0.1:9"
    for urls, distant in (([local], False), ([gateway], True), ([local, gateway], True), ([local, local], False)):
        store = open_store(urls, writable=False)
        assert is_distant(store) is distant
        assert at_once(store) == (AT_ONCE if distant else 1)
        store.close()
    assert not is_distant(MemoryBlocks())
    assert not is_distant(DirectoryBlocks(tmp_path))
    assert is_distant(SeveralBlocks([CountedBlocks(GatewayBlocks("http://127.0.0.1:9"), "one")]))


def test_a_file_on_this_machine_is_read_by_the_caller() -> None:
    """No thread is started for a store that does not say that it is distant."""
    readers = set()

    class Local(MemoryBlocks):
        def get(self, cid: Cid) -> bytes:
            readers.add(threading.current_thread())
            return super().get(cid)

    blocks = Local()
    data = bytes(3 * LEAF + 1)
    assert open_file(blocks, add(blocks, data).root, len(data)).read() == data
    assert readers == {threading.current_thread()}


@pytest.mark.parametrize("distant", [False, True])
def test_a_span_reads_its_leaves_and_no_others(distant: bool) -> None:
    """Any bytes of a file, also none and all, cost the leaves that they lie in."""
    blocks = FaultyBlocks()
    data = random.Random(2).randbytes(3 * LEAF + 5)
    file = open_file(blocks, add(blocks, data).root, len(data))
    blocks.distant = distant
    for start, stop in [(0, 0), (7, 7), (0, 1), (LEAF - 1, LEAF), (LEAF - 1, LEAF + 1), (5, 3 * LEAF), (0, len(data))]:
        blocks.read.clear()
        assert file.span(start, stop) == data[start:stop]
        assert (
            list(blocks.read) == []
            if start == stop
            else set(blocks.read) == set(file.leaves[start // LEAF : (stop - 1) // LEAF + 1])
        )


# ----------------------------------------------------------------------------------------------------------- the engine

LAYOUT = Layout([Tensor("single", "F32", (700_000,)), Tensor("half", "F16", (60_000,)), Tensor("steps", "I64", (9,))])
"""Three leaves."""
SHARED = MemoryBlocks()
COUNT = 7
SAMPLES = [3, 1, 77, 12, 5, 9, 2]


class Streamed(MemoryBlocks):
    """A store that gives files in one answer, in pieces of odd lengths.

    Args:
        altered: makes other pieces of the right ones.
    """

    def __init__(self, altered: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        super().__init__()
        self._altered = altered
        self.asked: list[Cid] = []
        self.ended = 0

    def get(self, cid: Cid) -> bytes:
        self.asked.append(cid)
        return super().get(cid)

    def stream(self, root: Cid, start: int, length: int) -> Generator[bytes, Any, None]:
        data = b"".join(super(Streamed, self).get(cid) for cid in FILE.leaves)[start : start + length]
        try:
            yield from self._altered(data[at : at + 300_007] for at in range(0, len(data), 300_007))
        finally:
            self.ended += 1


DATA = random.Random(9).randbytes(9 * LEAF + 5)
FILE = add(MemoryBlocks(), DATA)


def ends_early(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from islice(pieces, 20)


def breaks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from islice(pieces, 20)
    raise StoreError("the disk is broken")


ANSWERS: dict[str, tuple[Callable[[Iterator[bytes]], Iterator[bytes]], range]] = {
    "right": (lambda pieces: pieces, range(0)),
    "in one piece": (lambda pieces: iter([b"".join(pieces)]), range(0)),
    "more than asked for": (lambda pieces: chain(pieces, [bytes(LEAF)] * 3), range(0)),
    "nothing": (lambda pieces: iter(()), range(10)),
    "an early end": (ends_early, range(5, 10)),
    "an error": (breaks, range(5, 10)),
    "wrong from the first": (lambda pieces: (bytes(len(each)) for each in pieces), range(10)),
    "one wrong bit": (lambda pieces: (bytes([p[0] ^ (n == 9)]) + p[1:] for n, p in enumerate(pieces)), range(2, 10)),
}
"""What a store makes of a file's pieces, and the leaves that are asked for one by one then, at most."""


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_file_that_comes_in_one_answer_is_the_file(answer: str) -> None:
    """Whatever the answer is: what is not right is asked for by its address, and nothing is left open."""
    altered, asked = ANSWERS[answer]
    blocks = Streamed(altered)
    file = open_file(blocks, add(blocks, DATA).root, len(DATA))
    blocks.asked.clear()
    with nothing_left_running():
        assert file.read() == DATA
    leaves = [file.leaves[index] for index in asked]
    assert blocks.asked[-len(leaves) :] == leaves if leaves else blocks.asked == []
    assert len(blocks.asked) <= 10
    assert blocks.ended == 1


def test_who_stops_reading_closes_the_answer() -> None:
    """And a leaf that is wrong in the store as well is named."""
    blocks = Streamed(lambda pieces: pieces)
    file = open_file(blocks, add(blocks, DATA).root, len(DATA))
    with nothing_left_running(), closing(file.each()) as leaves:
        assert next(leaves) == DATA[:LEAF]
    assert blocks.ended == 1
    blocks.put(file.leaves[5], bytes(LEAF))
    with nothing_left_running(), pytest.raises(BlockMismatch, match=str(file.leaves[5])):
        file.read()
    assert blocks.ended == 2


@pytest.mark.parametrize("indexes", [[3, 2, 1, 0], [0, 1, 3, 4], [7, 8, 9]])
def test_what_is_not_many_leaves_in_a_row_is_asked_for_one_by_one(indexes: list[int]) -> None:
    """In the order in which they are wanted."""
    blocks = Streamed(lambda pieces: pieces)
    file = open_file(blocks, add(blocks, DATA).root, len(DATA))
    assert list(file.each(indexes)) == [DATA[index * LEAF : (index + 1) * LEAF] for index in indexes]
    assert blocks.ended == 0


def test_only_the_store_that_is_asked_first_is_asked_for_a_file() -> None:
    """What is on this machine is not fetched from elsewhere; the bytes of an answer are counted."""
    near, far = MemoryBlocks(), Streamed(lambda pieces: pieces)
    for blocks in (near, far):
        root = add(blocks, DATA).root
    for stores, ended in (((near, far), 0), ((far, near), 1)):
        several = SeveralBlocks([CountedBlocks(each, str(place)) for place, each in enumerate(stores)], writable=False)
        assert open_file(several, root, len(DATA)).read() == DATA
        assert far.ended == ended
        assert several.moved["0"].bytes_read == len(DATA) + len(near.get(root))
        assert several.moved["1"].bytes_read == 0


def model_file(seed: int) -> bytes:
    """A file whose last leaf is the same as that of many others."""
    source = np.random.default_rng(seed)
    steps = np.arange(9)
    single = np.concatenate([source.standard_normal(500_000, np.float32), np.ones(200_000, np.float32)])
    return LAYOUT.encode({"single": single, "half": np.ones(60_000, np.float16), "steps": steps})


ROOTS = [add(SHARED, model_file(seed)).root for seed in range(COUNT + 1)]


def outcome_of(blocks: FaultyBlocks, name: str, threads: int, only: list[int] | None = None) -> engine.Outcome[Cid]:
    """What the engine makes of all updates in a store, with the last file as the base."""
    files = [open_file(blocks, root, LAYOUT.size) for root in ROOTS]
    blocks.read.clear()
    return engine.aggregate(
        LAYOUT,
        make(name, 1, TOLD[name]),
        files[:COUNT],
        SAMPLES,
        keep=lambda _, leaf: Cid.of(leaf),
        base=files[COUNT],
        threads=threads,
        only=only,
    )


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("only", [None, [1]], ids=["all leaves", "one leaf"])
def test_a_distant_store_makes_the_same_model(name: str, only: list[int] | None) -> None:
    """By every rule, with and without what it surveys and the base: the same leaves, each read as often."""
    local, distant = FaultyBlocks(SHARED), FaultyBlocks(SHARED)
    distant.distant = True
    expected = outcome_of(local, name, 1, only)
    for threads in (1, 3):
        with nothing_left_running():
            found = outcome_of(distant, name, threads, only)
        assert (found.leaves, found.counts) == (expected.leaves, expected.counts)
        assert distant.read == local.read


@pytest.mark.parametrize("name", ["fedavg", "krum", "centered_clipping"])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_a_distant_store_blames_the_same(name: str, threads: int) -> None:
    """Missing and damaged leaves are told in the same way, in one pass over all."""
    found = []
    for distant in (False, True):
        blocks = FaultyBlocks(SHARED)
        files = [open_file(SHARED, root, LAYOUT.size) for root in ROOTS]
        blocks.missing.add(files[0].leaves[1])
        blocks.damaged[files[2].leaves[0]] = b"damaged"
        blocks.distant = distant
        with nothing_left_running():
            outcome = outcome_of(blocks, name, threads)
        assert [type(outcome.missing[place]) for place in (0, 2)] == [BlockMissing, BlockMismatch]
        assert max(blocks.read.values()) == 1
        found.append((outcome.leaves, outcome.faults, {key: str(error) for key, error in outcome.missing.items()}))
    assert found[0] == found[1]


def test_a_distant_store_that_breaks_ends_the_pass() -> None:
    """Its error is that of the aggregation, and nothing runs on."""
    blocks = FaultyBlocks(SHARED)
    blocks.distant = True
    blocks.broken.add(open_file(SHARED, ROOTS[3], LAYOUT.size).leaves[1])
    with nothing_left_running(), pytest.raises(StoreError, match="the store is broken"):
        outcome_of(blocks, "fedavg", 2)


def test_the_blocks_of_all_updates_are_on_their_way_at_once() -> None:
    """One thread works, and sixteen requests are in flight, over the updates and on to the next leaves."""
    layout = Layout([Tensor("w", "F32", (8 * (LEAF // 4) - 100,))])
    blocks = Waiting(AT_ONCE)
    blocks.open = True
    header = layout.header_in(0)
    files: list[File] = []
    for update in range(4):
        leaves = [
            add_leaf(
                blocks, (header if index == 0 else b"").ljust(layout.leaf_size(index), bytes([update * 8 + index]))
            )
            for index in range(8)
        ]
        files.append(open_file(blocks, add_nodes(blocks, leaves, layout.size).root, layout.size))
    blocks.open, blocks.most = False, 0
    outcome = engine.aggregate(layout, make("fedavg", 1, {}), files, [1] * 4, keep=lambda index, _: index)
    assert sorted(outcome.leaves) == list(range(8))
    assert blocks.most == AT_ONCE
