"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name. It is synced and renamed when the context ends, and removed if that is an error.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)  # Of a process that is no more, or put in the way by somebody.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def continuing(path: Path) -> Iterator[int]:
    """As `replacing`, but an error leaves what was written, if anything was, and the next time it is there again.

    Yields:
        The descriptor of the file under its temporary name, to read and to write. Nobody says that what is in it is
        right: a power cut may have left anything.

    Raises:
        OSError: it cannot be written, or another process is writing it.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    partial = path.with_name(f".{path.name}.partial")
    descriptor = _open_alone(partial)
    try:
        yield descriptor
        os.fsync(descriptor)
        partial.replace(path)
    except BaseException:
        if os.fstat(descriptor).st_size == 0:
            partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a whole file as `replacing` does.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    with replacing(path) as file:
        file.write(data)


def _open_alone(path: Path) -> int:
    """Opens a file, made if need be, that no other process has opened so.

    One that belongs to somebody else, or has another name besides, could be altered by others: it is made anew.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    anew = 0
    while True:
        descriptor = os.open(path, flags | anew, 0o666)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EEXIST, f"{path.name} is in the way, and is not a file")
            if not anew and (found.st_uid != os.geteuid() or found.st_nlink > 1):
                path.unlink(missing_ok=True)
                os.close(descriptor)
                anew = os.O_EXCL
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.lstat()):
                    return descriptor
            os.close(descriptor)  # Who had it has just renamed or removed it.
        except BlockingIOError:
            os.close(descriptor)
            raise OSError(errno.EBUSY, f"another process is writing it, as {path.name}") from None
        except BaseException:
            os.close(descriptor)
            raise


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
