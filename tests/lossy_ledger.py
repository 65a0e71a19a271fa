"""A ledger whose node fails between two answers."""

from __future__ import annotations

from fedpact.errors import LedgerError
from fedpact.ledger.actions import Action
from fedpact.ledger.facts import Address
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Receipt


class LossyLedger(MemoryLedger):
    """A ledger that can lose an action on its way there, or the receipt on its way back.

    Attributes:
        lost: `action` or `receipt`; empty for neither.
        asked: all actions that it was asked for, lost ones too.
    """

    lost: str = ""
    asked: list[Action]

    def send(self, sender: Address, action: Action) -> Receipt:
        self.asked = [*getattr(self, "asked", []), action]
        if self.lost == "action":
            raise LedgerError("the node cannot be reached")
        receipt = super().send(sender, action)
        if self.lost == "receipt":
            raise LedgerError("the node did not answer")
        return receipt
