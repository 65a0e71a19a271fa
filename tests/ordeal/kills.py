"""Kill -9, at random times and at exact points, over all roles; then the same models as if nothing had happened."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ordeal.federation import Federation, Party, Wanted
from ordeal.node import Chain
from ordeal.processes import Child
from ordeal.proxy import Moment
from ordeal.running import Run
from ordeal.verdict import judge

WRITING, ANY_TIME = "a block half written", "any time"
_POINTS: tuple[Moment | str, ...] = (*Moment, WRITING, ANY_TIME)
_LONGEST_DELAY = 1.5
_PEEK = 0.001


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill that is planned.

    Attributes:
        due: the round from which on it may happen.
        point: when in it.
        delay: for those at any time: seconds after the round was seen.
    """

    due: int
    point: Moment | str
    delay: float


def plan(seed: int, rounds: int, kills: int, services: list[str], servers: list[str]) -> dict[str, list[Kill]]:
    """Which process is killed when: the same for the same arguments, evenly over processes, points and rounds."""
    chance = random.Random(f"ordeal, kills, seed {seed}")
    names = services + servers
    offset = chance.randrange(len(names))
    counts = {
        name: kills // len(names) + ((place + offset) % len(names) < kills % len(names))
        for place, name in enumerate(names)
    }
    planned: dict[str, list[Kill]] = {}
    for name, count in counts.items():
        points = [*_POINTS * (count // len(_POINTS)), *chance.sample(_POINTS, count % len(_POINTS))]
        chance.shuffle(points)
        points = points if name in services else [ANY_TIME] * count
        # In rounds of their own, for a service sends once in each; the last is left for what could not be done before.
        early = list(range(1, max(2, rounds)))
        due = sorted(chance.sample(early * (count // len(early)) + chance.sample(early, count % len(early)), count))
        planned[name] = [
            Kill(number, point, chance.uniform(0, _LONGEST_DELAY)) for number, point in zip(due, points, strict=True)
        ]
    return planned


class Killer:
    """Carries out what is planned for one process, one kill after the other.

    Attributes:
        half_written: blocks that a kill left half written.
    """

    def __init__(self, run: Run, child: Child, party: Party, planned: list[Kill], rounds: int) -> None:
        self._run, self._child, self._party, self._rounds = run, child, party, rounds
        self.half_written = 0
        self._left = list(planned)
        self._armed: Kill | None = None
        self._since = 0.0
        self._done = threading.Event()
        self._disarm: Callable[[], None] = lambda: None

    def tick(self) -> None:
        """Arms what is due, and sees whether it has happened."""
        if self._armed is not None:
            self._pursue(self._armed)
        if self._armed is None and self._left and self._run.number >= self._left[0].due and self._child.ended() is None:
            self._arm(self._left[0])

    def _pursue(self, kill: Kill) -> None:
        if self._done.is_set():
            self._armed = None
            self._left.pop(0)
            return
        # In the last round there may be no such point any more.
        is_at_any_time = kill.point is ANY_TIME or self._run.number >= self._rounds
        if is_at_any_time and time.monotonic() >= self._since + kill.delay and self._strike("at a random time"):
            self._disarm()

    def _arm(self, kill: Kill) -> None:
        self._armed, self._since = kill, time.monotonic()
        self._done = threading.Event()
        if isinstance(kill.point, Moment):
            point = kill.point
            self._disarm = self._party.proxy.trap(point, lambda: self._spring(point))
        elif kill.point is WRITING:
            threading.Thread(target=self._lie_in_wait, args=(self._done,), daemon=True, name="waiting").start()

    def _spring(self, point: Moment) -> None:
        self._strike(point.value)

    def _lie_in_wait(self, done: threading.Event) -> None:
        """Kills the process as soon as it writes a block."""
        while not done.is_set():
            prefix = f"{self._child.pid}-"
            if self._writes(prefix):
                self._strike("while it writes a block")
                self.half_written += self._writes(prefix)
                return
            time.sleep(_PEEK)  # So short is the time that it takes; it ends with the run.

    def _writes(self, prefix: str) -> bool:
        try:
            return any(each.name.startswith(prefix) for each in self._party.partial.iterdir())
        except OSError:
            return False  # There is no such directory now.

    def close(self) -> None:
        """Nothing more is to be killed."""
        self._done.set()

    def _strike(self, why: str) -> bool:
        struck = self._run.kill(self._child, why)
        if struck:
            self._done.set()
        return struck


def run(directory: Path, seed: int, rounds: int, kills: int, say: Callable[[str], None], end: float) -> dict[str, Any]:
    """Lets a federation of real processes run while they are killed; returns what was found."""
    chain = Chain(directory)
    try:
        chain.start()
        federation = Federation(directory, chain, seed, Wanted(rounds))
        try:
            watched = Run(federation, say, end)
            services = {each.name: (each.service, each) for each in federation.parties}
            servers = {each.server.name: (each.server, each) for each in federation.parties}
            planned = plan(seed, rounds, kills, list(services), list(servers))
            killers = [
                Killer(watched, child, party, planned[name], rounds)
                for name, (child, party) in (services | servers).items()
            ]
            began = time.monotonic()
            watched.start()
            while not all(child.ended() == 0 for child in watched.services):
                watched.tick()
                for each in killers:
                    each.tick()
            seconds = time.monotonic() - began
            for each in killers:
                each.close()
            watched.until(lambda: not any(child.is_dead for child in watched.servers))
            found = judge(federation, rounds=rounds, kills=sum(watched.kills.values()))
            watched.close()
        finally:
            federation.close()
    finally:
        chain.child.stop()
    done = sum(watched.kills.values())
    if done < kills:
        found.faults.append(f"kills: expected {kills}, found {done}")
    return {
        "kills": done,
        "killed": watched.kills,
        "blocks_half_written": sum(each.half_written for each in killers),
        "seconds": round(seconds, 2),
        **found.as_json(),
    }
