"""Files from a store to the disk, leaf by leaf, each verified before it is written.

A download that was cut off, at any moment, is continued by the next one to the same path: what it left beside that path
is hashed, and what is right is not fetched again. Nothing is taken over for having been there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fedpact.files import continuing
from fedpact.store.cid import Cid
from fedpact.store.transfer import in_order
from fedpact.store.unixfs import HASHING, LEAF, File, leaf_size


def download(file: File, path: Path, check: Callable[[int, bytes], None] = lambda index, leaf: None) -> int:
    """Writes a whole file.

    Args:
        check: called with each leaf, from any thread; what it raises ends the download.

    Returns:
        Bytes that were on the disk already.

    Raises:
        BlockMissing, BlockMismatch, InvalidDag: a leaf cannot be read.
        OSError: the file cannot be written, or another process is writing it.
    """
    with continuing(path) as descriptor:
        there = os.fstat(descriptor).st_size

        def is_right(index: int) -> bool:
            leaf = os.pread(descriptor, leaf_size(file.size, index), index * LEAF)
            if len(leaf) != leaf_size(file.size, index) or Cid.of(leaf) != file.leaves[index]:
                return False
            check(index, leaf)
            return True

        old = range(min(-(-there // LEAF), len(file.leaves)))
        with closing(in_order(is_right, old, HASHING)) as found:
            right = {index for index, it_is in zip(old, found, strict=True) if it_is}
        missing = [index for index in range(len(file.leaves)) if index not in right]
        with closing(file.each(missing)) as leaves:
            for index, leaf in zip(missing, leaves, strict=True):
                check(index, leaf)
                _write(descriptor, leaf, index * LEAF)
        os.ftruncate(descriptor, file.size)
    return sum(leaf_size(file.size, index) for index in right)


def _write(descriptor: int, data: bytes, at: int) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], at + written)
