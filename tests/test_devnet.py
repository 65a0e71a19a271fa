"""`fedpact devnet`: two engines, one behaviour; asked as programs ask, and as nobody should."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anvil import NODES
from chains import CHARTER, GENESIS, LIMITS, make_update
from fedpact.errors import InputError, LedgerError
from fedpact.ledger import rejections
from fedpact.ledger.actions import Admit, Appoint, OpenRound, Publish, Submit
from fedpact.ledger.artifact import federation
from fedpact.ledger.endpoints import connect
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.facts import NO_TERMS, RoundNumber, Terms, address
from fedpact.ledger.port import Follower
from fedpact.ledger.view import Status
from fedpact.store.cid import Cid
from fedpact_simulation import devnet
from fedpact_simulation.devnet import AnvilNode, EthTesterNode, Node, accounts
from hypothesis import given
from hypothesis import strategies as st
from runs import FEDPACT
from web3 import Web3

ANVIL = NODES / ".bin/anvil"
COUNT = 6
KEYS = accounts(COUNT)
OWNER, COORDINATOR, FIRST, SECOND, STRANGER = (address(key.address) for key in KEYS[:5])


@pytest.fixture(scope="module", params=["eth-tester", pytest.param("anvil", marks=pytest.mark.nodes)])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A chain of each engine, with a block every 0.3 s."""
    if request.param == "anvil":
        node: Node = AnvilNode(str(ANVIL), count=COUNT, block_time=0.3)
    else:
        node = EthTesterNode(count=COUNT, block_time=0.3)
    yield node
    node.stop()


@pytest.fixture(scope="module")
def web3(node: Node) -> Web3:
    """A connection as all commands make it."""
    return connect(node.url)


@pytest.fixture(scope="module")
def ledger(web3: Web3) -> EthereumLedger:
    """A federation of two members with a coordinator, and a round in which one has submitted."""
    ledger, _ = EthereumLedger.deploy(web3, KEYS[0], CHARTER, GENESIS, LIMITS, accounts=KEYS[1:])
    ledger.send(OWNER, Admit((FIRST, SECOND)))
    ledger.send(OWNER, Appoint(COORDINATOR))
    now = ledger.now()
    ledger.send(COORDINATOR, OpenRound(RoundNumber(1), Terms(0, 0, now + 500, now + 900, 2)))
    ledger.send(FIRST, Submit(RoundNumber(1), make_update(b"first")))
    return ledger


def ask(node: Node, method: str, *parameters: Any) -> Any:
    """One request as a program makes it; the result, or the error."""
    answer = json.loads(post(node, {"jsonrpc": "2.0", "id": 7, "method": method, "params": parameters})[1])
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
    return answer["result"] if "result" in answer else answer["error"]


def post(node: Node, body: Any, method: str = "POST", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """An HTTP request; bytes are sent as they are, anything else as JSON."""
    connection = http.client.HTTPConnection(node.url.removeprefix("http://"), timeout=20)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): each for name, each in headers.items()}
        connection.request(method, "/", data, {"Content-Type": "application/json"} | named)
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): each for name, each in answer.getheaders()}
    finally:
        connection.close()


# ------------------------------------------------------------------------------------------------ both engines alike


def test_a_federation_lives_on_it(ledger: EthereumLedger, web3: Web3) -> None:
    """Deployed, admitted, appointed, opened, submitted, refused, published: and the fold has the contract's head."""
    with pytest.raises(rejections.NotOwner, match=f"{STRANGER} is not the owner"):
        ledger.send(STRANGER, Appoint(STRANGER))
    with pytest.raises(rejections.AlreadySubmitted):
        ledger.send(FIRST, Submit(RoundNumber(1), make_update(b"again")))
    with pytest.raises(rejections.NotMember):
        ledger.send(STRANGER, Submit(RoundNumber(1), make_update(b"stranger")))
    ledger.send(SECOND, Submit(RoundNumber(1), make_update(b"second")))
    transcript = Follower(ledger).refresh().rounds[RoundNumber(1)].transcript
    model = Cid.of(b"model")
    receipt = ledger.send(COORDINATOR, Publish(RoundNumber(1), transcript, model, Cid.of(b"manifest"), NO_TERMS))
    assert receipt.gas is not None
    view = Follower(ledger).refresh()
    assert view.rounds[RoundNumber(1)].status is Status.PUBLISHED
    assert view.base == model
    contract = web3.eth.contract(address=Web3.to_checksum_address(ledger.identity.contract), abi=federation().abi)
    assert bytes(contract.functions.head().call()) == view.head


def test_time_goes_by(web3: Web3) -> None:
    """Blocks are made though nobody sends anything, and carry the time of this machine."""
    first = web3.eth.get_block("latest")
    end = time.monotonic() + 20
    while (last := web3.eth.get_block("latest"))["timestamp"] < first["timestamp"] + 2:
        assert time.monotonic() < end
        time.sleep(0.1)  # For the interval; bounded above.
    assert last["number"] > first["number"]
    assert abs(last["timestamp"] - time.time()) < 10
    parent = web3.eth.get_block(last["number"] - 1)
    assert last["parentHash"] == parent["hash"]
    assert web3.eth.get_block("pending")["number"] >= last["number"]
    assert web3.eth.get_block(last["hash"])["number"] == last["number"]


def test_the_shape_of_answers(node: Node, ledger: EthereumLedger) -> None:
    """What programs read from blocks, logs, receipts and transactions is there, written as nodes write it."""
    contract = ledger.identity.contract
    logs = ask(node, "eth_getLogs", {"address": contract, "fromBlock": "0x0", "toBlock": "latest"})
    assert len(logs) >= 5
    for log in logs:
        assert {"address", "blockHash", "blockNumber", "data", "logIndex", "removed", "topics"} <= set(log)
        assert log["address"] == contract
        assert log["removed"] is False
        by_hash = ask(node, "eth_getLogs", {"address": contract, "blockHash": log["blockHash"]})
        assert log in by_hash
        assert ask(node, "eth_getLogs", {"blockHash": log["blockHash"], "topics": [log["topics"][0]]}) == [
            each for each in by_hash if each["topics"][0] == log["topics"][0]
        ]
        assert ask(node, "eth_getLogs", {"blockHash": log["blockHash"], "topics": ["0x" + "00" * 32]}) == []
    first = logs[0]
    receipt = ask(node, "eth_getTransactionReceipt", first["transactionHash"])
    assert receipt["logs"][0]["transactionHash"] == first["transactionHash"]
    assert (receipt["status"], receipt["contractAddress"], receipt["type"]) == ("0x1", contract, "0x2")
    assert {"gasUsed", "cumulativeGasUsed", "effectiveGasPrice", "logsBloom", "from", "to"} <= set(receipt)
    transaction = ask(node, "eth_getTransactionByHash", first["transactionHash"])
    assert (transaction["blockHash"], transaction["from"]) == (first["blockHash"], OWNER)
    assert {"nonce", "input", "maxFeePerGas", "maxPriorityFeePerGas", "chainId"} <= set(transaction)
    block = ask(node, "eth_getBlockByNumber", first["blockNumber"], True)
    assert block["transactions"][0]["hash"] == first["transactionHash"]
    assert {"hash", "parentHash", "timestamp", "baseFeePerGas", "miner", "gasLimit", "logsBloom"} <= set(block)
    assert ask(node, "eth_getBlockByHash", first["blockHash"], False)["number"] == first["blockNumber"]
    code = ask(node, "eth_getCode", contract, "latest")
    assert bytes.fromhex(code[2:]) == federation().runtime
    history = ask(node, "eth_feeHistory", "0x2", "latest", [50])
    assert (len(history["baseFeePerGas"]), len(history["gasUsedRatio"]), len(history["reward"])) == (3, 2, 2)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("eth_getTransactionReceipt", ["0x" + "11" * 32]),
        ("eth_getTransactionByHash", ["0x" + "11" * 32]),
        ("eth_getBlockByHash", ["0x" + "11" * 32, False]),
        ("eth_getBlockByNumber", ["0xffffff", False]),
    ],
)
def test_what_is_not_there_is_null(node: Node, method: str, parameters: list[Any]) -> None:
    """As the specification of the interface has it."""
    assert ask(node, method, *parameters) is None


def test_a_revert_carries_its_data(node: Node, ledger: EthereumLedger) -> None:
    """A call and an estimate that the contract refuses answer with code 3 and the bytes of its error."""
    selector = Web3.keccak(text="appoint(address)")[:4].hex()
    call = {"from": STRANGER, "to": ledger.identity.contract, "data": f"0x{selector}{'00' * 12}{STRANGER[2:]}"}
    for method in ("eth_call", "eth_estimateGas"):
        error = ask(node, method, call, "latest")
        assert error["code"] == 3
        assert error["message"].startswith("execution reverted")
        assert error["data"].startswith("0x" + Web3.keccak(text="NotOwner(address,address)")[:4].hex())


def test_an_estimate_is_enough(node: Node, ledger: EthereumLedger) -> None:
    """What is estimated suffices, and much less does not."""
    call = {"from": OWNER, "to": STRANGER, "value": "0x1"}
    assert int(ask(node, "eth_estimateGas", call), 16) == 21_000
    selector = Web3.keccak(text="appoint(address)")[:4].hex()
    call = {"from": OWNER, "to": ledger.identity.contract, "data": f"0x{selector}{'00' * 12}{STRANGER[2:]}"}
    gas = int(ask(node, "eth_estimateGas", call), 16)
    assert 40_000 < gas < 60_000
    assert ask(node, "eth_call", {**call, "gas": hex(gas)}, "latest") == "0x"


def test_what_a_node_does_not_take(node: Node, web3: Web3) -> None:
    """A transaction that was taken, one with a used nonce, one that nobody can pay: each is refused for its reason."""
    key = KEYS[5]
    sender = Web3.to_checksum_address(key.address)
    fields = {"to": sender, "value": 1, "gas": 21_000, "chainId": web3.eth.chain_id, "type": 2}
    fees = {"maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 1}
    nonce = web3.eth.get_transaction_count(sender, "pending")
    signed = key.sign_transaction({**fields, **fees, "nonce": nonce})
    raw = signed.raw_transaction.to_0x_hex()
    assert ask(node, "eth_sendRawTransaction", raw) == signed.hash.to_0x_hex()
    assert web3.eth.get_transaction_count(sender, "pending") == nonce + 1
    web3.eth.wait_for_transaction_receipt(signed.hash, timeout=20)
    assert "nonce too low" in ask(node, "eth_sendRawTransaction", raw)["message"]
    poor = {**fields, **fees, "value": 10**30, "nonce": nonce + 1}
    error = ask(node, "eth_sendRawTransaction", key.sign_transaction(poor).raw_transaction.to_0x_hex())
    assert "insufficient funds" in error["message"].lower()
    assert "code" in ask(node, "eth_sendRawTransaction", "0x1234")


def test_accounts_have_money_and_no_others(web3: Web3) -> None:
    """The keys that are named are those that have ether."""
    assert web3.eth.chain_id == 31337
    assert web3.eth.get_balance(KEYS[5].address) > 10**21
    assert web3.eth.get_balance(accounts(COUNT + 1)[COUNT].address) == 0


def test_several_requests_at_once(node: Node) -> None:
    """A batch is answered request by request; what is wrong with one is wrong with that one."""
    asked = [
        {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "id": "two", "method": "no_such", "params": []},
    ]
    answers = {each["id"]: each for each in json.loads(post(node, asked)[1])}
    assert answers[1]["result"] == "0x7a69"
    assert answers["two"]["error"]["code"] == -32601


def test_threads_at_once(node: Node, web3: Web3) -> None:
    """Several clients read while blocks are made; nobody sees anything else than an answer."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ask(node, "eth_getBlockByNumber", "latest", False)["number"], range(64)))
    assert all(int(each, 16) <= web3.eth.block_number for each in found)


# ------------------------------------------------------------------------------------------------- eth-tester over HTTP


@pytest.fixture(scope="module")
def tester() -> Iterator[EthTesterNode]:
    """A chain without hurry."""
    node = EthTesterNode(count=1, block_time=60)
    yield node
    node.stop()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"id": 1}', -32600),
        (b'{"id": 1, "method": 7}', -32600),
        (b'{"id": 1, "method": "eth_chainId", "params": {}}', -32602),
        (b'{"id": 1, "method": "eth_chainId", "params": [1, 2, 3]}', -32602),
        (b'{"id": 1, "method": "eth_getBalance", "params": []}', -32602),
        (b'{"id": 1, "method": "eth_getBalance", "params": ["0x12", "latest"]}', -32602),
        (b'{"id": 1, "method": "eth_getBalance", "params": [["a"], {"b": {}}]}', -32602),
        (b'{"id": 1, "method": "eth_getLogs", "params": ["x"]}', -32602),
        (b'{"id": 1, "method": "eth_call", "params": [{"to": 7}, "latest"]}', -32602),
        (b'{"id": 1, "method": "eth_call", "params": [{}, "0xffffff"]}', -32000),
        (b'{"id": 1, "method": "eth_getBlockByNumber", "params": [{"blockHash": "0x12"}, true]}', -32602),
        (b'{"id": 1, "method": "eth_sendRawTransaction", "params": ["0x02"]}', -32602),
        (b'{"id": 1, "method": "eth_sendRawTransaction", "params": ["0x"]}', -32602),
        (b'{"id": 1, "method": "_x"}', -32601),
        (b'{"id": 1, "method": "' + b"x" * 10_000 + b'"}', -32601),
    ],
)
def test_what_is_no_request_is_told_so(tester: EthTesterNode, body: bytes, code: int) -> None:
    """An error of JSON-RPC with a short message, and the server goes on."""
    status, answer, _ = post(tester, body)
    assert status == 200
    error = json.loads(answer)["error"]
    assert error["code"] == code, error
    assert len(error["message"]) < 300
    assert ask(tester, "eth_chainId") == "0x7a69"


READS = "call estimateGas feeHistory getBalance getBlockByHash getBlockByNumber getCode getLogs getStorageAt gasPrice"
OTHERS = "getTransactionByHash getTransactionCount getTransactionReceipt sendRawTransaction chainId"
METHODS = [f"eth_{name}" for name in (*READS.split(), *OTHERS.split())]
texts = st.sampled_from(["latest", "pending", "0x", "0x1", "0x" + "ff" * 20, "0x" + "ff" * 32, "0x-1", "x", ""])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**256) | st.floats(allow_nan=False) | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["from", "to", "data", "gas", "value", "fromBlock", "toBlock", "blockHash", "address", "topics"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(METHODS), st.lists(values, max_size=3))
def test_no_parameters_are_a_surprise(tester: EthTesterNode, method: str, parameters: list[Any]) -> None:
    """Whatever is asked: an answer, or an error that names its reason; never an internal one."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
    answer = devnet._answer(tester.chain, body)
    assert json.loads(json.dumps(answer)) == answer
    assert answer.get("error", {"code": 0})["code"] != -32603, answer


def test_what_nobody_asked_for_is_not_answered(tester: EthTesterNode) -> None:
    """A notification has no answer, alone or among others."""
    assert post(tester, {"jsonrpc": "2.0", "method": "eth_chainId"})[:2] == (204, b"")
    both = [{"jsonrpc": "2.0", "method": "eth_chainId"}, {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}]
    assert len(json.loads(post(tester, both)[1])) == 1


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Host": "attacker.example:8545"}, 403),
        ("POST", {"Host": "127.0.0.1.attacker.example:8545"}, 403),
        ("POST", {"Host": "169.254.1.1:8545"}, 403),
        ("POST", {"Content_Type": "text/plain"}, 415),
        ("POST", {"Content_Length": str(1 << 30)}, 413),
        ("POST", {"Content_Length": "9" * 5000}, 413),
        ("POST", {"Content_Length": "-1"}, 411),
        ("POST", {"Transfer_Encoding": "chunked"}, 411),
        ("OPTIONS", {"Origin": "https://attacker.example"}, 501),
        ("GET", {}, 501),
    ],
)
def test_a_page_in_a_browser_gets_nothing(
    tester: EthTesterNode, method: str, headers: dict[str, str], status: int
) -> None:
    """Neither under another name, nor as a form, nor after asking for leave; nor does anything without bounds."""
    found, _, answered = post(tester, b"{}", method, **headers)
    assert found == status
    assert not [name for name in answered if name.startswith("access-control")]


def test_every_method_answers_its_page_without_leave(tester: EthTesterNode) -> None:
    """No answer lets a page from elsewhere read it."""
    request = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    status, _, headers = post(tester, request, Origin="https://attacker.example")
    assert status == 200
    assert not [name for name in headers if name.startswith("access-control")]


def test_a_block_that_is_full_is_made_at_once() -> None:
    """A transaction that does not fit any more is in the next block; none is lost."""
    node = EthTesterNode(count=1, block_time=60)
    try:
        web3, key = connect(node.url), KEYS[0]
        fields = {"to": key.address, "gas": 20_000_000, "chainId": 31337, "type": 2, "value": 0}
        fees = {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 1}
        burn = "0x" + "01" * 200_000  # 8 million gas, for nothing.
        for nonce in range(3):
            signed = key.sign_transaction({**fields, **fees, "nonce": nonce, "data": burn})
            web3.eth.send_raw_transaction(signed.raw_transaction)
        node.chain.tick()
        assert web3.eth.get_transaction_count(key.address) == 3
        assert web3.eth.block_number >= 2
    finally:
        node.stop()


# ------------------------------------------------------------------------------------------------------ the command


@contextlib.contextmanager
def running(*options: str, **variables: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`fedpact devnet` on a free port; the first line that it printed, and its process."""
    command = [FEDPACT, "devnet", "--port", "0", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env={**os.environ, **variables}) as process:  # type: ignore[call-overload]
        try:
            yield process.stdout.readline(), process
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize("engine", ["eth-tester", pytest.param("anvil", marks=pytest.mark.nodes)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_runs_until_it_is_told_to_end(engine: str, number: signal.Signals) -> None:
    """One line of JSON when it is ready; a signal ends it with exit code 0, and nothing listens any more."""
    options = ("--engine", engine, "--accounts", "3", "--json")
    with running(*options, FEDPACT_ANVIL=str(ANVIL) if engine == "anvil" else "") as (line, process):
        told = json.loads(line)
        assert (told["chain_id"], told["engine"], told["block_time"]) == (31337, engine, 1.0)
        assert told["accounts"] == [{"address": each.address, "key": "0x" + each.key.hex()} for each in KEYS[:3]]
        assert connect(told["url"]).eth.chain_id == 31337
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert not is_listening(told["url"])


def test_a_person_is_told_what_to_do_next() -> None:
    """Where it is, the keys and what they are good for, and the next step."""
    with running("--engine", "eth-tester", "--accounts", "2") as (line, process):
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stdout is not None
        rest = process.stdout.read()
    assert line.startswith("chain 31337 at http://127.0.0.1:")
    assert "known to everyone" in rest
    assert KEYS[1].address in rest
    assert "export FEDPACT_RPC=http://127.0.0.1:" in rest


def test_without_anvil_it_is_eth_tester(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """anvil is used where it is on the PATH or named; a name that is none is an error."""
    assert devnet.find_anvil({"PATH": str(tmp_path)}) is None
    program = tmp_path / "anvil"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    assert devnet.find_anvil({"PATH": str(tmp_path)}) == str(program)
    assert devnet.find_anvil({"PATH": "", "FEDPACT_ANVIL": str(program)}) == str(program)
    with pytest.raises(InputError, match=f"no program at {tmp_path}/nothing"):
        devnet.find_anvil({"PATH": str(tmp_path), "FEDPACT_ANVIL": f"{tmp_path}/nothing"})
    used, node = devnet.start(None, {"PATH": ""}, block_time=60)
    node.stop()
    assert used == "eth-tester"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--engine", "geth"), "engine: expected anvil or eth-tester, found 'geth'"),
        (("--engine", "anvil"), "engine: expected anvil on the PATH or in the variable FEDPACT_ANVIL"),
        (("--engine", "eth-tester", "--state", "x"), "state: expected anvil"),
        (("--block-time", "0"), "--block-time"),
        (("--accounts", "0"), "--accounts"),
        (("--port", "-1"), "--port"),
    ],
)
def test_what_cannot_be_is_one_line(options: tuple[str, ...], said: str) -> None:
    """Exit code 2."""
    with running(*options, PATH="/usr/bin", FEDPACT_ANVIL="") as (line, process):
        assert (line, process.wait(20)) == ("", 2)
        assert process.stderr is not None
        (error,) = process.stderr.read().splitlines()
    assert said in error


@pytest.mark.parametrize("engine", ["eth-tester", pytest.param("anvil", marks=pytest.mark.nodes)])
def test_a_port_that_is_taken_is_one_line(engine: str) -> None:
    """Exit code 2, before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running("--engine", engine, "--port", str(port), FEDPACT_ANVIL=str(ANVIL)) as (line, process):
            assert (line, process.wait(20)) == ("", 2)
            assert process.stderr is not None
            expected = f"fedpact: error: port {port}: cannot listen there: Address already in use\n"
            assert process.stderr.read() == expected


@pytest.mark.nodes
def test_anvil_keeps_its_state(tmp_path: Path) -> None:
    """Stopped and started with the same file, the chain goes on."""
    state = tmp_path / "state.json"
    node = AnvilNode(str(ANVIL), count=COUNT, state=state)
    ledger, _ = EthereumLedger.deploy(connect(node.url), KEYS[0], CHARTER, GENESIS, LIMITS)
    before = Follower(ledger).refresh().head
    node.stop()
    node = AnvilNode(str(ANVIL), count=COUNT, state=state)
    found = EthereumLedger(connect(node.url), ledger.identity.contract)
    assert Follower(found).refresh().head == before
    node.stop()


@pytest.mark.nodes
def test_anvil_does_not_outlive_who_started_it() -> None:
    """Killed with -9, it takes anvil along."""
    with running("--engine", "anvil", "--json", FEDPACT_ANVIL=str(ANVIL)) as (line, process):
        url = json.loads(line)["url"]
        assert is_listening(url)
        process.kill()
        process.wait()
    end = time.monotonic() + 10
    while is_listening(url):
        assert time.monotonic() < end, "anvil is still there"
        time.sleep(0.05)  # For the system to end a process; bounded above.


@pytest.mark.nodes
def test_anvil_that_ends_is_told() -> None:
    """A node that dies is an error, not silence."""
    node = AnvilNode(str(ANVIL))
    os.killpg(node._process.pid, signal.SIGKILL)
    node.wait()
    node.stop()
    with pytest.raises((LedgerError, OSError)):
        devnet.chain_id(node.url)


def test_an_anvil_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    """It ends at once, or is no program: exit code 1 and why."""
    program = tmp_path / "anvil"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with running(FEDPACT_ANVIL=str(program)) as (line, process):
        assert (line, process.wait(20)) == ("", 1)
        assert process.stderr is not None
        assert process.stderr.read() == "fedpact: error: anvil: ended at once, with exit code 3\n"


def is_listening(url: str) -> bool:
    """Whether somebody takes connections there."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, int(port))) == 0
