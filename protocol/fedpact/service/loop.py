"""The loop of a service: one step after another, until it is over.

A step reads the ledger and does at most one thing. It holds no state that ledger, store and journal cannot give back,
so what goes wrong in one is said and tried again, later and later; and a process that is killed in one loses nothing.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from fedpact.errors import FedpactError, InputError, WrongArithmetic

logger = logging.getLogger(__name__)

_LONGEST = 30.0  # Seconds between two tries of what goes wrong again and again.
_REPEATED = 20  # So many times in a row something goes wrong before it is said again.


@dataclass(frozen=True, slots=True)
class Acted:
    """Something was done; there may be more to do at once."""

    what: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """There is nothing to do before the ledger says something new, or time has passed."""

    why: str


@dataclass(frozen=True, slots=True)
class Over:
    """There is nothing left to do, ever."""

    why: str


Outcome = Acted | Waiting | Over


def run(
    step: Callable[[], Outcome],
    *,
    poll: float,
    sleep: Callable[[float], None] = time.sleep,
    failed: Callable[[FedpactError], None] = lambda _: None,
    went_well: Callable[[], None] = lambda: None,
) -> str:
    """Takes steps until one says that it was the last; returns why.

    Args:
        poll: seconds between two looks at a ledger that has nothing new.
        failed: called with whatever went wrong in a step that is tried again.
        went_well: called after a step that did not fail, once it is said what it was; it may fail as a step may.

    Raises:
        InputError, WrongArithmetic: what no second try mends.
    """
    waiting, trouble, failures = "", "", 0
    while True:
        try:
            outcome = step()
            if isinstance(outcome, Over):
                return outcome.why
            if isinstance(outcome, Acted):
                logger.info("%s", outcome.what)
                waiting = ""
            elif outcome.why != waiting:
                logger.info("waiting: %s", outcome.why)
                waiting = outcome.why
            went_well()
        except (InputError, WrongArithmetic):
            raise
        except FedpactError as error:
            failed(error)
            if str(error) != trouble or failures % _REPEATED == 0:
                logger.warning("%s", error)
            trouble, failures = str(error), failures + 1
            # A random part of the delay, so that those who met one fault do not all come back at once.
            sleep(min(_LONGEST, poll * 2.0 ** min(failures - 1, 16)) * random.uniform(0.5, 1))  # noqa: S311
            continue
        if failures:
            logger.info("it works again after %d failed %s", failures, "try" if failures == 1 else "tries")
            trouble, failures = "", 0
        if isinstance(outcome, Waiting):
            sleep(poll)
