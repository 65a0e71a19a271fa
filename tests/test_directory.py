"""The store in a directory: what goes wrong on a disk, who else is writing, and where a block lies."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fedpact.errors import BlockMissing, StoreError
from fedpact.store import Cid, DirectoryBlocks, fetch, keep

DATA = b"what a silo trained"
CID = Cid.of(DATA)


# --------------------------------------------------------------------------------------------------------------- faults


class FullDisk(io.FileIO):
    """A file on a disk that has room for half of what is written."""

    def write(self, data: Any, /) -> int:
        super().write(memoryview(data)[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_space(*_: object, **__: object) -> None:
    """Any call to the system, on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def full_disk(where: str) -> Iterator[None]:
    """A disk that turns out to be full when a block is written, synced or renamed."""
    with pytest.MonkeyPatch.context() as patch:
        if where == "write":
            opened = Path.open
            patch.setattr(Path, "open", lambda self, mode: FullDisk(self, mode) if "x" in mode else opened(self, mode))
        elif where == "sync":
            patch.setattr(os, "fsync", no_space)
        elif where == "rename":
            patch.setattr(Path, "replace", no_space)
        else:
            patch.setattr(Path, "mkdir", no_space)
        yield


def files_below(directory: Path) -> list[Path]:
    """Every file in a directory and below it."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("where", ["directory", "write", "sync", "rename"])
@pytest.mark.parametrize("before", [None, b"damaged"], ids=["nothing before", "a block before"])
def test_a_full_disk_fails_with_its_reason_and_leaves_no_half_block(
    tmp_path: Path, where: str, before: bytes | None
) -> None:
    """Wherever the disk turns out to be full: one line with the reason, nothing new on the disk, and later it works."""
    blocks = DirectoryBlocks(tmp_path)
    if before is not None:
        blocks.put(CID, before)
        blocks.close()  # Takes away the directory for what is half written, so that one has to be made again.
    files = files_below(tmp_path)
    with full_disk(where), pytest.raises(StoreError, match="No space left on device") as caught:
        keep(blocks, CID, DATA)
    assert not isinstance(caught.value, BlockMissing)
    assert str(CID) in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert files_below(tmp_path) == files
    assert blocks.has(CID) == (before is not None)
    if before is not None:
        assert blocks.get(CID) == before
    keep(blocks, CID, DATA)
    assert fetch(blocks, CID) == DATA


def test_a_directory_that_cannot_be_made_fails_with_its_reason(tmp_path: Path) -> None:
    """A store in the place of a file cannot keep anything, has nothing, and says why."""
    (tmp_path / "file").write_bytes(b"")
    blocks = DirectoryBlocks(tmp_path / "file")
    assert not blocks.has(CID)
    with pytest.raises(StoreError, match=r"cannot write to .*file: (Not a directory|File exists)"):
        blocks.put(CID, DATA)
    with pytest.raises(StoreError, match="Not a directory"):
        blocks.get(CID)
    blocks.close()


def test_a_directory_that_cannot_be_looked_into_is_a_store_error(tmp_path: Path) -> None:
    """A name that the file system refuses is a `StoreError` from every function, never a bare OSError."""
    blocks = DirectoryBlocks(tmp_path / ("long" * 100))
    for call in (blocks.has, blocks.get, lambda cid: blocks.put(cid, DATA), lambda cid: keep(blocks, cid, DATA)):
        with pytest.raises(StoreError, match="File name too long"):
            call(CID)


def test_a_block_that_cannot_be_read_fails_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails under a block is a `StoreError`, not a missing block, as if nobody had stored it."""
    blocks = DirectoryBlocks(tmp_path)
    blocks.put(CID, DATA)

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "read", failing)
    with pytest.raises(StoreError, match=r"cannot read .*: Input/output error") as caught:
        fetch(blocks, CID)
    assert not isinstance(caught.value, BlockMissing)


# Writes one block and stops for ever in the middle of a second, when its bytes are written but not yet renamed.
WRITER = """
import os, stat, sys
from pathlib import Path
from fedpact.store import Cid, DirectoryBlocks
blocks = DirectoryBlocks(Path(sys.argv[1]))
blocks.put(Cid.of(b"first"), b"first")
def stop(descriptor):
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        print("writing", flush=True)
        sys.stdin.read()
os.fsync = stop
blocks.put(Cid.of(b"second"), b"second")
"""


@contextmanager
def stopped_writer(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is in the middle of writing a block."""
    command = [sys.executable, "-c", WRITER, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"writing\n"
            yield process
        finally:
            process.kill()


def test_a_killed_writer_leaves_no_half_block_and_close_cleans_up_after_the_dead_only(tmp_path: Path) -> None:
    """What a process was writing when it was killed is not under `blocks`, and goes from `partial` once it is dead."""
    blocks = DirectoryBlocks(tmp_path)
    with stopped_writer(tmp_path) as process:
        [partial] = (tmp_path / "partial").iterdir()
        assert partial.read_bytes() == b"second"
        assert not blocks.has(Cid.of(b"second"))
        blocks.close()
        assert partial.exists(), "the file of a process that runs was removed"
        process.kill()
        process.wait(timeout=60)
        assert not blocks.has(Cid.of(b"second"))
        assert fetch(blocks, Cid.of(b"first")) == b"first"
        keep(blocks, Cid.of(b"second"), b"second")
        assert partial.exists(), "writing cleaned up what is not its own"
    blocks.close()
    assert len(files_below(tmp_path)) == 2
    assert all(path.is_relative_to(tmp_path / "blocks") for path in files_below(tmp_path))
    assert fetch(blocks, Cid.of(b"second")) == b"second"


def test_close_keeps_the_files_of_a_process_that_belongs_to_someone_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that may not be signalled runs, so its files stay."""

    def not_allowed(process: int, signal: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "kill", not_allowed)
    partial = tmp_path / "partial" / "1-7f00-1"
    partial.parent.mkdir()
    partial.write_bytes(b"half")
    DirectoryBlocks(tmp_path).close()
    assert partial.exists()


@pytest.mark.parametrize("name", ["junk", "-", "²-1-1", "9" * 30 + "-1-1", ".hidden"])
def test_close_removes_what_belongs_to_no_process(tmp_path: Path, name: str) -> None:
    """A file in `partial` whose name is that of no process goes, however odd the name is."""
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / name).write_bytes(b"half")
    DirectoryBlocks(tmp_path).close()
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("step", ["open", "replace"])
def test_close_does_not_disturb_another_store_that_is_writing(tmp_path: Path, step: str) -> None:
    """A store may close just before another one opens or renames its file: the block is kept all the same."""
    first, second = DirectoryBlocks(tmp_path), DirectoryBlocks(tmp_path)
    unpatched = getattr(Path, step)
    closed: list[Path] = []

    def after_a_close(self: Path, argument: object) -> object:
        if not closed:
            closed.append(self)
            second.close()
        return unpatched(self, argument)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, step, after_a_close)
        first.put(CID, DATA)
    assert len(closed) == 1
    assert fetch(first, CID) == DATA
    first.close()
    assert len(files_below(tmp_path)) == 1


# ---------------------------------------------------------------------------------------------------------------- shape


def test_nothing_is_made_before_the_first_block(tmp_path: Path) -> None:
    """Looking into a directory that is not there does not make it, and closing it neither."""
    blocks = DirectoryBlocks(tmp_path / "store")
    assert not blocks.has(CID)
    blocks.close()
    assert list(tmp_path.iterdir()) == []


def test_a_block_is_a_file_in_its_shard(tmp_path: Path) -> None:
    """A block lies under its address, in the directory named by the two characters before the last, as its bytes."""
    DirectoryBlocks(tmp_path).put(CID, DATA)
    text = str(CID)
    assert files_below(tmp_path) == [tmp_path / "blocks" / text[56:58] / text]
    assert (tmp_path / "blocks" / text[56:58] / text).read_bytes() == DATA


def test_blocks_spread_over_shards(tmp_path: Path) -> None:
    """No directory grows with all blocks: 200 blocks lie in more than 100 shards."""
    blocks = DirectoryBlocks(tmp_path, sync=False)
    for number in range(200):
        blocks.put(Cid.of(number.to_bytes(2)), number.to_bytes(2))
    assert len(list((tmp_path / "blocks").iterdir())) > 100


@pytest.mark.parametrize("sync", [True, False])
def test_nothing_is_left_in_partial(tmp_path: Path, sync: bool) -> None:
    """After a write nothing lies in `partial`, and after closing `partial` is gone."""
    blocks = DirectoryBlocks(tmp_path, sync=sync)
    blocks.put(CID, DATA)
    assert list((tmp_path / "partial").iterdir()) == []
    blocks.close()
    assert [path.name for path in tmp_path.iterdir()] == ["blocks"]


def test_another_store_on_the_directory_finds_the_blocks(tmp_path: Path) -> None:
    """What one process put the next one finds; a closed store can be used again."""
    first = DirectoryBlocks(tmp_path)
    first.put(CID, DATA)
    first.close()
    assert fetch(DirectoryBlocks(tmp_path), CID) == DATA
    first.put(Cid.of(b"later"), b"later")
    assert fetch(DirectoryBlocks(tmp_path), Cid.of(b"later")) == b"later"


@pytest.mark.parametrize(("sync", "expected"), [(True, ["file", "directory"]), (False, [])])
def test_a_block_is_synced_before_and_after_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool, expected: list[str]
) -> None:
    """The bytes reach the disk before the name does, and the name before `put` returns; or nothing is synced."""
    blocks = DirectoryBlocks(tmp_path, sync=sync)
    path = blocks.directory / "blocks" / str(CID)[56:58] / str(CID)
    path.parent.mkdir(parents=True)  # Or it would be synced when it is made.
    synced = []

    def spy(descriptor: int) -> None:
        is_file = os.fstat(descriptor).st_ino not in {
            each.stat().st_ino for each in tmp_path.rglob("*") if each.is_dir()
        }
        synced.append("file" if is_file else "directory")
        assert path.exists() is not is_file

    monkeypatch.setattr(os, "fsync", spy)
    blocks.put(CID, DATA)
    assert synced == expected
