"""A node without a chain behind it: blocks and logs as a test wants them. `test_reading.py` runs on it and on anvil."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import encode
from fedpact.ledger import hashes
from fedpact.ledger.abi import Abi
from fedpact.ledger.artifact import federation
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.events import CoordinatorAppointed, Event, Founded
from fedpact.ledger.facts import Address, Hash, Identity, Limits
from fedpact.store.cid import Cid
from web3 import Web3
from web3.providers.base import JSONBaseProvider

CHAIN_ID = 7
CONTRACT = Address("0x" + "c0" * 20)
_ABI = Abi(federation().abi)


@dataclass(slots=True)
class Block:
    """One block, and what the contract logged in it."""

    number: int
    hash: str
    parent: str
    time: int
    events: Sequence[Event]


@dataclass
class ScriptedNode(JSONBaseProvider):
    """Answers what a reader asks.

    Attributes:
        blocks: the chain, from block 0.
        most_range: blocks that a range may have; None for any number.
        most_logs: logs that an answer may have.
        batches: whether it takes several requests in one.
        times: gives the `blockTimestamp` that it puts into a log; None for a node that puts none.
        pending: the pending block; None for a node that makes none.
        behind: how many blocks it does not know yet.
        before: is called before each request with its method; tests change the chain there.
        asked: methods of all requests; a batch is one.
    """

    blocks: list[Block] = field(default_factory=list)
    most_range: int | None = None
    most_logs: int = 10**9
    batches: bool = True
    times: Callable[[Block], int] | None = lambda block: block.time
    pending: Block | None = None
    behind: int = 0
    before: Callable[[str], None] = lambda method: None
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._made = 0
        owner, cid, limits = Address("0x" + "11" * 20), Cid.of(b""), Limits(1, 1, 100)
        head = hashes.first_head(Identity(CHAIN_ID, CONTRACT), owner, cid, cid, limits)
        self.grow((), (Founded(owner, cid, cid, limits, head),))

    # ------------------------------------------------------------------------------------------------- the chain

    def grow(self, *blocks: Sequence[Event]) -> None:
        """Adds blocks."""
        for events in blocks:
            self._made += 1
            parent = self.blocks[-1] if self.blocks else None
            number = 0 if parent is None else parent.number + 1
            own = "0x" + hashlib.sha256(b"%d" % self._made).hexdigest()
            time = 1_000 if parent is None else parent.time + 2
            self.blocks.append(
                Block(number, own, "0x" + bytes(32).hex() if parent is None else parent.hash, time, events)
            )

    def drop(self, depth: int) -> None:
        """Takes the last blocks away, but never the founding."""
        del self.blocks[max(2, len(self.blocks) - depth) :]

    def appoint(self, count: int = 1) -> tuple[Event, ...]:
        """Events that can follow any other; no two are alike."""
        self._made += count
        return tuple(CoordinatorAppointed(Address(f"0x{self._made - place:040x}")) for place in range(count))

    @property
    def truth(self) -> list[Event]:
        """What a reading of the whole chain must find."""
        return [event for block in self.blocks for event in block.events]

    def ledger(self, **options: Any) -> EthereumLedger:
        """A ledger that reads from it."""
        return EthereumLedger(Web3(self), CONTRACT, **options)

    # ----------------------------------------------------------------------------------------------- the answers

    def make_request(self, method: Any, params: Any) -> Any:
        self.asked.append(method)
        return self._answer(method, params)

    def make_batch_request(self, requests: Any) -> Any:
        self.asked.append("batch")
        if not self.batches:
            return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}}
        return [self._answer(method, params) for method, params in requests]

    def _answer(self, method: str, params: Any) -> Any:
        self.before(method)
        known = self.blocks[: len(self.blocks) - self.behind]
        try:
            return {"jsonrpc": "2.0", "id": 0, "result": getattr(self, method)(known, *params)}
        except ValueError as error:
            return {"jsonrpc": "2.0", "id": 0, "error": {"code": -32000, "message": str(error)}}

    def eth_chainId(self, _: list[Block]) -> str:  # noqa: N802  # As the method.
        return hex(CHAIN_ID)

    def eth_getCode(self, *_: Any) -> str:  # noqa: N802
        return "0x" + federation().runtime.hex()

    def eth_getBlockByNumber(self, known: list[Block], number: str, _: bool) -> Any:  # noqa: N802
        if number == "pending":
            return None if self.pending is None else _header(self.pending)
        tags = {"latest": len(known) - 1, "safe": len(known) - 4, "finalized": len(known) - 7}
        place = tags[number] if number in tags else int(number, 16)
        return _header(known[place]) if 0 <= place < len(known) else None

    def eth_getBlockByHash(self, known: list[Block], own: str, _: bool) -> Any:  # noqa: N802
        return next((_header(block) for block in known if block.hash == own), None)

    def eth_getLogs(self, known: list[Block], asked: dict[str, str]) -> Any:  # noqa: N802
        if "blockHash" in asked:
            blocks = [block for block in known if block.hash == asked["blockHash"]]
            if not blocks:
                raise ValueError("unknown block")
        else:
            first, last = int(asked["fromBlock"], 16), int(asked["toBlock"], 16)
            if self.most_range is not None and last - first >= self.most_range:
                raise ValueError("block range is too wide")
            blocks = known[first : last + 1]
        if sum(len(block.events) for block in blocks) > self.most_logs:
            raise ValueError("query returned more than some results")
        return [_log(block, place, event, self.times) for block in blocks for place, event in enumerate(block.events)]


def _header(block: Block) -> dict[str, Any]:
    numbers = {"number": None if block.number is None else hex(block.number), "timestamp": hex(block.time)}
    return {"hash": block.hash, "parentHash": block.parent, **numbers}


def _log(block: Block, place: int, event: Event, times: Callable[[Block], int] | None) -> dict[str, Any]:
    shape = next(shape for shape in _ABI._events.values() if shape.cls is type(event))
    words = encode(shape.types, list(_leaves(event)))
    cut = 32 * shape.indexed
    topics = [shape.tag, *(words[at : at + 32] for at in range(0, cut, 32))]
    return {
        "address": Web3.to_checksum_address(CONTRACT),
        "blockNumber": hex(block.number),
        "blockHash": block.hash,
        "logIndex": hex(3 * place),
        "transactionHash": "0x" + hashlib.sha256(f"{block.hash} {place}".encode()).hexdigest(),
        "topics": ["0x" + topic.hex() for topic in topics],
        "data": "0x" + words[cut:].hex(),
        "removed": False,
        **({} if times is None else {"blockTimestamp": hex(times(block))}),
    }


def _leaves(event: Event) -> Any:
    from fedpact.ledger.abi import _flatten

    return _flatten(event)


def transaction(block: Block, place: int) -> Hash:
    """The hash that a log's transaction has."""
    return Hash(hashlib.sha256(f"{block.hash} {place}".encode()).digest())
