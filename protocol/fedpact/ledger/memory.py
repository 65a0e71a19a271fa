"""The ledger in memory: the contract's rules and hashes, without a chain.

A dry run within one process, and the fake of unit tests; the contract tests that it shares with the real one keep it
honest. It is never a record: nobody but this process has seen it.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left

from fedpact.ledger import pact
from fedpact.ledger.actions import Action
from fedpact.ledger.events import Entry, Event
from fedpact.ledger.facts import Address, Hash, Identity, Limits
from fedpact.ledger.port import Cursor, News, Posted, Receipt
from fedpact.ledger.view import View
from fedpact.store.cid import Cid


class MemoryLedger:
    """One federation in memory. A block holds one action, and each carries a time one second later than the last.

    Args:
        owner, charter, genesis, limits: as the contract's constructor.
        identity: which federation it pretends to be; heads depend on it.
        now: timestamp of its first block.

    Raises:
        ContractRejected: as the contract's constructor.
    """

    def __init__(
        self, owner: Address, charter: Cid, genesis: Cid, limits: Limits, *, identity: Identity, now: int
    ) -> None:
        self._identity = identity
        self._now = now
        self._entries: list[Entry] = []
        self.view = View(identity)
        self._log((pact.found(identity, owner, charter, genesis, limits),))

    @property
    def identity(self) -> Identity:
        return self._identity

    def now(self) -> int:
        return self._now

    def advance(self, to: int) -> None:
        """Lets time pass: the next block carries timestamp `to`, unless it is later already."""
        self._now = max(self._now, to)

    def passed(self) -> int:
        return self.now()

    def read(self, cursor: Cursor) -> News:
        """A block is confirmed as soon as it is there: nobody can take it back."""
        last = self._entries[-1].block
        first = bisect_left(self._entries, cursor.next, key=lambda entry: entry.block)
        return News(self._entries[first:], Cursor(last + 1), cursor.next, last)

    def post(self, sender: Address, action: Action) -> Posted:
        receipt = self.send(sender, action)
        return lambda: receipt

    def send(self, sender: Address, action: Action) -> Receipt:
        return self._log(pact.execute(self.view, sender, action, self._now))

    def _log(self, written: tuple[Event, ...]) -> Receipt:
        block = self._entries[-1].block + 1 if self._entries else 1
        transaction = Hash(hashlib.sha256(b"dry run, block %d" % block).digest())
        entries = tuple(Entry(block, self._now, transaction, position, event) for position, event in enumerate(written))
        for entry in entries:
            self.view.fold(entry)
            self._entries.append(entry)
        self._now += 1
        return Receipt(block, transaction, None, written)
