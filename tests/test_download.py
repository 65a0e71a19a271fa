"""Downloads that are cut off go on: what is right is not fetched again, and nothing else is ever taken over."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from faulty_blocks import FaultyBlocks
from fedpact.artifacts.slices import tensor_file, tensor_named
from fedpact.artifacts.weights import Layout, Tensor
from fedpact.cli.application import application
from fedpact.errors import BlockMismatch, BlockMissing, InputError, InvalidWeights
from fedpact.files import continuing
from fedpact.store import Cid, DirectoryBlocks, MemoryBlocks
from fedpact.store.disk_file import leaves_of
from fedpact.store.download import download
from fedpact.store.unixfs import LEAF, File, add, add_file, build, leaf_size, open_file
from gateways import Gateway, respond
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import FEDPACT, fedpact

PARTIAL = ".file.partial"
DATA = random.Random(3).randbytes(3 * LEAF + 5)
SHARED = MemoryBlocks()
ROOT = add(SHARED, DATA).root


def stored(blocks: FaultyBlocks | None = None) -> File:
    """The file of four leaves, in a store of which the reads of leaves are counted."""
    blocks = blocks or FaultyBlocks(SHARED)
    file = open_file(blocks, ROOT, len(DATA))
    blocks.read.clear()
    return file


def reads_of(file: File) -> list[int]:
    """The leaves that were read, each as often as it was."""
    assert isinstance(file.blocks, FaultyBlocks)
    return sorted(file.leaves.index(cid) for cid in file.blocks.read.elements())


def names_in(directory: Path) -> list[str]:
    """The files there."""
    return sorted(each.name for each in directory.iterdir())


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_was_left_there_what_comes_is_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Of bytes that are cut, altered, or too many, the leaves that are right are kept, the others are read."""
    directory = tmp_path_factory.mktemp("download")
    left = bytearray(DATA[: data.draw(st.integers(0, len(DATA)), "length")])
    for place in data.draw(st.lists(st.integers(0, len(DATA) - 1), max_size=2), "altered"):
        if place < len(left):
            left[place] ^= 1
    left += data.draw(st.sampled_from([b"", bytes(LEAF)]), "more")
    (directory / PARTIAL).write_bytes(left)
    right = [i for i in range(4) if left[i * LEAF : i * LEAF + leaf_size(len(DATA), i)] == DATA[i * LEAF :][:LEAF]]
    blocks = FaultyBlocks(SHARED)
    file = stored(blocks)
    blocks.distant = data.draw(st.booleans(), "distant")
    assert download(file, directory / "file") == sum(leaf_size(len(DATA), index) for index in right)
    assert reads_of(file) == [index for index in range(4) if index not in right]
    assert (directory / "file").read_bytes() == DATA
    assert names_in(directory) == ["file"]


@pytest.mark.parametrize("distant", [False, True])
def test_an_error_keeps_what_came_before_it(tmp_path: Path, distant: bool) -> None:
    """The target is what it was; the next try reads from where this one failed."""
    (tmp_path / "file").write_bytes(b"before")
    blocks = FaultyBlocks(SHARED)
    file = stored(blocks)
    blocks.missing.add(file.leaves[2])
    blocks.distant = distant
    with pytest.raises(BlockMissing):
        download(file, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"before"
    assert (tmp_path / PARTIAL).read_bytes() == DATA[: 2 * LEAF]
    blocks.missing.clear()
    blocks.read.clear()
    assert download(file, tmp_path / "file") == 2 * LEAF
    assert reads_of(file) == [2, 3]
    assert (tmp_path / "file").read_bytes() == DATA


def test_where_nothing_came_nothing_is_left(tmp_path: Path) -> None:
    """A first leaf that is damaged, or refused by who looks at it, leaves the directory as it was; no bytes of it."""
    blocks = FaultyBlocks(SHARED)
    file = stored(blocks)
    blocks.damaged[file.leaves[0]] = DATA[LEAF : 2 * LEAF]
    with pytest.raises(BlockMismatch):
        download(file, tmp_path / "file")
    assert names_in(tmp_path) == []
    blocks.damaged.clear()

    def check(index: int, leaf: bytes) -> None:
        raise InvalidWeights(f"leaf {index}")

    with pytest.raises(InvalidWeights, match="leaf 0"):
        download(file, tmp_path / "file", check)
    assert names_in(tmp_path) == []


def test_what_was_left_is_looked_at_too(tmp_path: Path) -> None:
    """A leaf that is there already is shown to whoever checks leaves, as one that is fetched."""
    (tmp_path / PARTIAL).write_bytes(DATA[:LEAF])
    seen = []
    download(stored(), tmp_path / "file", lambda index, leaf: seen.append((index, leaf)))
    assert seen == [(index, DATA[index * LEAF : (index + 1) * LEAF]) for index in range(4)]


@pytest.mark.parametrize("data", [b"", b"x"])
def test_small_files_come_too(tmp_path: Path, data: bytes) -> None:
    """Also over a longer file that was left."""
    (tmp_path / PARTIAL).write_bytes(b"longer")
    download(open_file(SHARED, add(SHARED, data).root, len(data)), tmp_path / "file")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"file": data}


# ------------------------------------------------------------------------------------------------------ the file itself


def test_two_at_once_do_not_write_one_file(tmp_path: Path) -> None:
    """The second is refused and harms nothing; afterwards it is its turn."""
    with continuing(tmp_path / "file") as descriptor:
        os.write(descriptor, b"first")
        with (
            pytest.raises(OSError, match=f"another process is writing it, as {PARTIAL}"),
            continuing(tmp_path / "file"),
        ):
            pytest.fail("two write one file")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"file": b"first"}
    with continuing(tmp_path / "file") as descriptor:
        os.write(descriptor, b"second")
    assert (tmp_path / "file").read_bytes() == b"second"


def test_a_file_that_is_done_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the other process finishes between the opening and the lock, what it made stays as it is."""
    (tmp_path / PARTIAL).write_bytes(b"first")
    lock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if not (tmp_path / "file").exists():
            (tmp_path / PARTIAL).rename(tmp_path / "file")
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with continuing(tmp_path / "file") as descriptor:
        os.write(descriptor, b"second")
        assert (tmp_path / "file").read_bytes() == b"first"
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"file": b"second"}


def test_what_is_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """A link, a pipe or a directory in the place of the file that is being written is an error, and stays."""
    (tmp_path / "precious").write_bytes(b"precious")
    for make in (lambda path: path.symlink_to(tmp_path / "precious"), os.mkfifo, Path.mkdir):
        make(tmp_path / PARTIAL)
        with pytest.raises(OSError), continuing(tmp_path / "file"):  # noqa: PT011  # Its words are the system's.
            pytest.fail("it was opened")
        assert names_in(tmp_path) == [PARTIAL, "precious"]
        (tmp_path / PARTIAL).rename(tmp_path / "gone")
        (tmp_path / "gone").rmdir() if (tmp_path / "gone").is_dir() else (tmp_path / "gone").unlink()
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_directory_in_the_place_of_the_target_is_told_first(tmp_path: Path) -> None:
    """Before anything is fetched."""
    (tmp_path / "file").mkdir()
    file = stored()
    with pytest.raises(IsADirectoryError):
        download(file, tmp_path / "file")
    assert reads_of(file) == []
    assert names_in(tmp_path) == ["file"]


def test_a_full_disk_keeps_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the disk's; once there is room the rest comes. A disk that takes a part at a time is written to."""
    write = os.pwrite

    def full(descriptor: int, data: bytes, at: int) -> int:
        if at >= LEAF + 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:1000], at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left on device"):
            download(stored(), tmp_path / "file")
    assert names_in(tmp_path) == [PARTIAL]
    assert download(stored(), tmp_path / "file") == LEAF
    assert (tmp_path / "file").read_bytes() == DATA


# --------------------------------------------------------------------------------------------------------- the commands


COUNT, COME = 12, 5
LONG_FILE = random.Random(4).randbytes((COUNT - 1) * LEAF + 77)
LONG = add(SHARED, LONG_FILE)


class Halting:
    """A gateway that gives the first five leaves, and the others when it is told to."""

    def __init__(self, directory: Path) -> None:
        self.more = threading.Event()
        self.server = Gateway(self._answer)
        self.directory = directory
        store = ["--store", f"gateway+{self.server.url}", "--size", str(len(LONG_FILE)), "--json"]
        self.arguments = ["store", "get", str(LONG.root), "-o", "file", *store]

    def _answer(self, to: BaseHTTPRequestHandler) -> None:
        cid = Cid.parse(to.path.removeprefix("/ipfs/").removesuffix("?format=raw"))
        if cid in LONG.leaves[COME:]:
            self.more.wait(60)  # Until the client has ended.
        respond(to, SHARED.get(cid))

    def end_in_the_middle(self, number: int) -> int:
        """Starts a download, and sends it a signal once what comes has come; its exit code."""
        partial = self.directory / PARTIAL
        with subprocess.Popen([FEDPACT, *self.arguments], cwd=self.directory, stderr=subprocess.PIPE) as process:
            try:
                deadline = time.monotonic() + 60
                while not partial.exists() or partial.stat().st_size < COME * LEAF:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)  # Until the leaves that the gateway gives are on the disk; bounded above.
                process.send_signal(number)
                return process.wait(8)  # Requests without an answer take fifteen seconds.
            finally:
                process.kill()

    def __enter__(self) -> Halting:
        return self

    def __exit__(self, *_: object) -> None:
        self.more.set()
        self.server.close()


def test_a_killed_download_fetches_only_the_rest(tmp_path: Path) -> None:
    """A process that is killed in the middle, and the next one: measured at the server, only what is missing is asked
    for again."""
    with Halting(tmp_path) as halting:
        assert halting.end_in_the_middle(signal.SIGKILL) == -signal.SIGKILL
        assert names_in(tmp_path) == [PARTIAL]
        with (tmp_path / PARTIAL).open("r+b") as partial:  # A torn page besides.
            partial.seek(LEAF + 4096)
            partial.write(bytes(4096))
        halting.more.set()
        halting.server.asked.clear()
        done = fedpact(*halting.arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        told: dict[str, Any] = json.loads(done.stdout)
        asked = [line.split()[1].removeprefix("/ipfs/").removesuffix("?format=raw") for line in halting.server.asked]
    assert sorted(asked) == sorted(map(str, [LONG.root, LONG.leaves[1], *LONG.leaves[COME:]]))
    assert told["kept"] == (COME - 1) * LEAF
    assert (tmp_path / "file").read_bytes() == LONG_FILE
    assert names_in(tmp_path) == ["file"]


def test_who_interrupts_a_download_does_not_wait_for_a_silent_gateway(tmp_path: Path) -> None:
    """It ends at once, and what came is there for the next time."""
    with Halting(tmp_path) as halting:
        assert halting.end_in_the_middle(signal.SIGINT) == 130
    assert (tmp_path / PARTIAL).read_bytes() == LONG_FILE[: COME * LEAF]


def store_get(*options: str) -> None:
    """`fedpact store get` within this process, as starting one takes longer than what it does."""
    get = ("store", "get", str(ROOT), "-o", "file", "--store", "store", "--size", str(len(DATA)), "--json")
    application()([*get, *options], prog_name="fedpact", standalone_mode=False)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the file in a store."""
    monkeypatch.chdir(tmp_path)
    add(DirectoryBlocks(tmp_path / "store", sync=False), DATA)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "start", "stop", "leaves"),
    [
        (("--range", "0:8"), 0, 8, LEAF),
        (("--range", f"{LEAF - 4}:{LEAF + 4}"), LEAF - 4, LEAF + 4, 2 * LEAF),
        (("--range", f"{3 * LEAF}:"), 3 * LEAF, len(DATA), 5),
        (("--range", ":5"), 0, 5, LEAF),
        (("--range", "9:9"), 9, 9, 0),
        (("--block", "2"), 2 * LEAF, 3 * LEAF, LEAF),
        (("--block", "3"), 3 * LEAF, len(DATA), 5),
    ],
)
def test_a_part_of_a_file(
    place: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str], start: int, stop: int, leaves: int
) -> None:
    """By bytes or by block: what is read is the blocks that it lies in, and those that say where they are."""
    store_get(*options)
    told = json.loads(capsys.readouterr().out)
    assert (place / "file").read_bytes() == DATA[start:stop]
    assert (told["start"], told["stop"]) == (start, stop)
    node = len(build(open_file(SHARED, ROOT, len(DATA)).leaves, len(DATA)).nodes[0][1])
    assert told["read"]["store"] == node + leaves


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--range", "5:4"), f"range: expected A:B with A up to B up to {len(DATA)}, found '5:4'"),
        (("--range", f"0:{len(DATA) + 1}"), "range: expected A:B"),
        (("--range", "-3:"), "range: expected A:B"),
        (("--range", "1"), "range: expected A:B"),
        (("--block", "4"), "block: expected 0 to 3, found 4"),
        (("--block", "0", "--range", "0:1"), "range, block: expected one of them, found both"),
    ],
)
def test_a_part_that_is_none(place: Path, options: tuple[str, ...], said: str) -> None:
    """It is said what there is; no file is made."""
    with pytest.raises(InputError, match=re.escape(said)):
        store_get(*options)
    assert names_in(place) == ["store"]


# ----------------------------------------------------------------------------------------------------------- one tensor

LAYOUT = Layout([Tensor("a", "F32", (100,)), Tensor("b", "F32", (LEAF,)), Tensor("c", "F16", (70_000,))])
"""`a` lies beside the header, `b` in five leaves, `c` in the last."""


@pytest.mark.parametrize(("name", "leaves"), [("a", [0]), ("b", [0, 1, 2, 3, 4]), ("c", [0, 4])])
@pytest.mark.parametrize("distant", [False, True])
def test_a_tensor_costs_its_leaves_and_the_header(name: str, leaves: list[int], distant: bool) -> None:
    """Each is read once; the bytes are those of a file of that tensor alone."""
    data = LAYOUT.header + random.Random(5).randbytes(LAYOUT.size - len(LAYOUT.header))
    blocks = FaultyBlocks()
    root = add(blocks, data).root
    file = open_file(blocks, root, len(data))
    blocks.read.clear()
    blocks.distant = distant
    tensor = tensor_named(LAYOUT, name)
    start, stop = LAYOUT.place(tensor)
    assert b"".join(tensor_file(file, LAYOUT, tensor)) == Layout([tensor]).header + data[start:stop]
    assert reads_of(file) == leaves


def test_the_places_of_all_tensors_are_the_file() -> None:
    """They follow one another from the header to the end."""
    places = [LAYOUT.place(tensor) for tensor in LAYOUT.tensors]
    assert places[0][0] == len(LAYOUT.header)
    assert places[-1][1] == LAYOUT.size
    assert all(one[1] == other[0] for one, other in itertools.pairwise(places))


def test_a_tensor_of_a_file_with_another_header_is_refused() -> None:
    """Its bytes would be something else."""
    data = bytes(LAYOUT.size)
    file = open_file(SHARED, add(SHARED, data).root, len(data))
    with pytest.raises(InvalidWeights, match="header: not that of the charter's tensors"):
        b"".join(tensor_file(file, LAYOUT, LAYOUT.tensors[0]))


# -------------------------------------------------------------------------------------------------------- the other way


@pytest.mark.parametrize("size", [0, 1, LEAF, LEAF + 1, len(DATA)])
def test_a_file_of_the_disk_is_stored_as_the_same_bytes_are(tmp_path: Path, size: int) -> None:
    """Leaf by leaf: the same DAG, and leaves are put in their order, before the nodes above them."""
    (tmp_path / "file").write_bytes(DATA[:size])
    blocks = FaultyBlocks()
    with leaves_of(tmp_path / "file") as (leaf, found):
        dag = add_file(blocks, leaf, found)
    assert dag == add(MemoryBlocks(), DATA[:size])
    assert blocks.written == [*dag.leaves, *(cid for cid, _ in dag.nodes)]


def test_a_file_that_changes_while_it_is_stored_is_an_error(tmp_path: Path) -> None:
    """One that shrinks, whose root is not stored, and one that grows; a pipe is none, and is not waited for."""
    path, blocks = tmp_path / "file", FaultyBlocks()

    def store(before: int, after: int) -> None:
        with leaves_of(path) as (leaf, size):
            os.truncate(path, before)
            add_file(blocks, leaf, size)
            os.truncate(path, after)

    path.write_bytes(DATA)
    with pytest.raises(OSError, match=f"expected {len(DATA)} bytes, found {LEAF}"):
        store(LEAF, LEAF)
    assert ROOT not in blocks.written
    with pytest.raises(OSError, match=f"expected {LEAF} bytes, found {LEAF + 1}"):
        store(LEAF, LEAF + 1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a file"), leaves_of(tmp_path / "pipe"):
        pytest.fail("a pipe was opened")
