"""What a service watches beside its steps: the balance, the chain, the figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from chains import COORDINATOR, MEMBERS, OWNER, Side, Twins, eth_tester_side, open_round, submit_all
from fedpact.errors import StoreError
from fedpact.ledger.actions import Admit, Appoint
from fedpact.ledger.port import Follower
from fedpact.service import station as stations
from fedpact.service.figures import Figures
from fedpact.service.station import Station
from fedpact.store.opening import open_store


class Place:
    """A coordinator's station on a real EVM, with a clock of its own."""

    def __init__(self, side: Side, directory: Path) -> None:
        self.twins = Twins(side)
        self.twins.must(OWNER, Admit(tuple(MEMBERS)), Appoint(COORDINATOR))
        self.clock = 0.0
        self.blocks = open_store([str(directory)])
        self.figures = Figures("coordinator", COORDINATOR)
        follower = Follower(self.twins.chain)
        self.station = Station(self.twins.chain, COORDINATOR, self.blocks, follower, self.figures, by_charter=False)

    def step(self) -> dict[str, float]:
        """A step that went well; returns the figures."""
        self.station.follower.refresh()
        self.station.took_step()
        metrics = self.figures.registry.collect()
        return {sample.name: sample.value for metric in metrics for sample in metric.samples}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A federation without a round."""
    place = Place(eth_tester_side(), tmp_path)
    monkeypatch.setattr(stations, "time", SimpleNamespace(monotonic=lambda: place.clock))
    yield place
    place.blocks.close()


def test_figures_are_those_of_the_chain(place: Place) -> None:
    """Round, phase, submissions, balance and what was spent, compared with what the contract and the node say."""
    before = place.step()
    assert (before["fedpact_round"], before["fedpact_phase"]) == (0, 0)
    open_round(place.twins)
    submit_all(place.twins)
    found = place.step()
    chain, contract = place.twins.chain, place.twins.contract_at(place.twins.side, place.twins.chain.identity.contract)
    assert found["fedpact_round"] == contract.functions.round().call()[0] == 1
    assert found["fedpact_phase"] == contract.functions.phase().call(block_identifier="pending") == 4
    assert found["fedpact_submissions"] == contract.functions.transcript().call()[1] == len(MEMBERS)
    assert found["fedpact_expected"] == len(MEMBERS)
    assert found["fedpact_balance_ether"] == chain.balance(COORDINATOR) / 10**18
    assert found["fedpact_gas_used"] == chain.spent.gas > 0
    assert found["fedpact_confirmed_block"] == chain.latest()
    assert found["fedpact_ledger_seconds"] == chain.now()


def test_a_balance_that_gets_low_is_said_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """And again where it got low again."""
    said = f"account {COORDINATOR}: 0.0001 ether left, which may not pay for 20 more rounds"
    for balance in (10**18, 10**14, 10**14, 10**18, 10**14):
        place.station.ledger = _with(place.station.ledger, balance=balance)
        place.clock += 31
        place.step()
    assert [line for line in caplog.messages if "ether" in line] == [said, said]


def test_a_chain_that_stops_is_said_less_and_less_often(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """After one minute, two, four, …; a block, and it begins anew."""
    latest = place.twins.chain.latest()

    def minutes(number: int) -> list[str]:
        caplog.clear()
        for _ in range(2 * number):
            place.clock += 30
            place.step()
        return [line for line in caplog.messages if line.startswith("chain: ")]

    expected = [f"chain: no block after block {latest} for {seconds} seconds" for seconds in (60, 120, 240)]
    assert minutes(6) == expected
    open_round(place.twins)
    assert minutes(1) == []
    assert minutes(1) == [f"chain: no block after block {latest + 1} for 60 seconds"]


def test_health_is_bad_where_looking_around_fails(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step counts as gone well when all of it did."""
    place.figures.failed(StoreError("before"))
    monkeypatch.setattr(type(place.station.ledger), "balance", _fail)
    with pytest.raises(StoreError):
        place.step()
    assert place.figures._trouble == "before"
    with pytest.raises(StoreError):  # It is looked at again, not only after half a minute.
        place.step()
    monkeypatch.undo()


def _fail(*_: object) -> int:
    raise StoreError("no balance")


def _with(ledger: object, balance: int) -> object:
    """A ledger with another balance."""
    inner = getattr(ledger, "inner", ledger)

    class Other:
        def __init__(self) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(inner, name)

        def balance(self, account: object) -> int:
            return balance

    return Other()
