"""Several endpoints of one chain, most of which fail in some way: real HTTP servers, one of them in front of anvil."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from anvil import anvil_side, running
from chains import COORDINATOR, MEMBERS, OWNER, Twins, open_round, submit_all
from fedpact.artifacts import canonical
from fedpact.cli.chain import read_chain
from fedpact.errors import InputError, InvalidDocument, RecordInconsistent
from fedpact.ledger.actions import Admit, Appoint
from fedpact.ledger.endpoints import NoAnswer, Patience, connect
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.node import Node
from fedpact.ledger.port import Follower
from fedpact.ledger.record import Record
from fedpact.settings import load
from hypothesis import given
from hypothesis import strategies as st
from rpc_server import Answer, Request, Server
from scripted_node import CONTRACT, ScriptedNode
from web3 import Web3
from web3.exceptions import Web3RPCError

QUICK = Patience(
    connect=0.5, answer=0.5, total=5.0, laps=3, pause=0.01, longest_pause=1.0, survey=0.2, max_bytes=1 << 20
)


@pytest.fixture
def dial() -> Iterator[Callable[..., Web3]]:
    """Connects, and hangs up."""
    made: list[Web3] = []

    def start(*servers: Server | str, **options: Any) -> Web3:
        urls = [each if isinstance(each, str) else each.url for each in servers]
        made.append(connect(urls, **{"patience": QUICK, **options}))
        return made[-1]

    yield start
    for web3 in made:
        web3.provider.close()  # type: ignore[attr-defined]


def _results(asked: Any, chain: int = 1, head: int = 100) -> Any:
    results: dict[str, Any] = {
        "eth_chainId": hex(chain),
        "eth_blockNumber": hex(head),
        "eth_getBlockByNumber": {"number": hex(head)},
    }
    if isinstance(asked, list):
        return [_results(each, chain, head) for each in asked]
    return {"jsonrpc": "2.0", "id": asked["id"], "result": results.get(asked["method"], "0x1")}


def good(chain: int = 1, head: int = 100) -> Answer:
    """A node."""
    return lambda request, asked: request.give(json.dumps(_results(asked, chain, head)).encode())


def error(code: int, message: str) -> Answer:
    """A node that answers with an error."""
    return lambda request, asked: request.give(
        json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": code, "message": message}}).encode()
    )


def only(method: str, behave: Answer) -> Answer:
    """A node that does something else where it is asked for one method."""
    return lambda request, asked: (behave if asked["method"] == method else good())(request, asked)


def _dead() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/SECRET"


def _trickle(request: Request, _: Any) -> None:
    """A byte now and then, for ever; each comes long before a timeout."""
    request.send_response(200)
    request.send_header("Content-Length", "1000000")
    request.end_headers()
    for _ in range(100):
        request.wfile.write(b" ")
        time.sleep(0.05)  # The fault itself; bounded above.


def _trickle_headers(request: Request, _: Any) -> None:
    for _ in range(100):
        request.wfile.write(b"H")
        time.sleep(0.05)  # The fault itself; bounded above.


def _silent(request: Request, _: Any) -> None:
    request.connection.settimeout(10)
    request.connection.recv(1)  # Until the client hangs up.
    request.close_connection = True


def _cut(request: Request, asked: Any) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"jsonrpc":"2.0","id":0,"resu')
    request.close_connection = True


CRUMBS = b'{"jsonrpc":"2.0","id":0,"result":[' + b"{}," * 100_000 + b"{}]}"
BOMB = gzip.compress(b" " * (64 << 20))


def _bomb(request: Request, _: Any) -> None:
    request.give(BOMB, Content_Encoding="gzip")


def _hang_up(request: Request, _: Any) -> None:
    request.close_connection = True


def _other_id(request: Request, asked: Any) -> None:
    request.give(json.dumps({"jsonrpc": "2.0", "id": -7, "result": "0x5"}).encode())


FAULTS: dict[str, tuple[Answer, str]] = {
    "429": (lambda request, _: request.give(b"slow down", 429), "HTTP status 429"),
    "500": (lambda request, _: request.give(b"{}", 500), "HTTP status 500"),
    "403": (lambda request, _: request.give(b"no such key", 403), "HTTP status 403"),
    "redirect": (lambda request, _: request.give(b"", 302, Location="http://127.0.0.1:1/"), "HTTP status 302"),
    "html": (lambda request, _: request.give(b"<html>hello</html>"), "Could not decode"),
    "empty": (lambda request, _: request.give(b""), "Could not decode"),
    "half of JSON": (lambda request, _: request.give(b'{"jsonrpc":"2.0","id":0,'), "Could not decode"),
    "list": (lambda request, _: request.give(b"[]"), "Malformed response"),
    "neither": (lambda request, _: request.give(b'{"jsonrpc":"2.0","id":0}'), "Malformed response"),
    "brackets": (lambda request, _: request.give(b"[" * 50_000), "Could not decode"),
    "crumbs": (lambda request, _: request.give(CRUMBS), "more values than its size allows"),
    "packed": (_bomb, "a packed answer"),
    "other id": (_other_id, "the answer to another request"),
    "cut": (_cut, "no whole answer"),
    "hangs up": (_hang_up, "no whole answer"),
    "silent": (_silent, "no whole answer within 0.5 seconds"),
    "trickle": (_trickle, "no whole answer within 0.5 seconds"),
    "trickling headers": (_trickle_headers, "no whole answer within 0.5 seconds"),
    "too many requests": (error(-32005, "limit exceeded, slow down"), "too many requests"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_bounded_and_named_in_one_line_without_the_key(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3], name: str
) -> None:
    """The line has method, host and port, and what was wrong; never the path, which may be a key."""
    behave, said = FAULTS[name]
    server = serve(behave)
    started = time.monotonic()
    with pytest.raises(NoAnswer) as raised:
        dial(server).eth.get_balance(Web3.to_checksum_address(OWNER))
    assert time.monotonic() - started < QUICK.total
    assert str(raised.value).startswith(f"rpc: eth_getBalance: http://127.0.0.1:{server.server_port}: ")
    assert said in str(raised.value)
    assert "SECRET" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(server.asked) == (1 if ("HTTP status 4" in said and "429" not in said) or "302" in said else QUICK.laps)


@pytest.mark.parametrize("name", FAULTS)
def test_another_endpoint_answers_in_its_place(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3], name: str
) -> None:
    """Whoever asks sees nothing of it."""
    other = serve(good())
    web3 = dial(serve(FAULTS[name][0]), other, chain_id=1)
    for _ in range(5):
        assert web3.eth.get_balance(Web3.to_checksum_address(OWNER)) == 1
    assert other.methods("eth_getBalance") == 5


def test_one_that_is_not_there_is_passed_over(serve: Callable[[Answer], Server], dial: Callable[..., Web3]) -> None:
    """And when none is there, all are named."""
    assert dial(_dead(), serve(good())).eth.block_number == 100
    with pytest.raises(NoAnswer, match=r"http://127\.0\.0\.1:\d+: no connection.*; http://127\.0\.0\.1:\d+: no conn"):
        dial(_dead(), _dead()).eth.block_number  # noqa: B018  # A property that asks.


def test_a_failure_that_passes_is_not_noticed(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3], caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked again after a pause, and the log says so once."""
    caplog.set_level(logging.INFO)
    server = serve(FAULTS["500"][0])
    server.behave = lambda request, asked: (FAULTS["500"][0] if len(server.asked) < 3 else good())(request, asked)
    assert dial(server).eth.block_number == 100
    assert [record.levelno for record in caplog.records if record.name.endswith("endpoints")] == [
        logging.INFO,
        logging.INFO,
    ]


def test_who_asks_to_wait_is_waited_for_within_bounds(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3]
) -> None:
    """`Retry-After` counts, but not for an hour."""
    server = serve(good())

    def once(later: str) -> float:
        server.asked.clear()
        server.behave = lambda request, asked: (
            request.give(b"", 429, Retry_After=later) if len(server.asked) == 1 else good()(request, asked)
        )
        started = time.monotonic()
        assert dial(server, patience=Patience(pause=0.01, longest_pause=1.2)).eth.block_number == 100
        return time.monotonic() - started

    assert 1.0 <= once("1") < 5  # On a busy machine everything takes longer.
    assert 1.2 <= once("3600") < 5
    assert once("Fri, 31 Dec 1999 23:59:59 GMT") < 0.5


@pytest.mark.parametrize(
    ("code", "message"),
    [(3, "execution reverted"), (-32000, "nonce too low"), (-32005, "query returned more than 10000 results")],
)
def test_an_error_of_the_node_is_an_answer(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3], code: int, message: str
) -> None:
    """A revert is asked for once, and so is a range that gives too much; the second endpoint is left alone."""
    first, second = serve(only("eth_getBalance", error(code, message))), serve(good())
    with pytest.raises(Web3RPCError, match=message):
        dial(first, second).eth.get_balance(Web3.to_checksum_address(OWNER))
    assert (first.methods("eth_getBalance"), second.methods("eth_getBalance")) == (1, 0)


def test_an_error_with_a_status_is_an_answer_too(serve: Callable[[Answer], Server], dial: Callable[..., Web3]) -> None:
    """Some nodes say 400 with it."""

    def behave(request: Request, asked: Any) -> None:
        body = {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32602, "message": "bad parameters"}}
        request.give(json.dumps(body).encode(), 400)

    with pytest.raises(Web3RPCError, match="bad parameters"):
        dial(serve(behave)).eth.block_number  # noqa: B018  # A property that asks.


def test_an_answer_that_is_too_large_is_an_error_of_the_node(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3]
) -> None:
    """Whoever asked can ask for less; nobody else is asked for the same."""
    server = serve(lambda request, _: request.give(b" " * (2 << 20)))
    with pytest.raises(Web3RPCError, match="the answer has more than 1048576 bytes"):
        dial(server).eth.block_number  # noqa: B018  # A property that asks.
    assert len(server.asked) == 1


def test_only_logs_may_be_many_bytes(serve: Callable[[Answer], Server], dial: Callable[..., Web3]) -> None:
    """Of anything else, 4 MiB are the most, in a batch too."""

    def behave(request: Request, asked: Any) -> None:
        answer = {"jsonrpc": "2.0", "id": 0 if isinstance(asked, list) else asked["id"], "result": "a" * (5 << 20)}
        request.give(json.dumps(answer).encode())

    provider: Any = dial(serve(behave), patience=Patience()).provider
    assert len(provider.make_request("eth_getLogs", [{}])["result"]) == 5 << 20
    assert "more than 4194304 bytes" in provider.make_request("eth_call", [{}])["error"]["message"]
    assert "more than 4194304 bytes" in provider.make_batch_request([("eth_getLogs", [{}])])["error"]["message"]


def test_blocks_that_are_too_much_in_one_batch_are_asked_for_in_smaller_ones(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3]
) -> None:
    """And batches are asked for again the next time."""

    def header(asked: Any) -> Any:
        padded = {"number": asked["params"][0], "timestamp": "0x1", "hash": "0x" + "11" * 32, "much": "a" * 300_000}
        return {"jsonrpc": "2.0", "id": asked["id"], "result": padded | {"parentHash": "0x" + "22" * 32}}

    def behave(request: Request, asked: Any) -> None:
        request.give(
            json.dumps([header(each) for each in asked] if isinstance(asked, list) else header(asked)).encode()
        )

    server = serve(behave)
    node = Node(dial(server))
    for _ in range(2):
        server.asked.clear()
        headers = node.headers(list(range(10)))
        assert [header.number for header in headers if header is not None] == list(range(10))
        assert [len(asked) for asked in server.asked] == [10, 5, 2, 3, 5, 2, 3]


def test_another_chain_is_refused_for_good(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3], caplog: pytest.LogCaptureFixture
) -> None:
    """Where no chain is named, the first endpoint that answers names it."""
    right, wrong = serve(good(1)), serve(good(5))
    for web3 in (dial(wrong, right, chain_id=1), dial(right, wrong)):
        for _ in range(3):
            assert web3.eth.get_balance(Web3.to_checksum_address(OWNER)) == 1
    assert wrong.methods("eth_getBalance") == 0
    assert wrong.methods("eth_chainId") == 2
    assert sum("expected chain 1, found chain 5; it is not asked again" in each for each in caplog.messages) == 2
    with pytest.raises(NoAnswer, match="expected chain 1, found chain 5"):
        dial(wrong, chain_id=1).eth.get_balance(Web3.to_checksum_address(OWNER))


def test_one_behind_the_head_is_passed_over_while_a_better_one_answers(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3]
) -> None:
    """A few blocks do not count; and it is asked when nobody else answers, and again when it has caught up."""
    late, ahead = serve(good(head=90)), serve(good(head=100))
    account = Web3.to_checksum_address(OWNER)
    web3 = dial(late, ahead, chain_id=1)
    for _ in range(3):
        web3.eth.get_balance(account)
    assert (late.methods("eth_getBalance"), ahead.methods("eth_getBalance")) == (0, 3)
    ahead.behave = FAULTS["500"][0]
    assert web3.eth.get_balance(account) == 1
    assert late.methods("eth_getBalance") == 1
    ahead.behave, late.behave = good(head=100), good(head=98)
    time.sleep(2 * QUICK.survey)  # Until the heads are looked at again.
    web3.eth.get_balance(account)
    assert late.methods("eth_getBalance") == 2


def test_a_transaction_is_sent_to_one_endpoint_at_most_twice_when_its_fate_is_not_known(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3]
) -> None:
    """Who hung up may have taken it. The other may be asked, and says what it knows."""
    first = serve(_hang_up)
    with pytest.raises(NoAnswer):
        dial(first).eth.send_raw_transaction(b"\x02")
    assert first.methods("eth_sendRawTransaction") == 2
    losing, known = (serve(only("eth_sendRawTransaction", each)) for each in (_hang_up, error(-32000, "already known")))
    with pytest.raises(Web3RPCError, match="already known"):
        dial(losing, known).eth.send_raw_transaction(b"\x02")
    assert (losing.methods("eth_sendRawTransaction"), known.methods("eth_sendRawTransaction")) == (1, 1)


def test_batches_come_back_in_their_order(serve: Callable[[Answer], Server], dial: Callable[..., Web3]) -> None:
    """Whatever the order of the node; and what is missing makes it no answer."""
    server = serve(lambda request, asked: request.give(json.dumps(_results(asked)[::-1]).encode()))
    provider: Any = dial(server).provider
    answers = provider.make_batch_request([("eth_chainId", []), ("eth_blockNumber", []), ("eth_gasPrice", [])])
    assert [answer["result"] for answer in answers] == ["0x1", "0x64", "0x1"]
    server.behave = lambda request, asked: request.give(json.dumps(_results(asked)[1:]).encode())
    with pytest.raises(NoAnswer, match="not the answers to the requests"):
        provider.make_batch_request([("eth_chainId", []), ("eth_blockNumber", [])])


def test_many_threads_share_a_connection(serve: Callable[[Answer], Server], dial: Callable[..., Web3]) -> None:
    """Each gets the answer to its own request."""

    def echo(request: Request, asked: Any) -> None:
        body = {"jsonrpc": "2.0", "id": asked["id"], "result": asked["params"][0]}
        request.give(json.dumps(body).encode())

    provider: Any = dial(serve(echo)).provider
    wrong: list[int] = []

    def work(thread: int) -> None:
        numbers = range(1000 * thread, 1000 * thread + 30)
        wrong.extend(each for each in numbers if provider.make_request("echo", [each])["result"] != each)

    threads = [threading.Thread(target=work, args=[each]) for each in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


@pytest.mark.parametrize("urls", [[], ["http://a", "ftp://b/SECRET"], "b/SECRET"])
def test_what_is_no_url_is_refused_and_not_shown(urls: Any) -> None:
    """It may hold a key."""
    with pytest.raises(InputError, match="rpc: expected") as raised:
        connect(urls)
    assert "SECRET" not in str(raised.value)


@given(
    st.recursive(
        st.text('[]{}"\\a', max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner)
    )
)
def test_a_quick_look_at_the_depth_says_what_a_closer_one_says(value: Any) -> None:
    """Text with brackets, quotes and escapes is not taken for structure."""
    for depth, fits in ((0, True), (canonical.MAX_DEPTH, False)):
        text = "[" * depth + json.dumps([value]) + "]" * depth
        if fits:
            assert canonical.parse(text.encode(), "it") == [value]
        else:
            with pytest.raises(InvalidDocument, match="nested deeper"):
                canonical.parse(text.encode(), "it")


# ---------------------------------------------------------------------------------------------- in front of a real node


@pytest.mark.nodes
def test_a_round_on_a_real_node_behind_faults_and_one_that_is_dead(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3]
) -> None:
    """Every third request to the first endpoint fails in another way, the second is dead: the round is as ever."""
    with running() as web3:
        node = web3.provider.endpoint_uri  # type: ignore[attr-defined]
        faults = [fault for name, (fault, _) in FAULTS.items() if name not in ("403", "redirect")]
        session = requests.Session()

        def forward(request: Request, asked: Any) -> None:
            count = len(server.asked)
            sends = isinstance(asked, dict) and asked["method"] == "eth_sendRawTransaction"
            if count % 3 == 0 and not sends:
                faults[count // 3 % len(faults)](request, asked)
            else:
                request.give(session.post(node, json=asked, timeout=10).content)

        server = serve(forward)
        twins = Twins(anvil_side(web3))
        ledger = EthereumLedger(dial(server, _dead(), chain_id=31337), twins.chain.identity.contract)
        follower = Follower(ledger)
        twins.must(OWNER, Admit(tuple(MEMBERS)), Appoint(COORDINATOR))
        follower.refresh()
        open_round(twins)
        submit_all(twins)
        for _ in range(10):
            view = follower.refresh()
        assert view.rounds == Follower(twins.chain).refresh().rounds
        assert ledger.now() == twins.now
        assert len(server.asked) > 3 * len(faults) // 2
        session.close()


# -------------------------------------------------------------------------------------------------------------- doubts


def test_one_that_names_a_head_and_cannot_show_it_counts_for_nothing(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3]
) -> None:
    """An honest one is asked before it."""

    def boast(request: Request, asked: Any) -> None:
        answer = _results(asked, head=10_000)
        if asked["method"] == "eth_getBlockByNumber":
            answer["result"] = None
        request.give(json.dumps(answer).encode())

    boasting, honest = serve(boast), serve(good())
    dial(boasting, honest, chain_id=1).eth.get_balance(Web3.to_checksum_address(OWNER))
    assert (boasting.methods("eth_getBalance"), honest.methods("eth_getBalance")) == (0, 1)


@pytest.fixture
def two_nodes(serve: Callable[[Answer], Server]) -> tuple[Server, Server, ScriptedNode]:
    """Two nodes of one chain with entries; the first withholds the founding of the contract."""
    node, lock = ScriptedNode(), threading.Lock()
    node.grow(*(node.appoint() for _ in range(20)))

    def tell(request: Request, asked: Any, *, withhold: bool) -> None:
        with lock:
            each = [node.make_request(one["method"], one["params"]) | {"id": one["id"]} for one in _listed(asked)]
        for answer in each:
            if withhold and isinstance(answer["result"], list):
                answer["result"] = [log for log in answer["result"] if log["blockNumber"] != "0x1"]
        request.give(json.dumps(each if isinstance(asked, list) else each[0]).encode())

    lying = serve(lambda request, asked: tell(request, asked, withhold=True))
    return lying, serve(lambda request, asked: tell(request, asked, withhold=False)), node


def _listed(asked: Any) -> list[Any]:
    return asked if isinstance(asked, list) else [asked]


def test_after_a_contradiction_another_endpoint_is_read(
    two_nodes: tuple[Server, Server, ScriptedNode], dial: Callable[..., Web3]
) -> None:
    """An entry that one withholds does not stop the reading for ever."""
    lying, honest, node = two_nodes
    follower = Follower(EthereumLedger(dial(lying, honest), CONTRACT))
    with pytest.raises(RecordInconsistent):
        follower.refresh()
    assert not honest.methods("eth_getLogs")
    follower.refresh()
    assert [entry.event for entry in follower.entries] == node.truth


def test_an_audit_asks_every_endpoint_before_a_contradiction_is_a_finding(
    two_nodes: tuple[Server, Server, ScriptedNode],
) -> None:
    """One honest node is enough; where there is none, it is found."""
    lying, honest, node = two_nodes

    def read(*servers: Server) -> Record:
        return read_chain(load({"contract": CONTRACT, "rpc": [server.url for server in servers]}, {}, None))

    assert [entry.event for entry in read(lying, honest).entries] == node.truth
    with pytest.raises(RecordInconsistent):
        read(lying)


def test_a_ledger_that_stands_still_is_asked_elsewhere(
    two_nodes: tuple[Server, Server, ScriptedNode], dial: Callable[..., Web3]
) -> None:
    """Whoever reads it says so."""
    first, second, _ = two_nodes
    ledger = EthereumLedger(dial(first, second), CONTRACT)
    ledger.passed()
    ledger.doubt()
    first.asked.clear()
    ledger.passed()
    assert first.asked == []


def test_an_endpoint_whose_answers_make_no_sense_is_asked_after_the_others(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3], caplog: pytest.LogCaptureFixture
) -> None:
    """Each time for longer, however far ahead it says that it is; alone it is asked all the same."""
    liar, honest = serve(good(head=10_000)), serve(good())
    web3 = dial(liar, honest, patience=Patience(longest_pause=20.0, survey=0.01))
    account = Web3.to_checksum_address(OWNER)

    def answered() -> Server:
        before = liar.methods("eth_getBalance")
        web3.eth.get_balance(account)
        return liar if liar.methods("eth_getBalance") > before else honest

    assert answered() is liar
    for doubts in range(3):
        web3.provider.doubt()  # type: ignore[attr-defined]
        doubted = web3.provider._endpoints[0]  # type: ignore[attr-defined]
        rest = doubted.rests_until - time.monotonic()
        assert 20 * 2**doubts - 5 < rest <= 20 * 2**doubts
        assert answered() is honest
        doubted.rests_until = 0.0  # As if so long had passed.
        assert answered() is liar
    assert sum("its answers contradict one another; others first for" in line for line in caplog.messages) == 3
    alone = dial(liar)
    alone.eth.get_balance(account)
    alone.provider.doubt()  # type: ignore[attr-defined]
    assert alone.eth.get_balance(account) == 1


def test_before_the_first_answer_nobody_is_doubted(
    serve: Callable[[Answer], Server], dial: Callable[..., Web3], caplog: pytest.LogCaptureFixture
) -> None:
    """There is nobody who said anything."""
    dial(serve(good()), serve(good())).provider.doubt()  # type: ignore[attr-defined]
    assert caplog.messages == []
