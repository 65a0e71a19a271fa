"""The port to a ledger, and the follower that keeps a view of one up to date.

Adapters: `memory` (a dry run in one process), `ethereum` (a contract on a chain), `record` (a file of entries, read
only).
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from fedpact.errors import RecordInconsistent
from fedpact.ledger.actions import Action
from fedpact.ledger.events import Entry, Event
from fedpact.ledger.facts import Address, Hash, Identity
from fedpact.ledger.view import View


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of an action.

    Attributes:
        block: number of the block that holds it.
        transaction: its hash.
        gas: what it cost; none where nothing is paid.
        events: what the contract logged.
        price: wei that each unit of gas cost; none where nothing is paid.
    """

    block: int
    transaction: Hash
    gas: int | None
    events: tuple[Event, ...]
    price: int | None = None


logger = logging.getLogger(__name__)

_DENSE = 256


@dataclass(frozen=True, slots=True)
class Mark:
    """A block that was seen: its number and its hash (32 bytes)."""

    number: int
    hash: Hash


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a ledger was read. `Cursor()` is where nothing was.

    Attributes:
        next: the first block that was not read.
        marks: blocks that were, in order: every one that is known among the last 256, then fewer and fewer. The last
            one that a chain still has is where it parted from what was read.
    """

    next: int = 0
    marks: tuple[Mark, ...] = ()

    def moved(self, since: int, next: int, marks: Iterable[Mark]) -> Cursor:  # noqa: A002  # As the attribute.
        """The cursor after a reading.

        Args:
            since: the marks from this block on no longer hold.
            next: the first block that was not read.
            marks: of blocks from `since` on, in order.
        """
        every = [*takewhile(lambda mark: mark.number < since, self.marks), *marks]
        kept: list[Mark] = []
        for mark in every:
            # The first of each cell. Cells double with the distance, and those of before fit into them: a mark that is
            # dropped would not have been the first later either.
            distance = next - mark.number
            cell = 1 if distance <= _DENSE else (_DENSE // 4) << ((distance // _DENSE).bit_length() - 1)
            if not kept or mark.number // cell != kept[-1].number // cell:
                kept.append(mark)
        return Cursor(next, tuple(kept))


@dataclass(frozen=True, slots=True)
class News:
    """What a reading found.

    Attributes:
        entries: from block `since` on, in order.
        cursor: where the next reading goes on.
        since: entries of blocks from here on, read before, no longer hold; where all do, the first block that was not
            read before.
        confirmed: the last block that counts as confirmed; -1 where none does.
    """

    entries: Sequence[Entry]
    cursor: Cursor
    since: int
    confirmed: int


Posted = Callable[[], Receipt]
"""An action on its way: called, it waits for the receipt, and raises what `Ledger.post` says."""


class Ledger(Protocol):
    """The contract as Python sees it."""

    @property
    def identity(self) -> Identity:
        """Which federation this is."""
        ...

    def now(self) -> int:
        """The timestamp that the next block would carry, in seconds since the epoch."""
        ...

    def passed(self) -> int:
        """The time that has surely passed (seconds since the epoch), for what cannot be undone. Asked for before
        reading, all that was logged until then is read."""
        ...

    def read(self, cursor: Cursor) -> News:
        """What is new behind a cursor, and what no longer holds before it.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        ...

    def post(self, sender: Address, action: Action) -> Posted:
        """Sends an action for an account and does not wait; what is returned waits for the receipt.

        Raises, now or while waiting:
            ContractRejected: the contract refused; nothing changed.
            LedgerError: the action could not be sent.
        """
        ...

    def send(self, sender: Address, action: Action) -> Receipt:
        """Carries out an action for an account and waits for its receipt.

        Raises:
            ContractRejected, LedgerError: as `post`.
        """
        ...


class Memory(Protocol):
    """Keeps what was read beyond the life of a process. It is a cache: whatever it cannot do only costs time."""

    def recall(self, identity: Identity) -> tuple[list[Entry], Cursor]:
        """The entries of a federation that were kept, and the cursor behind them; nothing where nothing is of use."""
        ...

    def keep(self, news: News) -> None:
        """Keeps what a reading found. The first one goes on from what was recalled, or from the start."""
        ...


class Follower:
    """Keeps a view up to date with a ledger. Threads may share one.

    Args:
        memory: gives back what was read by an earlier process.

    Attributes:
        view: the state after the entries read so far; another object where entries no longer hold.
        entries: those entries.
        confirmed: the last block that counts as confirmed; -1 where none does.
    """

    def __init__(self, ledger: Ledger, memory: Memory | None = None) -> None:
        self.view = View(ledger.identity)
        self.entries: list[Entry] = []
        self.confirmed = -1
        self._ledger, self._memory = ledger, memory
        self._cursor = Cursor()
        self._lock = threading.Lock()
        if memory is not None:
            entries, cursor = memory.recall(ledger.identity)
            try:
                self.view, self.entries, self._cursor = View(ledger.identity, entries), entries, cursor
            except RecordInconsistent as error:
                logger.warning("what was kept of the ledger is not used, it is read anew: %s", error)

    def refresh(self) -> View:
        """Reads what is new, forgets what no longer holds, and returns the view.

        Raises:
            LedgerError: the ledger cannot be read, or its entries contradict one another. After a contradiction the
                next refresh reads everything anew: an entry that a node withheld must not be missing for ever.
        """
        with self._lock:
            news = self._ledger.read(self._cursor)
            try:
                self._take(news)
            except RecordInconsistent:
                self._cursor = Cursor()
                doubt = getattr(self._ledger, "doubt", None)
                if doubt is not None:  # Of several nodes, another may not withhold it.
                    doubt()
                raise
            if self._memory is not None:
                self._memory.keep(news)
            return self.view

    def is_confirmed(self, place: Entry | int | None) -> bool:
        """Whether an entry, or a block by its number, is confirmed. What is nowhere is not."""
        block = place.block if isinstance(place, Entry) else place
        return block is not None and block <= self.confirmed

    def _take(self, news: News) -> None:
        held = bisect_left(self.entries, news.since, key=lambda entry: entry.block)
        if held < len(self.entries):
            # Everything is folded again: a view cannot be folded back, and reorganisations are rare.
            entries = [*self.entries[:held], *news.entries]
            self.view, self.entries = View(self._ledger.identity, entries), entries
        else:
            for entry in news.entries:
                self.view.fold(entry)
                self.entries.append(entry)
        self._cursor, self.confirmed = news.cursor, news.confirmed
