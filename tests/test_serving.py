"""What a service cannot run with ends it in one line and an exit code, before anything is sent."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anvil import ask
from chains import ACCOUNTS, KEYS, MEMBERS
from deployments import CHARTER_TOML
from eth_account import Account
from fedpact.cli.application import application
from fedpact.cli.serving import serving
from fedpact.errors import FedpactError, InputError, Interrupted
from fedpact.service.instance import only_instance
from fedpact.service.loop import Outcome
from fedpact.service.station import Station
from fedpact.service.stopping import stoppable
from fedpact.settings import load
from fedpact.store import Cid
from services import Federation
from web3 import Web3

pytestmark = [pytest.mark.nodes, pytest.mark.usefixtures("logging_as_before")]

FIRST = 2  # The key of the first member.
OTHER = Cid.of(b"another charter")


@pytest.fixture(scope="module")
def federation(anvil: Web3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation with a member, to which nobody comes."""
    before = ask(anvil, "evm_snapshot")
    federation = Federation(anvil, tmp_path_factory.mktemp("federation"), MEMBERS)
    yield federation
    federation.close()
    ask(anvil, "evm_revert", before)


@pytest.fixture
def refusal(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[..., tuple[int, str]]:
    """Runs a service that cannot run; gives its exit code and its line."""
    for name in list(sys.modules):
        if name == "ward":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", sys.path[:])
    name = re.sub(r"\W", "-", request.node.name)

    def run(role: str = "silo", variables: dict[str, str] | None = None, **settings: Any) -> tuple[int, str]:
        place = federation.place(name, FIRST, **settings)
        (place / "told").write_text("useless")
        (place / "file").write_bytes(b"")
        (place / "charter.toml").write_text(CHARTER_TOML)
        kept = Account.encrypt(KEYS[FIRST].key, "right", kdf="scrypt", iterations=2)
        (place / "keystore").write_text(json.dumps(kept))
        monkeypatch.chdir(place)
        for key, value in (variables or {}).items():
            monkeypatch.setenv(key, value)
        sent = federation.web3.eth.get_transaction_count(KEYS[FIRST].address)
        with pytest.raises(FedpactError) as caught:
            application()([role, "run"], prog_name="fedpact", standalone_mode=False)
        assert federation.web3.eth.get_transaction_count(KEYS[FIRST].address) == sent
        assert len(str(caught.value).splitlines()) == 1
        assert "SECRET" not in str(caught.value)
        return caught.value.exit_code, str(caught.value)

    return run


def _dead() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


DEAD = _dead()
CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "no key": (
        {"key_file": "absent"},
        2,
        r"^key file .*absent: expected a keystore, found no file; fedpact key new makes one$",
    ),
    "a wrong password": (
        {"key_file": "keystore", "variables": {"FEDPACT_PASSWORD": "SECRET"}},
        2,
        r"^key file .*keystore: the password is not the keystore's$",
    ),
    "nobody to ask for a password": (
        {"key_file": "keystore"},
        2,
        r"^password: expected --password-file, the variable FEDPACT_PASSWORD or",
    ),
    "no contract there": (
        {"contract": ACCOUNTS[7]},
        1,
        f"^contract {ACCOUNTS[7]}: expected the code of a .* no code on chain 31337$",
    ),
    "no contract named": ({"contract": None}, 2, "^contract: expected --contract, the variable FEDPACT_CONTRACT or"),
    "no node": ({"rpc": [f"{DEAD}/SECRET"]}, 1, f"^rpc: .*{DEAD}: no connection"),
    "two nodes, both dead": ({"rpc": [f"{DEAD}/SECRET", f"{DEAD}/S"]}, 1, f"^rpc: .*{DEAD}: no connection.*; http"),
    "another chain": ({"chain_id": 1}, 1, "expected chain 1, found chain 31337"),
    "no state": ({"state": "file"}, 2, "^state .*file: File exists$"),
    "a first store to read from only": (
        {"store": [f"gateway+{DEAD}"]},
        2,
        "^store: expected a directory or an IPFS node first, to w",
    ),
    "no module": ({"trainer": "absent:make"}, 2, "^trainer absent:make: no module 'absent', neither"),
    "a useless trainer": (
        {"trainer_config": "told"},
        2,
        r"^trainer ward:Trainer: OSError: the disk with the data is gone \(ward.py, line 13, in __init__\)$",
    ),
    "a charter that nobody has": ({"charter": str(OTHER)}, 1, f"^block {OTHER}: not in "),
    "no charter file": ({"charter": "absent.toml"}, 2, r"^charter .*absent\.toml: No such file or directory$"),
    "a charter that is none": ({"charter": "fedpact.toml"}, 2, r"^charter .*fedpact\.toml: "),
    "a store that is a file": ({"store": ["file"]}, 1, r"^block baf\w+: cannot (read|write).*file.*: Not a directory$"),
    "a gateway that is not there": (
        {"store": ["store", f"gateway+{DEAD}"]},
        1,
        rf"^charter baf\w+: block baf\w+: gateway {DEAD}: cannot be reached .*; whoever put it in force must offer it$",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_silo_cannot_run_with_is_one_line(refusal: Callable[..., tuple[int, str]], name: str) -> None:
    """Exit code 2 where something given cannot be used, 1 where chain or store cannot do it."""
    settings, code, said = CASES[name]
    found = refusal(**settings)
    assert found[0] == code
    assert re.search(said, found[1]), found[1]


@pytest.mark.parametrize("role", ["coordinator", "silo"])
def test_code_of_another_version_is_refused(
    federation: Federation, refusal: Callable[..., tuple[int, str]], role: str
) -> None:
    """The federation's code but for its last byte."""
    code = bytearray(federation.web3.eth.get_code(Web3.to_checksum_address(federation.ledger.identity.contract)))
    code[-1] ^= 1
    ask(federation.web3, "anvil_setCode", ACCOUNTS[6], "0x" + code.hex())
    expected = (
        f"contract {ACCOUNTS[6]}: expected the code of a federation, found {len(code)} bytes of other code on chain "
    )
    assert refusal(role, contract=ACCOUNTS[6]) == (1, f"{expected}{federation.ledger.identity.chain_id}")


@pytest.mark.parametrize("role", ["coordinator", "silo"])
def test_a_port_that_is_taken_is_one_line(refusal: Callable[..., tuple[int, str]], role: str) -> None:
    """Nothing is begun without the figures that were asked for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refusal(role, metrics=port) == (2, f"metrics 127.0.0.1:{port}: Address already in use")


@pytest.mark.parametrize("role", ["coordinator", "silo"])
def test_a_second_one_with_the_same_key_is_refused(
    refusal: Callable[..., tuple[int, str]], tmp_path: Path, role: str
) -> None:
    """Whatever its role."""
    with only_instance(tmp_path, MEMBERS[0]):
        code, said = refusal(role, state=str(tmp_path))
    assert code == 2
    assert said.startswith(f"account {MEMBERS[0]}: another process (")
    assert said.endswith("; one at a time")


# ------------------------------------------------------------------------------------------------------ from the inside


def _serve(federation: Federation, name: str, step: Callable[[], Outcome]) -> None:
    place = federation.place(name, FIRST)
    settings = load({"state": str(place / "state")}, {}, place / "fedpact.toml")

    def steps(_: Station) -> Callable[[], Outcome]:
        return step

    with stoppable():
        serving("silo", settings, steps)


@pytest.mark.parametrize(("number", "code"), [(15, 0), (2, 130)])
def test_a_signal_in_a_step_ends_it(
    federation: Federation, capfd: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    """SIGTERM is how the system asks, and no failure; Ctrl-C is one."""

    def step() -> Outcome:
        raise Interrupted(number)

    with pytest.raises(Interrupted) as caught:
        _serve(federation, f"signal{number}", step)
    assert caught.value.exit_code == code
    *_, moved, last = capfd.readouterr().err.splitlines()
    assert last.endswith(" stopped; nothing is lost, and the same command continues")
    size = len(federation.charter.encode())  # All that was needed so far.
    assert re.search(rf" moved: .*gateway {federation.gateway.url}: {size:,} bytes read, 0 written$", moved)


def test_a_mistake_in_the_code_is_one_line_too(federation: Federation) -> None:
    """It says what and where, and who restarts the service goes on."""

    def step() -> Outcome:
        raise KeyError("x" * 1000)

    with pytest.raises(
        FedpactError, match=r"^silo: unexpected KeyError in test_serving\.py, line \d+: 'x{199}$"
    ) as caught:
        _serve(federation, "mistake", step)
    assert caught.value.exit_code == 1


def test_what_no_second_try_mends_keeps_its_exit_code(federation: Federation) -> None:
    """It is passed on as it is, and the key is free again."""

    def step() -> Outcome:
        raise InputError("rule krum: not installed")

    with pytest.raises(InputError, match=r"^rule krum: not installed$"):
        _serve(federation, "input", step)
    with only_instance(federation.path / "input/state", MEMBERS[0]):
        pass
