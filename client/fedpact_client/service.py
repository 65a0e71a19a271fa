"""A silo as a process: steps, and what is said of them."""

from __future__ import annotations

from fedpact.service.loop import Acted, Outcome, Over, Waiting

from fedpact_client.owe import Nothing, Refuse, Released
from fedpact_client.silo import Silo


class SiloService:
    """Takes the steps of a silo."""

    def __init__(self, silo: Silo) -> None:
        self._silo = silo

    def step(self) -> Outcome:
        """One step.

        Raises:
            FedpactError: as `Silo.step`.
        """
        debt, receipt = self._silo.step()
        match debt:
            case Released(why):
                return Over(why)
            case Refuse(why):
                return Waiting(f"refused: {why}")
            case Nothing(why):
                return Waiting(why)
        update = self._silo.journal.update(debt.round, debt.base)
        if update is None or receipt is None:
            return Waiting(f"round {debt.round}: not submitted")
        cost = "" if receipt.gas is None else f" ({receipt.gas:,} gas, block {receipt.block})"
        return Acted(f"round {debt.round}: submitted {update.cid}, {update.samples} samples{cost}")
