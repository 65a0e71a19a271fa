"""Files that nobody ever sees half of."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fedpact.files import check_can_be_made, continuing, write_atomically


def no_space(*_: object) -> None:
    """Any call to the system, on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace")], ids=["sync", "rename"])
@pytest.mark.parametrize("before", [None, b"before"], ids=["nothing before", "a file before"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, before: bytes | None
) -> None:
    """Wherever the disk turns out to be full, the file is what it was, and nothing lies beside it."""
    path = tmp_path / "head.json"
    if before is not None:
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, no_space)
        with pytest.raises(OSError, match="No space left on device"):
            write_atomically(path, b"after")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == (
        {} if before is None else {"head.json": before}
    )
    write_atomically(path, b"after")
    assert path.read_bytes() == b"after"


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """No directory is made on the way."""
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_the_place_of_the_file_stays(tmp_path: Path) -> None:
    """A directory is not replaced by a file, and nothing lies beside it."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "taken", b"data")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("data", [b"", b"short", bytes(3 << 20)], ids=["empty", "short", "3 MiB"])
def test_what_is_written_is_there_alone(tmp_path: Path, data: bytes) -> None:
    """A file of any length is written over what was there, and no temporary file stays."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    write_atomically(path, data)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"file": data}


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
def test_a_link_in_the_place_of_the_temporary_file_is_not_written_through(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    """Whoever guesses the temporary name has no other file overwritten, and cannot alter the new one."""
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    link(tmp_path / f".file.{os.getpid()}.partial", victim)
    write_atomically(path, b"data")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"victim": b"precious", "file": b"data"}
    assert not path.is_symlink()
    assert (path.stat().st_nlink, victim.stat().st_nlink) == (1, 1)


def test_a_partial_file_with_another_name_is_made_anew(tmp_path: Path) -> None:
    """Under the other name it could be altered while it is checked: what was in it does not count."""
    other, partial = tmp_path / "other", tmp_path / ".file.partial"
    other.write_bytes(b"put there")
    partial.hardlink_to(other)
    with continuing(tmp_path / "file") as descriptor:
        assert os.fstat(descriptor).st_size == 0
        os.write(descriptor, b"data")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"other": b"put there", "file": b"data"}


def test_a_partial_file_of_somebody_else_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """He could write to it all the time. One that was just made is ours, whatever owner the file system gives it."""
    partial = tmp_path / ".file.partial"
    partial.write_bytes(b"put there")
    with partial.open("r+b") as theirs:
        monkeypatch.setattr(os, "geteuid", lambda: partial.stat().st_uid + 1)
        with continuing(tmp_path / "file") as descriptor:
            os.write(descriptor, b"data")
            theirs.write(b"more")
            theirs.flush()
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"file": b"data"}


def test_a_partial_file_of_our_own_is_continued(tmp_path: Path) -> None:
    """What was written before an error is there again."""
    (tmp_path / ".file.partial").write_bytes(b"first, ")
    with continuing(tmp_path / "file") as descriptor:
        os.lseek(descriptor, 0, os.SEEK_END)
        os.write(descriptor, b"then")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"file": b"first, then"}


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole_and_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the new bytes are on their way to the disk, the name still stands for the old ones."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    seen = []

    def spy(descriptor: int) -> None:
        seen.append((path.read_bytes(), os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", spy)
    write_atomically(path, b"after, and longer")
    assert seen == [(b"before", len(b"after, and longer"))]
    assert path.read_bytes() == b"after, and longer"


def test_whether_a_file_can_be_made_is_asked_and_not_tried(tmp_path: Path) -> None:
    """Where one is already, or could be, nothing happens; otherwise it is said why."""
    (tmp_path / "file").write_bytes(b"before")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.iterdir())
    check_can_be_made(tmp_path / "file")
    check_can_be_made(tmp_path / "new")
    for name, says in (
        ("link", "a link that leads nowhere"),
        ("none/new", "no directory"),
        ("file/new", "Not a directory"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(OSError, match=says):
            check_can_be_made(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before
