"""Public IPFS clients from npm, as they are, fetch files from our block server: the same bytes come out."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from chains import KEYS
from fedpact.ledger.facts import Address, Identity, address
from fedpact.store import Cid, DirectoryBlocks, unixfs
from fedpact.store.serving.admission import Door, Reader, origin_of
from fedpact.store.serving.server import BlockServer
from fedpact.store.unixfs import LEAF, add

pytestmark = pytest.mark.nodes

CLIENTS = Path(__file__).parent.parent / ".cache/client"
HELIA = ["node", str(CLIENTS / "helia.mjs")]
UNPACK = ["node", str(CLIENTS / "node_modules/ipfs-car/bin.js"), "unpack"]
SIZES = [0, 1, LEAF, LEAF + 1, 3 * LEAF]
DATA = os.urandom(3 * LEAF)
MANY = 1100
"""Leaves of one more file, more than a node has links; they are short, so that it costs little."""


def run(command: list[str], **variables: str) -> bytes:
    """What a client writes to standard output."""
    done = subprocess.run(command, capture_output=True, env=os.environ | variables, timeout=180, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DirectoryBlocks:
    """A store with a file of each size."""
    return DirectoryBlocks(tmp_path_factory.mktemp("store"), sync=False)


@pytest.fixture(scope="module")
def files(store: DirectoryBlocks) -> dict[int, Cid]:
    """The addresses of the files, by size."""
    return {size: add(store, DATA[:size]).root for size in SIZES}


@pytest.fixture(scope="module")
def many(store: DirectoryBlocks) -> Cid:
    """The address of a file of many leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unixfs, "LEAF", 1000)
        dag = add(store, DATA[: MANY * 1000])
    assert (len(dag.leaves), len(dag.nodes)) == (MANY, 3)
    return dag.root


@pytest.fixture(scope="module")
def url(store: DirectoryBlocks) -> Iterator[str]:
    """Where the store is served to everybody."""
    server = BlockServer(store)
    server.start()
    yield server.url
    server.stop()


@pytest.mark.parametrize("size", SIZES)
def test_helia_fetches_a_file(url: str, files: dict[int, Cid], size: int) -> None:
    """Block by block, `?format=raw`, each verified by Helia itself."""
    assert run([*HELIA, url, str(files[size])]) == DATA[:size]


def test_helia_fetches_a_file_of_many_leaves(url: str, many: Cid) -> None:
    """It asks for all links of a node at once."""
    assert run([*HELIA, url, str(many)]) == DATA[: MANY * 1000]


def unpacked(url: str, path: Path) -> bytes:
    """What ipfs-car makes of an answer."""
    request = urllib.request.Request(url, headers={"Accept": "application/vnd.ipld.car"})  # noqa: S310  # Of ours.
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # As above.
        path.write_bytes(answer.read())
    return run([*UNPACK, str(path)])


@pytest.mark.parametrize("size", SIZES)
def test_ipfs_car_unpacks_a_file(url: str, files: dict[int, Cid], size: int, tmp_path: Path) -> None:
    """As one CAR, each block verified by ipfs-car itself."""
    assert unpacked(f"{url}/ipfs/{files[size]}?format=car", tmp_path / "file.car") == DATA[:size]


@pytest.mark.parametrize("query", ["", "?format=car&dag-scope=entity&car-dups=y", "?format=car&car-order=dfs"])
def test_ipfs_car_unpacks_a_file_of_many_leaves(url: str, many: Cid, query: str, tmp_path: Path) -> None:
    """In whatever form it is asked for."""
    assert unpacked(f"{url}/ipfs/{many}{query}", tmp_path / "file.car") == DATA[: MANY * 1000]


def test_helia_reads_as_a_member(store: DirectoryBlocks, files: dict[int, Cid]) -> None:
    """A client that can send a header can be let in by a server for members; without it nothing is given."""
    federation = Identity(31337, Address("0x" + "1" * 40))
    members = frozenset([address(KEYS[2].address)])
    server = BlockServer(store, door=lambda url: Door(federation, [origin_of(url)], lambda: members))
    server.start()
    try:
        token = Reader(KEYS[2], federation).token(server.url)
        asked = [*HELIA, server.url, str(files[3 * LEAF])]
        assert run(asked, AUTHORIZATION=token) == DATA
        with pytest.raises(AssertionError, match="received 401 Unauthorized"):
            run(asked)
    finally:
        server.stop()
