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
from anvil import ask
from chains import ACCOUNTS, COORDINATOR, KEYS, MEMBERS
from fedpact.artifacts import manifest as manifests
from fedpact.ledger.view import Status
from fedpact.store import Cid, DirectoryBlocks
from fedpact.store.unixfs import read_small
from services import Federation, Service, Services, skewed, wait_until
from web3 import Web3

pytestmark = pytest.mark.nodes

FIRST = 2  # The key of the first member.


@pytest.fixture
def services() -> Iterator[Services]:
    """Processes that end with the test."""
    with Services() as services:
        yield services


@pytest.fixture
def federation(anvil: Web3, tmp_path: Path) -> Iterator[Federation]:
    """A federation of four members, of which one is enough for a model."""
    before = ask(anvil, "evm_snapshot")
    federation = Federation(anvil, tmp_path, MEMBERS)
    yield federation
    federation.close()
    ask(anvil, "evm_setAutomine", True)
    ask(anvil, "evm_revert", before)


def one_line(service: Service) -> str:
    """All that a command said, which is one line and no traceback."""
    (line,) = service.lines
    return line


def status(services: Services, place: Path) -> list[dict[str, Any]]:
    """What `fedpact silo status --json` says."""
    done = services.start(place, "silo", "status", "--json")
    assert done.end() == 0, done.said
    found: list[dict[str, Any]] = json.loads(done.said)["rounds"]
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


def test_a_round_goes_on_without_those_who_fail(federation: Federation, services: Services) -> None:
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
    silos[1].wait_for("warning: round 1: trainer: ValueError: no data")
    wait_until("training", (late / "ward.begun").exists)
    federation.submit(FIRST + 3, math.nan)
    url = re.search(r"http://\S+/metrics", coordinator.wait_for("figures: "))
    assert url is not None
    wait_until("the submissions", lambda: metrics(url[0]).get("fedpact_submissions") == 2)
    assert federation.view().rounds[1].status is Status.OPEN  # By its own clock either service would act otherwise.
    federation.travel(601)

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

    rows = [status(services, place) for place in (good, failing, late)]
    assert [(row[0]["decision"], row[0]["weight"], row[0]["total_weight"]) for row in rows] == [
        ("included", 10, 10),
        ("", 0, 0),
        ("", 0, 0),
    ]
    assert rows[0][1]["derived_again"] == ""
    assert rows[0][0]["derived_again"] == "reproduced"
    assert rows[1][0]["failure"] == "round 1: trainer: ValueError: no data"
    assert rows[2][0]["trained"]
    assert rows[2][0]["why"] == "nothing was submitted before the round ended"
    assert rows[2][0]["failure"] != ""
    for service in (coordinator, *silos):
        assert service.end(signal.SIGTERM) == 0
        assert "stopped; nothing is lost" in service.lines[-1]
        assert "Traceback" not in service.said


# ------------------------------------------------------------------------------------------- what cannot run says so


def test_what_cannot_run_ends_in_one_line(federation: Federation, services: Services) -> None:
    """With exit code 2 where something given cannot be used, and 1 where chain or store cannot do it."""
    contract = federation.ledger.identity.contract
    dead = f"http://127.0.0.1:{free_port()}"
    other = federation.web3.eth.send_transaction(
        {"from": KEYS[0].address, "data": "0x60016000526001601ff3"} | _paid(federation.web3)  # type: ignore[typeddict-item]  # Of code of one byte.
    )
    code_of_another = str(federation.web3.eth.wait_for_transaction_receipt(other)["contractAddress"])
    (federation.path / "file").write_bytes(b"")
    taken = socket.create_server(("127.0.0.1", 0))
    keystore = json.dumps({"version": 3, "address": COORDINATOR[2:], **_keystore()})
    cases: dict[str, tuple[dict[str, Any], int, str]] = {
        "no key": ({"key_file": "absent"}, 2, r"key file .*absent: No such file or directory"),
        "no contract": ({"contract": ACCOUNTS[7]}, 1, f"contract {ACCOUNTS[7]}: expected the code of a federation, fo"),
        "another contract": ({"contract": code_of_another}, 1, "expected the code of a federation, found 1 bytes of"),
        "no node": ({"rpc": [dead + "/SECRET"]}, 1, f"rpc: .*{dead}: no connection"),
        "another chain": ({"chain_id": 1}, 1, r"expected chain 1, found chain 31337"),
        "a port that is taken": (
            {"metrics": taken.getsockname()[1]},
            2,
            r"metrics 127.0.0.1:\d+: Address already in u",
        ),
        "no state": ({"state": "../file"}, 2, r"state .*file: File exists"),
        "a first store to read from": ({"store": [f"gateway+{federation.gateway.url}"]}, 2, "store: expected a direct"),
        "wrong password": ({"key_file": "keystore"}, 2, r"keystore: the password is not the keystore's"),
        "no trainer": ({"trainer": "absent:make"}, 2, "trainer absent:make: no module 'absent'"),
        "a useless trainer": (
            {"trainer_config": "told"},
            2,
            "trainer ward:Trainer: OSError: the disk with the data is",
        ),
        "no charter": ({"charter": str(Cid.of(b"other"))}, 1, rf"block {Cid.of(b'other')}: not in .*"),
        "no charter file": ({"charter": "absent.toml"}, 2, r"charter .*absent.toml: No such file or directory"),
        "a store that cannot be written": (
            {"store": ["../file"], "charter": "charter.toml"},
            1,
            r"block .*file: Not a",
        ),
        "no gateway": ({"store": ["store", f"gateway+{dead}"]}, 1, rf"block baf\w+: gateway {dead}: cannot be reached"),
    }
    running = {}
    with taken:
        for number, (name, (settings, _, _)) in enumerate(cases.items()):
            place = federation.place(f"case{number}", FIRST, **settings)
            (place / "told").write_text("useless")
            (place / "keystore").write_text(keystore)
            (place / "charter.toml").write_text(_as_toml())
            running[name] = services.silo(place, FEDPACT_PASSWORD="wrong")
            if number % 3 == 2:  # Not all at once, on a machine of two processors.
                running[name].end()
        for name, (_, code, said) in cases.items():
            assert (running[name].end(), name) == (code, name), running[name].said
            last = running[name].lines[-1]
            assert re.search(said, last), f"{name}: {running[name].said}"
            assert last.startswith("fedpact: error: ")
            assert "Traceback" not in running[name].said
            assert "SECRET" not in running[name].said
    assert contract in running["no trainer"].said


def _paid(web3: Web3) -> dict[str, Any]:
    ask(web3, "anvil_impersonateAccount", KEYS[0].address)
    return {"gas": 100_000}


def _keystore() -> dict[str, Any]:
    from eth_account import Account

    crypto: dict[str, Any] = Account.encrypt(KEYS[FIRST].key, "right", kdf="scrypt", iterations=2)
    return {"crypto": crypto["crypto"], "id": crypto["id"]}


def _as_toml() -> str:
    from deployments import CHARTER_TOML

    return CHARTER_TOML
