"""Parts of services in this process, on a real node behind one that fails: they go on, and say what they wait for."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from anvil import ask, running
from chains import ACCOUNTS, COORDINATOR, KEYS, MEMBERS, OWNER
from charters import small_charter
from fedpact.ledger import endpoints
from fedpact.ledger.actions import AmendCharter
from fedpact.ledger.endpoints import connect
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.facts import address
from fedpact.ledger.outbox import Patience
from fedpact.ledger.port import Follower
from fedpact.ledger.view import Status
from fedpact.service.figures import Figures
from fedpact.service.loop import Outcome, run
from fedpact.service.station import Station
from fedpact.store import Cid, DirectoryBlocks
from fedpact.store.counting import CountedBlocks
from fedpact.store.remote.gateway import GatewayBlocks
from fedpact.store.several import SeveralBlocks
from fedpact.store.unixfs import add
from fedpact_client.journal import Journal
from fedpact_client.service import SiloService
from fedpact_client.silo import Silo
from fedpact_client.status import statuses
from fedpact_coordinator.service import CoordinatorService
from gateways import respond
from rpc_server import Answer, Request, Server
from services import Federation
from test_verification import AddTen
from web3 import Web3

pytestmark = pytest.mark.nodes

QUICK = endpoints.Patience(connect=0.3, answer=0.3, total=2.0, laps=4, pause=0.01, longest_pause=0.1, survey=0.3)
HASTE = Patience(receipt=1.0, look=0.1, stuck=0.2, silence=0.3)
FIRST = 2


class Enough(BaseException):
    """A service has had all the pauses that a test gives it."""


class Party:
    """One account's service in this process.

    Attributes:
        blocks: its own directory, and the federation's gateway.
    """

    def __init__(self, federation: Federation, key: int, urls: Sequence[str] = (), **silo: Any) -> None:
        self.federation, self.own = federation, address(KEYS[key].address)
        self.path = federation.path / f"party{key}"
        self.path.mkdir(exist_ok=True)
        self.web3 = connect(list(urls) or [federation.url()], patience=QUICK)
        self.gateway = GatewayBlocks(federation.gateway.url, seconds=1.0)
        stores = [(DirectoryBlocks(self.path / "store"), "own"), (self.gateway, "gateway")]
        self.blocks = SeveralBlocks([CountedBlocks(store, name) for store, name in stores])
        contract = federation.ledger.identity.contract
        self.ledger = EthereumLedger(
            self.web3, contract, [KEYS[key]], patience=HASTE, first_block=federation.deployed.block
        )
        self.follower = Follower(self.ledger)
        figures = Figures("silo", self.own)
        self.station = Station(self.ledger, self.own, self.blocks, self.follower, figures, by_charter=False)
        self.journal = Journal(self.path / "journal")
        if self.own == COORDINATOR or key == 7:
            self.step: Callable[[], Outcome] = CoordinatorService(self.station, 1).step
        else:
            cid = Cid.of(federation.charter.encode())
            one = Silo(self.ledger, self.own, self.blocks, self.follower, AddTen(), cid, journal=self.journal, **silo)
            self.step = SiloService(one).step

    def turns(self, pauses: int) -> None:
        """Lets the service go on until it has paused so often."""
        left = itertools.repeat(None, pauses)

        def sleep(_: float) -> None:
            if next(left, self) is self:
                raise Enough

        with pytest.raises(Enough):
            run(self.step, poll=0.1, sleep=sleep, went_well=self.station.took_step)

    def close(self) -> None:
        self.ledger.close()
        self.blocks.close()


@pytest.fixture(scope="module")
def anvil() -> Iterator[Web3]:
    """A node of its own: others leave theirs at another time."""
    with running() as web3:
        yield web3


@pytest.fixture
def federation(anvil: Web3, tmp_path: Path) -> Iterator[Federation]:
    """A federation of four members, of which two are enough for a model."""
    before = ask(anvil, "evm_snapshot")
    rounds = {"quorum": 2, "submission_seconds": 600, "publication_seconds": 600}
    federation = Federation(anvil, tmp_path, MEMBERS, rounds=rounds, duplicates="keep")
    yield federation
    federation.close()
    ask(anvil, "evm_setAutomine", True)
    ask(anvil, "evm_revert", before)


@pytest.fixture
def join(federation: Federation) -> Iterator[Callable[..., Party]]:
    """Starts services."""
    joined: list[Party] = []

    def start(key: int, *urls: str, **options: Any) -> Party:
        joined.append(Party(federation, key, urls, **options))
        return joined[-1]

    yield start
    for party in joined:
        party.close()


def free_url() -> str:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def play(federation: Federation, coordinator: Party, *silos: Party) -> None:
    """One round, from its opening to its model."""
    coordinator.turns(2)
    for silo in silos:
        silo.turns(2)
    federation.travel(650)
    coordinator.turns(2)


# ------------------------------------------------------------------------------------------------- a node that fails


def _through(node: str, asked: Any) -> bytes:
    return requests.post(node, json=asked, timeout=10).content


def _lost(request: Request, asked: Any, body: bytes) -> None:
    request.close_connection = True


def _truncated(request: Request, asked: Any, body: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[: len(body) // 2])
    request.close_connection = True


def _slow(request: Request, asked: Any, body: bytes) -> None:
    request.server.waiting.wait(1.0)  # type: ignore[attr-defined]  # Longer than anyone here has patience.
    request.close_connection = True


def _lying(request: Request, asked: Any, body: bytes) -> None:
    """Its head is a thousand blocks beyond the chain's."""
    answers = json.loads(body)
    for one, answer in zip(*([each] if isinstance(each, dict) else each for each in (asked, answers)), strict=True):
        if one["method"] == "eth_blockNumber":
            answer["result"] = hex(int(answer["result"], 16) + 1000)
        if one["method"] == "eth_getBlockByNumber" and one["params"][0] == "latest":
            answer["result"]["number"] = hex(int(answer["result"]["number"], 16) + 1000)
    request.give(json.dumps(answers).encode())


FAULTS: dict[str, Callable[[Request, Any, bytes], None]] = {
    "lost": _lost,
    "slow": _slow,
    "truncated": _truncated,
    "wrong JSON": lambda request, asked, body: request.give(b"<html>" + body),
    "an empty answer": lambda request, asked, body: request.give(b""),
    "429": lambda request, asked, body: request.give(b"slow down", 429),
    "500": lambda request, asked, body: request.give(b"oops", 500),
    "a head that is none": _lying,
}


def flaky(node: str, fault: Callable[[Request, Any, bytes], None], every: int) -> Answer:
    """A node whose answers are spoilt now and then: the node has seen the request all the same."""
    count = itertools.count(1)

    def behave(request: Request, asked: Any) -> None:
        body = _through(node, asked)
        if next(count) % every:
            request.give(body)
        else:
            fault(request, asked, body)

    return behave


@pytest.mark.parametrize("name", FAULTS)
def test_a_round_completes_behind_a_node_that_fails_now_and_then(
    federation: Federation, join: Callable[..., Party], serve: Callable[[Answer], Server], name: str
) -> None:
    """Many of its answers; and nobody submits or publishes twice."""
    server = serve(flaky(federation.url(), FAULTS[name], 21 if name == "slow" else 7))
    server.waiting = threading.Event()  # type: ignore[attr-defined]
    parties = [join(key, server.url) for key in (1, 2, 3)]
    play(federation, *parties)
    first = federation.view().rounds[1]
    assert (first.status, first.model) == (Status.PUBLISHED, Cid.of(federation.weights(10.0)))
    assert [federation.web3.eth.get_transaction_count(KEYS[key].address) for key in (1, 2, 3)] == [2, 1, 1]
    server.waiting.set()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["no connection", "500", "a head that is none"])
def test_a_round_completes_with_one_of_two_nodes(
    federation: Federation, join: Callable[..., Party], serve: Callable[[Answer], Server], name: str
) -> None:
    """The first is dead, or wrong all the time."""
    first = free_url() if name == "no connection" else serve(flaky(federation.url(), FAULTS[name], 1)).url
    play(federation, *(join(key, first, federation.url()) for key in (1, 2, 3)))
    assert federation.view().rounds[1].status is Status.PUBLISHED


def test_without_any_node_the_services_say_so_and_go_on(
    federation: Federation,
    join: Callable[..., Party],
    serve: Callable[[Answer], Server],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line that names the node, not its key; and another when it is back."""
    broken = [True]
    fine, bad = flaky(federation.url(), FAULTS["500"], 10**9), flaky(federation.url(), FAULTS["500"], 1)
    server = serve(lambda request, asked: (bad if broken[0] else fine)(request, asked))
    broken[0] = False
    coordinator = join(1, server.url)
    caplog.set_level("INFO")
    broken[0] = True
    coordinator.turns(3)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "fedpact.service.loop"]
    assert f"http://127.0.0.1:{server.server_port}: the node answers with HTTP status 500" in said
    assert "SECRET" not in caplog.text
    broken[0] = False
    coordinator.turns(1)
    assert "round 1: opened" in caplog.text


# ------------------------------------------------------------------------------------------- a chain that does not take


def test_an_empty_account_is_one_line_until_it_is_filled(
    federation: Federation, join: Callable[..., Party], caplog: pytest.LogCaptureFixture
) -> None:
    """The update is trained once, and submitted when there is money."""
    join(1).turns(1)
    silo = join(2)
    ask(federation.web3, "anvil_setBalance", silo.own, "0x0")
    silo.turns(2)
    (said,) = {line for line in caplog.messages if line.startswith("balance")}
    assert said.startswith(f"balance of {silo.own}: expected at least 0.00")
    assert said.endswith(" ether, found 0 ether: send it more")
    ask(federation.web3, "anvil_setBalance", silo.own, hex(10**24))
    silo.turns(1)
    assert len(federation.view().rounds[1].submissions) == 1


@pytest.mark.parametrize(("key", "said"), [(7, "is no coordinator"), (6, "is no member in round 1")])
def test_a_stranger_waits_and_says_why(
    federation: Federation, join: Callable[..., Party], caplog: pytest.LogCaptureFixture, key: int, said: str
) -> None:
    """It may be appointed or admitted yet. Nothing is sent."""
    join(1).turns(1)
    caplog.set_level("INFO")
    join(key).turns(2)
    assert any(line.startswith(f"waiting: {ACCOUNTS[key]} {said}") for line in caplog.messages)
    assert federation.web3.eth.get_transaction_count(KEYS[key].address) == 0


def test_under_another_charter_a_silo_refuses_and_says_so(
    federation: Federation, join: Callable[..., Party], caplog: pytest.LogCaptureFixture
) -> None:
    """The owner has amended it; the silo's owner has not accepted that."""
    other = small_charter(name="other")
    cid = add(federation.founders, other.encode()).root
    federation.ledger.send(OWNER, AmendCharter(cid, other.contract_limits()))
    join(1).turns(1)
    caplog.set_level("INFO")
    silo = join(2)
    silo.turns(2)
    accepted = Cid.of(federation.charter.encode())
    assert f"waiting: refused: round 1 is under charter {cid}, accepted is {accepted}" in caplog.messages
    assert federation.web3.eth.get_transaction_count(KEYS[2].address) == 0


def test_a_chain_that_stops_is_said_and_nothing_is_sent_twice(
    federation: Federation,
    join: Callable[..., Party],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No block comes: the service says what it waits for; when one comes, the submission counts once."""
    join(1).turns(1)
    ask(federation.web3, "evm_setAutomine", False)
    silo = join(2)
    silo.turns(2)
    assert any("in no block after 0 s" in line for line in caplog.messages)
    assert any("expected in a block within 1 s, found in none" in line for line in caplog.messages)
    monkeypatch.setattr("fedpact.service.station._STANDSTILL_SECONDS", 0.0)
    silo.station._still = silo.station._looked = 0.0
    silo.follower.refresh()
    for _ in range(2):
        silo.station._looked = -60.0
        silo.station.took_step()
    assert any("chain: no block after block" in line for line in caplog.messages)
    ask(federation.web3, "evm_mine")
    ask(federation.web3, "evm_setAutomine", True)
    caplog.set_level("INFO")
    silo.turns(1)
    assert any(line.startswith("round 1: submitted baf") for line in caplog.messages) or (
        "waiting: submitted in round 1" in caplog.messages
    )
    assert federation.web3.eth.get_transaction_count(KEYS[2].address) == 1


# --------------------------------------------------------------------------------------------------- stores that fail


@pytest.mark.parametrize("fault", ["gone", "other bytes"])
def test_a_gateway_that_gives_nothing_good_costs_the_updates_behind_it(
    federation: Federation, join: Callable[..., Party], caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """The coordinator waits for half of the time that it has, and says why; then it goes on with what it has."""
    coordinator, *silos = (join(key) for key in (1, 2, 3))
    coordinator.turns(1)
    for silo in silos:
        silo.turns(1)
    federation.submit(4, 3.0)
    for cid in _blocks(silos[0].path, silos[1].path):
        coordinator.blocks.get(cid)  # These it has got; the third member's it has not.
    federation.answer = lambda to: respond(to, b"other") if fault == "other bytes" else respond(to, b"", status=503)
    federation.travel(650)
    caplog.set_level("INFO")
    coordinator.turns(1)
    assert "waiting: round 1: the update of member 3 cannot be fetched yet" in caplog.messages
    assert any("503" in line or "its bytes hash to" in line for line in caplog.messages)
    federation.travel(301)
    coordinator.turns(1)
    first = federation.view().rounds[1]
    assert first.model == Cid.of(federation.weights(10.0))
    assert "round 1: member 3 excluded: could not be fetched by the coordinator" in caplog.messages


def test_a_full_disk_is_said_and_what_failed_is_done_when_there_is_room(
    federation: Federation,
    join: Callable[..., Party],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a silo, while it stores its update; of a coordinator, while it stores the model."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    coordinator, *silos = (join(key) for key in (1, 2, 3))
    coordinator.turns(1)
    with monkeypatch.context() as patch:
        patch.setattr(DirectoryBlocks, "_write", full)
        silos[0].turns(2)
    assert any(line.endswith("store: No space left on device") for line in caplog.messages)
    assert len(federation.view().rounds[1].submissions) == 0
    for silo in silos:
        silo.turns(1)
    federation.travel(650)
    with monkeypatch.context() as patch:
        patch.setattr(DirectoryBlocks, "_write", full)
        coordinator.turns(2)
    assert federation.view().rounds[1].status is Status.OPEN
    coordinator.turns(1)
    assert federation.view().rounds[1].model == Cid.of(federation.weights(10.0))
    rows = statuses(silos[0].follower, silos[0].own, silos[0].journal, silos[0].blocks, 0, 0)
    assert [row.stored for row in rows] == [True]


def _blocks(*places: Path) -> list[Cid]:
    return [Cid.parse(file.name) for place in places for file in place.glob("store/blocks/*/*")]
