"""A model up to a real IPFS node and down again, beside what the node does by itself.

    python benchmarks/ipfs.py [--megabytes 1000] [--runs 3] [--adapters kubo,ipfshttpclient] [--scratch DIR]
                              [--json FILE]

- up: the DAG is built here, sent as CARs, pinned, and one block read back; compared with the node's own `add`, which
  pins too, of another file of the same length.
- down: the file comes in one answer, and each block of it is hashed; compared with the node's own `cat` of the same
  file, which nobody verifies. Beside it, what a reader could have on this very machine: that `cat` with its bytes
  hashed as they come, on all cores, without a look at what they are.

The node is that of the tests: js-ipfs, which `make test-nodes` installs, or a Kubo (`tests/ipfs_node.py`). Each side is
a process of its own, and they take turns; the memory is the most that our process ever had resident.

Exit code: 0, or 1 where a run failed or a limit does not hold, or 2 for a wrong option.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import multiprocessing
import random
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

from command import cores, finish, machine, machine_line, positive
from fedpact.store.cid import Cid
from fedpact.store.opening import open_store
from fedpact.store.unixfs import LEAF, add_leaf, add_nodes, leaf_count, leaf_size, open_file
from measuring import measure

ADAPTERS = ("kubo", "ipfshttpclient")
LEAST_UP, LEAST_DOWN = 0.8, 0.6  # Of the node's own rate.
MOST_MB = 200.0
_SECONDS = 1800.0  # After which a node does not answer any more.


def compare(megabytes: int, runs: int, adapters: Sequence[str], scratch: Path | None) -> dict[str, Any]:
    """Every adapter beside the node."""
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    from ipfs_node import running

    before = machine()
    size = megabytes * 1_000_000
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(dir=scratch) as name, running(Path(name)) as (node,):
        agent = str(node.ask("id")[0]["AgentVersion"])
        for run in range(runs):
            theirs = {"up": _in_a_process(_their_up, node.url, size, random.getrandbits(63))}
            for adapter in adapters:
                url, seed = f"{adapter}+{node.url}", random.getrandbits(63)
                up = _in_a_process(_our_up, url, size, seed)
                root = up.pop("root")
                sides = [(_their_down, node.url), (_their_hashed, node.url), (_our_down, url)]
                came = {}
                for side, address in sides if run % 2 == 0 else sides[::-1]:
                    came[side] = _in_a_process(side, address, size, root)
                theirs["down"], hashed, down = (came[side] for side, _ in sides)
                for work, ours, others in (("up", up, {}), ("down", down, {"hashed_seconds": hashed["seconds"]})):
                    row = ours | others | {"node_seconds": theirs[work]["seconds"]}
                    found.setdefault((adapter, work), []).append(row)
                    print(f"run {run + 1}, {adapter}, {work}: {_ratio(row):.2f} of the node's rate", file=sys.stderr)
    rows = [
        {
            "adapter": adapter,
            "work": work,
            "megabytes_per_second": round(statistics.median(megabytes / each["seconds"] for each in every), 1),
            "node_megabytes_per_second": round(
                statistics.median(megabytes / each["node_seconds"] for each in every), 1
            ),
            "ratio": round(statistics.median(map(_ratio, every)), 3),
            "hashed_megabytes_per_second": round(
                statistics.median(megabytes / each["hashed_seconds"] for each in every), 1
            )
            if work == "down"
            else None,
            "of_hashed": round(statistics.median(map(_of_hashed, every)), 3) if work == "down" else None,
            "least": {"up": LEAST_UP, "down": LEAST_DOWN}[work],
            "resident_mb": round(max(each["peak"] for each in every) / 1e6, 1),
        }
        for (adapter, work), every in found.items()
    ]
    return {"machine": before, "node": agent, "megabytes": megabytes, "runs": runs, "rows": rows}


def _ratio(row: Mapping[str, float]) -> float:
    return row["node_seconds"] / row["seconds"]


def _of_hashed(row: Mapping[str, float]) -> float:
    return row["hashed_seconds"] / row["seconds"]


def show(result: Mapping[str, Any]) -> None:
    """The table."""
    print(machine_line(result["machine"]))
    print(f"{result['node']}, {result['megabytes']} MB, median of {result['runs']}")
    names = f"{'MB/s':>7} {'node':>7} {'ratio':>6} {'least':>6} {'hashed':>7} {'ratio':>6} {'resident MB':>12}"
    print(f"{'':<21} {names}")
    for row in result["rows"]:
        own, other = row["megabytes_per_second"], row["node_megabytes_per_second"]
        rates = f"{own:>7.1f} {other:>7.1f} {row['ratio']:>6.2f} {row['least']:>6.2f}"
        hashed = f"{'':>14}"
        if row["of_hashed"] is not None:
            hashed = f"{row['hashed_megabytes_per_second']:>7.1f} {row['of_hashed']:>6.2f}"
        print(f"{row['adapter']:<15} {row['work']:<5} {rates} {hashed} {row['resident_mb']:>12.1f}")


def exceeded(result: Mapping[str, Any]) -> list[str]:
    """A line for each limit that does not hold; the default adapter's alone are promised."""
    lines = []
    for row in result["rows"]:
        if row["adapter"] != ADAPTERS[0]:
            continue
        if row["ratio"] < row["least"]:
            lines.append(
                f"{row['work']}: {row['ratio']:.2f} of the node's own rate, expected at least {row['least']}"
                + ("" if row["of_hashed"] is None else f"; {row['of_hashed']:.2f} of its rate with mere hashing")
            )
        if row["resident_mb"] > MOST_MB:
            lines.append(f"{row['work']}: {row['resident_mb']} MB resident, expected at most {MOST_MB:.0f}")
    return lines


# ---------------------------------------------------------------------------------------------------------- the sides


def _leaves(size: int, seed: int) -> Iterator[bytes]:
    """A file in which no block is another, made faster than anything that is done with it."""
    body = random.Random(seed).randbytes(LEAF)
    for index in range(leaf_count(size)):
        yield (index.to_bytes(8, "little") + body[8:])[: leaf_size(size, index)]


def _our_up(url: str, size: int, seed: int) -> dict[str, Any]:
    seeds, root = count(seed), ""

    def work(_: None) -> None:
        nonlocal root
        blocks = open_store([url])
        leaves = [add_leaf(blocks, leaf) for leaf in _leaves(size, next(seeds))]
        root = str(add_nodes(blocks, leaves, size).root)
        blocks.close()

    return _measured(work) | {"root": root}


def _our_down(url: str, size: int, root: str) -> dict[str, Any]:
    def work(_: None) -> None:
        blocks = open_store([url], writable=False)
        file = open_file(blocks, Cid.parse(root), size)
        length = sum(map(len, file.each()))
        if length != size:
            raise ValueError(f"{length} bytes came of {size}")
        blocks.close()

    return _measured(work)


def _their_up(url: str, size: int, seed: int) -> dict[str, Any]:
    seeds = count(seed)

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        yield b"Content-Type: application/octet-stream\r\n\r\n"
        yield from _leaves(size, next(seeds))
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    options = f"cid-version=1&raw-leaves=true&chunker=size-{LEAF}&pin=true&progress=false"
    return _measured(lambda _: _ask(url, f"add?{options}", body(), headers))


def _their_down(url: str, size: int, root: str) -> dict[str, Any]:
    def work(_: None) -> None:
        if (length := _ask(url, f"cat?arg={root}", None, {})) != size:
            raise ValueError(f"{length} bytes came of {size}")

    return _measured(work)


def _their_hashed(url: str, size: int, root: str) -> dict[str, Any]:
    def work(_: None) -> None:
        digests: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(cores()) as pool:

            def take(piece: bytes) -> None:
                digests.append(pool.submit(lambda: hashlib.sha256(piece).digest()))
                if len(digests) > 2 * cores():
                    digests.popleft().result()

            if (length := _ask(url, f"cat?arg={root}", None, {}, take)) != size:
                raise ValueError(f"{length} bytes came of {size}")

    return _measured(work)


def _ask(
    url: str,
    command: str,
    body: Iterator[bytes] | None,
    headers: Mapping[str, str],
    take: Callable[[bytes], None] = lambda piece: None,
) -> int:
    """Asks the node; returns how long its answer was."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_SECONDS)
    try:
        connection.request("POST", f"/api/v0/{command}", body, headers, encode_chunked=body is not None)
        response = connection.getresponse()
        length = 0
        while piece := response.read(1 << 20):
            length += len(piece)
            take(piece)
        if response.status != 200:
            raise OSError(f"the node answers with HTTP status {response.status}")
        return length
    finally:
        connection.close()


def _measured(work: Callable[[None], object]) -> dict[str, Any]:
    found = measure(lambda: None, work)
    return {"seconds": statistics.median(found.seconds), "peak": found.peak}


def _in_a_process(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply_async(work, arguments).get(_SECONDS)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=positive, default=1000)
    parser.add_argument("--runs", type=positive, default=3)
    parser.add_argument("--adapters", default=ADAPTERS[0], type=lambda text: text.split(","))
    parser.add_argument("--scratch", type=Path, help="a directory with room for some GB")
    parser.add_argument("--json", type=Path, metavar="FILE")
    told = parser.parse_args()
    if not set(told.adapters) <= set(ADAPTERS):
        parser.error(f"adapters: expected some of {', '.join(ADAPTERS)}")
    return finish(lambda: compare(told.megabytes, told.runs, told.adapters, told.scratch), show, exceeded, told.json)


if __name__ == "__main__":
    sys.exit(main())
