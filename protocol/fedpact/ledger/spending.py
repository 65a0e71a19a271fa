"""What transactions have cost this process, for whoever watches it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from web3.types import TxReceipt


@dataclass(frozen=True, slots=True)
class Spent:
    """What was paid so far.

    Attributes:
        transactions: that are in a block.
        reverts: those of them that failed there.
        gas: what all of them took.
        wei: what that cost.
    """

    transactions: int = 0
    reverts: int = 0
    gas: int = 0
    wei: int = 0


class Spending:
    """Counts receipts, from any thread."""

    def __init__(self) -> None:
        self.spent = Spent()
        self._lock = threading.Lock()

    def count(self, mined: TxReceipt) -> None:
        """Adds a receipt that was not counted before."""
        gas = int(mined["gasUsed"])
        with self._lock:
            before = self.spent
            self.spent = Spent(
                before.transactions + 1,
                before.reverts + (mined["status"] != 1),
                before.gas + gas,
                before.wei + gas * int(mined["effectiveGasPrice"]),
            )
