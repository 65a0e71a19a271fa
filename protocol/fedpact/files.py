"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name. It is synced and renamed when the context ends, and removed if that is an error.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a whole file as `replacing` does.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    with replacing(path) as file:
        file.write(data)


def create(path: Path, data: bytes) -> None:
    """Writes a whole file that only its owner may read, where there is none yet. It is there as a whole or not at all.

    Raises:
        FileExistsError: there is one; it is as it was.
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # Unlike a renaming it replaces nothing.
    finally:
        partial.unlink(missing_ok=True)


def check_can_be_made(path: Path) -> None:
    """Asks whether a file could be made at a path. It is not tried: an interrupt would leave an empty one behind.

    Raises:
        OSError: it could not, and why.
    """
    try:
        path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError(errno.ENOENT, "a link that leads nowhere") from None
    if not path.parent.is_dir():
        raise OSError(errno.ENOTDIR, f"no directory {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
