"""A directory store whose writers are killed wherever they can be, run in crowds, or meet a full or foreign disk."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from fedpact.store import Cid, DirectoryBlocks
from fedpact.store.unixfs import add
from runs import FEDPACT, fedpact

PRELUDE = '''
import json, os, resource, shutil, signal, sys
from pathlib import Path
from fedpact.errors import StoreError
from fedpact.store import Cid, DirectoryBlocks, fetch, keep, unixfs

unixfs.LEAF = 16
store = Path(sys.argv[1])
data = bytes(range(20))
root = unixfs.build([Cid.of(data[:16]), Cid.of(data[16:])], len(data)).root

def fsync(descriptor):  # Whoever kills a process keeps what the system has in memory, so nothing waits for the disk.
    os.fstat(descriptor)

os.fsync = fsync

def work():
    blocks = DirectoryBlocks(store)
    made = unixfs.add(blocks, data).root
    blocks.close()
    return made

def check(where):
    """After a crash: no half block has a name; the next run continues; what was left vanishes."""
    for path in store.glob("blocks/*/*"):
        cid = Cid.parse(path.name)
        if (cid, path.read_bytes()) not in allowed:
            cid.verify(path.read_bytes())
    assert work() == root, where
    assert unixfs.open_file(DirectoryBlocks(store), root, len(data)).read() == data, where
    assert [each.name for each in store.iterdir()] == ["blocks"], where
    shutil.rmtree(store)

def fork(body):
    """Has a child do it; how that ended."""
    child = os.fork()
    if not child:
        try:
            body()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]

allowed = set()
'''

KILLED = '''
before = Cid.of(data[16:])

def ready():
    """One of the blocks is there already, and damaged."""
    DirectoryBlocks(store, sync=False).put(before, b"damaged")
    allowed.add((before, b"damaged"))

called = []

def hook(frame, event, function):
    """Takes note of each call of a function of C that asks the system, and each return; kills at the chosen one."""
    owner = type(function.__self__).__module__ if event.startswith("c_") else ""
    if owner == "_io" or (event.startswith("c_") and function.__module__ in ("posix", "io", "_io")):
        if len(called) == chosen:
            os.kill(os.getpid(), signal.SIGKILL)
        called.append(function.__name__)

chosen = None
ready()
sys.setprofile(hook)
work()
sys.setprofile(None)
shutil.rmtree(store)
calls, called = called, []
for chosen in range(2 * len(calls)):
    ready()
    def killed():
        sys.setprofile(hook)
        work()
    status = fork(killed)
    if status == 0:
        break  # There is no such call any more.
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (chosen, status)
    check(chosen)
print(json.dumps([chosen, calls]))
'''

TORN = """
for size in range(0, 300, 5):
    def torn():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        work()
    status = fork(torn)
    if status == 0:
        break  # Nothing that is written is longer.
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXFSZ, (size, status)
    left = [path.stat().st_size for path in store.glob("partial/*")]
    assert left == [size], (size, left)
    check(size)
else:
    raise AssertionError("no limit was high enough")
print(size)
"""

FULL = """
data = bytes(100_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
blocks = DirectoryBlocks(store)
try:
    blocks.put(Cid.of(data), data)
except StoreError as error:
    print(error)
print(blocks.has(Cid.of(data)), [path.name for path in store.rglob("*") if path.is_file()])
blocks.put(root, b"small")
"""

FOREIGN = """
if os.geteuid() == 0:  # Whom no permission binds.
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
blocks = DirectoryBlocks(store)
print(fetch(blocks, Cid.of(b"there")))
for data in (b"new", b"there"):
    try:
        blocks.put(Cid.of(data), data)
    except StoreError as error:
        print(error)
blocks.close()
"""

CROWD = """
from concurrent.futures import ThreadPoolExecutor

def write(numbers):
    blocks = DirectoryBlocks(store)
    for number in numbers:
        piece = number.to_bytes(2) * 2000
        keep(blocks, Cid.of(piece), piece)
        assert fetch(blocks, Cid.of(piece)) == piece
        blocks.close()  # As if each were the last: what others are writing is theirs.

print("writing", flush=True)
with ThreadPoolExecutor(2) as pool:
    while True:
        list(pool.map(write, [range(150)] * 2))
        if len(sys.argv) == 2:  # The other kind goes on until it is killed.
            break
"""


def run(program: str, store: Path) -> subprocess.CompletedProcess[str]:
    """A program with the store's directory as its argument."""
    command = [sys.executable, "-c", PRELUDE + program, str(store)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_writer_that_is_killed_anywhere_leaves_no_half_block(tmp_path: Path) -> None:
    """Before and after each call to the system, and between: what has a name is whole, and the next run continues."""
    done = run(KILLED, tmp_path / "store")
    assert done.returncode == 0, done.stderr
    kills, called = json.loads(done.stdout)
    assert {"open", "write", "fstat", "replace", "mkdir", "unlink", "rmdir"} <= set(called)
    assert abs(kills - len(called)) < 5  # Some versions of Python do not see the last return.
    assert kills > 100


def test_a_write_that_is_torn_leaves_no_half_block(tmp_path: Path) -> None:
    """A process that ends in the middle of a write, after any number of bytes."""
    done = run(TORN, tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 16


def test_a_write_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    """A real error of the system, after half of the bytes: nothing stays of it, and what fits is kept later."""
    done = run(FULL, tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"block {Cid.of(bytes(100_000))}: cannot write to {tmp_path / 'store'}: File too large",
        "False []",
    ]


def test_a_directory_of_somebody_else_is_read_and_not_written() -> None:
    """Permission denied is one line for each block; what is there stays as it is."""
    with tempfile.TemporaryDirectory() as name:  # Where others may go, too.
        place = Path(name)
        DirectoryBlocks(place / "store", sync=False).put(Cid.of(b"there"), b"there")
        paths = [place, *place.rglob("*")]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        done = run(FOREIGN, place / "store")
        for path in paths:
            path.chmod(0o755)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "b'there'",
            *(f"block {Cid.of(data)}: cannot write to {place}/store: Permission denied" for data in (b"new", b"there")),
        ]
        assert [path.read_bytes() for path in place.rglob("baf*")] == [b"there"]


def test_several_processes_write_the_same_blocks_and_one_is_killed(tmp_path: Path) -> None:
    """None fails because of another, every block is there, and nothing else is."""
    store = tmp_path / "store"
    command = [sys.executable, "-c", PRELUDE + CROWD, str(store)]
    commands = [[*command, "for ever"], command, command]
    writers = [subprocess.Popen(each, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for each in commands]
    try:
        assert writers[0].stdout is not None
        assert writers[0].stdout.readline() == "writing\n"
        with pytest.raises(subprocess.TimeoutExpired):
            writers[0].wait(0.1)
        writers[0].kill()
        for writer in writers[1:]:
            _, said = writer.communicate(timeout=120)
            assert (writer.returncode, said) == (0, "")
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate(timeout=120)
    DirectoryBlocks(store).close()
    assert [each.name for each in store.iterdir()] == ["blocks"]
    found = {path.name: path.read_bytes() for path in store.glob("blocks/*/*")}
    pieces = [number.to_bytes(2) * 2000 for number in range(150)]
    assert found == {str(Cid.of(piece)): piece for piece in pieces}


def test_every_directory_that_was_made_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block lies as safe as the names above it: each directory that got a new name is synced before `put` returns."""
    synced = set()

    def sync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", sync)
    cid = Cid.of(b"block")
    DirectoryBlocks(tmp_path / "new" / "store").put(cid, b"block")
    path = tmp_path / "new" / "store" / "blocks" / str(cid)[56:58] / str(cid)
    expected = [tmp_path, *(path.parents[above] for above in range(4)), path]
    assert {each.stat().st_ino for each in expected} <= synced


def limited() -> None:
    """No file that this process writes gets longer than 100 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@pytest.mark.parametrize("command", ["add", "get"])
def test_a_command_that_meets_a_full_disk_is_one_line(tmp_path: Path, command: str) -> None:
    """Nothing half written has a name, and what was there before stays; with room it works."""
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "out").write_bytes(b"before")
    store = DirectoryBlocks(tmp_path / "full", sync=False)
    root = add(store, data).root
    store.close()
    arguments = {"add": ["file", "--store", "store"], "get": [str(root), "-o", "out", "--store", "full"]}[command]
    done = subprocess.run(
        [FEDPACT, "store", command, *arguments],
        cwd=tmp_path,
        preexec_fn=limited,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "out").read_bytes() == b"before"
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert kept - {".out.partial"} == {"file", "out", str(root)}  # What `get` has so far it goes on with.
    again = fedpact("store", command, *arguments, cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert (tmp_path / "out").read_bytes() == (data if command == "get" else b"before")
    assert not (tmp_path / ".out.partial").exists()
