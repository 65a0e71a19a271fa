"""What the services cost above training, on a real node.

    python benchmarks/services.py                       a round of 4 silos as processes, a round of 100 silos
    python benchmarks/services.py --parts weeks         a coordinator over 1,000 rounds: minutes

The node is anvil, which makes a block of every transaction at once: `make test-nodes` leaves one in .cache/nodes, or
FEDPACT_ANVIL names it. Every process has a store of its own; for the 100 silos, threads of one process, it is one.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from command import Result, finish, machine, machine_line
from fedpact.artifacts.charter import Charter
from fedpact.ledger.actions import Admit, Appoint
from fedpact.ledger.endpoints import connect
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.facts import address
from fedpact.ledger.port import Follower
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.unixfs import add
from fedpact_client.silo import Silo
from fedpact_client.trainer import Config, Fit
from fedpact_coordinator.coordinator import Coordinator
from fedpact_simulation.devnet import ANVIL_VARIABLE, accounts
from processes import RunFailed, stop

PARTS = ("round", "hundred", "weeks")
LIMITS = {"round": 1.5, "hundred": 15.0, "weeks": 200.0}
"""Seconds of a round above training, seconds of a round, megabytes."""
_ANVIL = Path(__file__).parent.parent / ".cache/nodes/node_modules/.bin/anvil"
_FEDPACT = Path(sys.executable).parent / "fedpact"
_SECONDS = 1800.0
_TRAINER = """
import numpy as np
from fedpact_client.trainer import Fit

class Instant:
    def fit(self, weights, config):
        return Fit({name: array + np.float32(1) for name, array in weights.items()}, 10, {"accuracy": 0.5})

    def evaluate(self, weights):
        return {"accuracy": 0.5}

def make(file, config):
    return Instant()
"""


class Instant:
    """Trains in no time."""

    def fit(self, weights: Any, config: Config) -> Fit:
        """Adds one to everything."""
        return Fit({name: array + array.dtype.type(1) for name, array in weights.items()}, 10, {"accuracy": 0.5})

    def evaluate(self, weights: Any) -> Mapping[str, float]:
        """The same for all."""
        return {"accuracy": 0.5}


def charter_of(rounds: int, quorum: int) -> Charter:
    """A softmax regression's worth of weights, and time enough."""
    return Charter.model_validate(
        {
            "format": "fedpact-charter/1",
            "name": "services",
            "score": "accuracy",
            "model": {"coef0": {"dtype": "F32", "shape": [64, 10]}, "intercept0": {"dtype": "F32", "shape": [10]}},
            "trainer": {"name": "instant"},
            "rule": {"name": "fedavg"},
            "rounds": {"quorum": quorum, "submission_seconds": 3600, "publication_seconds": 3600},
            "limits": {"max_samples": 100},
            "stop": {"rounds": rounds},
            "duplicates": "keep",
        }
    )


@contextlib.contextmanager
def anvil(count: int, directory: Path) -> Iterator[str]:
    """A node on which so many test accounts have money; yields its URL."""
    program = os.environ.get(ANVIL_VARIABLE) or (str(_ANVIL) if _ANVIL.exists() else None)
    if program is None:
        raise RunFailed(f"anvil: none at {_ANVIL}; make test-nodes installs one, or {ANVIL_VARIABLE} names one")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--port", str(port), "--accounts", str(count), "--prune-history", "--no-cors", "--silent"]
    with (directory / "anvil.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


class Founded:
    """A federation on a node.

    Args:
        silos: how many members.
    """

    def __init__(self, url: str, directory: Path, silos: int, rounds: int) -> None:
        self.url, self.directory = url, directory
        self.accounts = accounts(silos + 2)
        self.charter = charter_of(rounds, silos)
        layout = self.charter.layout()
        self.blocks = DirectoryBlocks(directory / "coordinator/store")
        self.accepted = add(self.blocks, self.charter.encode()).root
        genesis = add(self.blocks, layout.header + bytes(layout.size - len(layout.header))).root
        self.ledger, _ = EthereumLedger.deploy(
            connect(url),
            self.accounts[0],
            self.accepted,
            genesis,
            self.charter.contract_limits(),
            accounts=self.accounts[1:],
        )
        owner = address(self.accounts[0].address)
        self.ledger.send(owner, Admit(tuple(address(each.address) for each in self.accounts[2:])))
        self.ledger.send(owner, Appoint(address(self.accounts[1].address)))

    def silo(self, place: int, follower: Follower) -> Silo:
        """A silo in this process."""
        account = address(self.accounts[2 + place].address)
        return Silo(self.ledger, account, self.blocks, follower, Instant(), self.accepted)

    def start(self, role: str, name: str, account: int, stores: Sequence[str], *more: str) -> subprocess.Popen[bytes]:
        """A service as a process; its log is JSON."""
        home = self.directory / name
        home.mkdir(exist_ok=True)
        key = home / "key"
        key.touch(mode=0o600)
        key.write_text(self.accounts[account].key.hex())
        (home / "instant.py").write_text(_TRAINER)
        places = [part for each in ("store", *stores) for part in ("--store", each)]
        told = ["--rpc", self.url, "--contract", self.ledger.identity.contract, "--key-file", "key"]
        with (home / "log").open("wb") as log:
            return subprocess.Popen(
                [str(_FEDPACT), role, "run", *told, *places, "--log-format", "json", *more],
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def published(self) -> list[float]:
        """When the coordinator said that it had published, round by round."""
        lines = (self.directory / "coordinator/log").read_text().splitlines()
        messages = [json.loads(line) for line in lines if line.startswith("{")]
        return [each["time"] for each in messages if ": published " in each["message"]]


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[str]:
    """A block server; yields how others read from it."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(_FEDPACT), "store", "serve", str(directory), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        answer = json.loads((process.stdout or sys.stdin.buffer).readline())
        yield f"gateway+{answer['url']}"
    finally:
        stop(process)
        if process.stdout is not None:
            process.stdout.close()


def wait_for(process: subprocess.Popen[bytes], home: Path) -> None:
    """Until a service ends.

    Raises:
        RunFailed: it failed, or took too long.
    """
    try:
        code = process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{home.name}: not done after {_SECONDS:.0f} s") from None
    if code:
        raise RunFailed(f"{home.name}: exit code {code}: {(home / 'log').read_text()[-2000:]}")


def measure_round(directory: Path, silos: int = 4, rounds: int = 12) -> Result:
    """Rounds of silos that train in no time: all that they take is ours."""
    with anvil(silos + 2, directory) as url, contextlib.ExitStack() as stack:
        founded = Founded(url, directory, silos, rounds)
        names = ["coordinator", *(f"silo-{place}" for place in range(silos))]
        gateways = {name: stack.enter_context(serving(directory / name / "store")) for name in names}
        processes = {}
        for place, name in enumerate(names):
            others = [gateway for other, gateway in gateways.items() if other != name]
            told = ["--charter", str(founded.accepted), "--trainer", "instant:make"] if place else []
            processes[name] = founded.start("silo" if place else "coordinator", name, 1 + place, others, *told)
            stack.callback(stop, processes[name])
        for name, process in processes.items():
            wait_for(process, directory / name)
        times = founded.published()
    took = [after - before for before, after in itertools.pairwise(times)]
    return {"silos": silos, "seconds": took, "median": statistics.median(took), "most": max(took)}


def measure_hundred(directory: Path, silos: int = 100, rounds: int = 3) -> Result:
    """Rounds of silos as threads, which all send through one node."""
    with anvil(silos + 2, directory) as url:
        founded = Founded(url, directory, silos, rounds)
        account = address(founded.accounts[1].address)
        follower = Follower(founded.ledger)
        coordinator = Coordinator(founded.ledger, account, founded.blocks, follower, threads=2)
        members = [founded.silo(place, follower) for place in range(silos)]
        coordinator.step()  # Opens the first round.
        took = []
        with ThreadPoolExecutor(silos) as pool:
            for _ in range(rounds):
                started = time.perf_counter()
                list(pool.map(lambda silo: silo.step(), members))
                coordinator.step()
                took.append(time.perf_counter() - started)
        published = len(follower.refresh().published)
        if published != rounds:
            raise RunFailed(f"expected {rounds} published rounds, found {published}")
    return {"silos": silos, "seconds": took, "median": statistics.median(took), "most": max(took)}


def measure_weeks(directory: Path, silos: int = 3, rounds: int = 1000) -> Result:
    """The memory of a coordinator over many rounds, as the system counts it."""
    with anvil(silos + 2, directory) as url:
        founded = Founded(url, directory, silos, rounds)
        follower = Follower(founded.ledger)
        members = [founded.silo(place, follower) for place in range(silos)]
        process = founded.start("coordinator", "coordinator", 1, (), "--poll", "0.01")
        early = most = 0
        try:
            end = time.monotonic() + _SECONDS
            while process.poll() is None and time.monotonic() < end:
                for silo in members:
                    silo.step()
                status = Path(f"/proc/{process.pid}/status")
                if status.exists() and "VmHWM" in (text := status.read_text()):
                    most = int(text.partition("VmHWM:")[2].split()[0]) >> 10
                if not early and follower.view.number > 10:
                    early = most
            wait_for(process, directory / "coordinator")
        finally:
            stop(process)
        published = len(follower.refresh().published)
        if published != rounds:
            raise RunFailed(f"expected {rounds} published rounds, found {published}")
    return {"rounds": rounds, "megabytes": most, "megabytes_after_ten": early}


MEASURES = {"round": measure_round, "hundred": measure_hundred, "weeks": measure_weeks}


def compare(parts: Sequence[str]) -> Result:
    """All that was asked for."""
    result: dict[str, Any] = {"machine": machine()}
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="fedpact-services-") as directory:
            result[part] = MEASURES[part](Path(directory))
    return result


def show(result: Result) -> None:
    """As a person reads it."""
    print(machine_line(result["machine"]))
    if found := result.get("round"):
        print(f"{found['silos']} silos as processes: {found['median']:.2f} s a round, {found['most']:.2f} at most")
    if found := result.get("hundred"):
        print(f"{found['silos']} silos as threads: {found['median']:.2f} s a round, {found['most']:.2f} at most")
    if found := result.get("weeks"):
        early, most = found["megabytes_after_ten"], found["megabytes"]
        print(f"a coordinator over {found['rounds']} rounds: {most} MB, {early} MB after ten")


def exceeded(result: Result) -> list[str]:
    """What is beyond its limit."""
    found = {
        "round": result.get("round", {}).get("median", 0),
        "hundred": result.get("hundred", {}).get("median", 0),
        "weeks": result.get("weeks", {}).get("megabytes", 0),
    }
    return [
        f"{part}: expected {LIMITS[part]} at most, found {value}"
        for part, value in found.items()
        if value > LIMITS[part]
    ]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="round,hundred", metavar="A,B,…", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"parts: expected some of {', '.join(PARTS)}, found {arguments.parts}")
    return finish(lambda: compare(parts), show, exceeded, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
