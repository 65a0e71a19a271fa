"""A deployed federation on a real node, and its services as processes of their own, for tests marked `nodes`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self

import numpy as np
from anvil import ask
from chains import COORDINATOR, KEYS, OWNER
from charters import small_charter
from fedpact.artifacts.charter import Charter
from fedpact.errors import BlockMissing
from fedpact.ledger.actions import Admit, Appoint, Submit
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.facts import Address, RoundNumber, Update
from fedpact.ledger.port import Follower
from fedpact.ledger.view import View
from fedpact.store import Cid, DirectoryBlocks
from fedpact.store.unixfs import add
from gateways import Answer, Gateway, respond
from runs import FEDPACT
from web3 import Web3

SECONDS = 120.0
"""Within which a service must say what a test waits for: a hundred times what it takes on an idle machine."""
TRAINERS = '''
import time
from pathlib import Path
import numpy as np
from fedpact_client.trainer import Fit

class Trainer:
    """Adds one to every weight; before that it does what its file says."""

    def __init__(self, file, config):
        self.file = file
        if file is not None and file.read_text() == "useless":
            raise OSError("the disk with the data is gone")

    def fit(self, weights, config):
        told = "" if self.file is None else self.file.read_text()
        if told == "fails":
            raise ValueError("no data")
        if told == "slow":
            self.file.with_suffix(".begun").touch()
            end = time.monotonic() + 60
            while self.file.read_text() == "slow" and time.monotonic() < end:
                time.sleep(0.02)
        return Fit({name: array + np.float32(1) for name, array in weights.items()}, 10, {"accuracy": 0.5})

    def evaluate(self, weights):
        return {"accuracy": 0.5}
'''
"""A module of trainers that a silo finds in its working directory."""


class Federation:
    """A contract with a coordinator and members, a directory for each party, and a gateway to all their stores.

    Attributes:
        answer: what the gateway does instead of giving the blocks of the stores; none: that.
    """

    def __init__(self, web3: Web3, directory: Path, members: Sequence[Address], **charter: Any) -> None:
        self.web3, self.path = web3, directory
        values: dict[str, Any] = {"rounds": {"quorum": 1, "submission_seconds": 600, "publication_seconds": 600}}
        self.charter: Charter = small_charter(**values | charter)
        self.layout = self.charter.layout()
        self.founders = DirectoryBlocks(directory / "founders", sync=False)
        cid = add(self.founders, self.charter.encode()).root
        genesis = add(self.founders, self.weights(0.0)).root
        limits = self.charter.contract_limits()
        self.ledger, self.deployed = EthereumLedger.deploy(web3, KEYS[0], cid, genesis, limits, accounts=KEYS[1:])
        for action in (Admit(tuple(members)), Appoint(COORDINATOR)):
            self.ledger.send(OWNER, action)
        self.answer: Answer | None = None
        self.gateway = Gateway(self._serve)

    def weights(self, value: float) -> bytes:
        """A model of one value."""
        return self.layout.encode(
            {tensor.name: np.full(tensor.shape, value, np.float32) for tensor in self.layout.tensors}
        )

    def view(self) -> View:
        """What is on the ledger now."""
        return Follower(self.ledger).refresh()

    def submit(self, key: int, value: float) -> Cid:
        """A member submits weights of its own making; returns their address."""
        dag = add(self.founders, self.weights(value))
        update = Update(dag.root, 10, 500_000, dag.size)
        self.ledger.send(Address(KEYS[key].address.lower()), Submit(RoundNumber(self.view().number), update))
        return dag.root

    def travel(self, seconds: int) -> None:
        """Lets time pass on the chain."""
        ask(self.web3, "evm_increaseTime", seconds)
        ask(self.web3, "evm_mine")

    def url(self) -> str:
        """Where the node is."""
        return str(self.web3.provider.endpoint_uri)  # type: ignore[attr-defined]

    def place(self, name: str, key: int, **settings: Any) -> Path:
        """The directory of a party with its key, its settings, a trainer and the accepted charter."""
        path = self.path / name
        path.mkdir()
        (path / "key").touch(0o600)
        (path / "key").write_text(bytes(KEYS[key].key).hex())
        (path / "ward.py").write_text(TRAINERS)
        values: dict[str, Any] = {
            "rpc": [self.url()],
            "contract": self.ledger.identity.contract,
            "first_block": self.deployed.block,
            "store": ["store", f"gateway+{self.gateway.url}"],
            "key_file": "key",
            "trainer": "ward:Trainer",
            "charter": str(Cid.of(self.charter.encode())),
            "poll": 0.1,
            "threads": 1,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in (values | settings).items() if value is not None]
        (path / "fedpact.toml").write_text("\n".join(lines) + "\n")
        return path

    def close(self) -> None:
        """Nobody is served any more."""
        self.gateway.close()

    def _serve(self, to: BaseHTTPRequestHandler) -> None:
        if self.answer is not None:
            self.answer(to)
            return
        cid = Cid.parse(to.path.removeprefix("/ipfs/").partition("?")[0])
        for store in (self.path / "founders", *self.path.glob("*/store")):
            try:
                respond(to, DirectoryBlocks(store).get(cid))
                return
            except BlockMissing:
                pass
        respond(to, b"not here", status=404)


class Service:
    """A command as a process, and what it says. It ends with the context at the latest."""

    def __init__(self, place: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FEDPACT_")}
        self.lines: list[str] = []
        self.output = ""
        self._process = subprocess.Popen(
            [sys.executable, FEDPACT, *arguments],
            cwd=place,
            env=environment | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_output)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line.rstrip("\n"))

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        self.output = self._process.stdout.read()

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(SECONDS)

    @property
    def said(self) -> str:
        """All that it said on standard error so far."""
        return "\n".join(self.lines)

    def wait_for(self, text: str) -> str:
        """Waits until it says something; returns the line."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            ended = self._process.poll() is not None and not self._readers[0].is_alive()
            for line in self.lines:
                if text in line:
                    return line
            assert not ended, f"it ended with {self._process.returncode} and did not say {text!r}:\n{self.said}"
            time.sleep(0.02)  # Waiting for another process; bounded above.
        raise AssertionError(f"it did not say {text!r}:\n{self.said}")

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def end(self, number: int | None = None) -> int:
        """Waits for its end, after a signal where one is given; returns the exit code."""
        if number is not None:
            self.signal(number)
        try:
            code = self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end:\n{self.said}") from None
        self._join()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(SECONDS)
        self._join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


class Services(ExitStack):
    """Several of them, which end together."""

    def start(self, place: Path, *arguments: str, **variables: str) -> Service:
        """Starts a command in a directory."""
        return self.enter_context(Service(place, *arguments, variables=variables))

    def coordinator(self, place: Path, **variables: str) -> Service:
        """Starts a coordinator."""
        return self.start(place, "coordinator", "run", **variables)

    def silo(self, place: Path, **variables: str) -> Service:
        """Starts a silo."""
        return self.start(place, "silo", "run", **variables)


def wait_until(what: str, holds: Any) -> None:
    """Waits until something holds on the chain."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {SECONDS} s"
        time.sleep(0.05)  # Waiting for another process; bounded above.


def skewed(folder: Path, seconds: int) -> dict[str, str]:
    """Variables of a process whose clock is off."""
    folder.mkdir(exist_ok=True)
    code = f"import time\nreal = time.time\ntime.time = lambda: real() + {seconds}\n"
    code += f"real_ns = time.time_ns\ntime.time_ns = lambda: real_ns() + {seconds} * 10**9\n"
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def stopped_by(number: int) -> int:
    """The exit code of a service that a signal asked to stop."""
    return 0 if number == signal.SIGTERM else 128 + number
