"""A node that stops, dies, changes its mind, loses transactions and raises its fees; then the same models all the same.

One fault a round, in the order of the table, each at the moment at which it hurts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedpact.ledger.events import UpdateSubmitted

from ordeal.federation import Federation, Party, Wanted
from ordeal.node import Chain
from ordeal.running import Run
from ordeal.verdict import judge

BLOCK_TIME = 0.3
CONFIRMATIONS = 2
_DOWN_SECONDS = 2.0
_STEP_SECONDS = 1.0
_TAKEN_BACK = 7  # So often blocks are taken back.
_GWEI = 10**9
_SPIKE = 60  # Gwei: above what was offered, below what may be.


class Faults:
    """What can befall the node of a run."""

    def __init__(self, run: Run, chain: Chain, silos: list[Party], coordinator: Party, chance: random.Random) -> None:
        self._run, self._chain, self._silos, self._coordinator = run, chain, silos, coordinator
        self._chance = chance

    def reorganise(self, depth: int, submissions: int) -> None:
        """Blocks are dropped as soon as a round has so many submissions; what is in them, with them."""
        number = self._run.number
        self._run.until(lambda: self._run.number > number or self._run.submitted(number) >= submissions)
        self._drop_blocks(depth)

    def reorganise_publication(self, depth: int) -> None:
        """Blocks are dropped as soon as a round is published."""
        number = self._run.number
        self._run.until(lambda: self._run.is_published(number))
        self._drop_blocks(depth)

    def drop_the_end(self) -> None:
        """The last round is dropped before anyone may believe that the federation is over."""
        submission = max(entry.block for entry in self._run.entries if isinstance(entry.event, UpdateSubmitted))
        self._drop_blocks(self._head() - submission + 1)

    def lose_submission(self) -> None:
        """A node says that it took a submission, and loses it."""
        silo = self._chance.choice(self._silos)
        self._run.say(f"the next transaction of {silo.name} will be lost")
        silo.proxy.lose_next()
        self._run.until(lambda: silo.proxy.lost > 0)

    def lose_publication(self) -> None:
        """A node says that it took a publication, and loses it."""
        self._run.say(f"the next transaction of {self._coordinator.name} will be lost")
        self._coordinator.proxy.lose_next()
        self._run.until(lambda: self._coordinator.proxy.lost > 0)

    def drop_pending(self) -> None:
        """No block is made for a while, and what waits for one is dropped."""
        self._run.until(lambda: self._head() >= self._opened() + CONFIRMATIONS)
        self._chain.ask("evm_setIntervalMining", 0)
        waiting: list[str] = []
        while not waiting:
            # Where all had submitted already, the publication waits for blocks: one at a time, then.
            step = time.monotonic() + _STEP_SECONDS
            self._run.until(lambda step=step: bool(self._waiting()) or time.monotonic() > step)
            waiting = self._waiting()
            if not waiting:
                self._chain.ask("evm_mine")
        for transaction in waiting:
            self._chain.ask("anvil_dropTransaction", transaction)
        self._run.say(f"dropped {len(waiting)} transactions that waited for a block")
        self._chain.ask("evm_setIntervalMining", 1)

    def raise_fee(self) -> None:
        """The base fee rises at a stroke above what was offered, and falls as blocks stay empty."""
        number = self._run.number
        self._run.until(lambda: self._run.number > number or self._run.submitted(number) > 0)
        self._chain.ask("anvil_setNextBlockBaseFeePerGas", hex(_SPIKE * _GWEI))
        self._run.say(f"the base fee is {_SPIKE} gwei")

    def stop(self) -> None:
        """The node is asked to end as soon as a round has submissions, and is back a while later."""
        self._chain.keep()
        before = self._until_some_submitted()
        self._chain.child.stop()
        self._run.say(f"anvil was stopped at block {before}")
        self._come_back()

    def kill(self) -> None:
        """The node is killed as soon as a round has submissions, and comes back without its last blocks."""
        self._chain.keep()
        before = self._until_some_submitted()
        self._chain.child.kill()
        self._chain.fall_back()
        self._run.say(f"anvil was killed at block {before}")
        self._come_back()

    def _until_some_submitted(self) -> int:
        number = self._run.number
        self._run.until(lambda: self._run.number > number or self._run.submitted(number) > 1)
        return self._head()

    def _come_back(self) -> None:
        back = time.monotonic() + _DOWN_SECONDS
        self._run.until(lambda: time.monotonic() > back)
        self._chain.start()
        self._run.say(f"anvil goes on from block {self._head()}")

    def _head(self) -> int:
        return int(self._chain.ask("eth_blockNumber"), 16)

    def _opened(self) -> int:
        """The block in which the round was opened."""
        current = self._run.view.round
        assert current is not None
        assert current.opened_in is not None
        return current.opened_in

    def _waiting(self) -> list[str]:
        """Transactions that wait for a block."""
        pool = self._chain.ask("txpool_content")["pending"]
        return [each["hash"] for account in pool.values() for each in account.values()]

    def _drop_blocks(self, depth: int) -> None:
        head, lost = self._head(), 0
        while not lost:
            self._run.tick()
            head = self._head()
            lost = sum(entry.block > head - depth for entry in self._run.entries)
        self._chain.ask("anvil_reorg", depth, [])
        self._run.say(f"the last {depth} blocks up to {head}, with {lost} entries, are others now, and empty")


def run(directory: Path, seed: int, say: Callable[[str], None], end: float) -> dict[str, Any]:
    """Lets a federation run through all faults; returns what was found."""
    chance = random.Random(f"ordeal, faults, seed {seed}")
    chain = Chain(directory, block_time=BLOCK_TIME, keeps=True)
    names: list[tuple[str, Callable[[Faults], None]]] = [
        ("reorganisation of 1 block that drops submissions", lambda faults: faults.reorganise(1, 1)),
        ("reorganisation of 2 blocks that drops a publication", lambda faults: faults.reorganise_publication(2)),
        ("reorganisation of 3 blocks that drops submissions", lambda faults: faults.reorganise(3, 2)),
        ("reorganisation of 4 blocks that drops a publication", lambda faults: faults.reorganise_publication(4)),
        ("reorganisation of 5 blocks that drops submissions", lambda faults: faults.reorganise(5, 4)),
        ("a submission is lost", Faults.lose_submission),
        ("a publication is lost", Faults.lose_publication),
        ("the base fee rises", Faults.raise_fee),
        ("transactions are dropped", Faults.drop_pending),
        ("the node is stopped", Faults.stop),
        ("the node is killed", Faults.kill),
    ]
    try:
        chain.start()
        wanted = Wanted(len(names) + 1, confirmations=CONFIRMATIONS, training=(0.05, 0.3), rows=8)
        federation = Federation(directory, chain, seed, wanted)
        try:
            watched = Run(federation, say, end)
            faults = Faults(watched, chain, federation.silos, federation.coordinators[0], chance)
            watched.start()
            watched.until(lambda: watched.number > 0)
            took: dict[str, float] = {}
            for name, fault in names:
                began, number = time.monotonic(), watched.number
                watched.say(f"now: {name}")
                fault(faults)
                watched.until(lambda number=number: watched.number > number and watched.is_published(number))
                took[name] = round(time.monotonic() - began, 2)
            watched.say("now: the last publication is dropped, with the last submission")
            watched.until(lambda: watched.is_published(len(names) + 1))
            faults.drop_the_end()
            watched.until_over()
            # What waits in the pool while its round is taken back fails, and nobody could have known.
            found = judge(federation, rounds=len(names) + 1, kills=_TAKEN_BACK)
            watched.close()
        finally:
            federation.close()
    finally:
        chain.child.stop()
    return {
        "seconds_by_fault": took,
        **found.as_json(),
    }
