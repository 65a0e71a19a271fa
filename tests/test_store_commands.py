"""`fedpact store`, as a user runs it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fedpact.store import DirectoryBlocks
from fedpact.store.unixfs import LEAF, address, open_file
from runs import FEDPACT, fedpact


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`fedpact store serve` on a free port; what it printed, and its process."""
    command = [FEDPACT, "store", "serve", str(directory), "--port", "0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline(), process
        finally:
            process.kill()


def test_a_file_goes_in_and_comes_out(tmp_path: Path) -> None:
    """`add`, `stat` and `get` agree with `cid`; the file is the same."""
    data = os.urandom(2 * LEAF + 9)
    (tmp_path / "file").write_bytes(data)
    cid = str(address(data))
    assert fedpact("store", "cid", "file", cwd=tmp_path).stdout == f"{cid}\n"
    assert not (tmp_path / "store").exists()
    assert fedpact("store", "add", "file", cwd=tmp_path).stdout == f"{cid}\n"
    assert open_file(DirectoryBlocks(tmp_path / "store"), address(data), len(data)).read() == data
    told = json.loads(fedpact("store", "stat", cid, "--json", cwd=tmp_path).stdout)
    assert told == {"cid": cid, "size": len(data), "leaves": 3, "nodes": 1}
    done = fedpact("store", "get", cid, "-o", "again", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"again: {len(data)} bytes\n")
    assert (tmp_path / "again").read_bytes() == data


@pytest.mark.parametrize("size", [0, 1, LEAF])
def test_small_files(tmp_path: Path, size: int) -> None:
    """An empty file and one leaf are files as others."""
    (tmp_path / "file").write_bytes(bytes(size))
    cid = fedpact("store", "add", "file", cwd=tmp_path).stdout.strip()
    assert cid == str(address(bytes(size)))
    assert fedpact("store", "get", cid, "-o", "again", "--size", str(size), cwd=tmp_path).returncode == 0
    assert (tmp_path / "again").read_bytes() == bytes(size)


def test_one_serves_and_another_fetches(tmp_path: Path) -> None:
    """A file moves from one directory to a file elsewhere, through the server; SIGTERM ends that with exit code 0."""
    data = os.urandom(3 * LEAF)
    (tmp_path / "file").write_bytes(data)
    cid = fedpact("store", "add", "file", "--store", "mine", cwd=tmp_path).stdout.strip()
    with serving(tmp_path / "mine") as (line, process):
        told = json.loads(line)
        assert told["store"] == f"gateway+{told['url']}"
        options = ("-o", "again", "--store", "empty", "--store", told["store"], "--json")
        done = fedpact("store", "get", cid, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["read"][f"gateway {told['url']}"] > len(data)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert (tmp_path / "again").read_bytes() == data
    assert not (tmp_path / "empty").exists()


def test_the_store_of_the_settings(tmp_path: Path) -> None:
    """Where no store is named, it is that of the variable, for writing, reading and serving."""
    (tmp_path / "file").write_bytes(b"file")
    variables = {"FEDPACT_STORE": str(tmp_path / "elsewhere")}
    cid = fedpact("store", "add", "file", cwd=tmp_path, variables=variables).stdout.strip()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["elsewhere", "file"]
    told = fedpact("store", "stat", cid, cwd=tmp_path, variables=variables).stdout
    assert told == "4 bytes in 1 leaf, 0 inner nodes above\n"
    command = [FEDPACT, "store", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | variables) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"serving {tmp_path / 'elsewhere'} at http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_ends_although_somebody_is_connected(tmp_path: Path, number: signal.Signals) -> None:
    """A connection that does nothing does not keep it."""
    with serving(tmp_path) as (line, process):
        port = int(json.loads(line)["url"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /")
            process.send_signal(number)
            assert process.wait(15) == 0


def test_requests_are_logged_only_where_that_is_asked_for(tmp_path: Path) -> None:
    """With --access-log each request is a line."""
    for options, lines in (((), 0), (("--access-log",), 1)):
        with serving(tmp_path, *options) as (line, process):
            connection = http.client.HTTPConnection(json.loads(line)["url"].removeprefix("http://"), timeout=10)
            connection.request("GET", "/ipfs/x?format=raw")
            assert connection.getresponse().status == 400
            connection.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert process.stderr is not None
            found = process.stderr.read().splitlines()
            assert len(found) == lines
            assert all("/ipfs/x" in each for each in found)


CID = str(address(b"not here"))
A = "0x" + "5" * 40
EVERYWHERE = "0.0.0.0"  # noqa: S104  # Nothing is bound.
NOBODY = "http://127.0.0.1:9"
SIGNED = ("--contract", A, "--key-file", "key", "--chain-id", "5")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("get", CID, "-o", "out"), 1, f"block {CID}: not in store"),
        (("get", "bafkrei", "-o", "out"), 2, "expected 59 characters of a base32 CIDv1"),
        (("get", CID, "-o", "no/out"), 1, "no/out: no directory no"),
        (("get", CID, "-o", "out", "--size", "-1"), 2, "size: expected 0 to"),
        (("get", CID, "-o", "out", "--store", "http://host"), 2, "found a URL of 'http'"),
        (("stat", CID, "--size", "9999999"), 1, "expected 10 leaves"),
        (("add", "nothing"), 1, "nothing: No such file or directory"),
        (("add", "file", "--store", "gateway+http://host"), 2, "expected a directory or an IPFS node first"),
        (("cid", "."), 1, ".: not a file"),
        (("serve", "file"), 2, "file: expected a directory with blocks, found something else"),
        (("serve", ".", "--host", "203.0.113.1"), 2, "cannot listen there"),
        (("serve", ".", "--members"), 2, "contract: expected --contract, the variable FEDPACT_CONTRACT or"),
        (("serve", ".", "--members", "--host", EVERYWHERE), 2, "members: expected --public-url URL, what others ask"),
        (("serve", ".", "--public-url", "ftp://SECRET"), 2, "URL: expected http://host:port or https://host, in ASCII"),
        (
            ("serve", ".", "--members", "--contract", A, "--rpc", NOBODY),
            1,
            f"rpc: eth_chainId: {NOBODY}: no connection",
        ),
        (("get", CID, "-o", "out", "--store", "member+http://host"), 2, "contract: expected --contract, the var"),
        (
            ("get", CID, "-o", "out", "--store", "member+http://host", "--contract", A),
            2,
            "stores of members are signed:",
        ),
        (("get", CID, "-o", "out", "--store", "member+http://SECRET:0", *SIGNED), 2, "URL: expected http://host:port"),
        (("stat", CID, "--store", f"member+{NOBODY}", *SIGNED), 1, f"gateway {NOBODY}: cannot be reached"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """It names the thing, what was expected and what was found; nothing is left behind."""
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "key").write_bytes(b"1" * 64)
    done = fedpact("store", *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "SECRET" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_damaged_block_leaves_no_file(tmp_path: Path) -> None:
    """What was there before is still there."""
    data = os.urandom(2 * LEAF)
    (tmp_path / "file").write_bytes(data)
    cid = fedpact("store", "add", "file", cwd=tmp_path).stdout.strip()
    (path,) = tmp_path.glob(f"store/blocks/*/{address(data[:LEAF])}")
    path.write_bytes(b"damaged")
    (tmp_path / "out").write_bytes(b"before")
    done = fedpact("store", "get", cid, "-o", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "its bytes hash to" in done.stderr
    assert (tmp_path / "out").read_bytes() == b"before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "out", "store"]


def test_without_a_command_there_is_help(tmp_path: Path) -> None:
    """All commands are named."""
    done = fedpact("store", cwd=tmp_path)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("add", "check", "cid", "gc", "get", "pin", "serve", "stat", "unpin"))
