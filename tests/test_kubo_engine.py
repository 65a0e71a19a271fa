"""The real Kubo engine: what we upload to a node it pins over bitswap and reads back byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fedpact.errors import InvalidCid
from fedpact.store import Cid
from fedpact.store.opening import open_store
from fedpact.store.unixfs import LEAF, add, add_leaf, add_nodes, find_file
from ipfs_node import IpfsNode, running

pytestmark = pytest.mark.nodes

PYTHON = Path(__file__).parent.parent / ".cache/kubo-engine/bin/python"
SCRIPT = Path(__file__).parent / "nodes/kubo/engine.py"
_SECONDS = 120.0  # The library's calls have no limits of their own.


class Engine:
    """A Kubo of its own process, which ends with this one."""

    def __init__(self, directory: Path) -> None:
        assert PYTHON.exists(), f"no Kubo engine: `make test-nodes` puts one into {PYTHON.parent.parent}"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        directory.mkdir()  # Where it also writes a log.
        command = [PYTHON, SCRIPT, directory / "repository"]
        self._process = subprocess.Popen(command, cwd=directory, text=True, **pipes)  # type: ignore[call-overload]

    def ask(self, function: str, *arguments: Any) -> Any:
        """What a function of the library returns."""
        timer = threading.Timer(_SECONDS, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps([function, *arguments]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            assert line, f"{function}: the engine ended, or gave no answer in {_SECONDS:.0f} s"
            return json.loads(line)
        finally:
            timer.cancel()

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def ipfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpfsNode]:
    """A real IPFS node without the pins of other tests, which collecting would walk."""
    with running(tmp_path_factory.mktemp("ipfs")) as (node,):
        yield node


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, ipfs: IpfsNode) -> Iterator[Engine]:
    """One that is connected to our node."""
    engine = Engine(tmp_path_factory.mktemp("engine") / "kubo")
    assert engine.ask("ConnectToPeer", ipfs.addresses()[0]) == 0
    yield engine
    engine.close()


@pytest.mark.parametrize("size", [0, 1, LEAF, LEAF + 1, 20 * LEAF + 12345])
def test_what_we_upload_it_pins_and_reads_back(engine: Engine, ipfs: IpfsNode, tmp_path: Path, size: int) -> None:
    """Its own code walks our DAG, fetches each block over bitswap, and makes the same file of it."""
    data = os.urandom(size)
    blocks = open_store([f"kubo+{ipfs.url}"])
    dag = add(blocks, data)
    blocks.close()
    assert engine.ask("PinCID", str(dag.root)) == 0
    pins = json.loads(engine.ask("ListPins"))
    assert {str(dag.root), *map(str, dag.leaves)} <= set(pins)
    assert engine.ask("Download", str(dag.root), str(tmp_path / "file")) == 0
    assert (tmp_path / "file").read_bytes() == data


def test_more_leaves_than_a_node_of_the_dag_has_links(engine: Engine, ipfs: IpfsNode) -> None:
    """Two levels of nodes: 1030 leaves, of which most are the same block, so that little has to move."""
    blocks = open_store([f"kubo+{ipfs.url}"])
    same, last = os.urandom(LEAF), os.urandom(3)
    dag = add_nodes(blocks, [add_leaf(blocks, same)] * 1029 + [add_leaf(blocks, last)], 1029 * LEAF + 3)
    blocks.close()
    assert len(dag.nodes) == 3
    assert engine.ask("PinCID", str(dag.root)) == 0
    pins = set(json.loads(engine.ask("ListPins")))
    assert {*map(str, dag.leaves), *(str(cid) for cid, _ in dag.nodes)} <= pins


def test_what_only_the_engine_has_we_read(engine: Engine, ipfs: IpfsNode) -> None:
    """A file that our node has forgotten comes back from there."""
    data = os.urandom(3 * LEAF + 1)
    blocks = open_store([f"kubo+{ipfs.url}"])
    dag = add(blocks, data)
    assert engine.ask("PinCID", str(dag.root)) == 0
    ipfs.ask("pin/rm", arg=dag.root)
    ipfs.ask("repo/gc")
    assert find_file(blocks, dag.root, len(data)).read() == data
    blocks.close()


def test_what_it_adds_by_itself_is_of_another_kind(engine: Engine, tmp_path: Path) -> None:
    """The library's own import is that of Kubo without a profile: CIDv0, which is none of our addresses."""
    (tmp_path / "file").write_bytes(b"data")
    with pytest.raises(InvalidCid, match="expected 59 characters of a base32 CIDv1"):
        Cid.parse(engine.ask("AddFile", str(tmp_path / "file"), False))
