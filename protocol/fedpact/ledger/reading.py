"""Reading a contract's entries from a chain that may change its mind.

The blocks near the tip are read one by one, each linked to its parent by hash, and their logs are asked for by the hash
of the block: so entries are those of one chain, whatever the node does meanwhile. What lies deeper is read by ranges of
numbers. A cursor remembers hashes of blocks that were read; the last one that the chain still has is where the reading
goes on, and what was read behind it no longer holds. A node whose head is behind what was read, but which has no other
block there, is late: nothing is taken back for that.

An entry's time is that of its block. Near the tip it is the header's. In ranges with many blocks, where a header for
each would cost more than all the rest, it is what the node adds to each log (`blockTimestamp`), and headers are asked
for as a sample; if one of them says something else, or where the node adds nothing, all headers are asked for. It is
the same node's word either way; the sample is against nodes that are mistaken.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from fedpact.errors import LedgerError
from fedpact.ledger.abi import Abi
from fedpact.ledger.endpoints import NoAnswer
from fedpact.ledger.events import Entry
from fedpact.ledger.facts import Address, Hash
from fedpact.ledger.node import Header, Log, Node, RequestRefused
from fedpact.ledger.port import Cursor, Mark, News

logger = logging.getLogger(__name__)

Confirmations = int | Literal["safe", "finalized"]
"""How many blocks must follow one before it counts as confirmed, or the node's word for it."""

_LEAST_BY_HASH = 8
_MOST_BY_HASH = 256  # A chain may be thousands of blocks ahead of what it calls final; none of those is ever undone.
_FIRST_RANGE = 2_000
_MOST_RANGE = 1_000_000
_MANY_LOGS = 10_000  # About 10 MB of answer.
_FEW_HEADERS = 16
_ATTEMPTS = 4
_CUTS_WITHOUT_ANSWER = 2


class _Moved(Exception):
    """The chain changed while it was read, or its nodes do not agree yet."""


@dataclass(slots=True)
class _Found:
    """What a reading gathers."""

    entries: list[Entry] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)


class Reader:
    """Reads one contract's entries.

    Args:
        confirmations: as `Confirmations`.
        first_block: no entry is in an earlier block.
    """

    def __init__(
        self, node: Node, contract: Address, abi: Abi, *, confirmations: Confirmations = 0, first_block: int = 0
    ) -> None:
        self._node, self._contract, self._abi = node, contract, abi
        self.confirmations, self._first = confirmations, first_block
        self._confirmed = -1
        self._range = _FIRST_RANGE
        self._seen: tuple[Hash, float] = Hash(b""), 0.0

    def now(self) -> int:
        """The timestamp that the next block would carry, as well as it can be known (seconds since the epoch).

        It is the pending block's, where the node makes one that follows its latest. Where it does not, it is the latest
        block's and the seconds since that block was first seen here: the clock of this machine measures how long that
        is, and its date, which may be hours off, is never used. So it may be too early, until the next block comes, and
        not too late.
        """
        try:
            pending = self._node.header("pending")
        except RequestRefused:  # Some nodes know no such block.
            pending = None
        if pending is not None and self._node.within:
            return pending.time
        latest = self._latest("latest")
        if latest.hash != self._seen[0]:
            self._seen = latest.hash, time.monotonic()
        if pending is not None and pending.number > latest.number and pending.time > latest.time:
            return pending.time
        return latest.time + max(1, int(time.monotonic() - self._seen[1]))

    def passed(self) -> int:
        """The time that has surely passed on the chain: the latest block's (seconds since the epoch).

        It is for what cannot be undone. The pending block's time is a node's clock, which may be wrong; and where its
        head stands still, no time passes here, so that what it does not show is not taken for what was not done. Ask
        for it before reading: then all that was logged until then is read. A chain in this process needs no block for
        its time to pass: its pending block's counts.
        """
        return self._latest("pending" if self._node.within else "latest").time

    def read(self, cursor: Cursor) -> News:
        """As `Ledger.read`. A node whose answers cannot be read together is doubted: next time another is asked."""
        moved = ""
        try:
            for _ in range(_ATTEMPTS):
                try:
                    return self._read(cursor)
                except _Moved as error:
                    moved = str(error)
            raise LedgerError(f"rpc: the chain changed each of {_ATTEMPTS} times that it was read: {moved}")
        except NoAnswer:
            raise
        except LedgerError:
            self._node.doubt()
            raise

    def _read(self, cursor: Cursor) -> News:
        head = self._existing("latest")
        confirmed = self._last_confirmed(head)
        if head.number < self._first or (head.number < cursor.next and self._is_late(head, cursor)):
            return News((), cursor, cursor.next, confirmed)
        by_hash = min(max(head.number - confirmed, _LEAST_BY_HASH), _MOST_BY_HASH)
        settled = self._first - 1 if self._node.within else max(head.number - by_hash, self._first - 1)
        tip, common = self._tip(head, cursor, settled)
        if common is None:
            common = self._last_common(cursor, settled)
        found = _Found()
        self._read_ranges(found, common + 1, settled, tip[0].parent if tip else None)
        self._read_blocks(found, tip)
        since = min(common + 1, cursor.next)
        self._report(since, cursor)
        self._confirmed = confirmed
        return News(found.entries, cursor.moved(since, head.number + 1, found.marks), since, confirmed)

    # -------------------------------------------------------------------------------------------- where to go on from

    def _last_confirmed(self, head: Header) -> int:
        if isinstance(self.confirmations, int):
            return max(head.number - self.confirmations, -1)
        header = self._node.header(self.confirmations)  # None as long as nothing was final since the chain began.
        return -1 if header is None else header.number

    def _is_late(self, head: Header, cursor: Cursor) -> bool:
        """Whether a head before the cursor belongs to what was read already."""
        mark = next((mark for mark in reversed(cursor.marks) if mark.number <= head.number), None)
        if mark is None:
            return bool(cursor.marks)
        at = head if mark.number == head.number else self._node.header(mark.number)
        if at is None:
            raise _Moved(f"block {mark.number} is gone")
        return at.hash == mark.hash

    def _tip(self, head: Header, cursor: Cursor, settled: int) -> tuple[list[Header], int | None]:
        """The blocks up to the head that are to be read by hash, and the last block that was read before and holds.

        That is None where it lies at `settled` or below.
        """
        known = {mark.number: mark.hash for mark in cursor.marks}
        blocks = [head]  # Downwards.
        # Usually the chain has grown, and what is new follows a mark. Otherwise everything down to `settled` is linked.
        for lowest in (max(cursor.next, settled + 1), settled + 1):
            numbers = range(blocks[-1].number - 1, lowest - 1, -1)
            for number, header in zip(numbers, self._node.headers(list(numbers)), strict=True):
                if header is None or header.hash != blocks[-1].parent:
                    raise _Moved(f"block {number} is not the parent of block {number + 1}")
                blocks.append(header)
            for place, header in enumerate(blocks):
                if known.get(header.number) == header.hash:
                    return blocks[:place][::-1], header.number
                if known.get(header.number - 1) == header.parent:
                    return blocks[: place + 1][::-1], header.number - 1
        return blocks[::-1], None

    def _last_common(self, cursor: Cursor, settled: int) -> int:
        """The last mark up to `settled` that the chain still has; the block before the first where it has none."""
        marks = [mark for mark in reversed(cursor.marks) if mark.number <= settled]
        for some in (marks[:1], marks[1:]):
            for mark, header in zip(some, self._node.headers([mark.number for mark in some]), strict=True):
                if header is not None and header.hash == mark.hash:
                    return mark.number
        return self._first - 1

    def _report(self, since: int, cursor: Cursor) -> None:
        if since >= cursor.next:
            return
        if since <= max(self._confirmed, self._first):
            logger.warning("the chain was reorganised deeper than expected: everything from block %d on again", since)
        else:
            logger.info("the chain was reorganised: everything from block %d on again", since)

    # ------------------------------------------------------------------------------------------------- reading blocks

    def _read_blocks(self, found: _Found, tip: Sequence[Header]) -> None:
        """Reads blocks by their hashes."""
        try:
            logs = self._node.logs_of(self._contract, tip)
        except RequestRefused as error:  # Nothing but that a block is not known any more, or not yet, to another node.
            raise _Moved(str(error)) from None
        hashes = {header.number: header.hash for header in tip}
        for log in logs:
            if log.block_hash != hashes.get(log.block):
                raise _Moved(f"block {log.block} has another hash")
        found.entries += self._entries(logs, {header.number: header.time for header in tip})
        found.marks += [Mark(header.number, header.hash) for header in tip]

    def _read_ranges(self, found: _Found, first: int, last: int, last_hash: Hash | None) -> None:
        """Reads blocks by their numbers.

        Args:
            last_hash: of the last block, where it is known.

        Logs that are asked for by number are of one chain if the ends of all ranges are still the same afterwards.
        """
        marks = []
        for mark, logs in self._ranges(first, last):
            found.entries += self._entries(logs, self._times(logs))
            marks.append(mark)
        if last_hash is not None and marks and marks[-1].hash != last_hash:
            raise _Moved(f"block {last} has another hash")
        for mark, header in zip(marks, self._node.headers([mark.number for mark in marks[:-1]]), strict=False):
            if header is None or header.hash != mark.hash:
                raise _Moved(f"block {mark.number} has another hash")
        found.marks += marks

    def _ranges(self, first: int, last: int) -> Iterator[tuple[Mark, list[Log]]]:
        """Every range; where there are several, the next one is on its way while one is looked at."""
        if last - first < self._range or self._node.within:
            while first <= last:
                mark, logs = self._read_range(first, last)
                first = mark.number + 1
                yield mark, logs
            return
        ahead = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        try:
            coming = ahead.submit(self._read_range, first, last)
            while first <= last:
                mark, logs = coming.result()
                first = mark.number + 1
                if first <= last:
                    coming = ahead.submit(self._read_range, first, last)
                yield mark, logs
        finally:
            ahead.shutdown(wait=False, cancel_futures=True)

    def _read_range(self, first: int, last: int) -> tuple[Mark, list[Log]]:
        """Reads as many blocks as the node lets us; returns the last one, and the logs."""
        cuts = 0
        while True:
            end = min(first + self._range - 1, last)
            mark = Mark(end, self._existing(end).hash)  # Asked for first, and again in the end: see `_read_ranges`.
            try:
                logs = self._node.logs(self._contract, first, end)
            except LedgerError as error:
                # A node says in many ways that it is too much for it. Where it says nothing, we do not ask for ever.
                cuts += not isinstance(error, RequestRefused)
                if end == first or cuts > _CUTS_WITHOUT_ANSWER:
                    raise
                self._range = (end - first + 1) // 2
                continue
            if logs and logs[-1].block == end and logs[-1].block_hash != mark.hash:
                raise _Moved(f"block {end} has another hash")
            if len(logs) > _MANY_LOGS:
                self._range = max(1, self._range // 2)
            elif len(logs) < _MANY_LOGS // 4 and end - first + 1 == self._range:
                self._range = min(2 * self._range, _MOST_RANGE)
            return mark, logs

    def _entries(self, logs: Sequence[Log], times: dict[int, int]) -> Iterator[Entry]:
        for log in logs:
            event = self._abi.logged(log.topics, log.words)
            yield Entry(log.block, times[log.block], log.transaction, log.position, event)

    def _times(self, logs: Sequence[Log]) -> dict[int, int]:
        """The timestamp of each block that has logs."""
        blocks = {log.block: log for log in logs}
        if len({(log.block, log.block_hash) for log in logs}) != len(blocks):
            raise _Moved("a block has two hashes")
        numbers = list(blocks)
        sample = numbers if len(numbers) <= _FEW_HEADERS else _spread(numbers)
        times = self._header_times([blocks[number] for number in sample])
        if sample is numbers:
            return times
        told = {log.block: log.time for log in logs if log.time is not None}
        rising = all(before <= after for before, after in itertools.pairwise(told.values()))
        if rising and len(told) == len(blocks) and told == told | times:
            return told
        return self._header_times(list(blocks.values()))

    def _header_times(self, logs: Sequence[Log]) -> dict[int, int]:
        headers = self._node.headers([log.block_hash for log in logs])
        times = {}
        for log, header in zip(logs, headers, strict=True):
            if header is None or header.number != log.block:
                raise _Moved(f"block {log.block} is gone")
            times[log.block] = header.time
        return times

    def _latest(self, tag: Literal["latest", "pending"]) -> Header:
        header = self._node.header(tag)
        if header is None:
            raise LedgerError(f"rpc: the node has no {tag} block")
        return header

    def _existing(self, block: int | str) -> Header:
        header = self._node.header(block)
        if header is None:
            raise _Moved(f"block {block} is gone")
        return header


def _spread(numbers: Sequence[int]) -> list[int]:
    """Some of them, the first and the last among them."""
    return [numbers[place * (len(numbers) - 1) // (_FEW_HEADERS - 1)] for place in range(_FEW_HEADERS)]
