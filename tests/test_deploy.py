"""Deployments: what is read, what is checked, and that no interruption makes a second contract."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from chains import ACCOUNTS, KEYS
from charters import small_charter
from deployments import CHARTER, COORDINATORS, MEMBERS, Place, make_plan
from eth_account import Account
from fedpact.artifacts import canonical
from fedpact.deployment import deploy as deploying
from fedpact.deployment.deploy import deploy, describe, rehearse, summary
from fedpact.deployment.plan import Plan
from fedpact.deployment.record import RecordFile
from fedpact.errors import FedpactError, InputError, LedgerError
from fedpact.ledger import ethereum
from fedpact.ledger.actions import Admit, Remove
from fedpact.ledger.artifact import federation
from fedpact.ledger.endpoints import connect
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.facts import address
from fedpact.ledger.rejections import InvalidLimits
from fedpact.ledger.transactions import NotTaken, ether
from fedpact.store.cid import Cid
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.unixfs import read_small

# ----------------------------------------------------------------------------------------------- on an EVM in process


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
    for name, data in (("charter", CHARTER.encode()), ("genesis", make_plan().genesis)):
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
    contract = place.deploy(make_plan(members=MEMBERS[:2], coordinators=())).record.contract
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
    plan = make_plan(owner=ACCOUNTS[7])
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
    return make_plan(charter=small_charter(name="other"))


@pytest.mark.parametrize(
    ("plan", "changes", "error", "said"),
    [
        (make_plan(), {"chain_id": 5}, InputError, "chain_id: expected 131277322940537, found 5; --again deploys anew"),
        (_other_charter(), {}, InputError, "charter: expected bafk.*, found bafk.*; --again deploys anew"),
        (make_plan(genesis=make_plan().genesis[:-1] + b"\x01"), {}, InputError, "genesis: expected bafk"),
        (make_plan(owner=ACCOUNTS[7]), {}, InputError, f"owner: expected {ACCOUNTS[7]}, found {ACCOUNTS[0]}"),
        (make_plan(), {"code_sha256": "00"}, InputError, "code_sha256: expected [0-9a-f]{64}, found 00"),
        (
            make_plan(),
            {"contract": ACCOUNTS[5]},
            LedgerError,
            "expected the code of a federation, found no code .*--again",
        ),
        (make_plan(), {"transaction": "0x" + "11" * 32}, LedgerError, "the node does not have the deployment"),
        (make_plan(), {"members": [ACCOUNTS[5], 7]}, InputError, "record.json: members.1: "),
        (make_plan(), {"more": "x"}, InputError, "record.json: more: "),
        (make_plan(), {"head": None}, InputError, "record.json: head: "),
        (make_plan(), {"signed": "0x00"}, InputError, "record.json: "),
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
    poor = Account.from_key("5e" * 32)
    said = rf"balance of {poor.address.lower()}: expected at least 0\.\d+ ether, found 0 ether"
    with pytest.raises(LedgerError, match=said):
        deploy(place.web3, poor, make_plan(), place.blocks, place.file)
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
    outcome = rehearse(make_plan())
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
        deploy(web3, KEYS[0], make_plan(), DirectoryBlocks(tmp_path / "store"), RecordFile(tmp_path / "record.json"))
    assert said in str(raised.value)
    assert "SECRET" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_at_once_are_one(place: Place) -> None:
    """The second is told of the first, and sends nothing."""
    with place.file.locked(), pytest.raises(InputError, match="another run is under way in this directory"):
        place.deploy(make_plan())
    assert place.deploy(make_plan()).deployed


def test_a_record_that_is_a_link_to_nowhere_is_no_first_run(place: Place) -> None:
    """What it leads to may be on a disk that is not there."""
    place.file.path.symlink_to("unmounted/record.json")
    with pytest.raises(InputError, match="found a link that leads nowhere"):
        place.deploy(make_plan())
    assert place.file.path.is_symlink()


@pytest.mark.parametrize(("name", "value"), [("head", "0x" + "66" * 32), ("block", 0), ("gas", 1)])
def test_a_record_cannot_say_what_the_chain_does_not(place: Place, name: str, value: object) -> None:
    """Least of all another head to trust."""
    place.deploy(make_plan())
    place.rewrite(**{name: value})
    with pytest.raises(InputError, match=f"{name}: expected .*, found {value}"):
        place.deploy(make_plan())


def test_notes_say_what_is_in_the_way_of_a_first_round(place: Place) -> None:
    """Fewer members than the quorum, no coordinator, and who is there although the file does not name it."""
    outcome = place.deploy(make_plan(members=(), coordinators=()))
    assert [hint.partition(",")[0] for hint in outcome.hints] == [
        f"no round can open before there are {CHARTER.rounds.quorum} members",
        "no round can open before a coordinator is appointed",
    ]
    place.deploy(make_plan(members=MEMBERS[:1], coordinators=()))
    outcome = place.deploy(make_plan(members=MEMBERS[1:], coordinators=(ACCOUNTS[6],)))
    assert outcome.hints == [f"not in the file, and still a member unless the owner removed it: {MEMBERS[0]}"]


def test_a_member_that_the_record_has_and_the_chain_has_not_is_named(place: Place) -> None:
    """A reorganisation may have taken an admission back, or the owner may have removed it."""
    outcome = place.deploy(make_plan(members=MEMBERS))
    ledger = EthereumLedger(place.web3, address(outcome.record.contract), [KEYS[0]])
    ledger.send(ACCOUNTS[0], Remove(MEMBERS[1]))
    (hint,) = place.deploy(make_plan(members=MEMBERS)).hints
    assert hint.startswith(f"recorded as admitted, and no member now: {MEMBERS[1]}")
