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
from fedpact.store.transfer import at_once, in_order
from fedpact.store.unixfs import LEAF, File, leaf_size


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
    kept = 0
    with continuing(path) as descriptor:

        def missing(index: int) -> bytes | None:
            there = os.pread(descriptor, leaf_size(file.size, index), index * LEAF)
            found = len(there) == leaf_size(file.size, index) and Cid.of(there) == file.leaves[index]
            leaf = there if found else file.leaf(index)
            check(index, leaf)
            return None if found else leaf

        with closing(in_order(missing, range(len(file.leaves)), at_once(file))) as leaves:
            for index, leaf in enumerate(leaves):
                if leaf is None:
                    kept += leaf_size(file.size, index)
                else:
                    _write(descriptor, leaf, index * LEAF)
        os.ftruncate(descriptor, file.size)
    return kept


def _write(descriptor: int, data: bytes, at: int) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], at + written)
