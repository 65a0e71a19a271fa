"""Deployments: what is read, what is checked, and that no interruption makes a second contract."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anvil import ask, running
from chains import ACCOUNTS, KEYS, Side, eth_tester_side
from charters import small_charter
from eth_account import Account
from fedpact.artifacts import canonical
from fedpact.deployment import deploy as deploying
from fedpact.deployment.deploy import Outcome, connect, deploy, describe, rehearse, summary
from fedpact.deployment.plan import Plan, read_plan
from fedpact.deployment.record import RecordFile
from fedpact.errors import FedpactError, InputError, LedgerError
from fedpact.keys import read_account
from fedpact.ledger import ethereum
from fedpact.ledger.actions import Admit, Remove
from fedpact.ledger.artifact import federation
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.facts import address
from fedpact.ledger.rejections import InvalidLimits
from fedpact.ledger.transactions import NotTaken, ether
from fedpact.store.cid import Cid
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.memory import MemoryBlocks
from fedpact.store.unixfs import read_small
from runs import FEDPACT
from web3 import Web3

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts/deploy.py"
CHARTER_TOML = """
format = "fedpact-charter/1"
name = "small"
score = "accuracy"
model = { bias = { dtype = "F32", shape = [3] }, weight = { dtype = "F32", shape = [4, 3] } }
trainer = { name = "none" }
rule = { name = "fedavg" }
rounds = { quorum = 1, submission_seconds = 100, publication_seconds = 60 }
limits = { max_samples = 1000 }
stop = { rounds = 10 }
"""
CHARTER = small_charter()
MEMBERS = tuple(ACCOUNTS[2:6])
COORDINATORS = (ACCOUNTS[1],)
MIXED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # From EIP-55.


def _plan(**changes: Any) -> Plan:
    layout = CHARTER.layout()
    genesis = layout.header + bytes(layout.size - len(layout.header))
    values = {"charter": CHARTER, "genesis": genesis, "owner": None, "members": MEMBERS, "coordinators": COORDINATORS}
    return Plan(**values | changes)


# ---------------------------------------------------------------------------------------------------- federation.toml


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a charter."""
    (tmp_path / "charter.toml").write_text(CHARTER_TOML)
    return tmp_path


def _write(folder: Path, more: str = "", charter: str = "charter.toml", genesis: str = "zeros") -> Path:
    path = folder / "federation.toml"
    path.write_text(f"charter = {json.dumps(charter)}\ngenesis = {json.dumps(genesis)}\n{more}\n")
    return path


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("membres = []", "membres: unknown; expected one of charter, "),
        ("owner = 7", "owner: expected text, found the number 7"),
        ("owner = 'me'", "owner: expected an address, 0x and 40 hexadecimal digits, found 'me'"),
        ("owner = '0x" + "0" * 40 + "'", "owner: expected the address of an account, found the zero address"),
        (f"members = ['{MIXED[:-1]}D']", "members.0: expected an address whose capitals are its checksum"),
        (f"members = ['{ACCOUNTS[0]}', '0X{ACCOUNTS[1][2:]}']", "members.1: expected an address"),
        (f"members = ['{MIXED}', '{MIXED.lower()}']", f"members: expected each address once, found {MIXED.lower()} tw"),
        (f"coordinators = ['{MIXED}', '{MIXED}']", "coordinators: expected each address once"),
        ("members = 'all'", "members: expected a list, found 'all'"),
        ("members = [", "Invalid value"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(folder: Path, more: str, said: str) -> None:
    """The setting, what was expected, what was found."""
    with pytest.raises(InputError) as raised:
        read_plan(_write(folder, more))
    assert str(raised.value).startswith(f"{folder / 'federation.toml'}: {said}")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_more_members_than_the_contract_can_count_are_refused(folder: Path) -> None:
    """65,535 are not."""
    accounts = [f"0x{number:040x}" for number in range(1, 65_537)]
    with pytest.raises(InputError, match="members: expected at most 65535, found 65536"):
        read_plan(_write(folder, f"members = {accounts}"))
    assert len(read_plan(_write(folder, f"members = {accounts[:-1]}")).members) == 65_535


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"charter": "none.toml"}, "charter .*none.toml: No such file or directory"),
        ({"charter": "federation.toml"}, "charter .*federation.toml: "),
        ({"genesis": "none.safetensors"}, "genesis: expected a file or 'zeros', found nothing at "),
        ({"genesis": "short"}, "genesis: .*short: expected 188 bytes, found 187"),
        ({"genesis": "other"}, "genesis: .*other: header: names, shapes or dtypes are not those that the charter"),
        ({"genesis": "nan"}, r"genesis: .*nan: expected finite values, found nan at weight\[1, 2\]"),
        ({"genesis": "infinite"}, r"genesis: .*infinite: expected finite values, found -inf at bias\[0\]"),
        ({"genesis": "a\0b"}, "genesis: expected a file or 'zeros', found"),
    ],
)
def test_files_that_are_not_what_the_file_says(folder: Path, names: dict[str, str], said: str) -> None:
    """A charter that is none, and a first model that is not one of the charter's, finite in all of its elements."""
    layout = CHARTER.layout()
    good = {"bias": np.zeros(3, "f4"), "weight": np.zeros((4, 3), "f4")}
    nan = {name: values.copy() for name, values in good.items()}
    infinite = good | {"bias": np.array([-np.inf, 0, 0], "f4")}
    nan["weight"][1, 2] = np.nan
    files = {"short": layout.encode(good)[:-1], "other": bytes(layout.size)}
    files |= {"nan": layout.encode(nan), "infinite": layout.encode(infinite)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=said):
        read_plan(_write(folder, **names))


def test_a_file_that_is_good(folder: Path) -> None:
    """Addresses in any case are the same address; a model is taken as it is; the charter is found beside the file."""
    data = CHARTER.layout().encode({"bias": np.ones(3, "f4"), "weight": np.ones((4, 3), "f4")})
    (folder / "model.safetensors").write_bytes(data)
    shout = "0x" + ACCOUNTS[0][2:].upper()
    plan = read_plan(_write(folder, f"owner = '{MIXED}'\nmembers = ['{shout}']", genesis="model.safetensors"))
    assert plan == Plan(CHARTER, data, address(MIXED), (ACCOUNTS[0],), ())
    assert read_plan(_write(folder)) == _plan(members=(), coordinators=())


# --------------------------------------------------------------------------------------------------------------- keys

SECRET = "5e" * 32


def _never() -> str:
    raise AssertionError("nobody is to be asked")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (SECRET[:-1].encode(), "expected a keystore or a key of 64 hexadecimal digits, found something else"),
        (b"00" * 32, "expected a keystore or a key of 64 hexadecimal digits, found something else"),
        (b"\xff\xfe", "found bytes that are no text"),
        (b"{" + SECRET.encode(), "not JSON"),
        (json.dumps({"version": 3, "crypto": {"kdf": SECRET}}).encode(), "not a keystore of version 3"),
        (b"{}", "not a keystore of version 3"),
        (b"5e" * 40_000, "expected at most 65536 bytes"),
    ],
)
def test_a_key_file_that_is_none_is_named_and_never_shown(tmp_path: Path, content: bytes | None, said: str) -> None:
    """What is in it may be a key with a slip in it."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_account(file, {"FEDPACT_PASSWORD": "x"}, _never)
    assert str(raised.value).startswith(f"key file {file}: ")
    assert said in str(raised.value)
    assert "5e5e" not in str(raised.value)


def test_without_a_key_there_is_an_error() -> None:
    """It says where a key may be; a variable that holds none is named."""
    with pytest.raises(InputError, match=r"expected a file \(--key-file\) or the variable FEDPACT_KEY, found neither"):
        read_account(None, {}, _never)
    with pytest.raises(InputError, match="variable FEDPACT_KEY: expected a key of 64 hexadecimal digits") as raised:
        read_account(None, {"FEDPACT_KEY": SECRET + "0"}, _never)
    assert "5e5e" not in str(raised.value)


def test_a_key_is_read_from_where_it_is(tmp_path: Path) -> None:
    """A keystore, whose password is a variable or asked for; a file with the digits; a variable."""
    expected = Account.from_key(SECRET).address
    (tmp_path / "raw").write_text(f"0x{SECRET}\n")
    keystore = tmp_path / "keystore.json"
    keystore.write_text(json.dumps(Account.encrypt(SECRET, "right", kdf="pbkdf2", iterations=2)))
    assert read_account(tmp_path / "raw", {}, _never).address == expected
    assert read_account(None, {"FEDPACT_KEY": SECRET}, _never).address == expected
    assert read_account(keystore, {"FEDPACT_PASSWORD": "right"}, _never).address == expected
    assert read_account(keystore, {}, lambda: "right").address == expected
    with pytest.raises(InputError, match="the password is not the keystore's"):
        read_account(keystore, {"FEDPACT_PASSWORD": "wrong"}, lambda: "right")


# ----------------------------------------------------------------------------------------------- on an EVM in process


class Place:
    """A chain in this process, a store and a record."""

    def __init__(self, directory: Path) -> None:
        self.side: Side = eth_tester_side()
        self.web3 = self.side.web3
        self.blocks = MemoryBlocks()
        self.file = RecordFile(directory / "record.json")

    def deploy(self, plan: Plan | None = None, *, key: int = 0, again: bool = False) -> Outcome:
        """A run."""
        file = RecordFile(self.file.path)  # A new process would have a new one.
        return deploy(self.web3, KEYS[key], plan or _plan(), self.blocks, file, again=again)

    @property
    def sent(self) -> int:
        """Transactions of the deployer."""
        return self.web3.eth.get_transaction_count(KEYS[0].address)

    def record(self) -> dict[str, Any]:
        """The record as a program reads it."""
        found: dict[str, Any] = canonical.decode(self.file.path.read_bytes().removesuffix(b"\n"), "record")
        return found

    def rewrite(self, **changes: Any) -> None:
        """Changes the record."""
        value = self.record() | changes
        self.file.path.write_bytes(canonical.encode({k: v for k, v in value.items() if v is not None}) + b"\n")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A new chain."""
    return Place(tmp_path)


class Killed(BaseException):
    """The end of the process, as far as a test can have one."""


def _killed(*_: object, **__: object) -> Any:
    raise Killed


def test_a_deployment_is_what_its_record_says(place: Place) -> None:
    """Code, founding, members and coordinators are on the chain; the store holds what the contract names."""
    outcome = place.deploy()
    record = place.record()
    assert record == outcome.record.model_dump()
    receipt = place.web3.eth.get_transaction_receipt(record["transaction"])
    assert (record["block"], record["gas"], record["gas_price"]) == (
        receipt["blockNumber"],
        receipt["gasUsed"],
        receipt["effectiveGasPrice"],
    )
    ledger = EthereumLedger(place.web3, record["contract"])
    assert ledger.owner() == record["owner"] == record["deployer"] == ACCOUNTS[0]
    assert record["members"] == [each for each in ACCOUNTS if ledger.is_member(each)] == list(MEMBERS)
    assert record["coordinators"] == [each for each in ACCOUNTS if ledger.is_coordinator(each)] == list(COORDINATORS)
    for name, data in (("charter", CHARTER.encode()), ("genesis", _plan().genesis)):
        assert read_small(place.blocks, Cid.parse(record[name]), 1 << 20) == data
    costs = [place.web3.eth.get_transaction_receipt(each.transaction) for each in outcome.receipts]
    assert outcome.cost == sum(each["gasUsed"] * each["effectiveGasPrice"] for each in costs)
    assert len(costs) == place.sent == 3
    assert str(place.file.path.parent) not in place.file.path.read_text()


def test_a_second_run_deploys_nothing(place: Place) -> None:
    """And sends nothing; the record stays byte for byte."""
    first = place.deploy()
    before, sent = place.file.path.read_bytes(), place.sent
    second = place.deploy()
    assert (second.deployed, second.receipts, second.record) == (False, [], first.record)
    assert (place.file.path.read_bytes(), place.sent) == (before, sent)
    assert next(describe(second, place.file.path)).startswith(f"already deployed at {first.record.contract} ")


def test_again_deploys_anew_and_keeps_the_old_records(place: Place) -> None:
    """As FILE.1, FILE.2, …"""
    contracts = [place.deploy(again=True).record.contract for _ in range(3)]
    files = [place.file.path.with_name(name) for name in ("record.json.1", "record.json.2", "record.json")]
    assert [json.loads(file.read_bytes())["contract"] for file in files] == contracts
    assert len(set(contracts)) == 3
    assert len(list(place.file.path.parent.iterdir())) == 3


def test_who_was_added_to_the_file_is_admitted_and_nobody_twice(place: Place) -> None:
    """Whoever is there already, by the record or by the chain, costs nothing."""
    contract = place.deploy(_plan(members=MEMBERS[:2], coordinators=())).record.contract
    ledger = EthereumLedger(place.web3, address(contract), KEYS)
    ledger.send(ACCOUNTS[0], Admit(MEMBERS[2:3]))
    outcome = place.deploy()
    assert (outcome.deployed, outcome.admitted, outcome.appointed, len(outcome.receipts)) == (False, 1, 1, 2)
    assert sorted(place.record()["members"]) == sorted(MEMBERS)
    assert not place.deploy().receipts


def test_whom_the_owner_removed_since_stays_removed(place: Place) -> None:
    """A second run brings nobody back."""
    ledger = EthereumLedger(place.web3, address(place.deploy().record.contract), KEYS)
    ledger.send(ACCOUNTS[0], Remove(MEMBERS[0]))
    assert not place.deploy().receipts
    assert not ledger.is_member(MEMBERS[0])


def test_another_owner_admits_with_its_own_key(place: Place) -> None:
    """The deployer leaves it to the owner; the same file and record with the owner's key complete it."""
    plan = _plan(owner=ACCOUNTS[7])
    outcome = place.deploy(plan)
    assert (outcome.left_to, outcome.missing, len(outcome.receipts)) == (ACCOUNTS[7], (4, 1), 1)
    assert any(line.startswith(f"left to the owner {ACCOUNTS[7]}: 4 to admit, 1") for line in describe(outcome, None))
    completed = place.deploy(plan, key=7)
    assert (completed.left_to, completed.deployed, completed.admitted, completed.appointed) == (None, False, 4, 1)
    assert completed.record.deployer == ACCOUNTS[0]


@pytest.mark.parametrize("moment", ["send", "wait"], ids=["before it is sent", "before its receipt"])
def test_killed_around_the_deployment(place: Place, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """The next run, even with another key, sends what was signed, or finds it: there is one contract."""
    with monkeypatch.context() as patch:
        patch.setattr(ethereum, moment, _killed)
        with pytest.raises(Killed):
            place.deploy()
    assert place.sent == (moment == "wait")
    transaction = place.record()["transaction"]
    outcome = place.deploy(key=6)
    assert (outcome.deployed, outcome.record.transaction, outcome.left_to) == (True, transaction, ACCOUNTS[0])
    assert place.sent == 1
    assert "signed" not in place.record()
    assert place.deploy().admitted == 4


@pytest.mark.parametrize("after", [0, 1, 2])
def test_killed_between_the_batches(place: Place, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Whatever was admitted and not yet noted is found on the chain; no transaction is sent twice."""
    monkeypatch.setattr(deploying, "BATCH", 2)
    keep, calls = RecordFile.write, []

    def write(file: RecordFile, record: Any) -> None:
        calls.append(record)
        if len(calls) == after + 3:  # What was sent, what was deployed, then one a batch.
            raise Killed
        keep(file, record)

    with monkeypatch.context() as patch:
        patch.setattr(RecordFile, "write", write)
        with pytest.raises(Killed):
            place.deploy()
    assert place.sent == after + 2
    outcome = place.deploy()
    assert (outcome.deployed, len(outcome.receipts)) == (False, 2 - after)
    assert place.sent == 4
    assert (sorted(outcome.record.members), outcome.record.coordinators) == (sorted(MEMBERS), list(COORDINATORS))


def test_members_are_admitted_in_batches(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails leaves the others noted."""
    monkeypatch.setattr(deploying, "BATCH", 3)
    send = EthereumLedger.send

    def fail(ledger: EthereumLedger, sender: Any, action: Any) -> Any:
        if isinstance(action, Admit) and len(action.members) == 1:
            raise LedgerError("the node is gone")
        return send(ledger, sender, action)

    with monkeypatch.context() as patch:
        patch.setattr(EthereumLedger, "send", fail)
        with pytest.raises(LedgerError, match="the node is gone"):
            place.deploy()
    assert place.record()["members"] == list(MEMBERS[:3])
    assert place.deploy().admitted == 1


def _other_charter() -> Plan:
    return _plan(charter=small_charter(name="other"))


@pytest.mark.parametrize(
    ("plan", "changes", "error", "said"),
    [
        (_plan(), {"chain_id": 5}, InputError, "chain_id: expected 131277322940537, found 5; --again deploys anew"),
        (_other_charter(), {}, InputError, "charter: expected bafk.*, found bafk.*; --again deploys anew"),
        (_plan(genesis=_plan().genesis[:-1] + b"\x01"), {}, InputError, "genesis: expected bafk"),
        (_plan(owner=ACCOUNTS[7]), {}, InputError, f"owner: expected {ACCOUNTS[7]}, found {ACCOUNTS[0]}"),
        (_plan(), {"code_sha256": "00"}, InputError, "code_sha256: expected [0-9a-f]{64}, found 00"),
        (_plan(), {"contract": ACCOUNTS[5]}, LedgerError, "expected the code of a federation, found no code .*--again"),
        (_plan(), {"transaction": "0x" + "11" * 32}, LedgerError, "the node does not have the deployment"),
        (_plan(), {"members": [ACCOUNTS[5], 7]}, InputError, "record.json: members.1: "),
        (_plan(), {"more": "x"}, InputError, "record.json: more: "),
        (_plan(), {"head": None}, InputError, "record.json: head: "),
        (_plan(), {"signed": "0x00"}, InputError, "record.json: "),
        (_other_charter(), {"charter": str(Cid.of(_other_charter().charter.encode()))}, LedgerError, "charter: expect"),
    ],
)
def test_a_record_of_something_else(
    place: Place, plan: Plan, changes: dict[str, Any], error: type[FedpactError], said: str
) -> None:
    """Another chain, charter, model, owner or code, or no record at all: nothing is sent, and it says what to do."""
    place.deploy()
    place.rewrite(**changes)
    before, sent = place.file.path.read_bytes(), place.sent
    with pytest.raises(error, match=said):
        place.deploy(plan)
    assert (place.file.path.read_bytes(), place.sent) == (before, sent)


def test_foreign_code_at_the_address_is_refused(place: Place) -> None:
    """Code of another contract is not the artifact's, even if it is a federation's to the last byte but one."""
    place.deploy()
    other = federation().runtime[:-1] + b"\x00"
    size = len(other).to_bytes(2, "big")
    creation = b"\x61" + size + b"\x80\x60\x0a\x5f\x39\x5f\xf3" + other  # Returns what follows it.
    sent = place.web3.eth.send_transaction({"from": place.web3.eth.accounts[0], "data": creation, "gas": 4_000_000})
    foreign = place.web3.eth.get_transaction_receipt(sent)["contractAddress"]
    assert bytes(place.web3.eth.get_code(foreign)) == other
    place.rewrite(contract=address(foreign))
    with pytest.raises(LedgerError, match=r"expected the code of a federation, found \d+ bytes of other code"):
        place.deploy()


def test_a_record_of_another_deployment_on_the_same_chain(place: Place) -> None:
    """Contract and transaction must belong together."""
    first = place.deploy().record.contract
    place.deploy(again=True)
    place.rewrite(contract=first)
    with pytest.raises(LedgerError, match=f"the record says {first}, its transaction deployed 0x"):
        place.deploy()


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'"x"', b'{"format": "fedpact-deployment/1"}', b'{"format":"other/1"}']
)
def test_a_file_that_is_no_record_is_not_written_over(place: Place, data: bytes) -> None:
    """It is named; `--again` keeps it aside."""
    place.file.path.write_bytes(data)
    with pytest.raises(InputError, match=r"record .*record\.json: "):
        place.deploy()
    assert (place.file.path.read_bytes(), place.sent) == (data, 0)
    place.deploy(again=True)
    assert place.file.path.with_name("record.json.1").read_bytes() == data


def test_a_record_that_cannot_be_written_is_noticed_before_anything_is_sent(place: Place) -> None:
    """A contract of which nobody would know the address is not made."""
    place.file.path = place.file.path.parent / "none" / "record.json"
    with pytest.raises(InputError, match=r"record\.json: cannot be written: No such file or directory"):
        place.deploy()
    assert place.sent == 0


def test_who_cannot_pay_is_told_how_much_it_takes(place: Place) -> None:
    """Before anything is written or sent."""
    poor = Account.from_key(SECRET)
    said = rf"balance of {poor.address.lower()}: expected at least 0\.\d+ ether, found 0 ether"
    with pytest.raises(LedgerError, match=said):
        deploy(place.web3, poor, _plan(), place.blocks, place.file)
    assert not place.file.path.exists()
    assert not place.blocks.has(Cid.of(CHARTER.encode()))


def test_limits_that_the_contract_refuses_leave_nothing_behind(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The constructor's own reason is the message."""
    limits = ethereum.Limits(1, 10, 5)
    monkeypatch.setattr(type(CHARTER), "contract_limits", lambda _: limits)
    with pytest.raises(InvalidLimits):
        place.deploy()
    assert (place.file.path.exists(), place.sent) == (False, 0)


def test_a_transaction_that_the_node_refuses_leaves_the_old_record(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `--again` had kept aside is back, where the node says that it took nothing."""
    place.deploy()
    before = place.file.path.read_bytes()

    def refuse(_: object, sender: str, __: object) -> Any:
        raise NotTaken(f"transaction of {sender}: the pool is full")

    monkeypatch.setattr(ethereum, "send", refuse)
    with pytest.raises(LedgerError, match="the pool is full"):
        place.deploy(again=True)
    assert {each.name: each.read_bytes() for each in place.file.path.parent.iterdir()} == {"record.json": before}


def test_a_transaction_of_which_the_node_says_nothing_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be on its way; the next run takes it up."""
    with monkeypatch.context() as patch:
        patch.setattr(place.web3.eth, "send_raw_transaction", lambda _: (_ for _ in ()).throw(ConnectionError("reset")))
        with pytest.raises(LedgerError, match="no answer"):
            place.deploy()
    transaction = place.record()["transaction"]
    assert place.deploy().record.transaction == transaction
    assert place.sent == 3


def test_a_rehearsal_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It deploys, admits and appoints on a chain of its own, and says that nothing is left."""
    monkeypatch.chdir(tmp_path)
    outcome = rehearse(_plan())
    assert (outcome.deployed, outcome.admitted, outcome.appointed) == (True, 4, 1)
    lines = list(describe(outcome, None))
    assert "nothing is left" in lines[-1]
    assert not any(line.startswith(("record:", "next:")) for line in lines)
    assert list(tmp_path.iterdir()) == []
    assert canonical.encode({k: v for k, v in summary(outcome).items() if k in ("contract", "total_gas", "total_cost")})


@pytest.mark.parametrize(
    ("wei", "text"),
    [(0, "0"), (1, "0.000000000000000001"), (10**18, "1"), (25 * 10**17, "2.5"), (10**40, "1" + "0" * 22)],
)
def test_amounts_are_exact(wei: int, text: str) -> None:
    """No digit is lost, and none is added."""
    assert ether(wei) == text


# ------------------------------------------------------------------------------------------------------- connections


@pytest.mark.parametrize("url", ["", "localhost:8545", "ftp://x/SECRET", "http://", "http://x:0", "http://[::1/SECRET"])
def test_what_is_no_url_of_http_is_refused_and_not_shown(url: str) -> None:
    """It may hold a key."""
    with pytest.raises(InputError, match="rpc: expected http://") as raised:
        connect(url)
    assert "SECRET" not in str(raised.value)


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], str]]:
    """A server that gives one answer to everything; returns its URL."""
    servers = []

    def start(status: int, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v3/SECRET"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>", "expected the answer of a node, found something else: Could not decode"),
        (403, b"no", "the node answers with HTTP status 403"),
        (200, b"[]", "Malformed response"),
        (200, b'{"jsonrpc":"2.0","id":0,"result":null}', "expected the id of a chain, found 'None'"),
        (200, b'{"jsonrpc":"2.0","id":0,"result":"zz"}', "expected the answer of a node"),
        (200, b'{"jsonrpc":"2.0","id":0,"error":{"code":-1,"message":"no\\nsuch key"}}', "rpc: no such key"),
    ],
)
def test_what_is_no_node_is_one_line(
    answering: Callable[[int, bytes], str], tmp_path: Path, status: int, body: bytes, said: str
) -> None:
    """And nothing is written; the URL, which may hold a key, is not part of it."""
    web3 = connect(answering(status, body))
    with pytest.raises(LedgerError) as raised:
        deploy(web3, KEYS[0], _plan(), DirectoryBlocks(tmp_path / "store"), RecordFile(tmp_path / "record.json"))
    assert said in str(raised.value)
    assert "SECRET" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------------- the script


@pytest.mark.parametrize("secret", ["ff" * 32, "00" * 32, "11" * 31, "11" * 33])
def test_a_keystore_without_a_usable_key_is_refused_and_not_quoted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """A key beyond the curve's order, zero, or of another length: one line, and nothing of what was decrypted."""
    file = folder / "owner.json"
    file.write_text(json.dumps(Account.encrypt(KEYS[0].key, "x", kdf="pbkdf2", iterations=2)))
    # No library makes such a keystore; somebody could.
    monkeypatch.setattr(Account, "decrypt", lambda *_: bytes.fromhex(secret))
    with pytest.raises(InputError, match="not a keystore of version 3 with a key") as raised:
        read_account(file, {"FEDPACT_PASSWORD": "x"}, _never)
    assert raised.value.__suppress_context__
    assert secret[:16] not in str(raised.value)


def test_two_runs_at_once_are_one(place: Place) -> None:
    """The second is told of the first, and sends nothing."""
    with place.file.locked(), pytest.raises(InputError, match="another run is under way in this directory"):
        place.deploy(_plan())
    assert place.deploy(_plan()).deployed


def test_a_record_that_is_a_link_to_nowhere_is_no_first_run(place: Place) -> None:
    """What it leads to may be on a disk that is not there."""
    place.file.path.symlink_to("unmounted/record.json")
    with pytest.raises(InputError, match="found a link that leads nowhere"):
        place.deploy(_plan())
    assert place.file.path.is_symlink()


@pytest.mark.parametrize(("name", "value"), [("head", "0x" + "66" * 32), ("block", 0), ("gas", 1)])
def test_a_record_cannot_say_what_the_chain_does_not(place: Place, name: str, value: object) -> None:
    """Least of all another head to trust."""
    place.deploy(_plan())
    place.rewrite(**{name: value})
    with pytest.raises(InputError, match=f"{name}: expected .*, found {value}"):
        place.deploy(_plan())


def test_notes_say_what_is_in_the_way_of_a_first_round(place: Place) -> None:
    """Fewer members than the quorum, no coordinator, and who is there although the file does not name it."""
    outcome = place.deploy(_plan(members=(), coordinators=()))
    assert [hint.partition(",")[0] for hint in outcome.hints] == [
        f"no round can open before there are {CHARTER.rounds.quorum} members",
        "no round can open before a coordinator is appointed",
    ]
    place.deploy(_plan(members=MEMBERS[:1], coordinators=()))
    outcome = place.deploy(_plan(members=MEMBERS[1:], coordinators=(ACCOUNTS[6],)))
    assert outcome.hints == [f"not in the file, and still a member unless the owner removed it: {MEMBERS[0]}"]


def test_a_member_that_the_record_has_and_the_chain_has_not_is_named(place: Place) -> None:
    """A reorganisation may have taken an admission back, or the owner may have removed it."""
    outcome = place.deploy(_plan(members=MEMBERS))
    ledger = EthereumLedger(place.web3, address(outcome.record.contract), [KEYS[0]])
    ledger.send(ACCOUNTS[0], Remove(MEMBERS[1]))
    (hint,) = place.deploy(_plan(members=MEMBERS)).hints
    assert hint.startswith(f"recorded as admitted, and no member now: {MEMBERS[1]}")


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
    _write(folder, f"members = {list(MEMBERS)}")
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
        ("http://127.0.0.1:1/SECRET", "", "5e" * 32, 1, "deploy.py: error: rpc: no answer (ConnectionError)"),
        ("http://127.0.0.1:1/SECRET", "", "5e" * 33, 2, "deploy.py: error: variable FEDPACT_KEY: expected a key"),
        ("ipc:SECRET", "", "5e" * 32, 2, "deploy.py: error: rpc: expected http://"),
    ],
)
def test_the_scripts_failures_are_one_line(folder: Path, rpc: str, more: str, key: str, code: int, said: str) -> None:
    """With an exit code: 1 where the chain could not do it, 2 where something given cannot be used."""
    _write(folder, more)
    files = sorted(folder.iterdir())
    done = _script(folder, rpc, FEDPACT_KEY=key)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert done.stderr.startswith(said)
    assert "5e5e" not in done.stderr
    assert "SECRET" not in done.stderr
    assert sorted(folder.iterdir()) == files


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
    _write(folder, f"members = {list(MEMBERS)}\ncoordinators = {list(COORDINATORS)}")
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
    _write(folder, f"members = {members}")
    start = _sent(anvil)
    result = _result(_script(folder, _url(anvil), "--json"))
    assert (result["admitted"], result["members"], _sent(anvil)) == (450, members, start + 4)
    contract = anvil.eth.contract(address=Web3.to_checksum_address(result["contract"]), abi=federation().abi)
    assert contract.functions.memberCount().call() == 450


@pytest.mark.nodes
def test_killed_while_the_deployment_is_on_its_way(anvil: Web3, folder: Path) -> None:
    """A process that is killed before its receipt is there leaves a record with which the next finds the contract."""
    _write(folder, f"members = {list(MEMBERS)}")
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
    _write(folder, f"members = {[f'0x{number:040x}' for number in range(1, 401)]}")
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
    _write(folder)
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
    _write(folder)
    with running("--hardfork", rules) as old:
        done = _script(folder, _url(old))
        assert (done.returncode, _sent(old)) == (1, 0)
    assert f"chain 31337: expected the rules of Prague or later, found {found}" in done.stderr
    assert sorted(each.name for each in folder.iterdir()) == ["charter.toml", "federation.toml"]
