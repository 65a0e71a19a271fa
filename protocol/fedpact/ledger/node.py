"""Blocks and logs as a node gives them, each value checked before it is used.

Nothing here passes through web3's formatters: they take ten times as long as the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from web3 import Web3
from web3.datastructures import NamedElementOnion
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint

from fedpact.errors import LedgerError
from fedpact.ledger.answers import asking, said
from fedpact.ledger.endpoints import TOO_LARGE
from fedpact.ledger.facts import Address, Hash

_BATCH = 100  # Requests in one: what the providers that have a limit allow.


class RequestRefused(LedgerError):
    """A request that a node answered with an error."""


@dataclass(frozen=True, slots=True)
class Header:
    """A block: its number, its hash and its parent's (32 bytes each), and its timestamp (seconds since the epoch)."""

    number: int
    hash: Hash
    parent: Hash
    time: int


class Log(NamedTuple):
    """What the contract logged.

    Attributes:
        block, block_hash: where.
        position: its place among the logs of the block.
        topics, words: how many topics it has, and their bytes with those of its data behind them.
        time: the block's timestamp as the node says it here; None where it does not.
    """

    block: int
    block_hash: Hash
    position: int
    transaction: Hash
    topics: int
    words: bytes
    time: int | None


class Node:
    """What a chain can be asked.

    Args:
        web3: the connection. Of its middleware none is used.

    Attributes:
        within: whether the chain is in this process: it knows neither batches nor logs by block hash.
    """

    def __init__(self, web3: Web3) -> None:
        self._provider = web3.provider
        self._call = web3.provider.request_func(web3, cast(Any, NamedElementOnion([])))
        self.within = not isinstance(self._provider, JSONBaseProvider)
        self._batches = not self.within

    def doubt(self) -> None:
        """Tells the connection that what was answered last makes no sense; it may have another node to ask."""
        doubt = getattr(self._provider, "doubt", None)
        if doubt is not None:
            doubt()

    def header(self, block: int | str | Hash) -> Header | None:
        """A block by its number, its tag or its hash; none where the node has none.

        Raises:
            LedgerError: there is no answer, or it is no block.
        """
        return self.headers([block])[0]

    def headers(self, blocks: Sequence[int | str | Hash]) -> list[Header | None]:
        """Several of one kind, as `header`."""
        if not blocks:
            return []
        name = "eth_getBlockByHash" if isinstance(blocks[0], bytes) else "eth_getBlockByNumber"
        answers = self._ask(name, [[_written(block), False] for block in blocks])
        headers = [None if answer is None else _header(answer) for answer in answers]
        for block, header in zip(blocks, headers, strict=True):
            if header is not None and not isinstance(block, str) and block not in (header.number, header.hash):
                raise LedgerError(f"rpc: asked for block {_shown(block)}, the node gave block {header.number}")
        return headers

    def logs(self, contract: Address, first: int, last: int) -> list[Log]:
        """A contract's logs in a range of blocks, in order.

        Raises:
            RequestRefused: the node refused; often because the range is too wide.
            LedgerError: there is no answer, or it holds other logs.
        """
        asked = {"address": Web3.to_checksum_address(contract), "fromBlock": hex(first), "toBlock": hex(last)}
        (answer,) = self._ask("eth_getLogs", [[asked]])
        logs = list(_logs(answer, contract))
        if logs and not first <= logs[0].block <= logs[-1].block <= last:
            raise LedgerError(f"rpc: asked for logs of blocks {first} to {last}, the node gave others")
        return logs

    def logs_of(self, contract: Address, headers: Sequence[Header]) -> list[Log]:
        """A contract's logs in certain blocks, in order. The blocks follow one another.

        Raises:
            RequestRefused: the node does not know one of them.
            LedgerError: there is no answer, or it holds other logs.
        """
        if self.within:
            return self.logs(contract, headers[0].number, headers[-1].number) if headers else []
        to = Web3.to_checksum_address(contract)
        answers = self._ask("eth_getLogs", [[{"address": to, "blockHash": _written(each.hash)}] for each in headers])
        found = []
        for header, answer in zip(headers, answers, strict=True):
            logs = list(_logs(answer, contract))
            if any((log.block, log.block_hash) != (header.number, header.hash) for log in logs):
                raise LedgerError(f"rpc: asked for logs of block {_shown(header.hash)}, the node gave others")
            found += logs
        return found

    def gas(self, transactions: Sequence[Hash]) -> dict[Hash, int]:
        """What transactions cost; those that the node does not know are missing.

        Raises:
            LedgerError: there is no answer, or it holds other receipts.
        """
        answers = self._ask("eth_getTransactionReceipt", [[_written(each)] for each in transactions])
        found = {}
        for transaction, answer in zip(transactions, answers, strict=True):
            if answer is None:
                continue
            if not isinstance(answer, dict) or _hash(answer, "transactionHash") != transaction:
                raise LedgerError(f"rpc: asked for the receipt of {_shown(transaction)}, the node gave another")
            found[transaction] = _number(answer, "gasUsed")
        return found

    def _ask(self, name: str, each: Sequence[Any]) -> list[Any]:
        """The results of one method for several lists of parameters; in one request where the node takes batches."""
        results: list[Any] = []
        while len(results) < len(each):
            chunk = each[len(results) : len(results) + _BATCH]
            batched = self._ask_at_once(name, chunk) if self._batches and len(chunk) > 1 else None
            if batched is None:
                with asking(f"rpc: {name}"):
                    batched = [self._call(RPCEndpoint(name), parameters) for parameters in chunk]
                # Only now is it known that the batch was the trouble.
                self._batches = self._batches and len(chunk) == 1
            results += [_result(name, answer) for answer in batched]
        return results

    def _ask_at_once(self, name: str, chunk: Sequence[Any]) -> list[Any] | None:
        """The answers of a batch, in halves where they are too much together; none where the node gives none."""
        provider = cast(JSONBaseProvider, self._provider)
        try:
            with asking(f"rpc: {name}"):
                answers = provider.make_batch_request([(RPCEndpoint(name), parameters) for parameters in chunk])
        except LedgerError:
            return None
        error = answers.get("error") if isinstance(answers, dict) else None
        if isinstance(error, dict) and error.get("code") == TOO_LARGE and len(chunk) > 1:
            half = len(chunk) // 2
            first = self._ask_at_once(name, chunk[:half])
            second = None if first is None else self._ask_at_once(name, chunk[half:])
            return None if first is None or second is None else first + second
        return answers if isinstance(answers, list) and len(answers) == len(chunk) else None


def _result(name: str, answer: Any) -> Any:
    if not isinstance(answer, dict) or ("result" not in answer and not answer.get("error")):
        raise LedgerError(f"rpc: {name}: expected a result or an error, found {str(answer)[:80]!r}")
    if answer.get("error"):
        error = answer["error"]
        message = error.get("message") if isinstance(error, dict) else error
        raise RequestRefused(f"rpc: {name}: {said(ValueError(str(message)[:400]))}")
    return answer["result"]


def _header(answer: Any) -> Header | None:
    if not isinstance(answer, dict):
        raise LedgerError(f"rpc: expected a block, found {str(answer)[:80]!r}")
    if answer.get("number") is None:
        return None  # As some nodes say that there is no pending block.
    # A pending block has no hash yet.
    own = Hash(b"") if answer.get("hash") is None else _hash(answer, "hash")
    return Header(_number(answer, "number"), own, _hash(answer, "parentHash"), _number(answer, "timestamp"))


def _logs(answer: Any, contract: Address) -> Iterator[Log]:
    if not isinstance(answer, list):
        raise LedgerError(f"rpc: expected a list of logs, found {str(answer)[:80]!r}")
    before = (-1, -1)
    for log in answer:
        if not isinstance(log, dict) or str(log.get("address")).lower() != contract or log.get("removed"):
            raise LedgerError("rpc: the node gave a log that is not the contract's")
        block, position = _number(log, "blockNumber"), _number(log, "logIndex")
        if (block, position) <= before:
            raise LedgerError(f"rpc: the node gave the logs of block {block} in no order, or one twice")
        before = block, position
        topics, words = _words(log)
        hash_, transaction = _hash(log, "blockHash"), _hash(log, "transactionHash")
        time = None if log.get("blockTimestamp") is None else _number(log, "blockTimestamp")
        yield Log(block, hash_, position, transaction, topics, words, time)


def _words(log: dict[str, Any]) -> tuple[int, bytes]:
    """How many topics a log has, and the bytes of topics and data."""
    topics: Any = log.get("topics")
    data: Any = log.get("data")
    try:
        written = "".join(topics).replace("0x", "")
        if len(written) == 64 * len(topics) and data[:2] == "0x":
            return len(topics), bytes.fromhex(written + data[2:])
    except (TypeError, ValueError):
        pass
    raise LedgerError(f"rpc: topics and data: expected words, found {str(topics)[:80]!r} and {str(data)[:80]!r}")


def _number(answer: dict[str, Any], name: str) -> int:
    """A quantity; eth-tester gives integers."""
    value = answer.get(name)
    try:
        number = int(value, 16) if type(value) is str and len(value) <= 18 and value[:2] == "0x" else value
        if type(number) is int and 0 <= number < 1 << 64:
            return number
    except ValueError:
        pass
    raise LedgerError(f"rpc: {name}: expected a number, found {str(value)[:80]!r}")


def _hash(answer: dict[str, Any], name: str) -> Hash:
    value = answer.get(name)
    try:
        if type(value) is str and len(value) == 66 and value[:2] == "0x":
            return Hash(bytes.fromhex(value[2:]))
    except ValueError:
        pass
    raise LedgerError(f"rpc: {name}: expected 32 bytes, found {str(value)[:80]!r}")


def _written(block: int | str | Hash) -> str:
    return block if isinstance(block, str) else _shown(block) if isinstance(block, bytes) else hex(block)


def _shown(block: int | Hash) -> str:
    return "0x" + block.hex() if isinstance(block, bytes) else str(block)
