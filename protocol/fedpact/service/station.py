"""What every service works with: one account on one federation, a store, and the figures that say how it goes."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from fedpact.artifacts import charter as charters
from fedpact.errors import BlockMissing, ContentError, StoreError
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.facts import Address
from fedpact.ledger.port import Follower
from fedpact.ledger.spending import Spent
from fedpact.ledger.transactions import ether
from fedpact.service.figures import Figures
from fedpact.store.cid import Cid
from fedpact.store.several import SeveralBlocks

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 30.0  # Between two looks at the balance.
_STANDSTILL_SECONDS = 60.0  # Without a new block before it is said; then after twice that long, and so on.
_ROUNDS_LEFT = 20  # That the balance should pay for.
_GAS_OF_A_ROUND = 250_000


@dataclass(slots=True)
class Station:
    """One account's place in a federation.

    Attributes:
        by_charter: whether the charter in force says how many confirmations count.
        figures: offered to Prometheus, where somebody asks for them.
    """

    ledger: EthereumLedger
    account: Address
    blocks: SeveralBlocks
    follower: Follower
    figures: Figures
    by_charter: bool
    _charter: Cid | None = field(default=None, init=False)
    _unreadable: Cid | None = field(default=None, init=False)
    _looked: float = field(default=-_LOOK_SECONDS, init=False)
    _latest: int = field(default=-1, init=False)
    _moved_on: float = field(default=0.0, init=False)
    _still: float = field(default=_STANDSTILL_SECONDS, init=False)
    _low: bool = field(default=False, init=False)
    _spent: Spent = field(default_factory=Spent, init=False)

    def took_step(self) -> None:
        """Takes note of a step that went well: the figures follow what it saw.

        Raises:
            LedgerError: the node cannot be asked for its time, its newest block or the balance.
            StoreError, ContentError: as `follow_the_charter`.
        """
        self.follow_the_charter()
        clock = time.monotonic()
        self.figures.saw(self.follower.view, self.ledger.now(), self.follower.confirmed)
        moved = self.blocks.moved.values()
        self.figures.moved(sum(each.bytes_read for each in moved), sum(each.bytes_written for each in moved))
        if clock - self._looked >= _LOOK_SECONDS or self.ledger.spent != self._spent:
            self._watch_the_chain(clock)
            self._watch_the_balance()
            self._looked = clock
        self.figures.went_well()

    def follow_the_charter(self) -> None:
        """Counts as confirmed what the charter says, unless the settings say otherwise: that of the open round, or the
        one in force for the next. Where another cannot be read, what the last one said goes on to hold.

        Raises:
            StoreError, ContentError: the first charter cannot be read.
        """
        view = self.follower.view
        cid = view.charter if view.open_round is None else view.open_round.charter
        if not self.by_charter or cid in (self._charter, self._unreadable):
            return
        try:
            charter = charters.fetch(self.blocks, cid)
        except (StoreError, ContentError) as error:
            if self._charter is None and isinstance(error, BlockMissing):
                raise StoreError(f"charter {cid}: {error}; whoever put it in force must offer it") from error
            if self._charter is None:
                raise
            self._unreadable = cid
            logger.warning("charter %s: %s; confirmations count as before", cid, error)
            return
        self.ledger.confirm_after(charter.ledger.confirmations)
        self._charter = cid

    def _watch_the_chain(self, clock: float) -> None:
        latest = self.ledger.latest()
        if latest != self._latest:
            self._latest, self._moved_on, self._still = latest, clock, _STANDSTILL_SECONDS
        elif clock - self._moved_on >= self._still:
            self._still *= 2
            logger.warning("chain: no block after block %d for %d seconds", latest, clock - self._moved_on)

    def _watch_the_balance(self) -> None:
        spent = self.ledger.spent
        balance, self._spent = self.ledger.balance(self.account), spent
        self.figures.spent(spent.gas, spent.wei, balance)
        low = balance < _ROUNDS_LEFT * _GAS_OF_A_ROUND * self.ledger.price()
        if low and not self._low:
            logger.warning(
                "account %s: %s ether left, which may not pay for %d more rounds",
                self.account,
                ether(balance),
                _ROUNDS_LEFT,
            )
        self._low = low
