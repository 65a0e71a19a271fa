"""Stores beside what bounds them: a directory beside SHA-256 of the same bytes, a slow gateway beside a quick one.

    python benchmarks/store.py [--parts directory,gateway] [--megabytes 1000] [--runs 3] [--latency 50] [--scratch DIR]
                               [--json FILE]

- `directory`: files become blocks in a directory, and are read from there, verified; compared with the time that
  SHA-256 alone takes for the same bytes on one core. What brings them to the disk is timed apart. Both sides take turns
  file by file, so that a slow phase of the machine is in both; what is read is in the system's cache.
- `gateway`: 10 updates of 20 blocks become one model, read from a gateway whose answers take some milliseconds. It is
  compared with the longer of two times: what the requests take that wait for one another, 16 at once, and the same
  work where answers take no time.

Exit code: 0, or 1 where a run failed or a limit does not hold, or 2 for a wrong option.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

from command import cores, finish, machine, machine_line, positive
from fedpact.artifacts.weights import Layout, Tensor
from fedpact.rules import make
from fedpact.rules.engine import aggregate
from fedpact.store.cid import Cid
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.disk_file import leaves_of
from fedpact.store.remote.gateway import RAW, GatewayBlocks
from fedpact.store.transfer import AT_ONCE
from fedpact.store.unixfs import LEAF, File, add_file, add_leaf, add_nodes, open_file
from measuring import measure

PARTS = ("directory", "gateway")
PART_MB = 50  # Of each file.
UPDATES, LEAVES = 10, 20
LEAST_WRITING, LEAST_READING = 0.7, 0.8  # Of the rate of SHA-256 on one core.
MOST_OF_BOUND = 1.5  # Time through a slow gateway over the longer of what bounds it.
MOST_EXTRA_MB = 150.0  # More than before the work.


# -------------------------------------------------------------------------------------------------------- A directory


def measure_directory(scratch: Path, megabytes: int, runs: int) -> list[dict[str, Any]]:
    """Rows of each kind of work, with the rates of all runs."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        files = [Path(name) / str(part) for part in range(max(1, megabytes // PART_MB))]
        source = random.Random(1)
        for path in files:
            path.write_bytes(source.randbytes(megabytes * 1_000_000 // len(files)))
        for _ in range(runs):
            with tempfile.TemporaryDirectory(dir=scratch) as stores:
                for work, seconds in _one_run(Path(stores), files).items():
                    found.setdefault(work, []).append(seconds)
                    print(f"{work}: {seconds[1] / seconds[0]:.2f} of SHA-256's rate", file=sys.stderr)
    least = {"write": LEAST_WRITING, "write, synced": LEAST_WRITING, "read, verified": LEAST_READING}
    return [
        {
            "work": work,
            "megabytes_per_second": round(statistics.median(megabytes / own for own, _, _ in every)),
            "hashing_megabytes_per_second": round(statistics.median(megabytes / other for _, other, _ in every)),
            "ratio": round(statistics.median(other / own for own, other, _ in every), 3),
            "sync_seconds": [round(sync, 2) for _, _, sync in every],
            "least": least.get(work),
        }
        for work, every in found.items()
    ]


def _one_run(directory: Path, files: Sequence[Path]) -> dict[str, tuple[float, float, float]]:
    """Of each work: its seconds, those of SHA-256 alone, and those of syncing, which are in neither."""
    plain, synced = DirectoryBlocks(directory / "plain", sync=False), DirectoryBlocks(directory / "synced")
    result = {}
    for work, blocks in (("write", plain), ("write again", plain), ("write, synced", synced)):
        roots, own, other = [], 0.0, 0.0
        with _Syncing() as syncing:
            for path in files:
                other += _hashing(path)
                started = time.perf_counter()
                with leaves_of(path) as (leaf, size):
                    roots.append(add_file(blocks, leaf, size))
                own += time.perf_counter() - started
            own -= syncing.seconds
        result[work] = own, other, syncing.seconds or _timed(lambda: _sync(plain.directory))
    own = other = 0.0
    for path, dag in zip(files, roots, strict=True):
        other += _hashing(path)
        file = open_file(plain, dag.root, dag.size)
        started = time.perf_counter()
        collections.deque(file.each(), maxlen=0)
        own += time.perf_counter() - started
    result["read, verified"] = own, other, 0.0
    return result


def _hashing(path: Path) -> float:
    """Seconds that SHA-256 takes for the leaves of a file, which are in memory."""
    seconds = 0.0
    with path.open("rb") as file:
        while leaf := file.read(LEAF):
            seconds += _timed(lambda leaf=leaf: hashlib.sha256(leaf).digest())
    return seconds


class _Syncing:
    """How long is spent in syncing, while the context lasts."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._patch = patch("os.fsync", self._sync)
        self._fsync = os.fsync

    def _sync(self, descriptor: int) -> None:
        self.seconds += _timed(lambda: self._fsync(descriptor))

    def __enter__(self) -> _Syncing:
        self._patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()


def _sync(directory: Path) -> None:
    """Brings a store to the disk."""
    for path in (directory, *directory.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# ----------------------------------------------------------------------------------------------------------- A gateway

LAYOUT = Layout([Tensor("weights", "F32", (LEAVES * LEAF // 4 - 1000,))])


def serve(port: Any, directory: str, latency: Any) -> None:
    """A gateway to a directory, whose answers take so many milliseconds; says its port when it is ready."""
    blocks = DirectoryBlocks(Path(directory))

    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(latency.value / 1000)
            data = blocks.get(Cid.parse(self.path.removeprefix("/ipfs/").removesuffix("?format=raw")))
            self.send_response(200)
            self.send_header("Content-Type", RAW)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    port.put(server.server_port)
    server.serve_forever()


def measure_gateway(scratch: Path, milliseconds: int, runs: int) -> list[dict[str, Any]]:
    """A row for each rule."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        store = DirectoryBlocks(Path(name), sync=False)
        roots = [_update(store, number) for number in range(UPDATES)]
        port, latency = context.Queue(), context.Value("i", 0)
        gateway = context.Process(target=serve, args=(port, name, latency), daemon=True)
        gateway.start()
        blocks = GatewayBlocks(f"http://127.0.0.1:{port.get(timeout=60)}")
        try:
            files = [open_file(blocks, root, LAYOUT.size) for root in roots]
            return [_row(rule, files, latency, milliseconds, runs) for rule in ("fedavg", "krum")]
        finally:
            blocks.close()
            gateway.terminate()
            gateway.join()


def _update(store: DirectoryBlocks, number: int) -> Cid:
    """Stores an update, and returns its address."""
    source = random.Random(number)
    leaves = [
        add_leaf(
            store, LAYOUT.header_in(index) + _floats(source, LAYOUT.leaf_size(index) - len(LAYOUT.header_in(index)))
        )
        for index in range(LEAVES)
    ]
    return add_nodes(store, leaves, LAYOUT.size).root


def _floats(source: random.Random, size: int) -> bytes:
    """Bytes that are finite float32: of each the highest byte is that of a number near one."""
    data = bytearray(source.randbytes(size))
    data[3::4] = b"\x3f" * (size // 4)
    return bytes(data)


def _row(rule: str, files: Sequence[File], latency: Any, milliseconds: int, runs: int) -> dict[str, Any]:
    parameters: dict[str, str | int] = {"byzantine": 2} if rule == "krum" else {}
    passes = 2 if rule == "krum" else 1

    def work(_: None) -> None:
        options = {"keep": lambda _, leaf: Cid.of(leaf), "threads": cores()}
        if not aggregate(LAYOUT, make(rule, 1, parameters), files, [1] * UPDATES, **options).leaves:
            raise RuntimeError("no model")

    seconds: dict[int, list[float]] = {0: [], milliseconds: []}
    extra = 0
    for _ in range(runs):
        for each, found in seconds.items():
            latency.value = each
            measured = measure(lambda: None, work)
            found.append(statistics.median(measured.seconds))
            extra = max(extra, measured.extra)
    window = passes * UPDATES * LEAVES * milliseconds / 1000 / AT_ONCE
    quick, slow = statistics.median(seconds[0]), statistics.median(seconds[milliseconds])
    print(f"{rule}: {slow:.2f} s, {quick:.2f} s where answers take no time", file=sys.stderr)
    return {
        "rule": rule,
        "milliseconds": milliseconds,
        "seconds": [round(each, 3) for each in seconds[milliseconds]],
        "quick_seconds": [round(each, 3) for each in seconds[0]],
        "window_seconds": round(window, 3),
        "one_by_one_seconds": round(window * AT_ONCE, 3),
        "ratio": round(slow / max(window, quick), 3),
        "memory_mb": round(extra / 1e6, 1),
    }


# ------------------------------------------------------------------------------------------------------------- Command


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Measures everything that was asked for."""
    result: dict[str, Any] = {"machine": machine(), "runs": options.runs, "megabytes": options.megabytes}
    with tempfile.TemporaryDirectory(prefix="fedpact-", dir=options.scratch, ignore_cleanup_errors=True) as name:
        if "directory" in options.parts:
            result["directory"] = measure_directory(Path(name), options.megabytes, options.runs)
        if "gateway" in options.parts:
            result["gateway"] = measure_gateway(Path(name), options.latency, options.runs)
    return result


def show(result: Mapping[str, Any]) -> None:
    """Prints a table for each part."""
    print(machine_line(result["machine"]))
    if "directory" in result:
        print(f"\nA directory, {result['megabytes']} MB; {result['runs']} runs; syncing is not in its rate")
        print(f"{'':16}{'MB/s':>8}{'SHA-256':>10}{'ratio':>8}{'at least':>10}  syncing")
        for row in result["directory"]:
            least = "" if row["least"] is None else f"{row['least']:.2f}"
            rates = f"{row['megabytes_per_second']:>8}{row['hashing_megabytes_per_second']:>10}{row['ratio']:>8.2f}"
            print(f"{row['work']:16}{rates}{least:>10}  {statistics.median(row['sync_seconds']):.2f} s")
    if "gateway" in result:
        print(f"\nA model of {UPDATES} updates of {LEAVES} blocks from a gateway; {AT_ONCE} requests at once")
        print(
            f"{'':8}{'answers in':>11}{'time':>8}{'window':>8}{'no wait':>9}{'one by one':>12}{'ratio':>7}{'extra':>9}"
        )
        for row in result["gateway"]:
            slow, quick = (statistics.median(row[name]) for name in ("seconds", "quick_seconds"))
            times = f"{slow:>6.2f} s{row['window_seconds']:>6.2f} s{quick:>7.2f} s{row['one_by_one_seconds']:>10.1f} s"
            told = f"{row['milliseconds']:>8} ms{times}{row['ratio']:>7.2f}{row['memory_mb']:>6.0f} MB"
            print(f"{row['rule']:8}{told}")


def exceeded(result: Mapping[str, Any]) -> list[str]:
    """The limits that do not hold."""
    lines = [
        f"directory, {row['work']}: expected at least {row['least']} of SHA-256's rate, found {row['ratio']}"
        for row in result.get("directory", [])
        if row["least"] is not None and row["ratio"] < row["least"]
    ]
    for row in result.get("gateway", []):
        for what, found, most in (
            ("time / what bounds it", row["ratio"], MOST_OF_BOUND),
            ("extra memory in MB", row["memory_mb"], MOST_EXTRA_MB),
        ):
            if found > most:
                lines.append(f"gateway, {row['rule']}: {what}: expected at most {most:g}, found {found:g}")
    return lines


def options_from(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; a wrong option ends the process with 2."""
    parser = argparse.ArgumentParser(description="A directory store beside SHA-256, a slow gateway beside a quick one.")
    parts = ",".join(PARTS)
    parser.add_argument("--parts", default=parts, metavar="P,…", type=_parts, help=f"of {parts}")
    parser.add_argument("--megabytes", type=positive, default=1000, metavar="N", help="of the file (1000)")
    parser.add_argument("--runs", type=positive, default=3, metavar="N", help="of each (3)")
    parser.add_argument("--latency", type=positive, default=50, metavar="MS", help="of the gateway's answers (50)")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="for temporary files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    return parser.parse_args(arguments)


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if not set(parts) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"expected {', '.join(PARTS)}, found {text!r}")
    return parts


def main() -> int:
    """Compares, prints, and returns the exit code."""
    options = options_from()
    return finish(lambda: compare(options), show, exceeded, options.json)


if __name__ == "__main__":
    sys.exit(main())
