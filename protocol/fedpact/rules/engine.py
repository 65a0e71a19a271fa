"""Feeds a rule block by block: leaf i of every update in, leaf i of the model out.

Memory is K leaves for each thread, not K models. Every leaf is verified before it is decoded; an update that turns out
to be unusable in the middle is named, the rest of all updates is only checked, and the caller starts once more without
the unusable ones.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from fedpact.artifacts.weights import Layout
from fedpact.errors import BlockMismatch, BlockMissing, InvalidDag
from fedpact.rules.rule import Rule
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid
from fedpact.store.unixfs import Dag, File, add_leaf, add_nodes, leaf_count

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """What makes an update unusable.

    Attributes:
        reason: a `Reason` of the manifest.
        detail: what was found, for a person.
    """

    reason: str
    detail: str


@dataclass(slots=True)
class Outcome:
    """What came of one pass.

    Attributes:
        model: the model's DAG; none where an update was unusable.
        faults: the first fault of each unusable update, by its place; a missing block before all others.
        missing: the error for each update with a block that the store lacks or has damaged.
    """

    model: Dag | None = None
    faults: dict[int, Fault] = field(default_factory=dict)
    missing: dict[int, BlockMissing | BlockMismatch] = field(default_factory=dict)


def aggregate(
    layout: Layout,
    rule: Rule,
    updates: Sequence[File],
    samples: Sequence[int],
    *,
    into: Blocks,
    threads: int = 1,
) -> Outcome:
    """Makes a model of updates.

    Args:
        layout: that of every update.
        updates: K files of `layout.size` bytes, in the order of the ledger's indexes.
        samples: K positive integers.
        into: where the model's leaves and nodes are put.
        threads: leaves that are worked on at once. The result does not depend on it.

    Raises:
        StoreError: a store cannot answer or keep a block.
    """
    outcome = Outcome()
    faults: list[tuple[int, int, Fault]] = []

    def leaf(index: int) -> Cid | None:
        blocks = []
        for place, update in enumerate(updates):
            try:
                data = update.leaf(index)
            except (BlockMissing, BlockMismatch) as error:
                outcome.missing.setdefault(place, error)
                continue
            except InvalidDag as error:
                faults.append((place, index, Fault("malformed", str(error))))
                continue
            fault = _fault(layout, index, data)
            if fault is not None:
                faults.append((place, index, fault))
            blocks.append(data)
        if faults or outcome.missing:
            return None
        return add_leaf(into, _combine(layout, rule, index, blocks, samples))

    leaves = list(_in_order(leaf, leaf_count(layout.size), threads))
    made = [cid for cid in leaves if cid is not None]
    if len(made) == len(leaves):
        outcome.model = add_nodes(into, made, layout.size)
    for place, _, fault in sorted(faults, key=lambda found: found[:2]):
        outcome.faults.setdefault(place, fault)
    return outcome


def _combine(layout: Layout, rule: Rule, index: int, blocks: Sequence[bytes], samples: Sequence[int]) -> bytes:
    header = layout.header_in(index)
    pieces = [header]
    for run in layout.runs(index):
        arrays = [
            np.frombuffer(block, run.dtype, (run.stop - run.start) // run.dtype.itemsize, run.start) for block in blocks
        ]
        pieces.append(rule.combine(arrays, samples).tobytes())
    return b"".join(pieces)


def _fault(layout: Layout, index: int, block: bytes) -> Fault | None:
    """What is wrong with a verified leaf, if anything is."""
    header = layout.header_in(index)
    if block[: len(header)] != header:
        return Fault("wrong_header", "names, shapes or dtypes are not those that the charter fixes")
    for run in layout.runs(index):
        values = np.frombuffer(block, run.dtype, (run.stop - run.start) // run.dtype.itemsize, run.start)
        finite = np.isfinite(values)
        if not finite.all():
            first = int(np.argmin(finite))
            where = layout.element(index, run.start + first * run.dtype.itemsize)
            return Fault("not_finite", f"{where} is {values[first]}")
    return None


def _in_order(work: Callable[[int], T], count: int, threads: int) -> Iterator[T]:
    """`work(0)`, `work(1)`, … on several threads, in order, a few ahead of the reader."""
    if threads == 1 or count == 1:
        yield from map(work, range(count))
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="aggregate") as pool:
        ahead: collections.deque[Future[T]] = collections.deque()
        try:
            for index in range(count):
                ahead.append(pool.submit(work, index))
                if len(ahead) > threads + 1:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
