"""A coordinator as a process: steps, and what is said of them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from fractions import Fraction

from fedpact.artifacts import charter as charters
from fedpact.artifacts.manifest import Line
from fedpact.ending import mean_score
from fedpact.errors import FedpactError
from fedpact.ledger.actions import CancelRound, OpenRound
from fedpact.ledger.facts import SCORE_UNIT
from fedpact.ledger.port import Receipt
from fedpact.ledger.view import Round
from fedpact.service.loop import Acted, Outcome, Over, Waiting
from fedpact.service.station import Station

from fedpact_coordinator.coordinator import Coordinator
from fedpact_coordinator.decide import Aggregate, Decision, Finished, Wait

logger = logging.getLogger(__name__)


class CoordinatorService:
    """Takes the steps of a coordinator.

    Args:
        station: the ledger, the store and the figures that it works with.
        threads: leaves that are aggregated at once.
    """

    def __init__(self, station: Station, threads: int) -> None:
        self._station = station
        self._coordinator = Coordinator(
            station.ledger,
            station.account,
            station.blocks,
            station.follower,
            threads=threads,
            excluded=self._exclude,
        )

    def step(self) -> Outcome:
        """One step.

        Raises:
            FedpactError: as `Coordinator.step`.
        """
        decision, receipt = self._coordinator.step()
        if isinstance(decision, Finished):
            return Over(decision.why)
        if isinstance(decision, Wait):
            return Waiting(decision.why)
        return Acted(f"{self._in_words(decision)}{_cost(receipt)}")

    def _in_words(self, decision: Decision) -> str:
        match decision:
            case OpenRound(number, terms):
                until = datetime.fromtimestamp(terms.submit_by, UTC)
                return (
                    f"round {number}: opened, for {terms.quorum} submissions or more until {until:%Y-%m-%dT%H:%M:%SZ}"
                )
            case CancelRound(number):
                return f"round {number}: cancelled"
            case Aggregate(number, opens_next):
                opened = f"; round {number + 1} is open" if opens_next else ""
                try:
                    current = self._station.follower.refresh().rounds[number]
                    score = self._mean_score(current)
                except FedpactError as error:  # It is published all the same.
                    return f"round {number}: published{opened}; it cannot be read yet ({error})"
                self._station.figures.scored(float(score))
                return (
                    f"round {number}: published {current.model} of {len(current.submissions)} submissions, "
                    f"mean score {float(score / SCORE_UNIT):.6f}{opened}"
                )
        return str(decision)

    def _mean_score(self, current: Round) -> Fraction:
        return mean_score(current, charters.fetch(self._station.blocks, current.charter))

    def _exclude(self, line: Line) -> None:
        self._station.figures.exclude(line.reason)


def _cost(receipt: Receipt | None) -> str:
    return "" if receipt is None or receipt.gas is None else f" ({receipt.gas:,} gas, block {receipt.block})"
