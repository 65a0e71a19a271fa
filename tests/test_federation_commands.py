"""The commands on a federation, as their users run them: against an EVM behind JSON-RPC, and a real node."""

from __future__ import annotations

import io
import json
import os
import subprocess
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from deployments import CHARTER, CHARTER_TOML, write_federation
from fedpact.cli.application import application
from fedpact.derivation import derive
from fedpact.errors import FedpactError
from fedpact.ledger.actions import OpenRound, Publish, Submit
from fedpact.ledger.endpoints import NoAnswer, connect
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.facts import NO_TERMS, Address, RoundNumber, Update, address
from fedpact.ledger.port import Follower
from fedpact.ledger.view import Round
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.unixfs import add
from fedpact.workdir import address_of
from fedpact_simulation.devnet import accounts
from hexbytes import HexBytes
from pages import read
from runs import fedpact
from safetensors.numpy import load_file
from web3 import Web3

KEYS = accounts(8)
ACCOUNTS = [address(key.address) for key in KEYS]
OWNER, COORDINATOR = ACCOUNTS[:2]
SILOS = ACCOUNTS[2:4]
STRANGER = ACCOUNTS[7]


class Place:
    """A directory with a deployed federation: its settings are in `fedpact.toml`."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory, self.url = directory, url
        (directory / "charter.toml").write_text(CHARTER_TOML)
        write_federation(directory, f"members = {list(SILOS)}\ncoordinators = ['{COORDINATOR}']")
        (directory / "fedpact.toml").write_text(f'rpc = "{url}"\ncontract = "federation.deployment.json"\n')
        self.deployed = self.answer("deploy", "federation.toml")
        self.contract = Address(self.deployed["contract"])

    def run(self, *arguments: str, key: int = 0) -> subprocess.CompletedProcess[str]:
        """A command with somebody's key; within this process, as starting one takes longer than what it does."""
        out, err = io.StringIO(), io.StringIO()
        variables = {name: value for name, value in os.environ.items() if not name.startswith("FEDPACT_")}
        variables["FEDPACT_KEY"] = bytes(KEYS[key].key).hex()
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            chdir(self.directory),
            patch.dict(os.environ, variables, clear=True),
        ):
            try:
                code = application()(list(arguments), prog_name="fedpact", standalone_mode=False)
            except FedpactError as error:
                code = error.exit_code
                err.write(f"fedpact: error: {error.in_full}\n")
        return subprocess.CompletedProcess(arguments, code or 0, out.getvalue(), err.getvalue())

    def answer(self, *arguments: str, key: int = 0) -> Any:
        """What a command says to a program."""
        done = self.run(*arguments, "--json", key=key)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def refused(self, *arguments: str, key: int = 0, code: int = 1) -> str:
        """The one line of a command that fails."""
        done = self.run(*arguments, key=key)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
        return done.stderr.removeprefix("fedpact: error: ").rstrip()

    def open(self) -> Round:
        """Opens a round."""
        ledger = self._ledger()
        view = Follower(ledger).refresh()
        number = RoundNumber(view.number + 1)
        ledger.send(COORDINATOR, OpenRound(number, CHARTER.terms(ledger.now())))
        ledger.close()
        return Follower(ledger).refresh().rounds[number]

    def publish(self, *updates: bytes) -> Round:
        """A round of these updates; of as many zeros as are needed."""
        layout = CHARTER.layout()
        current, ledger = self.open(), self._ledger()
        blocks = DirectoryBlocks(self.directory / "store")
        for place, silo in enumerate(SILOS):
            data = updates[place] if place < len(updates) else layout.header + bytes(layout.size - len(layout.header))
            dag = add(blocks, data)
            ledger.send(silo, Submit(current.number, Update(dag.root, 10 + place, 500_000, dag.size)))
        current = Follower(ledger).refresh().rounds[current.number]
        derived = derive(current, CHARTER, blocks, into=blocks)
        assert derived.model is not None
        manifest = add(blocks, derived.manifest.encode()).root
        ledger.send(COORDINATOR, Publish(current.number, current.transcript, derived.model.root, manifest, NO_TERMS))
        current = Follower(ledger).refresh().rounds[current.number]
        ledger.close()
        return current

    def follow(self) -> Follower:
        """Reads the ledger."""
        ledger = self._ledger()
        follower = Follower(ledger)
        follower.refresh()
        ledger.close()
        return follower

    def _ledger(self) -> EthereumLedger:
        return EthereumLedger(connect(self.url), self.contract, KEYS)


@pytest.fixture
def place(url: str, tmp_path: Path) -> Place:
    """A federation of two silos and a coordinator."""
    return Place(tmp_path, url)


def test_the_owner_says_who_may_act_and_saying_it_twice_is_harmless(place: Place) -> None:
    """Each action is one transaction; of what is so already nothing is sent."""
    admitted = place.answer("federation", "admit", SILOS[0], STRANGER)
    assert len(admitted["sent"]) == 1
    assert admitted["done"] == [f"admitted: {STRANGER}, member 3 from round 1 on"]
    assert admitted["notes"] == [f"{SILOS[0]} is a member already"]
    receipt = connect(place.url).eth.get_transaction_receipt(admitted["sent"][0]["transaction"])
    assert admitted["sent"][0]["gas"] == receipt["gasUsed"]
    assert admitted["sent"][0]["block"] == receipt["blockNumber"]
    for action in ("appoint", "dismiss", "remove"):
        done = place.run("federation", action, Web3.to_checksum_address(STRANGER))
        lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
        assert (done.returncode, done.stderr) == (0, "")
        assert list(lines)[1:] == ["transaction", "block", "gas"]
        again = place.answer("federation", action, STRANGER)
        assert (again["sent"], again["done"], len(again["notes"])) == ([], [], 1)
    assert place.answer("federation", "show")["coordinators"] == [COORDINATOR]


def test_a_refusal_is_its_one_line(place: Place) -> None:
    """With exit code 1, and nothing is paid for it; what cannot be used has exit code 2."""
    before = connect(place.url).eth.get_balance(KEYS[7].address)
    assert (
        place.refused("federation", "admit", STRANGER, key=7)
        == f"{STRANGER} is not the owner, {OWNER}; the owner's key is needed (--key-file)"
    )
    assert place.refused("federation", "accept", key=7).startswith(f"{STRANGER} was not offered the ownership")
    assert connect(place.url).eth.get_balance(KEYS[7].address) == before
    slip = Web3.to_checksum_address(STRANGER).swapcase().replace("0X", "0x")
    assert "whose capitals are its checksum" in place.refused("federation", "appoint", slip, code=2)
    assert place.refused("federation", "remove", STRANGER).startswith(f"{STRANGER}: expected a member, found")
    assert place.refused("federation", "cancel", "1") == "round 1: expected 1 to 0, the rounds so far"
    assert place.refused("federation", "transfer", code=2) == "transfer: expected either an address or --withdraw"


def test_show_says_what_is_there(place: Place) -> None:
    """For people and for programs; the open round with its phase and the time that is left."""
    place.open()
    found = place.answer("federation", "show")
    assert (found["chain"], found["contract"], found["owner"]) == (place.deployed["chain_id"], place.contract, OWNER)
    assert [each["address"] for each in found["members"]] == SILOS
    assert (found["charter"], found["pending_owner"]) == ({"cid": place.deployed["charter"], "name": "small"}, None)
    assert (found["open"]["round"], found["open"]["phase"], found["open"]["expected"]) == (1, "submission", 2)
    assert 0 < found["open"]["seconds_left"] <= CHARTER.rounds.submission_seconds
    done = fedpact("federation", "show", cwd=place.directory)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert f"contract: {place.contract}" in lines
    assert "members: 2" in lines
    assert any(line.startswith("open: round 1, submission, ") for line in lines)


def test_the_record_is_printed_entry_by_entry(place: Place) -> None:
    """From the founding to the last head, by the settings or by a node's URL."""
    published = place.publish()
    done = place.run("record", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["who"] for each in steps[-4:]] == ["coordinator", "member 1", "member 2", "coordinator"]
    assert [each["account"] for each in steps[-4:]] == [COORDINATOR, *SILOS, COORDINATOR]
    assert (steps[0]["event"], steps[-1]["previous"]) == ("Founded", steps[0]["hash"])
    assert steps[-1]["hash"] == "0x" + published.head.hex()
    lines = place.run("record", place.url, "--contract", place.contract).stdout.splitlines()
    assert len(lines) == len(steps) + 1
    assert "  member 2 0x" in lines[-2]


def test_a_record_that_was_kept_is_audited_without_its_chain(place: Place) -> None:
    """Beside the artifacts it is all that an audit needs; the verdict does not miss the end of a run."""
    published = place.publish()
    assert place.run("record", "-o", "ledger.jsonl").stdout.startswith("ledger.jsonl: ")
    done = place.run("audit", ".", "--head", "0x" + published.head.hex())
    assert (done.returncode, done.stderr) == (0, "")
    verdict = "audit: ok: 1 of 1 models reproduced bit for bit; the record ends with the trusted head"
    assert verdict in done.stdout.splitlines()


def test_the_charter_is_amended_once_it_is_in_the_store(place: Place) -> None:
    """One with another model is refused, unless that is wanted."""
    other = place.directory / "other.toml"
    other.write_text(CHARTER_TOML.replace("max_samples = 1000", "max_samples = 2000"))
    cid = place.answer("charter", "check", "other.toml")["cid"]
    amended = place.answer("federation", "amend", "other.toml")
    assert amended["done"] == [f"amended: the charter is {cid} from the next round on"]
    assert amended["notes"] == [f"{cid} is in store: coordinator and silos must be able to read it there"]
    assert place.answer("federation", "show")["charter"] == {"cid": cid, "name": "small"}
    assert place.answer("federation", "amend", "other.toml")["sent"] == []
    other.write_text(CHARTER_TOML.replace("[4, 3]", "[5, 3]"))
    assert place.refused("federation", "amend", "other.toml").startswith(
        "charter other.toml: model: expected the tensors of the charter in force, found others"
    )
    forced = place.answer("federation", "amend", "other.toml", "--other-model")
    assert forced["notes"][0] == "the model has other tensors: the next round starts from a model that does not fit it"
    elsewhere = place.refused("federation", "amend", "other.toml", "--store", "elsewhere")
    assert elsewhere.startswith("charter other.toml: the charter in force is not in the stores, so whether its model ")
    other.write_text(CHARTER_TOML.replace("quorum = 1", "quorum = 0"))
    assert "rounds.quorum: expected at least 1" in place.refused("federation", "amend", "other.toml", code=2)


def test_the_ownership_passes_to_who_accepts_it(place: Place) -> None:
    """Until then the offer can be taken back."""
    assert place.answer("federation", "transfer", STRANGER)["done"] == [f"offered: the ownership to {STRANGER}"]
    assert place.answer("federation", "transfer", "--withdraw")["done"] == [
        "taken back: nobody is offered the ownership"
    ]
    place.answer("federation", "transfer", STRANGER)
    assert place.answer("federation", "show")["pending_owner"] == STRANGER
    assert place.answer("federation", "accept", key=7)["done"] == [f"accepted: the owner is {STRANGER}"]
    assert place.answer("federation", "accept", key=7)["sent"] == []
    assert (
        place.refused("federation", "admit", STRANGER)
        == f"{OWNER} is not the owner, {STRANGER}; the owner's key is needed (--key-file)"
    )


def test_rounds_and_their_models(place: Place) -> None:
    """From the first that was published to one that was cancelled and one that was rewound."""
    layout = CHARTER.layout()
    assert place.answer("rounds") == []
    assert place.refused("model", "get", "-o", "model").startswith("model: no round has published one that stands")
    first = place.publish()
    second = place.publish(b"\xff" * layout.size)
    place.open()
    assert place.answer("federation", "cancel", "3")["done"] == ["cancelled: round 3"]
    found = place.answer("rounds")
    assert [(each["status"], each["submissions"], each["expected"]) for each in found] == [
        ("published", 2, 2),
        ("published", 2, 2),
        ("cancelled", 0, 2),
    ]
    assert [each["model"] for each in found] == [str(first.model), str(second.model), None]
    assert {each["mean_score"] for each in found[:2]} == {"0.500000"}
    table = place.run("rounds").stdout.splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["1", "published"], ["2", "published"], ["3", "cancelled"]]

    one = place.answer("round", "2")
    assert [(each["decision"], each["reason"]) for each in one["submissions"]] == [
        ("excluded", "wrong_header"),
        ("included", ""),
    ]
    lines = place.run("round", "2").stdout.splitlines()
    assert any("excluded (wrong_header)" in line for line in lines)
    assert (
        place.refused("round", "9", code=2)
        == "round 9: expected one that was opened, found 1 to 3; fedpact rounds lists them"
    )

    got = place.answer("model", "get", "-o", "model.safetensors")
    assert (got["round"], got["model"], got["stands"]) == (2, str(second.model), True)
    assert address_of(place.directory / "model.safetensors") == second.model
    assert place.answer("federation", "rewind", "2")["done"] == [
        f"rewound: the next round starts from {first.model}, the base of round 2"
    ]
    assert place.answer("federation", "rewind", "2")["sent"] == []
    assert place.answer("model", "get", "-o", "model.safetensors")["round"] == 1
    assert address_of(place.directory / "model.safetensors") == first.model
    shown = place.run("model", "show", "--round", "2").stdout.splitlines()
    assert shown[:2] == ["round: 2, disowned by a rewind", f"model: {second.model}"]
    assert shown[3:] == ["tensor: bias, F32 [3], 12 bytes", "tensor: weight, F32 [4, 3], 48 bytes"]
    assert "2  disowned" in place.run("rounds").stdout
    assert place.refused("model", "get", "--round", "3", "-o", "x") == (
        "round 3: expected a published model, found that the round is cancelled"
    )


def test_a_report_of_a_chain_says_what_it_cost(place: Place) -> None:
    """As the receipts do. What the record shows is there, audited; so is a record that differs."""
    place.publish()
    current = place.publish(b"\xff" * CHARTER.layout().size)
    contract, store = place.contract, str(place.directory / "store")
    options = ("--contract", contract, "--store", store, "-o", "report.html")
    done = place.run("report", place.url, *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = read((place.directory / "report.html").read_text("utf-8")).text
    assert "2 models derived again, bit for bit" in text
    entries = [entry for entry in place.follow().entries if getattr(entry.event, "round", 0) == 2]
    web3 = connect(place.url)
    receipts = [web3.eth.get_transaction_receipt(HexBytes(each)) for each in {entry.transaction for entry in entries}]
    assert f"{sum(receipt['gasUsed'] for receipt in receipts):,}" in text
    assert "Outside of rounds" in text
    assert current.manifest is not None
    (file,) = place.directory.glob(f"store/blocks/*/{current.manifest}")
    file.write_bytes(b"other bytes")
    done = place.run("report", place.url, *options)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert "Something differs" in read((place.directory / "report.html").read_text("utf-8")).text


def test_a_model_is_verified_before_it_is_there(place: Place) -> None:
    """A damaged block, a store without it, a place that cannot be written: one line, and what was there stays."""
    current = place.publish()
    output = place.directory / "model.safetensors"
    output.write_bytes(b"before")
    (block,) = place.directory.glob(f"store/blocks/*/{current.model}")
    good = block.read_bytes()
    block.write_bytes(good[:-1] + b"\x01")
    assert f"block {current.model}: " in place.refused("model", "get", "-o", "model.safetensors")
    assert "not in empty" in place.refused("model", "get", "-o", "model.safetensors", "--store", "empty")
    assert output.read_bytes() == b"before"
    block.write_bytes(good)
    assert place.refused("model", "get", "-o", "none/model").startswith("none/model: cannot be written: No such file")
    place.answer("model", "get", "-o", "model.safetensors")
    assert address_of(output) == current.model
    assert not (place.directory / "empty").exists()


def test_one_tensor_of_a_model(place: Place) -> None:
    """It comes as a file of its own, which any library opens; one that is not there is named."""
    layout = CHARTER.layout()
    weights = {"bias": np.arange(3, dtype=np.float32), "weight": np.arange(12, dtype=np.float32).reshape(4, 3)}
    place.publish(layout.encode(weights), layout.encode(weights))
    for name, array in weights.items():
        told = place.answer("model", "get", "--tensor", name, "-o", "tensor.safetensors")
        output = place.directory / "tensor.safetensors"
        assert told["bytes"] == output.stat().st_size
        found = load_file(output)
        assert list(found) == [name]
        assert np.array_equal(found[name], array)
    assert place.refused("model", "get", "--tensor", "other", "-o", "x", code=2) == (
        "tensor: expected one of the model's (bias, weight), found 'other'"
    )
    assert not (place.directory / "x").exists()


def test_what_is_no_federation_is_one_line(place: Place) -> None:
    """A dead node, another chain, an address without the contract; nobody is asked for a password before."""
    done = fedpact("federation", "show", "--rpc", "http://127.0.0.1:1/SECRET", cwd=place.directory)
    said = f"fedpact: error: rpc: eth_chainId: http://127.0.0.1:1: no connection (ConnectionError); {NoAnswer.advice}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert place.refused("rounds", "--contract", STRANGER) == (
        f"contract {STRANGER}: expected the code of a federation, found no code on chain {place.deployed['chain_id']}"
    )
    chain = place.deployed["chain_id"]
    refused = place.refused("rounds", "--contract", place.contract, "--chain-id", "5")
    assert refused.startswith("rpc: eth_chainId: http://127.0.0.1:")
    assert refused.endswith(f": expected chain 5, found chain {chain}; {NoAnswer.advice}")
    assert place.refused("rounds", "--chain-id", "5", code=2).startswith(f"chain_id: expected {chain}, as federation")
    assert place.refused("federation", "accept", "--contract", "none.json", code=2).startswith("contract: expected an")
