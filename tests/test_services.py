"""Services as processes on a real node: what goes wrong ends in the right state, or in one line and an exit code."""

from __future__ import annotations

import json
import math
import re
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anvil import ask, running
from chains import COORDINATOR, KEYS, MEMBERS
from fedpact.artifacts import manifest as manifests
from fedpact.cli.application import application
from fedpact.ledger.actions import OpenRound
from fedpact.ledger.facts import RoundNumber
from fedpact.ledger.view import Status
from fedpact.store import Cid, DirectoryBlocks
from fedpact.store.unixfs import read_small
from fedpact_client.journal import Journal
from services import Federation, Service, Services, skewed, stopped_by, wait_until
from web3 import Web3

pytestmark = pytest.mark.nodes

FIRST = 2  # The key of the first member.


@pytest.fixture
def services() -> Iterator[Services]:
    """Processes that end with the test."""
    with Services() as services:
        yield services


@pytest.fixture(scope="module")
def anvil() -> Iterator[Web3]:
    """A node of its own: others leave theirs at another time."""
    with running() as web3:
        yield web3


@pytest.fixture
def federation(anvil: Web3, tmp_path: Path) -> Iterator[Federation]:
    """A federation of four members, of which one is enough for a model."""
    before = ask(anvil, "evm_snapshot")
    federation = Federation(anvil, tmp_path, MEMBERS)
    yield federation
    federation.close()
    ask(anvil, "evm_setAutomine", True)
    ask(anvil, "evm_revert", before)


def status(place: Path, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What `fedpact silo status --json` says."""
    with patch.context() as there:
        there.chdir(place)
        captured.readouterr()
        application()(["silo", "status", "--json"], prog_name="fedpact", standalone_mode=False)
    found: list[dict[str, Any]] = json.loads(captured.readouterr().out)["rounds"]
    return found


def metrics(url: str) -> dict[str, float]:
    """Figures by name."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # A service of the test.
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {re.sub(r"\{.*\}", "", line.rsplit(" ", 1)[0]): float(line.rsplit(" ", 1)[1]) for line in lines}


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --------------------------------------------------------------------------------------------- others go on without one


def test_a_round_goes_on_without_those_who_fail(
    federation: Federation,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A good silo whose clock is an hour early, one whose trainer raises, one that is late, one that sends NaN; and a
    coordinator whose clock is an hour late. Each says what happened."""
    good, failing, late = (federation.place(f"silo{key}", key) for key in (2, 3, 4))
    for place, told in ((failing, "fails"), (late, "slow")):
        (place / "ward.txt").write_text(told)
        with (place / "fedpact.toml").open("a") as file:
            file.write('trainer_config = "ward.txt"\n')
    place = federation.place("coordinator", 1, metrics=free_port(), log_format="json")
    clocks = federation.path / "clocks"
    clocks.mkdir()
    coordinator = services.coordinator(place, **skewed(clocks / "late", -3600))
    silos = [services.silo(good, **skewed(clocks / "early", 3600)), services.silo(failing), services.silo(late)]

    coordinator.wait_for("round 1: opened")
    assert "submitted baf" in silos[0].wait_for("round 1: submitted")
    silos[1].wait_for("warning: round 1: trainer: ValueError: no data (ward.py, line 18, in fit)")
    wait_until("training", (late / "ward.begun").exists)
    federation.submit(FIRST + 3, math.nan)
    url = re.search(r"http://\S+/metrics", coordinator.wait_for("figures: "))
    assert url is not None
    wait_until("the submissions", lambda: metrics(url[0]).get("fedpact_submissions") == 2)
    assert federation.view().rounds[1].status is Status.OPEN  # By its own clock either service would act otherwise.
    federation.travel(650)

    coordinator.wait_for("round 1: published baf")
    silos[0].wait_for("round 2: submitted")
    (late / "ward.txt").write_text("")
    silos[2].wait_for("warning: ")
    silos[2].wait_for("round 2: submitted")
    first = federation.view().rounds[1]
    assert first.manifest is not None
    manifest = manifests.decode(read_small(DirectoryBlocks(place / "store"), first.manifest, manifests.MAX_BYTES))
    assert [(line.index, line.decision, line.reason) for line in manifest.submissions] == [
        (1, "included", ""),
        (4, "excluded", "not_finite"),
    ]
    assert first.model == Cid.of(federation.weights(1.0))
    coordinator.wait_for("round 1: member 4 excluded: bias[0] is nan")

    found = metrics(url[0])
    assert found["fedpact_round"] == 2
    assert found["fedpact_published_rounds"] == 1
    assert found["fedpact_excluded_total"] == 1
    assert found["fedpact_balance_ether"] == federation.ledger.balance(COORDINATOR) / 10**18
    assert found["fedpact_confirmed_block"] <= federation.ledger.latest()
    assert abs(found["fedpact_ledger_seconds"] - federation.ledger.now()) < 60
    with urllib.request.urlopen(url[0].replace("metrics", "health"), timeout=5) as answer:  # noqa: S310  # A service of the test.
        assert (answer.status, answer.read()) == (200, b"ok\n")
    for line in coordinator.lines:
        assert json.loads(line).keys() == {"time", "level", "logger", "message"}

    rows = [status(place, monkeypatch, capsys) for place in (good, failing, late)]
    assert [(row[0]["decision"], row[0]["weight"], row[0]["total_weight"]) for row in rows] == [
        ("included", 10, 10),
        ("", 0, 0),
        ("", 0, 0),
    ]
    assert rows[0][1]["derived_again"] == ""
    assert rows[0][0]["derived_again"] == "reproduced"
    assert rows[1][0]["failure"] == "round 1: trainer: ValueError: no data (ward.py, line 18, in fit)"
    assert rows[2][0]["trained"]
    assert rows[2][0]["why"] == "nothing was submitted before the round ended"
    assert rows[2][0]["failure"] != ""
    for service in (coordinator, *silos):
        assert service.end(signal.SIGTERM) == 0
        assert "stopped; nothing is lost" in service.lines[-1]
        assert "Traceback" not in service.said


# ------------------------------------------------------------------------------------------------- asked to stop


def test_a_signal_stops_a_silo_at_every_point(federation: Federation, services: Services) -> None:
    """Exit code 0 after SIGTERM and 130 after SIGINT, one line that says so, nothing half written; the same command
    goes on, and nothing is submitted twice."""
    web3, ledger = federation.web3, federation.ledger
    ledger.send(COORDINATOR, OpenRound(RoundNumber(1), federation.charter.terms(ledger.now())))
    first, second, third, fourth = (federation.place(f"silo{key}", key) for key in (2, 3, 4, 5))
    for place in (first, second):
        (place / "ward.txt").write_text("slow")
        with (place / "fedpact.toml").open("a") as file:
            file.write('trainer_config = "ward.txt"\n')

    silos = [services.silo(place) for place in (first, second, third, fourth)]
    wait_until("the start", (fourth / "state").exists)
    _stops(silos[3], signal.SIGTERM)
    silos[2].wait_for("waiting: submitted in round 1")
    _stops(silos[2], signal.SIGINT)
    for place, silo, number in ((first, silos[0], signal.SIGTERM), (second, silos[1], signal.SIGINT)):
        wait_until("training", (place / "ward.begun").exists)
        _stops(silo, number)
        assert next(iter(Journal(_journal(place)).rounds.values()), None) is None
        (place / "ward.txt").write_text("")

    ask(web3, "evm_setAutomine", False)
    silos = [services.silo(place) for place in (first, second)]
    for place, silo, number in ((first, silos[0], signal.SIGTERM), (second, silos[1], signal.SIGINT)):
        silo.wait_for("round 1: submitting")
        wait_until("sending", lambda place=place: list(place.glob("state/*.sent/*.json")))
        _stops(silo, number)
        kept = Journal(_journal(place)).rounds[1]
        assert kept.update is not None
        assert kept.transaction == ""
        assert list(place.rglob("*.partial")) == []
    assert len(federation.view().rounds[1].submissions) == 1
    again = services.silo(first)
    again.wait_for("round 1: submitting")
    ask(web3, "evm_setAutomine", True)
    ask(web3, "evm_mine")
    again.wait_for("round 1: submitted baf")
    submitted = {each.member: each.update.cid for each in federation.view().rounds[1].submissions}
    assert submitted.keys() >= {MEMBERS[0], MEMBERS[2]}
    assert set(submitted.values()) == {Cid.of(federation.weights(1.0))}
    assert web3.eth.get_transaction_count(KEYS[FIRST].address) == 1
    _stops(again, signal.SIGTERM)


def _stops(service: Service, number: int) -> None:
    """It ends after a signal as it should."""
    assert service.end(number) == stopped_by(number), service.said
    lines = [line for line in service.lines if "nothing is lost" in line or "error" in line or "Traceback" in line]
    assert "stopped; nothing is lost, and the same command continues" in lines[0]
    assert lines[1:] == ([] if number == signal.SIGTERM else ["fedpact: error: interrupted"])


def _journal(place: Path) -> Path:
    (path,) = [*place.glob("state/*.rounds.jsonl"), place / "state/none"][:1]
    return path
