"""How long a round takes above training, while nothing happens."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ordeal.federation import Federation, Wanted
from ordeal.node import Chain
from ordeal.running import Run
from ordeal.verdict import judge

LIMIT = 1.5
"""Seconds that a round of 4 silos on anvil may take above training."""


def run(
    directory: Path, seed: int, rounds: int, block_time: float | None, say: Callable[[str], None], end: float
) -> dict[str, Any]:
    """Lets a federation run whose silos train in no time; returns what was found.

    Args:
        block_time: seconds from block to block; none: a block for each transaction.
    """
    chain = Chain(directory, block_time=block_time)
    try:
        chain.start()
        # As a service polls by itself.
        wanted = Wanted(rounds, training=(0.0, 0.0), rows=8, poll=None, watched=False)
        federation = Federation(directory, chain, seed, wanted)
        try:
            watched = Run(federation, say, end)
            watched.start()
            watched.until_over()
            found = judge(federation, rounds=rounds)
            watched.close()
        finally:
            federation.close()
    finally:
        chain.child.stop()
    times = [watched.published[number] for number in sorted(watched.published)]
    # The first round begins while others still start, so it does not count.
    seconds = [after - before for before, after in itertools.pairwise(times)]
    return {
        "block_time": block_time,
        "seconds_per_round": round(statistics.median(seconds), 2),
        "slowest": round(max(seconds), 2),
        **found.as_json(),
    }
