"""Federations of real processes on a real chain: killed, cut off, lied to; and what they agree on in the end.

`scripts/chaos.py` runs the same for longer, and with other seeds.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from ordeal import changes, faults, kills

SEED = 1
ROUNDS, KILLS = 10, 50
SERVICES = ["coordinator-1", "silo-1", "silo-2", "silo-3", "silo-4"]
SERVERS = [f"{name}'s store" for name in SERVICES]


def _end(seconds: float) -> float:
    return time.monotonic() + seconds


@pytest.mark.parametrize("seed", range(5))
def test_kills_are_planned_evenly(seed: int) -> None:
    """Every process dies as often as the others; every service once at each point, in rounds of their own."""
    planned = kills.plan(seed, ROUNDS, KILLS, SERVICES, SERVERS)
    assert planned == kills.plan(seed, ROUNDS, KILLS, SERVICES, SERVERS)
    assert {name: len(each) for name, each in planned.items()} == dict.fromkeys(SERVICES + SERVERS, 5)
    for name in SERVICES:
        assert max(Counter(str(kill.point) for kill in planned[name]).values()) == 1
        assert len({kill.due for kill in planned[name]}) == 5
    assert all(1 <= kill.due < ROUNDS for each in planned.values() for kill in each)


@pytest.mark.nodes
def test_killed_processes_lose_nothing(tmp_path: Path) -> None:
    """50 kills in 10 rounds: the models of an undisturbed run, nothing submitted twice, at most a revert for a kill."""
    found = kills.run(tmp_path, SEED, ROUNDS, KILLS, print, _end(280))
    assert found["faults"] == []
    assert found["kills"] >= KILLS


@pytest.mark.nodes
def test_a_failing_node_loses_nothing(tmp_path: Path) -> None:
    """Reorganisations, lost and dropped transactions, fees that rise, a node that stops and dies: the same models."""
    assert faults.run(tmp_path, SEED, print, _end(200))["faults"] == []


@pytest.mark.nodes
def test_a_federation_survives_its_coordinators(tmp_path: Path) -> None:
    """A missed quorum, a takeover, an amended charter, a lie: the right models, from the right bases."""
    assert changes.run(tmp_path, SEED, print, _end(150))["faults"] == []
