"""Pins in a directory and in several stores, and what is collected without them."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from faulty_blocks import FaultyBlocks
from fedpact.errors import BlockMissing, StoreError
from fedpact.store import Cid, Codec, DirectoryBlocks, MemoryBlocks
from fedpact.store.collecting import Collected, collect
from fedpact.store.counting import CountedBlocks
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import LEAF, Dag, add, open_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DATA = b"what a silo trained"
CID = Cid.of(DATA)
HOUR = 3600


def file(number: int, leaves: int = 3) -> bytes:
    """A file of its own leaves."""
    return b"".join(bytes([number, each]) * (LEAF // 2) for each in range(leaves))


def age(directory: Path, seconds: float = 2 * HOUR) -> None:
    """Makes all that is in a store so much older."""
    for path in directory.glob("blocks/*/*"):
        written = path.stat().st_mtime - seconds
        os.utime(path, (written, written))


def names(directory: Path) -> set[str]:
    """The blocks in a store."""
    return {path.name for path in directory.glob("blocks/*/*")}


def of(*dags: Dag) -> set[str]:
    """The blocks of files."""
    return {str(cid) for dag in dags for cid in (*dag.leaves, *(cid for cid, _ in dag.nodes))}


@pytest.fixture
def blocks(tmp_path: Path) -> DirectoryBlocks:
    """A store whose writing costs little."""
    return DirectoryBlocks(tmp_path, sync=False)


# ------------------------------------------------------------------------------------------------------ in a directory


def test_pins_are_there_for_the_next_process(blocks: DirectoryBlocks, tmp_path: Path) -> None:
    """An empty file each; whatever else lies there is nobody's."""
    blocks.put(CID, DATA)
    blocks.pin(CID)
    (tmp_path / "pins" / "notes.txt").write_text("mine")
    (tmp_path / "pins" / str(CID).upper()).touch()
    assert (tmp_path / "pins" / str(CID)).read_bytes() == b""
    assert DirectoryBlocks(tmp_path).pinned() == {CID}


def test_a_pin_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is synced, and the directory's that it is in; once, as the second time there is nothing to write."""
    blocks = DirectoryBlocks(tmp_path)
    blocks.put(CID, DATA)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    blocks.pin(CID)
    blocks.pin(CID)
    assert synced == [path.stat().st_ino for path in (tmp_path, tmp_path / "pins", tmp_path / "pins")]


@pytest.mark.parametrize("where", ["touch", "mkdir"])
def test_a_full_disk_pins_nothing(
    blocks: DirectoryBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """One line that says why, and later it works."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    blocks.put(CID, DATA)
    with monkeypatch.context() as patch:
        patch.setattr(Path, where, full)
        with pytest.raises(StoreError, match=rf"pin {CID}: cannot write to {tmp_path}: No space left"):
            blocks.pin(CID)
    assert blocks.pinned() == frozenset()
    blocks.pin(CID)
    assert blocks.pinned() == {CID}


def test_what_is_no_directory_says_so(tmp_path: Path) -> None:
    """Nothing is pinned in a file, and pins that are one cannot be listed."""
    (tmp_path / "file").touch()
    assert DirectoryBlocks(tmp_path / "file").pinned() == frozenset()
    DirectoryBlocks(tmp_path / "file").unpin(CID)
    with pytest.raises(StoreError, match="File name too long"):
        DirectoryBlocks(tmp_path / ("long" * 100)).pinned()


def test_a_lock_is_not_waited_for_without_end(
    blocks: DirectoryBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever collects may have been stopped; two that pin are in nobody's way."""
    monkeypatch.setattr("fedpact.store.directory._PATIENCE", 0.1)
    blocks.put(CID, DATA)
    with blocks.locked(), pytest.raises(StoreError, match=rf"pin {CID}: .*: another process has kept its pins locked"):
        DirectoryBlocks(tmp_path).pin(CID)
    with blocks.locked(fcntl.LOCK_SH):
        DirectoryBlocks(tmp_path).pin(CID)
    assert blocks.pinned() == {CID}


def test_a_block_that_goes_while_its_root_is_pinned_is_noticed(
    blocks: DirectoryBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who collects did not see the pin: who pins finds out, and it does not stay."""
    dag = add(blocks, file(1))
    age(tmp_path)
    touch = Path.touch

    def collected_before(self: Path, *, exist_ok: bool) -> None:
        collect_unlocked(blocks)
        touch(self, exist_ok=exist_ok)

    monkeypatch.setattr(Path, "touch", collected_before)
    with pytest.raises(BlockMissing):
        blocks.pin(dag.root)
    assert blocks.pinned() == frozenset()


def test_a_pin_that_was_there_stays_when_it_cannot_be_renewed(
    blocks: DirectoryBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at once more in any case; who finds a block gone takes back its own pin, and nobody else's."""
    dag = add(blocks, file(1))
    blocks.pin(dag.root)
    age(tmp_path)
    utime = os.utime

    def collected_before(path: Path, **options: tuple[int, int]) -> None:
        collect_unlocked(blocks)
        utime(path, **options)  # type: ignore[call-overload]  # As it was called.

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", collected_before)
        with pytest.raises(BlockMissing):
            blocks.pin(dag.root)
    assert blocks.pinned() == {dag.root}

    blocks.unpin(dag.root)
    add(blocks, file(1))

    def pinned_since(path: Path, **options: tuple[int, int]) -> None:
        collected_before(path, **options)
        add(DirectoryBlocks(tmp_path, sync=False), file(1))
        later = options["ns"][0] + 1
        utime(path, ns=(later, later))
        _spoil(tmp_path, dag.root, "missing")

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", pinned_since)
        with pytest.raises(BlockMissing):
            blocks.pin(dag.root)
    assert blocks.pinned() == {dag.root}


def test_what_was_pinned_again_is_not_let_go_of(
    blocks: DirectoryBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor while somebody pins."""
    blocks.put(CID, DATA)
    blocks.pin(CID)
    first = blocks.pinned_at(CID)
    DirectoryBlocks(tmp_path, sync=False).pin(CID)
    assert blocks.pinned_at(CID) > first
    assert not blocks.release(CID, first)
    monkeypatch.setattr("fedpact.store.directory._PATIENCE", 0.1)
    with (
        DirectoryBlocks(tmp_path).locked(fcntl.LOCK_SH),
        pytest.raises(StoreError, match=f"pin {CID}: .*another process has kept its pins locked"),
    ):
        blocks.release(CID, first)
    assert blocks.pinned() == {CID}
    assert blocks.release(CID, blocks.pinned_at(CID))
    assert blocks.pinned() == frozenset()
    assert blocks.pinned_at(CID) == 0


def test_a_block_that_is_kept_again_is_as_new(
    blocks: DirectoryBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is about to pin what was there already has as long for it as for what was not; it is not written."""
    dag = add(blocks, file(1))
    for _ in range(2):
        age(tmp_path)
        written = {path: path.stat().st_ino for path in tmp_path.glob("blocks/*/*")}
        add(blocks, file(1))
        assert collect(blocks) == Collected(0, 0, 4)
        assert {path: path.stat().st_ino for path in tmp_path.glob("blocks/*/*")} == written
    _spoil(tmp_path, dag.leaves[0], "damaged")
    assert blocks.keep(dag.leaves[0], file(1)[:LEAF])
    assert blocks.get(dag.leaves[0]) == file(1)[:LEAF]

    def foreign(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    age(tmp_path)
    monkeypatch.setattr(os, "utime", foreign)
    assert blocks.keep(dag.leaves[0], file(1)[:LEAF])  # Another user's file: the new one is ours.
    assert collect(blocks).blocks == 3


def collect_unlocked(blocks: DirectoryBlocks) -> None:
    """Collects where a lock is held already, as if it had been taken just before."""
    for path in blocks.directory.glob("blocks/*/*"):
        path.unlink()


# ----------------------------------------------------------------------------------------------------------- collecting


def test_what_no_pin_and_no_need_reaches_goes(blocks: DirectoryBlocks, tmp_path: Path) -> None:
    """Leaves that files share stay as long as one of them does; dry, nothing changes."""
    pinned, needed, other = (add(blocks, file(number)) for number in (1, 2, 3))
    shared = add(blocks, file(1, 2) + file(4, 1))
    blocks.pin(pinned.root)
    age(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    expected = of(other) | of(shared) - of(pinned)
    size = sum((tmp_path / "blocks" / name[-3:-1] / name).stat().st_size for name in expected)
    dry = collect(blocks, [needed.root, CID], dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert dry == collect(blocks, [needed.root, CID]) == Collected(len(expected), size, 0)
    assert names(tmp_path) == of(pinned, needed)
    assert collect(blocks, [needed.root]) == Collected(0, 0, 0)
    assert open_file(blocks, pinned.root, 3 * LEAF).read() == file(1)


def test_what_is_to_be_unpinned_counts_as_unpinned(blocks: DirectoryBlocks, tmp_path: Path) -> None:
    """A dry run says what would go after it."""
    dag = add(blocks, DATA)
    blocks.pin(dag.root)
    age(tmp_path)
    assert collect(blocks, dry_run=True).blocks == 0
    assert collect(blocks, unpinned=[dag.root], dry_run=True).blocks == 1


def test_what_is_new_stays(blocks: DirectoryBlocks, tmp_path: Path) -> None:
    """A process may be in the middle of writing it: all of its blocks are younger than the grace."""
    old = add(blocks, file(1))
    age(tmp_path)
    new = add(blocks, file(2))
    assert collect(blocks) == Collected(4, 3 * LEAF + len(old.nodes[0][1]), 4)
    assert names(tmp_path) == of(new)
    assert collect(blocks, grace=-HOUR).blocks == 4


def test_other_files_are_left_alone(blocks: DirectoryBlocks, tmp_path: Path) -> None:
    """What is no block under its own name is nobody's to remove."""
    dag = add(blocks, DATA)
    shard = tmp_path / "blocks" / str(CID)[-3:-1]
    (tmp_path / "blocks" / "xx").mkdir()
    others = [shard / "notes.txt", shard / f"{CID}.bak", tmp_path / "blocks" / "xx" / str(CID), tmp_path / "file"]
    for path in others:
        path.write_bytes(b"mine")
    (shard / str(Cid.of(b"link"))).symlink_to(others[0])
    (tmp_path / "blocks" / "outside").symlink_to(tmp_path.parent)
    age(tmp_path)
    assert collect(blocks).blocks == 1
    assert names(tmp_path).isdisjoint(of(dag) - {str(CID)})
    assert all(path.exists() for path in others)
    assert (shard / str(Cid.of(b"link"))).is_symlink()
    assert collect(DirectoryBlocks(tmp_path / "nothing")) == Collected(0, 0, 0)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_a_pinned_file_that_is_not_whole_protects_what_of_it_is_here(
    blocks: DirectoryBlocks, tmp_path: Path, fault: str
) -> None:
    """Where a leaf is wrong, all others stay. Where a node is, nobody knows which they are: nothing goes."""
    dag, other = add(blocks, file(1)), add(blocks, file(2))
    blocks.pin(dag.root)
    _spoil(tmp_path, dag.leaves[1], fault)
    age(tmp_path)
    assert collect(blocks, grace=HOUR).blocks == 4
    assert names(tmp_path) == of(dag) - ({str(dag.leaves[1])} if fault == "missing" else set())

    other = add(blocks, file(2))
    _spoil(tmp_path, dag.root, fault)
    age(tmp_path)
    before = names(tmp_path)
    assert before >= of(other)
    with pytest.raises(
        StoreError, match=rf"block {dag.root}: .* nothing is collected, .*store pin {dag.root} "
    ) as caught:
        collect(blocks)
    assert len(str(caught.value).splitlines()) == 1
    assert names(tmp_path) == before


def _spoil(directory: Path, cid: Cid, fault: str) -> None:
    path = directory / "blocks" / str(cid)[-3:-1] / str(cid)
    path.unlink() if fault == "missing" else path.write_bytes(b"damaged")


def test_a_needed_root_that_is_no_file_is_kept_itself(blocks: DirectoryBlocks, tmp_path: Path) -> None:
    """A malformed update is the proof that it is malformed."""
    foreign = Cid.of(b"foreign", Codec.DAG_PB)
    blocks.put(foreign, b"foreign")
    age(tmp_path)
    assert collect(blocks, [foreign]).blocks == 0
    assert collect(blocks).blocks == 1


def test_a_root_goes_before_what_is_below_it(
    blocks: DirectoryBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is killed in between leaves no root without its leaves; the next one takes the rest."""
    dags = [add(blocks, file(number)) for number in range(3)]
    age(tmp_path)
    unlink, gone = Path.unlink, []

    def killed(self: Path, missing_ok: bool = False) -> None:
        if len(gone) == 7:
            raise KeyboardInterrupt
        gone.append(self.name)
        unlink(self, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            collect(blocks)
    assert set(gone[:3]) == {str(dag.root) for dag in dags}
    assert collect(blocks).blocks == 5
    assert names(tmp_path) == set()


def test_a_pin_that_comes_in_between_is_respected(
    blocks: DirectoryBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is a block that was written again."""
    late, written, other = (add(blocks, file(number)) for number in (1, 2, 3))
    age(tmp_path)
    locked = DirectoryBlocks.locked

    def meanwhile(self: DirectoryBlocks, mode: int = fcntl.LOCK_EX) -> object:
        monkeypatch.setattr(DirectoryBlocks, "locked", locked)
        DirectoryBlocks(tmp_path, sync=False).pin(late.root)
        for path in tmp_path.glob("blocks/*/*"):
            if path.name in of(written):
                path.touch()
        return locked(self, mode)

    monkeypatch.setattr(DirectoryBlocks, "locked", meanwhile)
    assert collect(blocks).blocks == 4
    assert names(tmp_path) == of(late, written)
    assert names(tmp_path).isdisjoint(of(other))


# Pins and unpins, stores and reads the same few files again and again, each time it must be whole while it is pinned.
WRITER = """
import sys
from pathlib import Path
from fedpact.errors import BlockMissing
from fedpact.store import DirectoryBlocks
from fedpact.store.unixfs import add, open_file
blocks = DirectoryBlocks(Path(sys.argv[1]), sync=False)
kept = 0
for step in range(int(sys.argv[2])):
    data = bytes([step % 3]) * 1500000
    root = add(blocks, data).root
    try:
        blocks.pin(root)
    except BlockMissing:
        continue
    assert open_file(blocks, root, len(data)).read() == data
    kept += 1
    if step % 2:
        blocks.unpin(root)
print(kept)
"""


def test_collecting_never_takes_what_another_process_has_pinned(tmp_path: Path) -> None:
    """Two collect without any grace, again and again, while a process stores and pins."""
    command = [sys.executable, "-c", WRITER, str(tmp_path), "60"]
    over = threading.Event()
    failed: list[BaseException] = []

    def again_and_again() -> None:
        try:
            while not over.is_set():
                collect(DirectoryBlocks(tmp_path, sync=False), grace=-HOUR)
        except StoreError as error:  # A pin without its root: it was made an instant ago, and is taken back.
            if "nothing is collected" not in str(error):
                failed.append(error)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=again_and_again) for _ in range(2)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for thread in threads:
            thread.start()
        try:
            told, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            over.set()
            for thread in threads:
                thread.join(60)
    assert failed == []
    assert process.returncode == 0
    assert int(told) > 0


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=1, max_size=5),
    pinned=st.sets(st.integers(0, 4)),
    needed=st.sets(st.integers(0, 4)),
)
def test_exactly_what_is_reached_stays(
    contents: list[list[int]], pinned: set[int], needed: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """For any files that share any leaves: those pinned or needed are whole afterwards, and nothing else is there."""
    directory = tmp_path_factory.mktemp("any")
    blocks = DirectoryBlocks(directory, sync=False)
    dags = [add(blocks, b"".join(bytes([leaf]) * LEAF for leaf in leaves)) for leaves in contents]
    stay = {place for place in pinned | needed if place < len(dags)}
    for place in pinned & stay:
        blocks.pin(dags[place].root)
    collect(blocks, [dags[place].root for place in needed & stay], grace=-HOUR)
    assert names(directory) == of(*(dags[place] for place in stay))


# ---------------------------------------------------------------------------------------------------- in several stores


def several(*stores: object, writable: bool = True) -> SeveralBlocks:
    """Stores as one."""
    counted = [CountedBlocks(store, f"store {place}") for place, store in enumerate(stores)]  # type: ignore[arg-type]
    return SeveralBlocks(counted, writable=writable)


@pytest.mark.parametrize("lacking", ["all", "root missing", "root damaged", "leaf missing"])
def test_what_is_missing_is_fetched_before_it_is_pinned(tmp_path: Path, lacking: str) -> None:
    """From whoever has it; then it is whole in the store that is written to."""
    first, second = DirectoryBlocks(tmp_path, sync=False), MemoryBlocks()
    dag = add(second, file(1))
    if lacking != "all":
        add(first, file(1))
        what, fault = lacking.split()
        _spoil(tmp_path, dag.leaves[1] if what == "leaf" else dag.root, fault)
    blocks = several(first, second)
    blocks.pin(dag.root)
    assert first.pinned() == blocks.pinned() == {dag.root}
    assert second.pinned() == frozenset()
    assert open_file(first, dag.root, 3 * LEAF).read() == file(1)
    blocks.unpin(dag.root)
    assert first.pinned() == frozenset()


def test_what_nobody_has_cannot_be_pinned(tmp_path: Path) -> None:
    """It says so as reading would; what was fetched of it stays without a pin."""
    second = FaultyBlocks()
    dag = add(second, file(1))
    second.missing.add(dag.leaves[2])
    blocks = several(DirectoryBlocks(tmp_path, sync=False), second)
    with pytest.raises(BlockMissing, match=str(dag.leaves[2])):
        blocks.pin(dag.root)
    assert blocks.pinned() == frozenset()


def test_stores_to_read_from_are_not_pinned() -> None:
    """They say so."""
    blocks = several(MemoryBlocks(), writable=False)
    with pytest.raises(StoreError, match=f"pin {CID}: these stores were opened to be read from"):
        blocks.pin(CID)
    assert blocks.pinned() == frozenset()
    assert several(FaultyBlocks()).pinned() == frozenset()


def test_pinning_again_is_cheap(blocks: DirectoryBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root is read before and after, no leaf is, and nothing is written but the time of the pin."""
    dag = add(blocks, file(1))
    blocks.pin(dag.root)
    get, read = DirectoryBlocks.get, []
    monkeypatch.setattr(DirectoryBlocks, "get", lambda self, cid: (read.append(cid), get(self, cid))[1])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    several(blocks, FaultyBlocks()).pin(dag.root)
    assert read == [dag.root, dag.root]
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    pin = tmp_path / "pins" / str(dag.root)
    assert after.pop(pin) > before.pop(pin)
    assert after == before
