"""What was read of a ledger, in a file that a later process goes on with: one JSON object a line.

    {"chain_id":…,"contract":"0x…","format":"fedpact-entries/2"}
    {"block":1,"position":0,"time":…,"transaction":"…","words":"…"}
    …
    {"marks":[[1,"0x…"],…],"next":2,"since":0}

An entry's words are its topics and data, as the contract logged them. The last kind of line ends a reading: the entries
before it are those of blocks from `since` on, and replace whatever was kept of them. Lines behind the last one of it
are of a reading that did not end, and are cut off. The file is a cache: it is not synced, whatever is wrong with it is
a warning, and the ledger is read anew. One process uses it at a time.
"""

from __future__ import annotations

import functools
import logging
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedpact.artifacts import canonical
from fedpact.errors import FedpactError, RecordDamaged
from fedpact.ledger import record
from fedpact.ledger.abi import Abi
from fedpact.ledger.artifact import federation
from fedpact.ledger.events import Entry
from fedpact.ledger.facts import Hash, Identity
from fedpact.ledger.port import Cursor, Mark, News

logger = logging.getLogger(__name__)

FORMAT = "fedpact-entries/2"
_MAX_LINE = 1 << 16
_BLOCKS = 64
"""Blocks without entries are kept this many at a time: to read them again costs less than a line for each."""


class EntryLog:
    """A file of entries, as `fedpact.ledger.port.Memory`.

    Args:
        path: the file; it is made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blocks: list[int] = []  # Of the entries that the file holds.
        self._next = 0
        self._since: int | None = None  # The first block that changed since the last line.
        self._works = True
        self._abi = Abi(federation().abi)

    def recall(self, identity: Identity) -> tuple[list[Entry], Cursor]:
        """As `Memory.recall`; readies the file for what follows."""
        first = {"format": FORMAT, "chain_id": identity.chain_id, "contract": identity.contract}
        entries, cursor, end = list[Entry](), Cursor(), 0
        try:
            if self._path.exists():
                entries, cursor, end = self._read(first)
        except (FedpactError, OSError) as error:
            logger.warning("%s is not used, the ledger is read anew: %s", self._path, _why(error))
        try:
            if end:
                with self._path.open("r+b") as file:
                    file.truncate(end)
            else:
                self._path.write_bytes(_line(first))
        except OSError as error:
            self._give_up(error)
        self._blocks, self._next = [entry.block for entry in entries], cursor.next
        return entries, cursor

    def keep(self, news: News) -> None:
        """As `Memory.keep`."""
        held = bisect_left(self._blocks, news.since)
        self._since = news.since if self._since is None else min(self._since, news.since)
        changed = news.entries or held < len(self._blocks) or news.since < self._next
        if not self._works or not (changed or news.cursor.next >= self._next + _BLOCKS):
            return
        marks = [[mark.number, "0x" + mark.hash.hex()] for mark in news.cursor.marks if mark.number >= self._since]
        try:
            with self._path.open("ab") as file:
                file.writelines(map(self._written, news.entries))
                file.write(_line({"since": self._since, "next": news.cursor.next, "marks": marks}))
        except OSError as error:
            self._give_up(error)
        self._blocks[held:] = [entry.block for entry in news.entries]
        self._next, self._since = news.cursor.next, None

    def _read(self, first: dict[str, Any]) -> tuple[list[Entry], Cursor, int]:
        """Entries, the cursor behind them, and where in the file they end."""
        entries: list[Entry] = []
        cursor, end, fresh = Cursor(), 0, list[Entry]()
        for number, (place, value) in enumerate(self._lines()):
            try:
                if number == 0:
                    if value != first:
                        raise RecordDamaged(f"expected the first line of format {FORMAT} for this contract")
                    end = place
                elif "next" in value:
                    since, cursor = _moved(cursor, value)
                    held = bisect_left(entries, since, key=lambda entry: entry.block)
                    entries[held:] = fresh
                    end, fresh = place, []
                else:
                    fresh.append(self._entry(value))
            except FedpactError as error:
                raise RecordDamaged(f"line {number + 1}: {error}") from None
        record.check_order(self._path, entries)
        if entries and entries[-1].block >= cursor.next:
            raise RecordDamaged(f"the last entry is of block {entries[-1].block}, the next block is {cursor.next}")
        return entries, cursor, end

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each whole line, and where it ends. A last one that was cut off is not there."""
        place = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(iter(functools.partial(file.readline, _MAX_LINE), b""), 1):
                if not line.endswith(b"\n"):
                    if len(line) == _MAX_LINE:
                        raise RecordDamaged(f"line {number}: longer than {_MAX_LINE} bytes")
                    return
                place += len(line)
                value = canonical.parse(line, f"line {number}")
                if not isinstance(value, dict):
                    raise RecordDamaged(f"line {number}: expected an object")
                yield place, value

    def _written(self, entry: Entry) -> bytes:
        """As `canonical.encode` of the same, in a tenth of the time."""
        words = self._abi.words(entry.event).hex()
        place = f'"block":{entry.block},"position":{entry.position},"time":{entry.time}'
        return f'{{{place},"transaction":"{entry.transaction.hex()}","words":"{words}"}}\n'.encode()

    def _entry(self, value: dict[str, Any]) -> Entry:
        block, time, position = value.get("block"), value.get("time"), value.get("position")
        try:
            transaction, words = bytes.fromhex(value["transaction"]), bytes.fromhex(value["words"])
        except (KeyError, TypeError, ValueError):
            raise RecordDamaged("transaction and words: expected hexadecimal digits") from None
        if len(transaction) != 32 or not all(
            type(each) is int and 0 <= each < 1 << 64 for each in (block, time, position)
        ):
            raise RecordDamaged("expected the place of an entry, and a hash of 32 bytes")
        return Entry(block, time, Hash(transaction), position, self._abi.event_of(words))  # type: ignore[arg-type]  # Just checked.

    def _give_up(self, error: OSError) -> None:
        logger.warning("%s: what is read of the ledger is not kept: %s", self._path, _why(error))
        self._works = False


def _moved(cursor: Cursor, value: dict[str, Any]) -> tuple[int, Cursor]:
    """The cursor after a line that ends a reading, and the block from which on it replaces what was before."""
    since, following, marks = value.get("since"), value.get("next"), value.get("marks")
    try:
        pairs = [Mark(number, Hash(bytes.fromhex(text.removeprefix("0x")))) for number, text in marks]  # type: ignore[union-attr]  # What is no list is an error below.
    except (TypeError, ValueError, AttributeError):
        raise RecordDamaged("marks: expected pairs of number and hash") from None
    numbers = [mark.number for mark in pairs]
    if type(since) is not int or type(following) is not int or not all(type(number) is int for number in numbers):
        raise RecordDamaged("expected the numbers of blocks")
    if any(len(mark.hash) != 32 for mark in pairs) or sorted(set(numbers)) != numbers:
        raise RecordDamaged("marks: expected hashes of 32 bytes, in the order of their blocks")
    if numbers and not 0 <= since <= numbers[0] <= numbers[-1] < following:
        raise RecordDamaged(f"marks: expected blocks {since} to {following - 1}, found {numbers[0]} to {numbers[-1]}")
    return since, cursor.moved(since, following, pairs)


def _line(value: dict[str, Any]) -> bytes:
    return canonical.encode(value) + b"\n"


def _why(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)
