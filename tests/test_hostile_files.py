"""Files that do harm where they are believed: refused within bounds of requests and memory, named, not written."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from fedpact.errors import InvalidDag
from fedpact.store import MAX_BLOCK, Cid, Codec, MemoryBlocks
from fedpact.store.foreign import in_words
from fedpact.store.unixfs import LEAF, LINKS, add, add_leaf, build, varint
from gateways import Gateway, respond
from hypothesis import given
from hypothesis import strategies as st

MOST_MEMORY = 150_000_000
BLOCKS = MemoryBlocks()
DATA = random.Random(6).randbytes(18 * LEAF)
DAG = add(BLOCKS, DATA)


def field(number: int, value: int | bytes) -> bytes:
    """A field as protobuf writes it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def node(links: list[tuple[bytes, int]], *, kind: int = 2, name: bytes = b"", data: bytes = b"") -> bytes:
    """A dag-pb node with these links, each an address and the bytes that it claims."""
    linked = b"".join(field(2, field(1, cid) + field(2, name) + field(3, size)) for cid, size in links)
    message = field(1, kind) + (field(2, data) if data else b"") + field(3, sum(size for _, size in links) + len(data))
    return linked + field(1, message + b"".join(field(4, size) for _, size in links))


def put(data: bytes) -> Cid:
    """Has the gateway serve a node."""
    cid = Cid.of(data, Codec.DAG_PB)
    BLOCKS.put(cid, data)
    return cid


def tower(levels: int, width: int, claims: int) -> Cid:
    """Nodes above nodes, each with so many links to the next."""
    cid = add_leaf(BLOCKS, bytes(LEAF))
    for _ in range(levels):
        cid = put(node([(bytes(cid), claims)] * width))
        claims *= width
    return cid


def leaves(data: bytes, size: int) -> list[tuple[bytes, int]]:
    """The leaves of a file in blocks of another size, in the store, each with its size."""
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return [(bytes(add_leaf(BLOCKS, piece)), len(piece)) for piece in pieces]


SMALL = random.Random(7).randbytes(3 * LEAF)
GOOD = leaves(SMALL, LEAF)


@dataclass
class Case:
    """A root, how long it should be where that is known, what is said of it, and requests that this may cost."""

    root: Cid
    said: str
    size: int | None = None
    requests: int = 8


CASES = {
    "65 TB": Case(tower(3, LINKS, LEAF), "more than the expected", requests=70),
    "65 TB, expected 3 MiB": Case(tower(3, LINKS, LEAF), "more than the expected", 3 * LEAF),
    "65 TB in one link": Case(
        put(node([(GOOD[0][0], 65 * 10**12), *GOOD[1:]])), "its first link is to 65000000000000 bytes"
    ),
    "a depth of 1,000": Case(tower(1000, 1, LEAF), "deeper than any file"),
    "a depth of 1,000, expected 3 MiB": Case(tower(1000, 1, LEAF), "deeper than any file", 3 * LEAF),
    "a directory": Case(put(node(GOOD, kind=1, name=b"weights")), "it is a directory"),
    "a directory in shards": Case(put(node(GOOD, kind=5, name=b"00")), "it is a directory in shards"),
    "an empty directory": Case(put(node([], kind=1)), "a node without links: it is a directory"),
    "a symbolic link": Case(put(node([], kind=4, data=b"/etc/passwd")), "it is a symbolic link"),
    "no file system": Case(put(b"".join(field(2, field(1, cid)) for cid, _ in GOOD)), "it is no node of a file"),
    "links that claim too much": Case(put(node([(cid, size + 1) for cid, size in GOOD])), "not the DAG of a file"),
    "links out of order": Case(put(node([*leaves(b"short", LEAF), *GOOD])), "not the DAG of a file"),
    "another length than expected": Case(put(node(GOOD)), "expected 2 leaves", 2 * LEAF, 2),
    "blocks of 256 KiB": Case(put(node(leaves(SMALL, 1 << 18))), "another profile (expected --profile=unixfs-v1-2025)"),
    "addresses of version 0": Case(
        put(node([(b"\x12\x20" + cid[4:], size) for cid, size in GOOD])), "its links are no CIDv1"
    ),
    "bytes in the node": Case(put(node([], data=b"bytes")), "it keeps bytes in its node"),
    "too many links": Case(put(node([GOOD[0]] * (LINKS + 1))), "it has more than 1024 links"),
    "a million links": Case(put(field(2, b"") * (MAX_BLOCK // 2)), "it has more than 1024 links"),
    "a number without end": Case(put(b"\x12" + b"\xff" * 1000), "a number that does not end"),
}


def endless(to: BaseHTTPRequestHandler) -> None:
    """A body that does not end."""
    to.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ipld.raw\r\nConnection: close\r\n\r\n")
    while True:
        to.wfile.write(bytes(1 << 16))


LEAF_FAULTS: dict[str, tuple[Callable[[BaseHTTPRequestHandler], None], str]] = {
    "a bit flipped": (lambda to: respond(to, bytes([DATA[2 * LEAF] ^ 1]) + DATA[2 * LEAF + 1 : 3 * LEAF]), "hash to"),
    "cut short": (lambda to: respond(to, DATA[2 * LEAF : 3 * LEAF - 1]), "hash to"),
    "another block": (lambda to: respond(to, DATA[:LEAF]), "hash to"),
    "no bytes": (lambda to: respond(to), "hash to"),
    "without end": (endless, "more than 2097152 bytes"),
    "as long as allowed": (lambda to: respond(to, bytes(MAX_BLOCK)), "hash to"),
    "a redirect": (lambda to: respond(to, status=302, location="http://127.0.0.1:1/"), "HTTP status 302"),
    "an error in a good answer": (lambda to: respond(to, b'{"Message": "no"}', content_type="text/json"), "expected"),
}
"""What a gateway gives for leaf 2 and all that follow."""

CHILD = """
import json, re, sys
from fedpact.cli.application import application
from fedpact.errors import FedpactError
results = {}
for name, arguments in json.load(sys.stdin).items():
    try:
        application()(["store", "get", *arguments], prog_name="fedpact", standalone_mode=False)
        results[name] = [0, ""]
    except FedpactError as error:
        results[name] = [error.exit_code, str(error)]
most = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
print(json.dumps({"results": results, "most": most}))
"""


@pytest.fixture(scope="module")
def asked() -> dict[str, list[str]]:
    """The requests of each case."""
    return {}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for each case."""
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def done(places: Path, asked: dict[str, list[str]]) -> dict[str, Any]:
    """One process that tries everything, its answers and the most memory that it had."""
    commands = {}

    def honest(to: BaseHTTPRequestHandler) -> None:
        respond(to, BLOCKS.get(Cid.parse(to.path.removeprefix("/ipfs/").removesuffix("?format=raw"))))

    def lying(fault: Callable[[BaseHTTPRequestHandler], None]) -> Callable[[BaseHTTPRequestHandler], None]:
        return lambda to: (fault if any(str(cid) in to.path for cid in DAG.leaves[2:]) else honest)(to)

    with ExitStack() as stack:

        def serve(name: str, answer: Callable[[BaseHTTPRequestHandler], None]) -> str:
            gateway = stack.enter_context(Gateway(answer))
            asked[name] = gateway.asked
            return f"gateway+{gateway.url}"

        def command(name: str, root: Cid, *options: str) -> None:
            (places / name).mkdir()
            commands[name] = [str(root), "-o", str(places / name / "file"), *options]

        for name, case in CASES.items():
            size = [] if case.size is None else ["--size", str(case.size)]
            command(name, case.root, *size, "--store", serve(name, honest))
        good = serve("honest", honest)
        for name, (fault, _) in LEAF_FAULTS.items():
            bad = serve(name, lying(fault))
            command(name, DAG.root, "--size", str(len(DATA)), "--store", bad)
            command(f"{name}, then honest", DAG.root, "--size", str(len(DATA)), "--store", bad, "--store", good)
        child = subprocess.run(
            [sys.executable, "-c", CHILD],
            input=json.dumps(commands),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert child.returncode == 0, child.stderr
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("name", CASES)
def test_a_root_that_is_no_file_of_ours_is_refused(
    name: str, done: dict[str, Any], places: Path, asked: dict[str, list[str]]
) -> None:
    """In one line that names it and says what it is, after few requests; nothing is written."""
    code, said = done["results"][name]
    assert code == 1
    assert said.startswith(str(CASES[name].root))
    assert CASES[name].said in said
    assert len(said.splitlines()) == 1
    assert len(said) < 400
    assert list((places / name).iterdir()) == []
    assert len(asked[name]) <= CASES[name].requests


@pytest.mark.parametrize("name", LEAF_FAULTS)
def test_of_a_file_that_turns_bad_nothing_unverified_is_kept(name: str, done: dict[str, Any], places: Path) -> None:
    """What came before the bad leaf is all that is on the disk; another gateway gives the whole file."""
    code, said = done["results"][name]
    assert code == 1
    assert str(DAG.leaves[2]) in said
    assert LEAF_FAULTS[name][1] in said
    (left,) = (places / name).iterdir()
    assert left.name == ".file.partial"
    assert left.read_bytes() == DATA[: 2 * LEAF]
    assert done["results"][f"{name}, then honest"] == [0, ""]
    (whole,) = (places / f"{name}, then honest").iterdir()
    assert whole.read_bytes() == DATA


def test_all_of_that_takes_little_memory(done: dict[str, Any]) -> None:
    """One process that tried everything never had more than the limit."""
    assert done["most"] < MOST_MEMORY


@given(st.binary(max_size=300) | st.builds(lambda *parts: b"".join(parts), st.binary(max_size=40), st.just(node(GOOD))))
def test_any_node_is_put_into_words_or_is_none(data: bytes) -> None:
    """Whatever bytes it has: a short text, or the one error."""
    try:
        said = in_words(Cid.of(data, Codec.DAG_PB), data)
    except InvalidDag as error:
        said = str(error)
    assert len(said) < 200
    assert len(said.splitlines()) <= 1


def test_our_own_files_have_nothing_to_be_said_of(tmp_path: Path) -> None:
    """No words for a leaf, a node, and a root of two levels."""
    for count in (1, 2, 3, LINKS, LINKS + 1):
        dag = build([DAG.leaves[0]] * count, count * LEAF)
        for cid, data in dag.nodes:
            assert in_words(cid, data) == ""
    assert in_words(DAG.leaves[0], DATA[:LEAF]) == ""
