"""A file of this machine as leaves, to be stored."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedpact.store.unixfs import LEAF, leaf_size


@contextmanager
def leaves_of(path: Path) -> Iterator[tuple[Callable[[int], bytes], int]]:
    """What reads its leaves by their index, from any thread and for as long as the context lasts, and its bytes.

    Raises:
        OSError: it cannot be read, is no file, or has grown or shrunk meanwhile.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # Not to wait for a pipe, if it is one.
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a file")
        size = status.st_size

        def leaf(index: int) -> bytes:
            data = os.pread(descriptor, leaf_size(size, index), index * LEAF)
            while len(data) < leaf_size(size, index):
                more = os.pread(descriptor, leaf_size(size, index) - len(data), index * LEAF + len(data))
                if not more:
                    raise OSError(0, f"expected {size} bytes, found {index * LEAF + len(data)}")
                data += more
            return data

        yield leaf, size
        if os.fstat(descriptor).st_size != size:
            raise OSError(0, f"expected {size} bytes, found {os.fstat(descriptor).st_size}")
    finally:
        os.close(descriptor)
