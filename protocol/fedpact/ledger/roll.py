"""Whom a federation knows now: read from its ledger again and again, by a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from fedpact.errors import FedpactError
from fedpact.ledger.facts import FOREVER, Address
from fedpact.ledger.port import Follower
from fedpact.ledger.view import View

logger = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between two looks at the ledger."""
KEPT = 600.0
"""Seconds that the last list holds while the ledger cannot be read."""
_SHOWN = 200  # Characters of an error that nobody expected.


def accounts(view: View) -> frozenset[Address]:
    """The owner, the appointed coordinators and the members.

    Who was admitted counts from then on, although its first round is the next one: it must read the base before. Who
    was removed does not count any more, although it may still submit to an open round: a removal is to be felt at once.
    """
    members = {each.address for each in view.members.values() if each.until == FOREVER}
    return frozenset(members | view.coordinators | {view.owner})


class Roll:
    """The accounts of a federation, kept up to date.

    Args:
        follower: reads the ledger; by this alone from now on.
        every: seconds between two looks.
        kept: seconds that the last list holds while the ledger cannot be read.
        clock: seconds since any moment.

    Raises:
        LedgerError: the ledger cannot be read now.
    """

    def __init__(
        self,
        follower: Follower,
        *,
        every: float = EVERY,
        kept: float = KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._follower, self._every, self._kept, self._clock = follower, every, kept, clock
        self._trouble = ""
        self._over = threading.Event()
        self._list = clock(), accounts(follower.refresh())
        self._thread = threading.Thread(target=self._run, name="fedpact-roll", daemon=True)

    def __call__(self) -> frozenset[Address] | None:
        """The accounts as the ledger last had them; none where that is too long ago."""
        read, found = self._list
        return found if self._clock() - read <= self._kept else None

    def start(self) -> None:
        """Looks at the ledger from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ends that. Who is still waiting for a node is not waited for."""
        self._over.set()

    def look(self) -> None:
        """Looks at the ledger once. Where it cannot be read the list stays, and that is said once."""
        began = self._clock()
        try:
            self._list = began, accounts(self._follower.refresh())
        except FedpactError as error:
            if not (self._trouble or self._over.is_set()):
                logger.warning("%s; who was a member counts as one for %d s at most", error, self._kept)
            self._trouble = str(error)
            return
        if self._trouble:
            logger.info("the ledger answers again: %d accounts", len(self._list[1]))
            self._trouble = ""

    def _run(self) -> None:
        while not self._over.wait(self._every):
            try:
                self.look()
            except Exception as error:  # A mistake of ours, or of a package: who was removed must be out all the same.
                said = " ".join(str(error)[:_SHOWN].split())
                logger.error("the ledger could not be read: %s: %s", type(error).__name__, said)
