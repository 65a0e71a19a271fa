"""`fedpact deploy` and the script of the same function: as processes, in process and against a real node."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from anvil import ask, running
from chains import ACCOUNTS, KEYS
from deployments import CHARTER, COORDINATORS, MEMBERS, write_federation
from fedpact.keys import write_keystore
from fedpact.ledger.artifact import federation
from fedpact.ledger.endpoints import NoAnswer
from fedpact.store.cid import Cid
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.unixfs import read_small
from runs import FEDPACT, fedpact
from web3 import Web3

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts/deploy.py"
README = (ROOT / "README.md").read_text("utf-8").partition("## Deploy a contract")[2].partition("\n## ")[0]


def _shown_in_readme(start: str) -> list[str]:
    """The lines of an indented block of the README."""
    (block,) = [each for each in README.split("\n\n") if each.startswith(f"    {start}")]
    return [line[4:] for line in block.splitlines()]


def _environment(key: int = 0) -> dict[str, str]:
    return {**os.environ, "FEDPACT_KEY": "0x" + bytes(KEYS[key].key).hex()}


def _script(folder: Path, rpc: str, *options: str, key: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "federation.toml", "--rpc", rpc, *options]
    environment = _environment(key) | more
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_script_rehearses_without_a_key(folder: Path) -> None:
    """It leaves nothing in the directory, and says so."""
    write_federation(folder, f"members = {list(MEMBERS)}")
    files = sorted(folder.iterdir())
    done = _script(folder, "eth-tester", FEDPACT_KEY="")
    assert (done.returncode, done.stderr) == (0, "")
    assert "members: 4 (4 admitted now)" in done.stdout
    assert "nothing is left" in done.stdout
    assert sorted(folder.iterdir()) == files


@pytest.mark.parametrize(
    ("rpc", "more", "key", "code", "said"),
    [
        (
            "eth-tester",
            "owner = 1",
            "",
            2,
            "deploy.py: error: federation.toml: owner: expected text, found the number 1",
        ),
        (
            "http://127.0.0.1:1/SECRET",
            "",
            "5e" * 32,
            1,
            "deploy.py: error: rpc: eth_chainId: http://127.0.0.1:1: no connection (ConnectionError)",
        ),
        ("http://127.0.0.1:1/SECRET", "", "5e" * 33, 2, "deploy.py: error: variable FEDPACT_KEY: expected a key"),
        ("ipc:SECRET", "", "5e" * 32, 2, "deploy.py: error: rpc: expected http://"),
    ],
)
def test_the_scripts_failures_are_one_line(folder: Path, rpc: str, more: str, key: str, code: int, said: str) -> None:
    """With an exit code: 1 where the chain could not do it, 2 where something given cannot be used."""
    write_federation(folder, more)
    files = sorted(folder.iterdir())
    done = _script(folder, rpc, FEDPACT_KEY=key)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert done.stderr.startswith(said)
    assert "5e5e" not in done.stderr
    assert "SECRET" not in done.stderr
    assert sorted(folder.iterdir()) == files


def test_the_command_does_what_the_script_does(folder: Path) -> None:
    """The same lines; a record that the settings name and that is not there yet is in nobody's way."""
    write_federation(folder, f"members = {list(MEMBERS)}")
    (folder / "fedpact.toml").write_text('contract = "federation.deployment.json"\n')
    done, by_script = (
        fedpact("deploy", "federation.toml", "--rpc", "eth-tester", cwd=folder),
        _script(folder, "eth-tester"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, by_script.stdout, "")
    refused = fedpact("deploy", "federation.toml", "--rpc", "ipc:SECRET", cwd=folder)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("fedpact: error: rpc: expected http://")
    missing = fedpact("deploy", "federation.toml", cwd=folder, variables={"FEDPACT_KEY": "5e" * 32})
    assert missing.stderr.startswith("fedpact: error: rpc: expected --rpc, the variable FEDPACT_RPC or rpc in fedpact")
    assert "SECRET" not in refused.stderr


# ------------------------------------------------------------------------------------------------------ a real node


def _url(web3: Web3) -> str:
    return str(web3.provider.endpoint_uri)  # type: ignore[attr-defined]


def _sent(web3: Web3, key: int = 0) -> int:
    return web3.eth.get_transaction_count(KEYS[key].address)


def _result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.nodes
def test_on_a_node_once_and_again(anvil: Web3, folder: Path) -> None:
    """The first run deploys, the second does not, `--again` does."""
    write_federation(folder, f"members = {list(MEMBERS)}\ncoordinators = {list(COORDINATORS)}")
    start = _sent(anvil)
    first = _result(_script(folder, _url(anvil), "--json"))
    assert _sent(anvil) == start + 3
    assert bytes(anvil.eth.get_code(Web3.to_checksum_address(first["contract"]))) == federation().runtime
    assert read_small(DirectoryBlocks(folder / "store"), Cid.parse(first["charter"]), 1 << 20) == CHARTER.encode()
    second = _script(folder, _url(anvil))
    assert (second.returncode, second.stderr, _sent(anvil)) == (0, "", start + 3)
    assert second.stdout.startswith(f"already deployed at {first['contract']} (chain 31337, block {first['block']})\n")
    third = _result(_script(folder, _url(anvil), "--json", "--again"))
    assert third["contract"] != first["contract"]
    assert json.loads((folder / "federation.deployment.json.1").read_bytes())["contract"] == first["contract"]
    names = {"charter.toml", "federation.toml", "federation.deployment.json", "federation.deployment.json.1", "store"}
    assert {each.name for each in folder.iterdir()} == names


@pytest.mark.nodes
def test_the_command_goes_on_where_the_script_ended(anvil: Web3, folder: Path) -> None:
    """With a keystore, its password in a file, and everything else in the file of the settings."""
    write_federation(folder, f"members = {list(MEMBERS)}")
    first = _result(_script(folder, _url(anvil), "--json"))
    write_federation(folder, f"members = {list(MEMBERS)}\ncoordinators = {list(COORDINATORS)}")
    write_keystore(folder / "owner.json", KEYS[0], "right", iterations=2)
    (folder / "password").touch(mode=0o600)
    (folder / "password").write_text("right\n")
    (folder / "fedpact.toml").write_text(
        f'rpc = "{_url(anvil)}"\nkey_file = "owner.json"\npassword_file = "password"\nstore = "another"\n'
    )
    second = _result(fedpact("deploy", "federation.toml", "--json", cwd=folder))
    assert (second["contract"], second["deployed"], second["appointed"]) == (first["contract"], False, 1)
    assert read_small(DirectoryBlocks(folder / "another"), Cid.parse(first["charter"]), 1 << 20) == CHARTER.encode()
    other = fedpact("deploy", "federation.toml", "--chain-id", "5", cwd=folder)
    said = f"fedpact: error: rpc: eth_chainId: {_url(anvil)}: expected chain 5, found chain 31337; {NoAnswer.advice}\n"
    assert (other.returncode, other.stderr) == (1, said)


@pytest.mark.nodes
def test_the_readme_shows_what_is_printed(tmp_path: Path) -> None:
    """Its charter, its file, its commands from the first to the last, on a new chain."""
    whole = (ROOT / "README.md").read_text("utf-8")
    (tmp_path / "charter.toml").write_text(whole.partition("```toml\n")[2].partition("```")[0], "utf-8")
    (tmp_path / "federation.toml").write_text("\n".join(_shown_in_readme("charter")), "utf-8")
    shown = _shown_in_readme("$")
    printed: list[str] = []
    with running() as web3:
        for line in shown:
            if line.startswith("$ "):
                command = line[2:].replace("http://127.0.0.1:8545", _url(web3))
                command = command.replace("python scripts/deploy.py", f"{sys.executable} {SCRIPT}")
                command = re.sub("^fedpact", FEDPACT, command)
                done = subprocess.run(
                    ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
                )
                assert (done.returncode, done.stderr) == (0, ""), command
                printed += [line, *done.stdout.splitlines()]
    assert [_shape(line) for line in printed] == [_shape(line) for line in shown]


def _shape(line: str) -> str:
    """Heads and gas follow from the first model, which other versions of scikit-learn might make otherwise."""
    return re.sub(r"head is 0x[0-9a-f]{64}", "HEAD", re.sub(r"^(gas|cost): .*", r"\1", line))


@pytest.mark.nodes
def test_450_members_take_three_transactions(anvil: Web3, folder: Path) -> None:
    """And all of them are members."""
    members = [f"0x{number:040x}" for number in range(1, 451)]
    write_federation(folder, f"members = {members}")
    start = _sent(anvil)
    result = _result(_script(folder, _url(anvil), "--json"))
    assert (result["admitted"], result["members"], _sent(anvil)) == (450, members, start + 4)
    contract = anvil.eth.contract(address=Web3.to_checksum_address(result["contract"]), abi=federation().abi)
    assert contract.functions.memberCount().call() == 450


@pytest.mark.nodes
def test_killed_while_the_deployment_is_on_its_way(anvil: Web3, folder: Path) -> None:
    """A process that is killed before its receipt is there leaves a record with which the next finds the contract."""
    write_federation(folder, f"members = {list(MEMBERS)}")
    record, start = folder / "federation.deployment.json", _sent(anvil)
    ask(anvil, "evm_setAutomine", False)
    try:
        command = [sys.executable, str(SCRIPT), "federation.toml", "--rpc", _url(anvil)]
        with subprocess.Popen(command, cwd=folder, env=_environment()) as process:
            end = time.monotonic() + 60
            while not record.exists() or anvil.eth.get_transaction_count(KEYS[0].address, "pending") == start:
                assert time.monotonic() < end, "nothing was sent"
                time.sleep(0.05)  # Waiting for another process; bounded above.
            process.send_signal(signal.SIGKILL)
        sent = json.loads(record.read_bytes())
    finally:
        ask(anvil, "evm_setAutomine", True)
    ask(anvil, "evm_mine")
    result = _result(_script(folder, _url(anvil), "--json"))
    assert (result["transaction"], result["admitted"], _sent(anvil)) == (sent["transaction"], 4, start + 2)


@pytest.mark.nodes
def test_interrupted_between_deployment_and_admission(anvil: Web3, folder: Path) -> None:
    """A batch that the account cannot pay for ends the run; with money the next one goes on with the same contract."""
    write_federation(folder, f"members = {[f'0x{number:040x}' for number in range(1, 401)]}")
    price = 2 * int(anvil.eth.get_block("latest")["baseFeePerGas"]) + 10**9  # What anvil tips.
    ask(anvil, "anvil_setBalance", ACCOUNTS[6], hex(4_000_000 * price))
    done = _script(folder, _url(anvil), key=6)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(
        rf"deploy.py: error: balance of {ACCOUNTS[6]}: expected at least 0\.\d+ ether, found 0\.\d+", done.stderr
    )
    contract = json.loads((folder / "federation.deployment.json").read_bytes())["contract"]
    ask(anvil, "anvil_setBalance", ACCOUNTS[6], hex(10**24))
    result = _result(_script(folder, _url(anvil), "--json", key=6))
    assert (result["contract"], result["deployed"], result["admitted"]) == (contract, False, 400)


@pytest.mark.nodes
def test_another_chain_and_other_code_are_refused(anvil: Web3, folder: Path) -> None:
    """A record of one chain on another; a chain that was started anew; other code in the contract's place."""
    write_federation(folder)
    contract = _result(_script(folder, _url(anvil), "--json"))["contract"]
    with running("--chain-id", "7") as other:
        done = _script(folder, _url(other))
        assert (done.returncode, _sent(other)) == (2, 0)
        assert "chain_id: expected 7, found 31337; --again deploys anew" in done.stderr
    code = ask(anvil, "eth_getCode", contract, "latest")
    for there, said in (("0x", "found no code"), ("0x6000", "found 2 bytes of other code")):
        ask(anvil, "anvil_setCode", contract, there)
        done = _script(folder, _url(anvil))
        assert done.returncode == 1
        assert f"contract {contract}: expected the code of a federation, {said}" in done.stderr
    ask(anvil, "anvil_setCode", contract, code)
    assert _script(folder, _url(anvil)).returncode == 0


@pytest.mark.nodes
@pytest.mark.parametrize(
    ("rules", "found"), [("berlin", "blocks without a base fee"), ("london", "an EVM without the")]
)
def test_a_chain_of_older_rules_is_refused(folder: Path, rules: str, found: str) -> None:
    """A contract that cannot run there is not put there."""
    write_federation(folder)
    with running("--hardfork", rules) as old:
        done = _script(folder, _url(old))
        assert (done.returncode, _sent(old)) == (1, 0)
    assert f"chain 31337: expected the rules of Prague or later, found {found}" in done.stderr
    assert sorted(each.name for each in folder.iterdir()) == ["charter.toml", "federation.toml"]
