"""The ledger of a simulation, within the process: a real EVM (eth-tester) or the contract's rules in memory.

Time starts at a fixed moment and moves on with the blocks, and the keys follow from the seed: so the same seed gives
the same record, down to the last hash.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fedpact.artifacts.charter import Charter
from fedpact.deferred import defer
from fedpact.ledger.facts import Address, Identity, address
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Ledger
from fedpact.ledger.record import DRY_RUN
from fedpact.store.cid import Cid

GENESIS_TIME = 4_102_444_800
"""2100-01-01 00:00 UTC: later than any clock, which eth-tester would otherwise follow."""
ETH_TESTER = "eth-tester"
KINDS = (ETH_TESTER, DRY_RUN)


class Chain(Protocol):
    """A ledger whose time can be moved on."""

    @property
    def ledger(self) -> Ledger: ...

    owner: Address
    coordinator: Address
    silos: Sequence[Address]

    def advance(self, to: int) -> None:
        """Lets the next block carry timestamp `to` at least."""
        ...


@dataclass(slots=True)
class MemoryChain:
    """The contract's rules in memory."""

    ledger: MemoryLedger
    owner: Address
    coordinator: Address
    silos: Sequence[Address]

    def advance(self, to: int) -> None:
        self.ledger.advance(to)


def load(kind: str) -> None:
    """Imports what a ledger needs, which takes a second, and sets this process up for it; optional."""
    if kind == ETH_TESTER:
        # Pairings are for precompiled contracts that ours does not call, and for keys of another chain.
        defer("py_ecc.optimized_bls12_381.optimized_pairing")
        defer("py_ecc.bls12_381.bls12_381_pairing")
        # py-evm brings an implementation of keccak that is several times faster than the one that is taken by default.
        if importlib.util.find_spec("sha3") is not None:
            os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")
        from fedpact_simulation import evm  # noqa: F401  # Importing is the point.

        # An EVM in Python makes and drops small objects without end; none of those that are there by now is garbage.
        gc.freeze()


def start(kind: str, charter: Charter, charter_cid: Cid, genesis: Cid, silos: int, seed: int) -> Chain:
    """Founds a federation on a new chain.

    Args:
        kind: one of `KINDS`.
    """
    if kind == DRY_RUN:
        owner, coordinator, *members = (
            address("0x" + hashlib.sha256(b"account " + key).hexdigest()[-40:]) for key in _keys(silos, seed)
        )
        identity = Identity(0, address("0x" + "00" * 19 + "01"))
        limits = charter.contract_limits()
        return MemoryChain(
            MemoryLedger(owner, charter_cid, genesis, limits, identity=identity, now=GENESIS_TIME + 1),
            owner,
            coordinator,
            members,
        )
    from fedpact_simulation import evm

    return evm.start(charter, charter_cid, genesis, _keys(silos, seed), GENESIS_TIME)


def _keys(silos: int, seed: int) -> list[bytes]:
    """Throw-away keys: the owner's, the coordinator's, the silos'. Anyone can make them from the seed."""
    return [
        hashlib.sha256(f"fedpact simulation, seed {seed}, key {index}".encode()).digest() for index in range(silos + 2)
    ]
