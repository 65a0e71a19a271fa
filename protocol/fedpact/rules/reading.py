"""What one pass over all updates reads: which leaves, in which order, the next ones ahead of those that work.

Where a leaf is the same in all updates, one of them is read. Nothing here looks into a leaf.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol

from fedpact.errors import StoreError
from fedpact.store.blocks import is_distant
from fedpact.store.transfer import AT_ONCE, Ahead

_BASE = -1  # The place of the base among the files that are read.


class Readable(Protocol):
    """A file of weights; `fedpact.store.unixfs.File` is one. It may say that it is distant, as that one can."""

    def address(self, index: int) -> Hashable:
        """What equals another's only where the leaves are the same."""
        ...

    def leaf(self, index: int) -> bytes:
        """A leaf, verified.

        Raises:
            BlockMissing, BlockMismatch: it cannot be read.
            InvalidDag: it is no leaf of such a file.
        """
        ...


class Reading:
    """The leaves of a pass, as a context. What it gives is asked for from any thread, about in the order of indexes.

    Args:
        updates: K files.
        base: the model that they were trained from, where it is known.
        places: the updates that are read.
        indexes: the leaves.
        readers: threads that read leaves of one index side by side; those of a distant store are more in any case.
        compared: whether leaves that are equal are compared with the base's, too.
        needs_base: whether the base's are read.
        but_equal: whether the base's are not read where all are equal.
    """

    def __init__(
        self,
        updates: Sequence[Readable],
        base: Readable | None,
        places: Sequence[int],
        indexes: Sequence[int],
        *,
        readers: int,
        compared: bool,
        needs_base: bool,
        but_equal: bool = False,
    ) -> None:
        self._updates, self._base, self._places, self._indexes = updates, base, places, indexes
        self._compared, self._needs_base, self._but_equal = compared, needs_base and base is not None, but_equal
        threads, most = (readers, len(places)) if readers > 1 else (0, 0)
        if any(map(is_distant, (*updates, base))):
            threads = most = AT_ONCE
        self._ahead = Ahead(self._read, self._wanted(), threads, most=most)

    def groups(self, index: int) -> list[Sequence[int]]:
        """The updates that are read by their leaf: all together where it has one address, else each by itself. Where
        none is read, the model is made of the base alone."""
        equal = len({self._updates[place].address(index) for place in self._places}) == 1
        return [self._places] if equal else [(place,) for place in self._places]

    def equal(self, index: int) -> bool:
        """Whether a leaf is the same in all updates, and in the base where that is compared."""
        if len(self.groups(index)) != 1:
            return False
        first = self._updates[self._places[0]]
        return not self._compared or self._base is None or self._base.address(index) == first.address(index)

    def update(self, place: int, index: int) -> bytes:
        """A leaf of the first update of a group. Raises as `Readable.leaf`."""
        return self._ahead.take((place, index))

    def base(self, index: int) -> bytes:
        """A leaf of the base.

        Raises:
            StoreError: there is no base; and as `Readable.leaf`.
        """
        return self._ahead.take((_BASE, index))

    def without_base(self, index: int) -> None:
        """Says that a leaf of the base is not wanted after all."""
        self._ahead.drop((_BASE, index))

    def _read(self, key: tuple[int, int]) -> bytes:
        place, index = key
        file = self._base if place == _BASE else self._updates[place]
        if file is None:
            raise StoreError("the base model: needed, and not given")
        return file.leaf(index)

    def _wanted(self) -> Iterator[tuple[int, int]]:
        """What is read if nothing is wrong, in this order."""
        for index in self._indexes:
            yield from ((group[0], index) for group in self.groups(index))
            if self._needs_base and not (self._but_equal and self.equal(index)):
                yield _BASE, index

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ahead.__exit__(kind)
