"""A chain for trying things: py-evm, asked in JSON-RPC as any node is.

Transactions are carried out as they come, in the block that is being made, so what is pending is exact. The time of a
block is that of the machine when its first transaction came, or when it was made where it has none.
"""

from __future__ import annotations

import bisect
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eth.exceptions import HeaderNotFound, Revert
from eth.vm.spoof import SpoofTransaction
from eth_tester import PyEVMBackend
from eth_tester.backends.pyevm.serializers import serialize_block, serialize_transaction, serialize_transaction_receipt
from eth_utils.exceptions import ValidationError

CHAIN_ID = 31337
"""What development chains have."""
_BALANCE = 10**22
_TIP = 1
_TAGS = ("latest", "safe", "finalized", "pending", "earliest")


class RpcError(Exception):
    """An answer that says what went wrong.

    Attributes:
        code: of JSON-RPC, or of Ethereum's nodes.
        data: what a contract reverted with.
    """

    def __init__(self, code: int, message: str, data: bytes | None = None) -> None:
        super().__init__(message)
        self.code, self.data = code, data


class DevChain:
    """A chain in this process. Safe to use from several threads.

    Args:
        accounts: addresses that have money.
        clock: gives the time in seconds since the epoch.
    """

    def __init__(self, accounts: Sequence[bytes], clock: Callable[[], float] = time.time) -> None:
        parameters = PyEVMBackend.generate_genesis_params(overrides={"timestamp": int(clock())})
        state = {each: {"balance": _BALANCE, "nonce": 0, "code": b"", "storage": {}} for each in accounts}
        self._chain = PyEVMBackend(genesis_parameters=parameters, genesis_state=state).chain
        type(self._chain).chain_id = CHAIN_ID  # eth-tester makes a class for each chain.
        self._accounts = tuple(accounts)
        self._clock = clock
        self._lock = threading.RLock()
        self._pending: dict[bytes, Any] = {}
        self._mined: dict[bytes, tuple[int, int]] = {}  # Block and place of each transaction.
        self._receipts: dict[bytes, dict[str, Any]] = {}
        self._logged: list[int] = []  # Numbers of the blocks with logs, and their logs.
        self._logs: dict[int, list[dict[str, Any]]] = {}
        self._methods: dict[str, Callable[..., Any]] = {
            "eth_accounts": lambda: self._accounts,
            "eth_blockNumber": lambda: self._latest,
            "eth_call": self._call,
            "eth_chainId": lambda: CHAIN_ID,
            "eth_estimateGas": self._estimate,
            "eth_feeHistory": self._fee_history,
            "eth_gasPrice": lambda: self._header("pending").base_fee_per_gas + _TIP,
            "eth_getBalance": lambda account, block="latest": self._state(block).get_balance(_bytes(account, 20)),
            "eth_getBlockByHash": lambda digest, full=False: self._block({"blockHash": digest}, full),
            "eth_getBlockByNumber": self._block,
            "eth_getCode": lambda account, block="latest": self._state(block).get_code(_bytes(account, 20)),
            "eth_getLogs": self._get_logs,
            "eth_getStorageAt": self._storage,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionCount": lambda account, block="latest": self._state(block).get_nonce(
                _bytes(account, 20)
            ),
            "eth_getTransactionReceipt": lambda digest: self._receipts.get(_bytes(digest, 32)),
            "eth_maxPriorityFeePerGas": lambda: _TIP,
            "eth_sendRawTransaction": lambda raw: self._take(_bytes(raw)),
            "eth_syncing": lambda: False,
            "net_version": lambda: str(CHAIN_ID),
            "web3_clientVersion": lambda: "fedpact-devnet/eth-tester",
        }

    def answer(self, method: str, parameters: Sequence[Any]) -> Any:
        """What a node answers, as JSON has it.

        Raises:
            RpcError: it is refused.
        """
        function = self._methods.get(method)
        if function is None:
            raise RpcError(-32601, f"the method {method[:80]} does not exist here")
        with self._lock:
            if not self._pending:
                self._follow_clock()
            try:
                return _json(function(*parameters))
            except HeaderNotFound:
                raise RpcError(-32000, "header not found") from None
            except ValidationError as error:
                raise RpcError(-32000, _why(str(error))) from None
            except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
                raise RpcError(-32602, f"invalid parameters: {' '.join(str(error).split())[:200]}") from None

    def tick(self) -> None:
        """Makes a block; but an empty one only where time has passed since the last, so that none is in the future."""
        with self._lock:
            if self._pending or int(self._clock()) > self._header("latest").timestamp:
                self._mine()

    def _mine(self) -> None:
        if not self._pending:
            self._follow_clock()
        block = self._chain.mine_block(mix_hash=os.urandom(32), blob_gas_used=0)
        receipts = block.get_receipts(self._chain.chaindb)
        logs: list[dict[str, Any]] = []
        for place, transaction in enumerate(block.transactions):
            vm = self._chain.get_vm()
            receipt = _json(serialize_transaction_receipt(block, receipts, transaction, place, False, vm))
            receipt["logsBloom"] = f"0x{receipts[place].bloom:0512x}"
            del receipt["stateRoot"]  # It holds the status, which has its own field.
            for log in receipt["logs"]:
                # eth-tester counts logs within the transaction, nodes within the block.
                log |= {"logIndex": hex(len(logs)), "removed": False}
                del log["type"]
                logs.append(log)
            self._mined[transaction.hash] = block.number, place
            self._receipts[transaction.hash] = receipt
        if logs:
            self._logged.append(block.number)
            self._logs[block.number] = logs
        self._pending.clear()

    def _follow_clock(self) -> None:
        """Lets the block that is being made carry the time, while nothing in it depends on that."""
        latest = self._header("latest").timestamp
        self._chain.set_header_timestamp(max(latest + 1, int(self._clock())))

    # ------------------------------------------------------------------------------------------------ blocks, state

    @property
    def _latest(self) -> int:
        return int(self._chain.header.block_number) - 1

    def _number(self, block: Any) -> int:
        """The number that a block parameter stands for; that of the pending block is one above the last."""
        if isinstance(block, Mapping):
            if "blockHash" not in block:
                return self._number(block["blockNumber"])
            header = self._chain.get_block_header_by_hash(_bytes(block["blockHash"], 32))
            return int(header.block_number)
        if block in _TAGS:
            return {"earliest": 0, "pending": self._latest + 1}.get(block, self._latest)
        return _integer(block)

    def _header(self, block: Any) -> Any:
        number = self._number(block)
        if number == self._latest + 1:
            return self._chain.header
        return self._chain.get_canonical_block_header_by_number(number)

    def _state(self, block: Any) -> Any:
        return self._chain.get_vm(self._header(block)).state

    def _block(self, block: Any, full: bool = False) -> dict[str, Any] | None:
        try:
            number = self._number(block)
            pending = number > self._latest
            if number > self._latest + (block == "pending"):
                return None
            found = self._chain.get_block() if pending else self._chain.get_canonical_block_by_number(number)
        except HeaderNotFound:
            return None
        answer = _json(serialize_block(found, full, pending))
        answer |= {"logsBloom": f"0x{found.header.bloom:0512x}", "miner": answer.pop("coinbase")}
        answer["transactions"] = (
            [_with_input(each) for each in answer["transactions"]] if full else answer["transactions"]
        )
        if pending:
            answer |= {"hash": None, "nonce": None}
        return dict(answer)

    def _storage(self, account: str, slot: str, block: Any = "latest") -> bytes:
        value = self._state(block).get_storage(_bytes(account, 20), _integer(slot))
        return int(value).to_bytes(32, "big")

    def _transaction(self, digest: str) -> dict[str, Any] | None:
        wanted = _bytes(digest, 32)
        if wanted in self._pending:
            return _with_input(_json(serialize_transaction(self._chain.get_block(), self._pending[wanted], 0, True)))
        if wanted not in self._mined:
            return None
        number, place = self._mined[wanted]
        block = self._chain.get_canonical_block_by_number(number)
        return _with_input(_json(serialize_transaction(block, block.transactions[place], place, False)))

    def _get_logs(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        if wanted.get("blockHash") is not None:
            first = last = self._number({"blockHash": wanted["blockHash"]})
        else:
            first = self._number(wanted.get("fromBlock") or "latest")
            last = self._number(wanted.get("toBlock") or "latest")
        start, stop = bisect.bisect_left(self._logged, first), bisect.bisect_right(self._logged, last)
        return [log for number in self._logged[start:stop] for log in self._logs[number] if _matches(log, wanted)]

    def _fee_history(self, count: Any, newest: Any = "latest", percentiles: Sequence[float] = ()) -> dict[str, Any]:
        last = min(self._number(newest), self._latest)
        first = max(0, last + 1 - max(1, min(_integer(count), 1024)))
        headers = [self._header(number) for number in range(first, last + 2)]
        answer = {
            "oldestBlock": first,
            "baseFeePerGas": [each.base_fee_per_gas for each in headers],
            "gasUsedRatio": [each.gas_used / each.gas_limit for each in headers[:-1]],
        }
        return answer | ({"reward": [[_TIP] * len(percentiles) for _ in headers[:-1]]} if percentiles else {})

    # ------------------------------------------------------------------------------------------------ transactions

    def _take(self, raw: bytes) -> bytes:
        """`eth_sendRawTransaction`: carries out a transaction in the block that is being made."""
        try:
            transaction = self._chain.get_vm().get_transaction_builder().decode(raw)
            sender = transaction.sender
        except Exception as error:  # Whatever py-evm finds in bytes that are none.
            raise RpcError(-32602, f"no transaction: {type(error).__name__}") from None
        if transaction.hash in self._pending:
            raise RpcError(-32000, "already known")
        next_nonce = self._state("pending").get_nonce(sender)
        if transaction.nonce != next_nonce:
            side = "low" if transaction.nonce < next_nonce else "high"
            detail = f"next nonce {next_nonce}, tx nonce {transaction.nonce}"
            raise RpcError(-32000, f"nonce too {side}: {detail}")
        header = self._chain.header
        if self._pending and header.gas_used + transaction.gas > header.gas_limit:
            self._mine()
        try:
            self._chain.apply_transaction(transaction)
        except ValidationError as error:
            raise RpcError(-32000, _why(str(error))) from None
        self._pending[transaction.hash] = transaction
        return bytes(transaction.hash)

    def _call(self, transaction: Mapping[str, Any], block: Any = "latest", *more: Any) -> bytes:
        if any(more):
            raise RpcError(-32602, "invalid parameters: another state than that of a block is not offered")
        computation = self._execute(transaction, block, None)
        error = computation.error if computation.is_error else None
        if isinstance(error, Revert):
            data = error.args[0] if error.args and isinstance(error.args[0], bytes) else b""
            raise RpcError(3, "execution reverted", data)
        if error is not None:
            raise RpcError(-32000, f"{type(error).__name__}: {str(error)[:200]}")
        return bytes(computation.output)

    def _estimate(self, transaction: Mapping[str, Any], block: Any = "pending", *more: Any) -> int:
        self._call(transaction, block, *more)  # Refuses what fails with all the gas that there is.
        least, most = 20_999, int(self._header(block).gas_limit)
        while least + 1 < most:
            middle = (least + most) // 2
            try:
                fails = self._execute(transaction, block, middle).is_error
            except ValidationError:  # Less than what any such transaction costs.
                fails = True
            least, most = (middle, most) if fails else (least, middle)
        return most

    def _execute(self, transaction: Mapping[str, Any], block: Any, gas: int | None) -> Any:
        """Tries a transaction, for whose gas nobody pays."""
        state = self._state(block)
        sender = _bytes(transaction.get("from") or "0x" + "00" * 20, 20)
        value = _integer(transaction.get("value") or 0)
        limit = int(self._header(block).gas_limit)
        unsigned = self._chain.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=CHAIN_ID,
            nonce=state.get_nonce(sender),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=state.base_fee,
            gas=min(limit, _integer(transaction.get("gas") or limit)) if gas is None else gas,
            to=_bytes(transaction["to"], 20) if transaction.get("to") else b"",
            value=value,
            data=_bytes(transaction.get("input") or transaction.get("data") or "0x"),
            access_list=(),
        )
        snapshot = state.snapshot()
        try:
            state.set_balance(sender, state.get_balance(sender) + 10**30)
            return state.apply_transaction(SpoofTransaction(unsigned, from_=sender))
        finally:
            state.revert(snapshot)


def _matches(log: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a log has the address and the topics that are asked for."""
    addresses = wanted.get("address")
    if addresses and log["address"] not in [each.lower() for each in _several(addresses)]:
        return False
    topics = wanted.get("topics") or ()
    return len(topics) <= len(log["topics"]) and all(
        asked is None or found in [each.lower() for each in _several(asked)]
        for asked, found in zip(topics, log["topics"], strict=False)
    )


def _several(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else list(value)


def _why(said: str) -> str:
    """Why py-evm does not take a transaction, in the words of other nodes."""
    lower = said.lower()
    if "balance" in lower or "funds" in lower:
        return "insufficient funds for gas * price + value"
    if "base" in lower and "fee" in lower:
        return "max fee per gas less than block base fee"
    return f"invalid transaction: {' '.join(said.split())[:200]}"


def _bytes(text: Any, length: int | None = None) -> bytes:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise ValueError(f"expected hexadecimal digits after 0x, found {str(text)[:40]!r}")
    data = bytes.fromhex(text[2:])
    if length is not None and len(data) != length:
        raise ValueError(f"expected {length} bytes, found {len(data)}")
    return data


def _integer(value: Any) -> int:
    number = int(value, 16) if isinstance(value, str) and value.startswith("0x") else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"expected a number as 0x…, found {str(value)[:40]!r}")
    return number


def _json(value: Any) -> Any:
    """What py-evm and eth-tester have, as nodes write it."""
    if isinstance(value, bool | str | float) or value is None:
        return value
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, bytes | bytearray):
        return f"0x{bytes(value).hex()}"
    if isinstance(value, Mapping):
        found = {_camel(name): _json(each) for name, each in value.items()}
        for name in ("to", "contractAddress"):
            if found.get(name) == "0x":
                found[name] = None
        return found
    return [_json(each) for each in value]


def _with_input(transaction: dict[str, Any]) -> dict[str, Any]:
    """What eth-tester calls the data of a transaction nodes call its input."""
    return transaction | {"input": transaction.pop("data")}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)
