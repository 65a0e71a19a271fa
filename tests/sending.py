"""Nodes to send through, with the faults that nodes have: a scripted one, and a real one that is asked for them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from anvil import ask
from chains import ACCOUNTS, KEYS
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_hash.auto import keccak
from fedpact.ledger.facts import Address, address
from fedpact.ledger.fees import GWEI, Fees
from fedpact.ledger.journal import Journal
from fedpact.ledger.outbox import Outbox, Patience
from fedpact.ledger.spending import Spending
from fedpact.ledger.transactions import Call
from hexbytes import HexBytes
from web3 import Web3
from web3.providers.base import BaseProvider, JSONBaseProvider

SENDER = ACCOUNTS[6]
CHAIN_ID = 31337
SEND = "eth_sendRawTransaction"
FEES = Fees()
HASTE = Patience(receipt=20.0, look=0.05, stuck=0.1, settled=3)


class Node(Protocol):
    """What tests do to a node."""

    provider: BaseProvider

    def automine(self, on: bool) -> None: ...
    def mine(self) -> None: ...
    def drop(self, transaction: bytes) -> None: ...
    def base_fee(self, amount: int) -> None: ...
    def snapshot(self) -> Any: ...
    def revert(self, mark: Any) -> None: ...


class Scripted:
    """A node in Python, as strict as geth: it keeps what is underpriced, and replaces only for 10 % more in both."""

    def __init__(self) -> None:
        self.provider: BaseProvider = _ScriptedProvider(self)
        self.blocks: list[list[Any]] = [[]]
        self.pool: dict[tuple[str, int], Any] = {}
        self.base, self.salt, self.automines = GWEI, 0, True

    def automine(self, on: bool) -> None:
        self.automines = on

    def mine(self) -> None:
        block: list[Any] = []
        self.blocks.append(block)
        for (sender, nonce), sent in sorted(self.pool.items()):
            if nonce == self.count(sender) and sent["maxFeePerGas"] >= self.base:
                block.append(sent)
                del self.pool[sender, nonce]

    def drop(self, transaction: bytes) -> None:
        self.pool = {key: sent for key, sent in self.pool.items() if sent["hash"] != transaction}

    def base_fee(self, amount: int) -> None:
        self.base = amount

    def snapshot(self) -> int:
        return len(self.blocks)

    def revert(self, mark: int) -> None:
        """Forgets the blocks since; their hashes do not come again."""
        del self.blocks[mark:]
        self.salt += 1

    def count(self, sender: str) -> int:
        return sum(sent["from"] == sender for block in self.blocks for sent in block)

    # ------------------------------------------------------------------------------------------------ its answers

    def answer(self, method: str, parameters: Any) -> Any:
        return getattr(self, f"_{method}")(*parameters)

    def _eth_chainId(self) -> str:  # noqa: N802  # As nodes spell it.
        return hex(CHAIN_ID)

    def _eth_getBlockByNumber(self, *_: object) -> Any:  # noqa: N802
        return {"number": hex(len(self.blocks) - 1), "baseFeePerGas": hex(self.base)}

    def _eth_feeHistory(self, *_: object) -> Any:  # noqa: N802
        base = hex(self.base)
        return {"oldestBlock": hex(len(self.blocks) - 1), "baseFeePerGas": [base, base], "reward": [["0x0"]]}

    def _eth_maxPriorityFeePerGas(self) -> str:  # noqa: N802
        return hex(GWEI)

    def _eth_getBalance(self, *_: object) -> str:  # noqa: N802
        return hex(10**24)

    def _eth_getTransactionCount(self, account: str, block: str) -> str:  # noqa: N802
        count = self.count(address(account))
        while block == "pending" and (address(account), count) in self.pool:
            count += 1
        return hex(count)

    def _eth_sendRawTransaction(self, raw: str) -> str:  # noqa: N802
        data = bytes.fromhex(raw[2:])
        sent: dict[str, Any] = dict(TypedTransaction.from_bytes(HexBytes(data)).as_dict())
        sent |= {"from": address(Account.recover_transaction(data)), "hash": keccak(data)}
        key = sent["from"], sent["nonce"]
        other = self.pool.get(key)
        if sent["gas"] < 21_000:
            raise Refusal("intrinsic gas too low")
        if sent["nonce"] < self.count(sent["from"]):
            raise Refusal("nonce too low")
        if other is not None and other["hash"] == sent["hash"]:
            raise Refusal("already known")
        for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
            if other is not None and 10 * sent[fee] < 11 * other[fee]:
                raise Refusal("replacement transaction underpriced")
        self.pool[key] = sent
        if self.automines:
            self.mine()
        return "0x" + keccak(data).hex()

    def _eth_getTransactionByHash(self, transaction: str) -> Any:  # noqa: N802
        known = [*self.pool.values(), *(sent for block in self.blocks for sent in block)]
        return {"hash": transaction} if any(each["hash"].hex() == transaction[2:] for each in known) else None

    def _eth_getTransactionReceipt(self, transaction: str) -> Any:  # noqa: N802
        for number, block in enumerate(self.blocks):
            for sent in block:
                if sent["hash"].hex() == transaction[2:]:
                    return {
                        "transactionHash": transaction,
                        "blockNumber": hex(number),
                        "blockHash": "0x" + keccak(b"%d %d" % (number, self.salt)).hex(),
                        "status": "0x0" if bytes(sent["data"]) == b"reverts" else "0x1",
                        "gasUsed": hex(21000),
                        "effectiveGasPrice": hex(self.base),
                        "logs": [],
                    }
        return None


class Refusal(Exception):
    """An error that a node answers with."""


class _ScriptedProvider(JSONBaseProvider):
    def __init__(self, node: Scripted) -> None:
        super().__init__()
        self._node = node

    def make_request(self, method: Any, params: Any) -> Any:
        try:
            return {"jsonrpc": "2.0", "id": 1, "result": self._node.answer(method, params)}
        except Refusal as refusal:
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": str(refusal)}}


class Anvil:
    """A real node; what it is asked for here only anvil knows."""

    def __init__(self, web3: Web3) -> None:
        self._web3 = web3
        self.provider: BaseProvider = web3.provider  # type: ignore[assignment]  # Of one kind here.

    def automine(self, on: bool) -> None:
        ask(self._web3, "evm_setAutomine", on)

    def mine(self) -> None:
        ask(self._web3, "evm_mine")

    def drop(self, transaction: bytes) -> None:
        ask(self._web3, "anvil_dropTransaction", "0x" + transaction.hex())

    def base_fee(self, amount: int) -> None:
        ask(self._web3, "anvil_setNextBlockBaseFeePerGas", hex(amount))

    def snapshot(self) -> Any:
        return ask(self._web3, "evm_snapshot")

    def revert(self, mark: Any) -> None:
        ask(self._web3, "evm_revert", mark)


class Killed(BaseException):
    """The process ends here: nothing handles it."""


class Faulty(JSONBaseProvider):
    """A connection on which a test does what it likes before and after each answer.

    Attributes:
        asked: how often each method was asked for.
    """

    def __init__(self, inner: BaseProvider) -> None:
        super().__init__()
        self._inner = inner
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None
        self.asked: Counter[str] = Counter()

    def make_request(self, method: Any, params: Any) -> Any:
        self.asked[method] += 1
        self.before(method)
        answer = self._inner.make_request(method, params)
        self.after(method)
        return answer


class Party:
    """One process that sends with a key; to make another with the same journal is to start it again."""

    def __init__(
        self, node: Node, journal: Path | None, patience: Patience = HASTE, fees: Fees = FEES, keys: Any = (KEYS[6],)
    ) -> None:
        self.wire = Faulty(node.provider)
        self.web3 = Web3(self.wire)
        self.refuses: set[bytes] = set()
        self.error: Exception = AssertionError()
        self.spending = Spending()
        chain_id = self.web3.eth.chain_id
        accounts = {address(key.address): key for key in keys}
        self.outbox = Outbox(
            self.web3, chain_id, accounts, self._try_out, Journal(journal, chain_id), fees, patience, self.spending
        )

    def _try_out(self, _: Address, call: Call) -> None:
        if call.data in self.refuses:
            raise self.error

    def post(self, data: bytes, sender: Address = SENDER) -> Any:
        return self.outbox.post(sender, Call(ACCOUNTS[7], data, 100_000))

    def send(self, data: bytes, sender: Address = SENDER) -> Any:
        return self.post(data, sender)()

    def entries(self) -> Any:
        return self.outbox._lanes[SENDER].entries


def failing(method: str, times: int = 1) -> Callable[[str], None]:
    """A fault: a method fails a number of times as a connection does."""
    left = [times]

    def fail(asked: str) -> None:
        if asked == method and left[0]:
            left[0] -= 1
            raise ConnectionError("reset")

    return fail


def killing(method: str) -> Callable[[str], None]:
    """A fault: the process ends."""

    def kill(asked: str) -> None:
        if asked == method:
            raise Killed

    return kill


def done(node: Node, sender: Address = SENDER) -> list[bytes]:
    """The data of an account's transactions that are in blocks, in order."""
    if isinstance(node, Scripted):
        return [bytes(sent["data"]) for block in node.blocks for sent in block if sent["from"] == sender]
    web3 = Web3(node.provider)
    found = []
    for number in range(web3.eth.block_number + 1):
        block: Any = web3.eth.get_block(number, full_transactions=True)
        found += [bytes(each["input"]) for each in block["transactions"] if address(each["from"]) == sender]
    return found


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread brings about."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)  # Bounded above.
