"""A federation to be deployed: its file, its plan, and a chain in this process to put it on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chains import ACCOUNTS, KEYS, Side, eth_tester_side
from charters import small_charter
from fedpact.artifacts import canonical
from fedpact.deployment.deploy import Outcome, deploy
from fedpact.deployment.plan import Plan
from fedpact.deployment.record import RecordFile
from fedpact.store.memory import MemoryBlocks

CHARTER_TOML = """
format = "fedpact-charter/1"
name = "small"
score = "accuracy"
model = { bias = { dtype = "F32", shape = [3] }, weight = { dtype = "F32", shape = [4, 3] } }
trainer = { name = "none" }
rule = { name = "fedavg" }
rounds = { quorum = 1, submission_seconds = 100, publication_seconds = 60 }
limits = { max_samples = 1000 }
stop = { rounds = 10 }
"""
CHARTER = small_charter()
MEMBERS = tuple(ACCOUNTS[2:6])
COORDINATORS = (ACCOUNTS[1],)
MIXED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # From EIP-55.


def make_plan(**changes: Any) -> Plan:
    """The plan of a small federation, with changes."""
    layout = CHARTER.layout()
    genesis = layout.header + bytes(layout.size - len(layout.header))
    values = {"charter": CHARTER, "genesis": genesis, "owner": None, "members": MEMBERS, "coordinators": COORDINATORS}
    return Plan(**values | changes)


def write_federation(folder: Path, more: str = "", charter: str = "charter.toml", genesis: str = "zeros") -> Path:
    """Writes `federation.toml`; returns its path."""
    path = folder / "federation.toml"
    path.write_text(f"charter = {json.dumps(charter)}\ngenesis = {json.dumps(genesis)}\n{more}\n")
    return path


class Place:
    """A chain in this process, a store and a record."""

    def __init__(self, directory: Path) -> None:
        self.side: Side = eth_tester_side()
        self.web3 = self.side.web3
        self.blocks = MemoryBlocks()
        self.file = RecordFile(directory / "record.json")

    def deploy(self, plan: Plan | None = None, *, key: int = 0, again: bool = False) -> Outcome:
        """A run."""
        file = RecordFile(self.file.path)  # A new process would have a new one.
        return deploy(self.web3, KEYS[key], plan or make_plan(), self.blocks, file, again=again)

    @property
    def sent(self) -> int:
        """Transactions of the deployer."""
        return self.web3.eth.get_transaction_count(KEYS[0].address)

    def record(self) -> dict[str, Any]:
        """The record as a program reads it."""
        found: dict[str, Any] = canonical.decode(self.file.path.read_bytes().removesuffix(b"\n"), "record")
        return found

    def rewrite(self, **changes: Any) -> None:
        """Changes the record."""
        value = self.record() | changes
        self.file.path.write_bytes(canonical.encode({k: v for k, v in value.items() if v is not None}) + b"\n")
