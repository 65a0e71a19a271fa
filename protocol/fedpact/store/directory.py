"""Blocks in a directory: one file a block, in shards, whole or not there.

    DIRECTORY/blocks/fu/bafkrei…fuy     named by address, sharded by the two characters before the last
    DIRECTORY/pins/bafkrei…fuy          an empty file for each root that is pinned
    DIRECTORY/partial/…                 files being written; nothing reads them

A block is written under `partial/`, synced, then renamed; so a process that dies at any point leaves no half block
under an address. What it leaves in `partial/` the next `close` of a store on the directory removes. What no pin
reaches stays until somebody collects it (`collecting`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from fedpact.errors import BlockMissing, InvalidCid, StoreError
from fedpact.store.blocks import MAX_BLOCK
from fedpact.store.cid import Cid
from fedpact.store.pins import check_whole

_PATIENCE = 30.0  # Seconds that the pins may be locked by others.

_TRIES = 9  # And then one more. Where many close at once, it may happen several times in a row.


class DirectoryBlocks:
    """Keeps blocks as files.

    Args:
        directory: where; it is made when the first block is written.
        sync: whether a block is on the disk, not only in the system's cache, before `put` returns. Without it a power
            cut may lose blocks, but a killed process does not.
    """

    def __init__(self, directory: Path, *, sync: bool = True) -> None:
        self.directory = directory
        self._sync = sync
        self._lock = threading.Lock()
        self._written = 0

    def get(self, cid: Cid) -> bytes:
        path = self._path(cid)
        try:
            # Not to wait for a pipe, if it is one.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise StoreError(f"block {cid}: {path} is not a file")
                length = min(status.st_size, MAX_BLOCK + 1)
                data = os.read(descriptor, length)
                while len(data) < length and (more := os.read(descriptor, length - len(data))):
                    data += more
                return data
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise BlockMissing(str(cid), str(self.directory)) from None
        except OSError as error:
            raise StoreError(f"block {cid}: cannot read {path}: {error.strerror}") from error

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        path = self._path(cid)
        try:
            for _ in range(_TRIES):
                try:
                    self._write(path, data)
                    return
                except (FileNotFoundError, FileExistsError):  # Another that closed has just cleaned up: once more.
                    continue
            self._write(path, data)
        except OSError as error:
            raise StoreError(f"block {cid}: cannot write to {self.directory}: {error.strerror}") from error

    def keep(self, cid: Cid, data: bytes | bytearray) -> bool:
        """As `fedpact.store.keep`. One that is there counts as written now: who collects leaves it for the grace."""
        with contextlib.suppress(BlockMissing, OSError):  # It has just gone, or is another user's: it is written again.
            if self.has(cid):
                os.utime(self._path(cid))
                if self.get(cid) == data:
                    return False
        self.put(cid, data)
        return True

    def has(self, cid: Cid) -> bool:
        try:
            return stat.S_ISREG(self._path(cid).stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StoreError(f"block {cid}: cannot look into {self.directory}: {error.strerror}") from error

    def pin(self, root: Cid) -> None:
        """As `Pins.pin`. One that is there is renewed: whoever was about to let it go leaves it."""
        check_whole(self, root, str(self.directory))
        path, created, now = self._pins / str(root), False, 0
        try:
            try:
                with self.locked(fcntl.LOCK_SH):
                    now = time.time_ns()
                    with contextlib.suppress(FileExistsError):
                        path.touch(exist_ok=False)
                        created = True
                    os.utime(path, ns=(now, now))
                    if self._sync:
                        _sync_directory(self._pins)
            except OSError as error:
                raise StoreError(f"pin {root}: cannot write to {self.directory}: {error.strerror}") from error
            check_whole(self, root, str(self.directory))  # What was collected before the pin could be seen.
        except BaseException:
            if created:
                self.release(root, now)  # Unless another has pinned it since, and all was there.
            raise

    def unpin(self, root: Cid) -> None:
        try:
            (self._pins / str(root)).unlink(missing_ok=True)
        except NotADirectoryError:
            pass
        except OSError as error:
            raise StoreError(f"pin {root}: cannot write to {self.directory}: {error.strerror}") from error

    def release(self, root: Cid, since: int) -> bool:
        """Unpins a root while nobody pins, unless it was pinned after a time (`pinned_at`); returns whether it did.

        Raises:
            StoreError: the directory cannot be written, or somebody keeps its pins locked.
        """
        try:
            with self.locked():
                if self.pinned_at(root) > since:
                    return False
                self.unpin(root)
                return True
        except OSError as error:
            raise StoreError(f"pin {root}: cannot write to {self.directory}: {error.strerror}") from error

    def pinned(self) -> frozenset[Cid]:
        try:
            names = os.listdir(self._pins)  # noqa: PTH208  # Names are all that is needed.
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        except OSError as error:
            raise StoreError(f"pins: cannot look into {self.directory}: {error.strerror}") from error
        found = set()
        for name in names:
            with contextlib.suppress(InvalidCid):
                found.add(Cid.parse(name))
        return frozenset(found)

    def pinned_at(self, root: Cid) -> int:
        """When a root was last pinned, in nanoseconds since the epoch by the clock here; 0 where it is not.

        Raises:
            StoreError: the directory cannot say.
        """
        try:
            return (self._pins / str(root)).stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except OSError as error:
            raise StoreError(f"pin {root}: cannot look into {self.directory}: {error.strerror}") from error

    @contextlib.contextmanager
    def locked(self, mode: int = fcntl.LOCK_EX) -> Iterator[None]:
        """Nobody pins anything in here while another collects. A collector does not keep it for long.

        Raises:
            OSError: the directory cannot be used, or somebody keeps it all the same.
        """
        if not self._pins.is_dir():
            self._pins.mkdir(parents=True, exist_ok=True)
            if self._sync:
                _sync_directory(self.directory)
        descriptor = os.open(self._pins, os.O_RDONLY | os.O_CLOEXEC)
        try:
            end = time.monotonic() + _PATIENCE
            while not _locks(descriptor, mode):
                if time.monotonic() >= end:
                    reason = f"another process has kept its pins locked for {_PATIENCE:g} seconds"
                    raise OSError(errno.EWOULDBLOCK, reason)
                time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Removes what this process, or one that no longer runs, left half written, as far as it can."""
        with contextlib.suppress(OSError):  # There is nothing, or another process is still writing there.
            for file in self._partial.iterdir():
                owner = file.name.partition("-")[0]
                if owner == str(os.getpid()) or not _runs(owner):
                    file.unlink(missing_ok=True)
            self._partial.rmdir()

    def _write(self, path: Path, data: bytes | bytearray) -> None:
        with self._lock:
            self._written += 1
            partial = self._partial / f"{os.getpid()}-{id(self):x}-{self._written}"
        for directory in (path.parent, self._partial):
            self._make(directory)
        try:
            with partial.open("xb") as file:
                file.write(data)
                if self._sync:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        if self._sync:
            _sync_directory(path.parent)

    def _make(self, directory: Path) -> None:
        """Makes a directory and those above it, where they are not there. A name in it is no more durable than its."""
        if directory.is_dir():
            return
        self._make(directory.parent)
        directory.mkdir(exist_ok=True)
        if self._sync and directory != self._partial:
            _sync_directory(directory.parent)

    @property
    def _partial(self) -> Path:
        return self.directory / "partial"

    @property
    def _pins(self) -> Path:
        return self.directory / "pins"

    def _path(self, cid: Cid) -> Path:
        text = str(cid)
        return self.directory / "blocks" / text[-3:-1] / text


def _sync_directory(path: Path) -> None:
    """Makes a rename in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locks(descriptor: int, mode: int) -> bool:
    """Takes a lock, unless somebody else has it."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _runs(process: str) -> bool:
    """Whether a process with this number runs; a name that is no number is nobody's."""
    if not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except OverflowError:
        return False
    except OSError as error:
        return error.errno == errno.EPERM
    return True
