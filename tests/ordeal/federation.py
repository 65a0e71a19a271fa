"""The federation under test: a contract on a chain, coordinators and silos as processes, a store of its own for each.

Nobody reads another's directory: what the others have comes from their `fedpact store serve`, over HTTP.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount
from fedpact.artifacts.charter import parse_toml
from fedpact.deployment.record import Deployed, RecordFile
from fedpact.ledger.endpoints import connect
from fedpact.ledger.ethereum import EthereumLedger, account_from_key
from fedpact.ledger.facts import Address, address
from fedpact.store.cid import Cid
from fedpact.store.opening import open_store
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import add
from fedpact.store.unixfs import address as cid_of

from ordeal.node import Chain
from ordeal.processes import HOST, Child, free_port
from ordeal.proxy import Proxy

_ROOT = Path(__file__).parents[2]
_DEPLOY_SECONDS = 120
_ETHER = 10**18
RECORD = "federation.deployment.json"
FEDPACT = Path(sys.executable).with_name("fedpact")
_CHARTER = """\
format = "fedpact-charter/1"
name = "ordeal"
score = "score"
[model]
weight = {{ dtype = "F32", shape = [{rows}, 512] }}
[trainer]
name = "steady"
version = {version}
[rule]
name = "fedavg"
[ledger]
confirmations = {confirmations}
[rounds]
quorum = {quorum}
submission_seconds = {submission_seconds}
publication_seconds = {publication_seconds}
[limits]
max_samples = 1000
min_score = "0"
max_score = "1"
[stop]
rounds = {rounds}
failures = 100
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a federation is to be like.

    Attributes:
        rounds: models until it is over.
        coordinators: appointed accounts; a service is made for each, and none is started but the first.
        training: the least and the most seconds that a silo trains.
        rows: of the model: 2 KiB each.
        poll: seconds between two looks of a service at its ledger; none for what it does by itself.
        watched: whether there is a proxy between each service and the chain.
    """

    rounds: int
    silos: int = 4
    coordinators: int = 1
    quorum: int = 4
    submission_seconds: int = 3600
    publication_seconds: int = 3600
    confirmations: int = 0
    training: tuple[float, float] = (0.1, 0.6)
    rows: int = 768
    poll: float | None = 0.25
    watched: bool = True


class Party:
    """A coordinator or silo: its key, its directory, its service, its store's server, and its way to the chain.

    Attributes:
        store: its store's URL for others.
        server: offers its store.
    """

    def __init__(self, name: str, seed: int, directory: Path, chain: Chain) -> None:
        self.name, self.directory = name, directory
        self.key = make_key(name, seed)
        self.account: Address = address(self.key.address)
        self.proxy = Proxy(chain.port)
        port = free_port()
        self.store = f"gateway+http://{HOST}:{port}"
        directory.mkdir()
        (directory / "store").mkdir()
        write_key(directory / "key", self.key)
        command = [FEDPACT, "store", "serve", "store", "--port", str(port), "--json"]
        self.server = Child(f"{name}'s store", command, directory, directory / "server.log", {})
        self.service: Child

    @property
    def partial(self) -> Path:
        """Where blocks are while they are being written."""
        return self.directory / "store" / "partial"


class Federation:
    """A federation on a chain, founded and not yet running.

    Args:
        directory: empty; gets everything.

    Attributes:
        record: what was deployed.
        charters: those that were written, in order.
    """

    def __init__(self, directory: Path, chain: Chain, seed: int, wanted: Wanted) -> None:
        self.directory, self.chain, self.wanted = directory, chain, wanted
        self.coordinators = [
            Party(f"coordinator-{number}", seed, directory / f"coordinator-{number}", chain)
            for number in range(1, wanted.coordinators + 1)
        ]
        self.silos = [
            Party(f"silo-{number}", seed, directory / f"silo-{number}", chain) for number in range(1, wanted.silos + 1)
        ]
        self.owner = make_key("owner", seed)
        for key in (self.owner, *(each.key for each in self.parties)):
            chain.ask("anvil_setBalance", key.address, hex(10 * _ETHER))
        self.charters: list[Path] = []
        self.write_charter(rounds=wanted.rounds)
        self.record = self._deploy()
        for each in self.coordinators:
            each.service = self._service(each, "coordinator", [])
        for each in self.silos:
            self.accept(each, self.charters[0])

    @property
    def parties(self) -> list[Party]:
        """Everyone who has a store."""
        return [*self.coordinators, *self.silos]

    @property
    def accounts(self) -> list[Address]:
        """The members', by index."""
        return [each.account for each in self.silos]

    def ledger(self, *keys: LocalAccount) -> EthereumLedger:
        """The chain, past all proxies."""
        return EthereumLedger(connect(self.chain.url), Address(self.record.contract), keys)

    def blocks(self) -> SeveralBlocks:
        """What all parties offer to others."""
        return open_store([each.store for each in self.parties], writable=False)

    def genesis(self) -> bytes:
        """The first model."""
        layout = parse_toml(self.charters[0]).layout()
        return layout.header + bytes(layout.size - len(layout.header))

    def write_charter(self, *, rounds: int) -> tuple[Path, Cid]:
        """Writes a charter; each differs from the one before."""
        path = self.directory / f"charter-{len(self.charters) + 1}.toml"
        terms = {**asdict(self.wanted), "rounds": rounds}
        path.write_text(_CHARTER.format(**terms, version=len(self.charters) + 1))
        self.charters.append(path)
        return path, cid_of(parse_toml(path).encode())

    def keep_charter(self, path: Path, party: Party) -> None:
        """Puts a charter into a party's store."""
        blocks = open_store([str(party.directory / "store")])
        add(blocks, parse_toml(path).encode())
        blocks.close()

    def accept(self, silo: Party, charter: Path) -> None:
        """Makes the service of a silo whose owner accepts a charter. It is not started."""
        config = silo.directory / "trainer.json"
        config.write_text(json.dumps({"account": silo.account, "seconds": self.wanted.training}))
        options = ["--charter", charter, "--trainer", "ordeal.trainer:make", "--trainer-config", config]
        silo.service = self._service(silo, "silo", [*options, "--verify", "1"])

    def close(self) -> None:
        """Ends everything."""
        for each in self.parties:
            if hasattr(each, "service"):
                each.service.kill()
                each.service.stop()
            each.server.kill()
            each.server.stop()
            each.proxy.close()

    def _service(self, party: Party, role: str, options: Sequence[str | Path]) -> Child:
        others = [option for each in self.parties if each is not party for option in ("--store", each.store)]
        command = [FEDPACT, role, "run", "--contract", self.directory / RECORD]
        command += ["--rpc", party.proxy.url if self.wanted.watched else self.chain.url]
        command += ["--key-file", "key", "--state", "state", "--store", "store", *others, *options, "--threads", "1"]
        command += [] if self.wanted.poll is None else ["--poll", f"{self.wanted.poll:g}"]
        path = os.pathsep.join([str(_ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
        # A core for each of ten processes there is not: more threads would only wait for one another.
        variables = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return Child(party.name, command, party.directory, party.directory / "service.log", variables)

    def _deploy(self) -> Deployed:
        plan = self.directory / "federation.toml"
        facts = {
            "charter": self.charters[0].name,
            "genesis": "zeros",
            "members": self.accounts,
            "coordinators": [each.account for each in self.coordinators],
        }
        plan.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in facts.items()))
        write_key(self.directory / "owner.key", self.owner)
        store = self.coordinators[0].directory / "store"
        options = ["--rpc", self.chain.url, "--key-file", self.directory / "owner.key", "--store", store]
        done = subprocess.run(
            [sys.executable, _ROOT / "scripts/deploy.py", plan, *options],
            capture_output=True,
            text=True,
            timeout=_DEPLOY_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"deploy.py: {done.stderr}"
        record = RecordFile(self.directory / RECORD).read()
        assert isinstance(record, Deployed), record
        return record


def make_key(name: str, seed: int) -> LocalAccount:
    """A throw-away key: anyone can make it from the seed."""
    return account_from_key(hashlib.sha256(f"ordeal, seed {seed}, {name}".encode()).digest())


def write_key(path: Path, key: LocalAccount) -> None:
    """Writes a key as `--key-file` reads it."""
    path.touch(0o600)
    path.write_text(bytes(key.key).hex())
