"""What a server optimiser remembers, as artifacts: one file of weights for each of its moments.

A moment has a number for every floating-point element of the model: float64 for those of F64 tensors, float32 for all
narrower ones. Its file has them in the order of the model's file, in at most two tensors, `f64` and `f32`. So what
belongs to a leaf of the model is a few spans of each file: a state is read and written block by block, as a model is.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from fedpact.artifacts.dtypes import DTYPES, Dtype, Floats
from fedpact.artifacts.weights import Layout, Run, Tensor
from fedpact.errors import ContentError, InvalidStart
from fedpact.rules.optimiser import Optimiser
from fedpact.store.blocks import Blocks, Discard
from fedpact.store.cid import Cid
from fedpact.store.transfer import Ahead
from fedpact.store.unixfs import LEAF, File, add_leaf, add_nodes, open_file

_WIDE, _NARROW = DTYPES["F64"], DTYPES["F32"]
_CACHED = 8
"""Leaves of a moment that are kept: the next leaf of the model begins in the middle of one."""
_AHEAD = 4
"""Leaves of a moment in a distant store that are on their way."""


def layout_for(model: Layout) -> Layout:
    """The layout of each moment of a model.

    Raises:
        InvalidWeights: the model has no floating-point elements, or more than a tensor can have.
    """
    counts: dict[str, int] = {}
    for name, dtype in DTYPES.items():
        if dtype.is_float:
            kept = _kept_as(dtype).name
            counts[kept] = counts.get(kept, 0) + model.count(name)
    return Layout(Tensor(name.lower(), name, (count,)) for name, count in counts.items() if count)


class Moments:
    """An optimiser's moments in a store, as `fedpact.rules.engine.Memory`.

    Args:
        model: the model's layout.
        optimiser: whose moments they are.
        before: the file of each moment; none where they are what they are at first.
        into: where the new ones are put.
        whole: whether all of them are read, so that those of a distant store can be on their way before.
    """

    def __init__(
        self,
        model: Layout,
        optimiser: Optimiser,
        before: Mapping[str, File] | None,
        into: Blocks,
        *,
        whole: bool = True,
    ) -> None:
        self._optimiser = optimiser
        self._before = None if before is None else [_Reader(name, before[name], whole) for name in optimiser.moments]
        self._layout = layout_for(model)
        self._starts: dict[str, int] = {}
        position = len(self._layout.header)
        for name, dtype in DTYPES.items():
            if dtype.is_float:
                self._starts[name] = position
                position += model.count(name) * _kept_as(dtype).itemsize
        self._after = [_Writer(self._layout, into) for _ in optimiser.moments]

    def __enter__(self) -> Moments:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what reads ahead."""
        for reader in self._before or ():
            reader.close()

    def read(self, run: Run) -> list[Floats]:
        """Each moment of a run's elements, from before.

        Raises:
            BlockMissing: the store does not have a block.
            InvalidStart: a file is not what it should be.
        """
        kept = _kept_as(run.dtype)
        start, stop = self._span(run)
        if self._before is None:
            return [np.full((stop - start) // kept.itemsize, value, kept.stored) for value in self._optimiser.initial]
        return [reader.read(start, stop, kept) for reader in self._before]

    def write(self, run: Run, moments: Sequence[Floats]) -> None:
        """Takes the new values of a run; runs come in the order of the file.

        Raises:
            StoreError: the store cannot keep a block.
        """
        for writer, values in zip(self._after, moments, strict=True):
            writer.write(values.tobytes())

    def finish(self) -> Mapping[str, Cid | None]:
        """The address of each moment, once all runs were written.

        Raises:
            StoreError: the store cannot keep a block.
        """
        return {name: writer.finish() for name, writer in zip(self._optimiser.moments, self._after, strict=True)}

    def _span(self, run: Run) -> tuple[int, int]:
        """Where a run's elements lie in the file of a moment."""
        kept = _kept_as(run.dtype)
        start = self._starts[run.dtype.name] + run.first * kept.itemsize
        return start, start + (run.stop - run.start) // run.dtype.itemsize * kept.itemsize


class ComparedMoments(Moments):
    """Moments of which some elements are derived, and compared with those that were published.

    Args:
        published: the files of the moments that were published, as far as there are any.
    """

    def __init__(
        self, model: Layout, optimiser: Optimiser, before: Mapping[str, File] | None, published: Mapping[str, File]
    ) -> None:
        super().__init__(model, optimiser, before, Discard(), whole=False)
        self._agreeing = dict(published)

    def write(self, run: Run, moments: Sequence[Floats]) -> None:
        """Compares the values of a run; runs come in any order.

        Raises:
            BlockMissing: the store does not have a block.
            InvalidStart: a file is not what it should be.
        """
        start, stop = self._span(run)
        for name, values in zip(self._optimiser.moments, moments, strict=True):
            file = self._agreeing.get(name)
            if file is None:
                continue
            try:
                same = file.span(start, stop) == values.tobytes()
            except ContentError as error:
                raise _invalid(name, file.root, str(error)) from None
            if not same:
                del self._agreeing[name]

    def finish(self) -> Mapping[str, Cid | None]:
        """The published address of each moment of which all compared elements agree; none of the others."""
        agreeing = self._agreeing
        return {name: agreeing[name].root if name in agreeing else None for name in self._optimiser.moments}


def open_moment(blocks: Blocks, name: str, root: Cid, model: Layout) -> File:
    """Opens the file of a moment.

    Args:
        name: the moment's.
        model: the model's layout.

    Raises:
        BlockMissing: the store does not have a block.
        InvalidStart: it is no file of a moment of such a model.
    """
    layout = layout_for(model)
    try:
        file = open_file(blocks, root, layout.size)
        header = file.span(0, len(layout.header))
    except ContentError as error:
        raise _invalid(name, root, str(error)) from None
    if header != layout.header:
        raise _invalid(name, root, "its header is not that of a moment of this model")
    return file


class _Reader:
    """A moment's file."""

    def __init__(self, name: str, file: File, whole: bool) -> None:
        self._name = name
        self._root = file.root
        self._ahead = Ahead(file.leaf, range(len(file.leaves)), _AHEAD if whole and file.distant else 0)
        self._leaf = functools.lru_cache(_CACHED)(self._ahead.take)

    def close(self) -> None:
        """Ends what reads ahead."""
        self._ahead.close()

    def read(self, start: int, stop: int, dtype: Dtype) -> Floats:
        """The elements in bytes `start` to `stop`, which are not none. Raises as `Moments.read`."""
        first, last = start // LEAF, (stop - 1) // LEAF
        try:
            data = b"".join(self._leaf(index) for index in range(first, last + 1))
        except ContentError as error:
            raise _invalid(self._name, self._root, str(error)) from None
        values = np.frombuffer(data, dtype.stored, (stop - start) // dtype.itemsize, start - first * LEAF)
        if not np.isfinite(values).all():
            raise _invalid(self._name, self._root, "it has values that are not finite")
        return values


class _Writer:
    """Cuts what is written into the leaves of a file."""

    def __init__(self, layout: Layout, into: Blocks) -> None:
        self._into = into
        self._size = layout.size
        self._pending = bytearray(layout.header)
        self._leaves: list[Cid] = []

    def write(self, data: bytes) -> None:
        self._pending += data
        while len(self._pending) >= LEAF:
            self._leaves.append(add_leaf(self._into, bytes(self._pending[:LEAF])))
            del self._pending[:LEAF]

    def finish(self) -> Cid:
        if self._pending:
            self._leaves.append(add_leaf(self._into, bytes(self._pending)))
        return add_nodes(self._into, self._leaves, self._size).root


def _kept_as(dtype: Dtype) -> Dtype:
    """What a moment of an element is kept as."""
    return _WIDE if dtype == _WIDE else _NARROW


def _invalid(name: str, root: Cid, found: str) -> InvalidStart:
    return InvalidStart(f"state, {name}", str(root), found)
