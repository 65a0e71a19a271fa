"""Order statistics of K updates, element by element.

Up to 16 updates pass through a sorting network of element-wise minimum and maximum: Batcher's odd-even merge sort, of
which only those comparators are kept that the wanted ranks depend on. Beyond that, the elements are transposed and
sorted along their contiguous axis, which numpy does with vector instructions. Both give the same bits: an order has
no rounding. Negative zeros count as positive ones, so there are no two equal values with different bits.

Source: Batcher, "Sorting networks and their applications" (1968); for any K: Knuth, TAOCP volume 3, algorithm 5.2.2M.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedpact.rules.rule import PIECE

Kind = TypeVar("Kind", bound=np.number[Any])

_NETWORK = 16  # Updates up to which a network is faster than sorting.
_TRANSPOSED = 1 << 13
"""Elements of many updates that are transposed and sorted in a core's cache."""

_APART = 16
"""Elements between updates that are transposed: a power of two from one to the next would put all of them into the same
few lines of a core's cache."""


def piece_for(count: int) -> int:
    """Elements of so many updates that `ranked` is best given at once."""
    return PIECE if count <= _NETWORK else _TRANSPOSED


def sees_all(count: int) -> bool:
    """Whether `ranked` of so many updates shows what is not finite in any of them, so that nobody has to look first."""
    return count > _NETWORK


def ranked(updates: Sequence[NDArray[Kind]], ranks: range) -> list[NDArray[Kind]]:
    """Order statistics.

    Args:
        updates: K arrays of shape (n,) and one dtype; n is best at most `piece_for(K)`. Where an element of any of them
            is not finite, all its order statistics are NaN if `sees_all(K)`; otherwise they must be finite.
        ranks: which order statistics in a row, from 0 (the smallest).

    Returns:
        For each rank an array of shape (n,), which the caller may overwrite.
    """
    count, dtype = len(updates), updates[0].dtype
    if count <= _NETWORK:
        # Adding zero copies, and makes a negative zero positive.
        rows: list[NDArray[Kind]] = [np.add(update, dtype.type(0)) for update in updates]
        return _pass(rows, _network(count, ranks), ranks)
    length = len(updates[0])
    lines = np.stack(updates, out=np.empty((count, length + _APART), dtype)[:, :length])
    columns = np.ascontiguousarray(lines.T)
    del lines
    columns.sort(axis=1)
    # As rows again, with a negative zero made positive.
    found: NDArray[Kind] = np.add(columns[:, ranks.start : ranks.stop].T, dtype.type(0), order="C")
    if dtype.kind == "f":
        # What is not finite is sorted to one of the ends.
        found[:, ~(np.isfinite(columns[:, 0]) & np.isfinite(columns[:, -1]))] = np.nan
    return list(found)


def _pass(
    rows: list[NDArray[Kind]], network: Sequence[tuple[int, int, bool, bool]], ranks: range
) -> list[NDArray[Kind]]:
    spare = np.empty_like(rows[0])
    for low, high, least, greatest in network:
        if least and greatest:
            np.minimum(rows[low], rows[high], out=spare)
            np.maximum(rows[low], rows[high], out=rows[high])
            rows[low], spare = spare, rows[low]
        elif least:
            np.minimum(rows[low], rows[high], out=rows[low])
        else:
            np.maximum(rows[low], rows[high], out=rows[high])
    return [rows[rank] for rank in ranks]


@functools.cache
def _network(count: int, ranks: range) -> list[tuple[int, int, bool, bool]]:
    """The comparators that lead to some ranks: two rows, and whether the smaller and the greater value are needed."""
    needed = set(ranks)
    kept: list[tuple[int, int, bool, bool]] = []
    for low, high in reversed(list(_batcher(count))):
        least, greatest = low in needed, high in needed
        if least or greatest:
            kept.append((low, high, least, greatest))
            needed |= {low, high}
    return kept[::-1]


def _batcher(count: int) -> Iterator[tuple[int, int]]:
    """Comparators that sort any K rows."""
    top = 1 << max(0, (count - 1).bit_length() - 1)
    step = top
    while step > 0:
        merge, offset, distance = top, 0, step
        while True:
            for low in range(count - distance):
                if low & step == offset:
                    yield low, low + distance
            if merge == step:
                break
            distance, merge, offset = merge - step, merge >> 1, step
        step >>= 1
