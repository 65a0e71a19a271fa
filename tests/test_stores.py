"""Stores: one contract for all of them, then what is special about a directory."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faulty_blocks import FaultyBlocks
from fedpact.errors import BlockMismatch, BlockMissing, ContentError, StoreError
from fedpact.store import MAX_BLOCK, Blocks, Cid, Codec, DirectoryBlocks, MemoryBlocks, fetch, keep
from fedpact.store.opening import open_store
from fedpact.store.pins import Pins, hold
from fedpact.store.unixfs import LEAF, Dag, add
from gateways import ServedBlocks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ipfs_node import IpfsNode, running
from rpc_nodes import GatheringBlocks, RpcNode, SentBlocks

DATA = b"what a silo trained"
CID = Cid.of(DATA)


def served(store: type[SentBlocks], node: RpcNode) -> Blocks:
    """A store on a node that ends with it."""
    return store(node.url, node.close)


STORES: dict[str, Callable[[Path], Blocks]] = {
    "memory": lambda directory: MemoryBlocks(),
    "directory": lambda directory: DirectoryBlocks(directory / "store"),
    "directory, not synced": lambda directory: DirectoryBlocks(directory / "store", sync=False),
    "gateway": lambda directory: ServedBlocks(MemoryBlocks()),
    "node": lambda directory: served(GatheringBlocks, RpcNode()),
    "node, nothing kept back": lambda directory: served(SentBlocks, RpcNode(check=False)),
    "one by URL": lambda directory: open_store([str(directory / "store")], sync=False),
    "several by URL": lambda directory: open_store([str(directory / each) for each in "ab"], sync=False),
}
"""Every store that can be written to, by a name for the test's output; a new store is added here."""
MAPS = {name: make for name, make in STORES.items() if not name.startswith("node, nothing")}
"""Those in which a few hundred steps take a moment."""
PINNING = [name for name in STORES if name != "gateway"]
"""Those that also pin."""


@pytest.fixture(scope="module")
def own_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpfsNode]:
    """A real IPFS node without the pins of other tests: it collects after each test here, and walks all pins then."""
    with running(tmp_path_factory.mktemp("ipfs")) as (node,):
        yield node


@pytest.fixture(params=[*STORES, pytest.param("a real IPFS node", marks=pytest.mark.nodes)])
def blocks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blocks]:
    """An empty store of each kind."""
    if request.param in STORES:
        with closed_after(STORES[request.param](tmp_path)) as store:
            yield store
        return
    node: IpfsNode = request.getfixturevalue("own_node")
    with closed_after(HonestBlocks(node.url, lambda: node.ask("repo/gc"))) as store:
        yield store


class HonestBlocks(SentBlocks):
    """A store on a real node, which is not sent what it would rightly refuse: such blocks stay on their way."""

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        self.gather(cid, data)
        if len(data) <= MAX_BLOCK and Cid.of(data) == cid:
            self._send(0)

    def close(self) -> None:
        self._pending.clear()
        super().close()


@contextmanager
def closed_after(store: Blocks) -> Iterator[Blocks]:
    """A store that is closed in the end, if it can be closed."""
    yield store
    getattr(store, "close", lambda: None)()


# ------------------------------------------------------------------------------------------------ the shared contract


def test_what_was_never_put_is_missing(blocks: Blocks) -> None:
    """A block that nobody put is a `BlockMissing` that names it, from the store and from `fetch`."""
    assert not blocks.has(CID)
    for read in (blocks.get, lambda cid: fetch(blocks, cid)):
        with pytest.raises(BlockMissing, match=str(CID)) as caught:
            read(CID)
        assert caught.value.cid == str(CID)


def test_the_same_hash_under_another_codec_is_another_block(blocks: Blocks) -> None:
    """A raw block is not found as a dag-pb block of the same bytes; but nodes know blocks by their hash alone."""
    blocks.put(CID, DATA)
    if isinstance(blocks, HonestBlocks):
        assert fetch(blocks, Cid(CID.digest, Codec.DAG_PB)) == DATA
        return
    assert not blocks.has(Cid(CID.digest, Codec.DAG_PB))
    with pytest.raises(BlockMissing):
        blocks.get(Cid(CID.digest, Codec.DAG_PB))


WRONG = {"other": b"something else", "empty": b"", "truncated": DATA[:-1], "longer": DATA + b"\x00"}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_wrong_bytes_are_never_believed(blocks: Blocks, wrong: bytes) -> None:
    """Bytes that are not those of their address come out of the store, but not out of `fetch`."""
    blocks.put(CID, wrong)
    assert blocks.get(CID) == wrong
    with pytest.raises(BlockMismatch) as caught:
        fetch(blocks, CID)
    assert isinstance(caught.value, ContentError)
    assert (caught.value.expected, caught.value.found) == (str(CID), str(Cid.of(wrong)))


def test_an_oversized_block_is_bounded_before_it_is_hashed(blocks: Blocks) -> None:
    """Of a block that grew to many MiB one byte too many is read, and it is a mismatch even where its hash is right."""
    huge = bytes(MAX_BLOCK + 100_000)
    blocks.put(Cid.of(huge), huge)
    assert len(blocks.get(Cid.of(huge))) == MAX_BLOCK + 1
    with pytest.raises(BlockMismatch, match=f"more than {MAX_BLOCK} bytes"):
        fetch(blocks, Cid.of(huge))


def test_keep_puts_the_right_bytes_in_the_place_of_damaged_ones(blocks: Blocks) -> None:
    """A damaged block is mended by whoever has the right bytes."""
    blocks.put(CID, b"damaged")
    keep(blocks, CID, DATA)
    assert fetch(blocks, CID) == DATA


@pytest.mark.parametrize("length", [0, 1, 1 << 20, MAX_BLOCK])
def test_a_block_of_any_length_is_given_back(blocks: Blocks, length: int) -> None:
    """Blocks from nothing to 2 MiB are kept whole, as bytes, and are found."""
    data = os.urandom(length)
    blocks.put(Cid.of(data), data)
    assert blocks.has(Cid.of(data))
    assert blocks.get(Cid.of(data)) == fetch(blocks, Cid.of(data)) == data
    assert type(blocks.get(Cid.of(data))) is bytes


def test_putting_twice_is_harmless(blocks: Blocks) -> None:
    """The same block put and kept again is the same block."""
    blocks.put(CID, DATA)
    blocks.put(CID, DATA)
    keep(blocks, CID, DATA)
    assert fetch(blocks, CID) == DATA


def test_a_block_does_not_change_with_the_buffer_that_it_came_in(blocks: Blocks) -> None:
    """A buffer may be used again once `put` has returned."""
    buffer = bytearray(DATA)
    blocks.put(CID, buffer)  # type: ignore[arg-type]  # As a caller does who fills one buffer again and again.
    buffer[:] = bytes(len(buffer))
    assert fetch(blocks, CID) == DATA


def test_many_threads_write_and_read_the_same_blocks(blocks: Blocks) -> None:
    """Threads that put and read the same few blocks at once never see half of one, and lose none."""
    pieces = [bytes([number]) * 50_000 for number in range(5)]
    start = threading.Barrier(6)

    def work(offset: int) -> None:
        start.wait(timeout=60)
        for step in range(20):
            piece = pieces[(step + offset) % len(pieces)]
            keep(blocks, Cid.of(piece), piece)
            blocks.put(Cid.of(piece), piece)
            assert fetch(blocks, Cid.of(piece)) == piece

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert [fetch(blocks, Cid.of(piece)) for piece in pieces] == pieces


operations = st.lists(
    st.tuples(st.sampled_from(["put", "keep", "damage", "read"]), st.sampled_from([b"", b"a", b"bb", b"ccc"])),
    max_size=12,
)


@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS.keys())
@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # Each example makes its own directory.
@given(steps=operations)
def test_a_store_is_a_map_from_addresses_to_bytes(
    make: Callable[[Path], Blocks], steps: list[tuple[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After any sequence of writes and damages each address has what was written there last, or nothing."""
    expected: dict[Cid, bytes] = {}
    with closed_after(make(tmp_path_factory.mktemp("map"))) as blocks:
        for step, data in steps:
            cid = Cid.of(data)
            if step == "keep":
                keep(blocks, cid, data)
            elif step != "read":
                blocks.put(cid, data if step == "put" else b"damaged")
            if step != "read":
                expected[cid] = b"damaged" if step == "damage" else data
            assert blocks.has(cid) == (cid in expected)
            if cid in expected:
                assert blocks.get(cid) == expected[cid]


# -------------------------------------------------------------------------------- the shared contract of those that pin


@pytest.fixture(params=PINNING)
def pins(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An empty store of each kind that pins."""
    with closed_after(STORES[request.param](tmp_path)) as store:
        assert isinstance(store, Pins)
        yield store


def three_leaves(blocks: Blocks) -> Dag:
    """A file of three leaves in a store."""
    return add(blocks, bytes(LEAF) + b"\x01" * LEAF + b"\x02")


def test_what_is_pinned_is_named_until_it_is_unpinned(pins: Any) -> None:
    """Roots of one leaf and of several; each once, however often it is pinned or unpinned. On a node all is pinned."""
    small, large = add(pins, DATA).root, three_leaves(pins).root
    assert pins.pinned() == (frozenset({small, large}) if isinstance(pins, SentBlocks) else frozenset())
    hold(pins, small, large, small)
    pins.pin(small)
    assert pins.pinned() == {small, large}
    pins.unpin(small)
    pins.unpin(small)
    assert pins.pinned() == {large}
    assert fetch(pins, small) == DATA


def test_unpinning_what_was_never_pinned_is_harmless(pins: Any) -> None:
    """Also before anything was written."""
    pins.unpin(CID)
    assert pins.pinned() == frozenset()


def test_what_is_not_here_cannot_be_pinned(pins: Any) -> None:
    """Neither a root that is missing, nor one whose node or leaf is."""
    dag = three_leaves(MemoryBlocks())
    with pytest.raises(BlockMissing, match=str(dag.root)):
        pins.pin(dag.root)
    pins.put(*dag.nodes[0])
    with pytest.raises(BlockMissing, match="|".join(map(str, dag.leaves))):
        pins.pin(dag.root)
    assert pins.pinned() == frozenset()
    three_leaves(pins)
    pins.pin(dag.root)
    assert pins.pinned() == {dag.root}


def test_what_is_no_file_cannot_be_pinned(pins: Any) -> None:
    """A damaged root is found, and so is one whose bytes are right and no node of ours."""
    if isinstance(pins, SentBlocks):
        return  # An IPFS node looks at that itself, and knows more kinds of nodes.
    damaged, foreign = three_leaves(pins).root, Cid.of(b"foreign", Codec.DAG_PB)
    pins.put(damaged, b"damaged")
    pins.put(foreign, b"foreign")
    for root in (damaged, foreign):
        with pytest.raises(ContentError, match=str(root)):
            pins.pin(root)
    assert pins.pinned() == frozenset()


def test_a_store_that_cannot_pin_is_left_alone() -> None:
    """It is said to keep everything."""
    hold(FaultyBlocks(), CID)


# ---------------------------------------------------------------------------------------------------------- keep alone


def test_keep_does_not_hide_that_a_store_is_broken() -> None:
    """Where the store cannot say what it has, `keep` fails and writes nothing."""
    blocks = FaultyBlocks()
    blocks.put(CID, DATA)
    blocks.written.clear()
    blocks.broken.add(CID)
    with pytest.raises(StoreError, match="the store is broken"):
        keep(blocks, CID, DATA)
    assert blocks.written == []


def test_keep_does_not_write_what_is_there() -> None:
    """An intact block is read, not written again."""
    blocks = FaultyBlocks()
    keep(blocks, CID, DATA)
    keep(blocks, CID, DATA)
    assert blocks.written == [CID]
    assert blocks.read[CID] == 1


def test_keep_writes_a_block_that_vanishes_under_it() -> None:
    """A block that is collected between the question and the reading is written as if it had never been there."""

    class Vanishing(MemoryBlocks):
        def has(self, cid: Cid) -> bool:
            return True

    blocks = Vanishing()
    keep(blocks, CID, DATA)
    assert fetch(blocks, CID) == DATA


# ------------------------------------------------------------------------------------------------ the directory: faults


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


# ------------------------------------------------------------------------------------------------- the directory: shape


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
