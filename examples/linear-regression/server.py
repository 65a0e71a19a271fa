"""The server: python server.py. README.md says more.

It founds a federation on a chain, coordinates it, and shows its record as blocks. With --ledger memory all three take
part within this process, without a chain: a dry run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from blocks import blocks
from fedpact.cli import main, run
from fedpact.errors import InputError, Interrupted
from fedpact.files import write_atomically
from meeting import CLIENTS, HERE, OWNER, RUNS, SERVER, act_as, address_of, address_of_charter, announce, check_alone

_LAST_LOOK_SECONDS = 30.0


def server() -> int:
    """What the command does; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", choices=("chain", "memory"), default="chain", help="memory is a dry run")
    parser.add_argument("--rpc", metavar="URL", help="a development chain that runs; otherwise one is started")
    parser.add_argument("--charter", default="charter.toml", help="genetic.toml trains with a genetic algorithm")
    parser.add_argument("--directory", type=Path, default=RUNS, help="where clients find it, and runs are kept")
    asked = parser.parse_args()
    from fedpact_simulation.setup import Workdir

    directory, charter = asked.directory.absolute(), HERE / asked.charter
    workdir = Workdir(None, directory / asked.ledger)
    try:
        if asked.ledger == "memory":
            told = ("--ledger", "memory", "--threads", "1", "--charter", str(charter), "--workdir", str(workdir.path))
            code = run("simulate", str(HERE), *told)
        else:
            federate(directory, workdir.path, charter, asked.rpc)
            code = run("audit", str(workdir.path))
    except Interrupted as error:
        raise Interrupted(error.exit_code - 128, "interrupted; the next run begins anew") from None
    finally:
        workdir.sweep()
    print(*blocks(workdir.path), f"record: {workdir.path}", sep="\n")
    return code


def federate(directory: Path, kept: Path, charter: Path, rpc: str | None) -> None:
    """Founds a federation, coordinates it to its end, and keeps its record for when the chain is gone."""
    check_alone(directory)
    accepted = address_of_charter(charter)
    clients = [address_of(client) for client in CLIENTS]
    plan = {"charter": str(charter), "genesis": "zeros", "members": clients, "coordinators": [address_of(SERVER)]}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in plan.items())
    write_atomically(kept / "federation.toml", lines.encode())
    with chain(rpc) as url:
        places = {"contract": "federation.deployment.json", "store": "store", "state": "state"}
        settings = {"rpc": url, **{name: str(kept / place) for name, place in places.items()}}
        act_as(OWNER, settings)
        run("deploy", str(kept / "federation.toml"))
        announced = announce(directory, {**settings, "charter": accepted})
        try:
            print("clients may come: python client.py 1, python client.py 2", flush=True)
            act_as(SERVER, settings)
            run("coordinator", "run")
            run("record", "-o", str(kept / "ledger.jsonl"))
            run("model", "get", "-o", str(kept / "model.safetensors"))
            wait_for_clients(kept / "state")
        finally:
            announced.unlink(missing_ok=True)


@contextlib.contextmanager
def chain(url: str | None) -> Iterator[str]:
    """A chain: the one that is there, or what `fedpact devnet` runs, for as long as the context lasts."""
    from fedpact_simulation import devnet

    if url is not None:
        yield url
        return
    engine, node = devnet.start(None, os.environ)
    try:
        print(f"chain: {engine} at {node.url}", flush=True)
        yield node.url
    finally:
        node.stop()


def wait_for_clients(state: Path) -> None:
    """Waits until all have seen the end: each holds the lock of its key while it runs."""
    from fedpact.ledger.facts import address
    from fedpact.service.instance import only_instance

    end = time.monotonic() + _LAST_LOOK_SECONDS
    for client in CLIENTS:
        while time.monotonic() < end:
            with contextlib.suppress(InputError), only_instance(state, address(address_of(client))):
                break
            time.sleep(0.1)  # Another process ends; bounded above.


if __name__ == "__main__":
    main(server)
