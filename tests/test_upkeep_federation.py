"""Pins, `gc` and `check` with services as processes on a real node."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anvil import ask, running
from chains import MEMBERS, START
from fedpact.ledger.view import Status
from fedpact.store import Cid, DirectoryBlocks
from runs import fedpact
from services import Federation, Services, skewed, wait_until
from web3 import Web3

pytestmark = pytest.mark.nodes


@pytest.fixture(scope="module")
def anvil() -> Iterator[Web3]:
    """A node of its own: others leave theirs at another time."""
    with running() as web3:
        yield web3


@pytest.fixture
def federation(anvil: Web3, tmp_path: Path) -> Iterator[Federation]:
    """A federation of two members, whose updates are kept no longer than their round."""
    federation = Federation(
        anvil,
        tmp_path,
        MEMBERS[:2],
        rounds={"quorum": 2, "submission_seconds": 600, "publication_seconds": 600},
        store={"retention_days": 0, "copies": 2},
        stop={"rounds": 3},
        duplicates="keep",
    )
    yield federation
    federation.close()
    ask(anvil, "evm_setAutomine", True)


def answer(place: Path, *arguments: str, code: int = 0) -> Any:
    """What a command says to a program, in the century of the chain."""
    clock = skewed(place / "clock", START - int(time.time()))
    done = fedpact("store", *arguments, "--json", cwd=place, variables=clock)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def names(place: Path) -> set[str]:
    """The blocks in a party's store."""
    return {path.name for path in place.glob("store/blocks/*/*")}


def test_a_federation_that_is_killed_collected_and_checked(federation: Federation) -> None:
    """A coordinator is killed between its pins and its publication; the next one publishes the same. In the end the
    updates whose time is over can be collected, and all else is found: the last round, charter and models."""
    coordinator, *silos = (
        federation.place(name, key) for name, key in (("coordinator", 1), ("silo2", 2), ("silo3", 3))
    )
    ward = silos[1] / "ward.py"
    ward.write_text(ward.read_text().replace("np.float32(1)", "np.float32(2)"))  # No update is a model, too.
    with Services() as services:
        running = services.coordinator(coordinator)
        for place in silos:
            services.silo(place)
        running.wait_for("round 1: opened")
        wait_until("the first round", lambda: federation.view().rounds[1].status is Status.PUBLISHED)
        running.signal(signal.SIGSTOP)
        wait_until("the second round", lambda: len(federation.view().rounds[2].submissions) == 2)
        ask(federation.web3, "evm_setAutomine", False)
        running.signal(signal.SIGCONT)
        running.wait_for("round 2: publishing")
        wait_until("sending", lambda: ask(federation.web3, "txpool_status")["pending"] != "0x0")
        pinned = DirectoryBlocks(coordinator / "store").pinned()
        running.end(signal.SIGKILL)
        ask(federation.web3, "anvil_dropAllTransactions")
        assert federation.view().rounds[2].status is Status.OPEN
        ask(federation.web3, "evm_setAutomine", True)
        again = services.coordinator(coordinator)
        wait_until("the second model", lambda: federation.view().rounds[2].status is Status.PUBLISHED)
        current = federation.view().rounds[2]
        updates = {each.update.cid for each in current.submissions}
        assert pinned >= updates | {current.charter, current.base, current.model, current.manifest}
        again.wait_for("over: ")
        last = federation.view().rounds[3].model
        stores = [DirectoryBlocks(place / "store") for place in silos]
        wait_until("the last model to be verified", lambda: all(last in store.pinned() for store in stores))
        assert again.end() == 0

    view = federation.view()
    federation.travel(660)  # Beyond the deadline of the last round, which ended early.
    assert json.loads(fedpact("store", "gc", "--json", cwd=silos[0]).stdout)["unpinned"] == []  # In this century.
    found = answer(coordinator, "check")
    assert found["ok"]
    assert {each["kind"] for each in found["artifacts"]} == {"charter", "genesis", "model", "manifest"}
    assert {each["copies"] for each in found["artifacts"]} == {2}  # Its own store, and the gateway to all.
    updates = {each.update.cid for current in view.rounds.values() for each in current.submissions}
    submitted = {
        place: [each for current in view.rounds.values() for each in current.submissions if each.index == number]
        for number, place in enumerate(silos, 1)
    }
    for place in (coordinator, *silos):
        for file in place.glob("store/blocks/*/*"):
            os.utime(file, (file.stat().st_mtime - 7200,) * 2)
        before = names(place)
        dry = answer(place, "gc", "--dry-run")
        assert names(place) == before
        done = answer(place, "gc")
        assert done == dry | {"dry_run": False}
        own = updates if place == coordinator else {each.update.cid for each in submitted[place]}
        assert {Cid.parse(each["cid"]) for each in done["unpinned"]} == own
        assert names(place).isdisjoint(map(str, updates))
        assert answer(place, "gc")["removed"] == {"store": {"blocks": 0, "bytes": 0, "too_new": 0}}
        assert answer(place, "check")["ok"]
    model = view.rounds[3].model
    assert all(str(model) in names(place) for place in (coordinator, *silos))
    federation.close()
    gone = fedpact("store", "check", "--store", "nothing", cwd=coordinator)
    assert gone.returncode == 1
    assert gone.stdout.splitlines()[-1].startswith("check: 14 artifacts are needed; 14 without a copy")
    without = fedpact("store", "gc", "--rpc", "http://127.0.0.1:1", cwd=coordinator)
    assert (without.returncode, without.stdout, len(without.stderr.splitlines())) == (1, "", 1)
