"""Watching a federation run: what is said, what has come of it so far, who must be started again, when time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fedpact.errors import FedpactError
from fedpact.ledger.events import Entry
from fedpact.ledger.port import Follower
from fedpact.ledger.view import Status, View

from ordeal.federation import Federation, Party
from ordeal.processes import Child

_TICK = 0.01
_LOOK = 0.05
_REST = 0.2  # Before a process that was killed is started again, as a service manager would wait.


class OutOfTime(Exception):
    """It took longer than it may, or a process ended that should not have."""


class Run:
    """A federation while it runs.

    Args:
        say: is given one line for each event.
        end: when it must be over (monotonic seconds).

    Attributes:
        kills: by the name of what was killed.
        published: when each round was seen to be published (monotonic seconds).
    """

    def __init__(self, federation: Federation, say: Callable[[str], None], end: float) -> None:
        self.federation, self.end = federation, end
        self.kills: dict[str, int] = {}
        self.published: dict[int, float] = {}
        self.services = [federation.coordinators[0].service, *(each.service for each in federation.silos)]
        self.servers = [each.server for each in federation.parties]
        self._say = say
        self._began = time.monotonic()
        self._ledger = federation.ledger()
        self._follower = Follower(self._ledger)
        self._looked = 0.0

    # ----------------------------------------------------------------------------------------------- what there is

    @property
    def view(self) -> View:
        """What was last seen of the chain."""
        return self._follower.view

    @property
    def entries(self) -> Sequence[Entry]:
        """All that was last seen of the chain."""
        return self._follower.entries

    @property
    def number(self) -> int:
        """The round that is open, or was last."""
        return self.view.number

    def submitted(self, number: int) -> int:
        """How many have submitted in a round."""
        current = self.view.rounds.get(number)
        return 0 if current is None else len(current.submissions)

    def is_published(self, number: int) -> bool:
        """Whether a round has ended with a model."""
        current = self.view.rounds.get(number)
        return current is not None and current.status is Status.PUBLISHED

    # --------------------------------------------------------------------------------------------------- what to do

    def say(self, text: str) -> None:
        """Says what happens."""
        self._say(f"{time.monotonic() - self._began:7.2f} s  round {self.number:2d}  {text}")

    def start(self) -> None:
        """Starts stores and services."""
        for child in (*self.servers, *self.services):
            child.start()

    def kill(self, child: Child, why: str) -> bool:
        """Kills a process; whether it ran."""
        pid = child.pid
        if not child.kill():
            return False
        self.kills[child.name] = self.kills.get(child.name, 0) + 1
        self.say(f"kill -9 {child.name} (process {pid}): {why}")
        return True

    def tick(self) -> None:
        """Looks at everything once; starts again what was killed.

        Raises:
            OutOfTime: time is over, or a process ended by itself with an error.
        """
        now = time.monotonic()
        if now > self.end:
            raise OutOfTime(f"out of time: {self._state()}")
        for child in (*self.servers, *self.services):
            code = child.ended()
            if code and child.wanted:
                raise OutOfTime(f"{child.name} ended by itself with exit code {code}: {child.said()}")
            if child.is_dead and child.wanted and now - child.started > _REST:
                child.start()
        if now - self._looked >= _LOOK:
            self._looked = now
            self._look()
        time.sleep(_TICK)  # A tick; bounded above.

    def until(self, reached: Callable[[], bool]) -> None:
        """Ticks until something is so."""
        while not reached():
            self.tick()

    def until_over(self) -> None:
        """Ticks until all services have ended by themselves."""
        self.until(lambda: all(child.ended() == 0 for child in self.services))

    def stop(self, party: Party) -> int | None:
        """Stops a service for good; returns its exit code."""
        party.service.wanted = False
        if party.service in self.services:
            self.services.remove(party.service)
        return party.service.stop()

    def add(self, party: Party) -> None:
        """Starts a service that was not running, and looks after it."""
        party.service.wanted = True
        if party.service not in self.services:
            self.services.append(party.service)
        party.service.start()

    def close(self) -> None:
        """Closes the connection to the chain."""
        self._ledger.close()

    def _look(self) -> None:
        try:
            view = self._follower.refresh()
        except FedpactError:
            return  # The node may be down, or the chain may be changing: the next look tells.
        for number, each in view.rounds.items():
            if each.status is Status.PUBLISHED and number not in self.published:
                self.published[number] = time.monotonic()
                self.say(f"round {number} published with {len(each.submissions)} submissions: {each.model}")
            if each.status is Status.OPEN and self.published.pop(number, None) is not None:
                self.say(f"round {number} is open again")

    def _state(self) -> str:
        current = self.view.round
        submitted = 0 if current is None else len(current.submissions)
        said = "; ".join(f"{child.name}: {_last_line(child)}" for child in self.services)
        return f"round {self.number} with {submitted} submissions is what there is. {said}"


def _last_line(child: Child) -> str:
    lines = child.said().splitlines()
    return lines[-1][:300] if lines else "nothing"
