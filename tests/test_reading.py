"""Reading a chain that changes its mind: reorganisations, late nodes, limits, times; scripted, and on anvil."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator
from typing import Any

import pytest
from anvil import anvil_side, ask, running
from chains import KEYS, START, Twins, eth_tester_side
from fedpact.errors import LedgerError, RecordDamaged
from fedpact.ledger import reading
from fedpact.ledger.abi import Abi
from fedpact.ledger.actions import TransferOwnership
from fedpact.ledger.artifact import federation
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.facts import Address
from fedpact.ledger.port import Cursor, Follower, Mark
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_node import Block, ScriptedNode
from web3 import Web3


def _events(follower: Follower) -> list[Any]:
    return [entry.event for entry in follower.entries]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.lists(st.integers(0, 3), min_size=1, max_size=30)),
        st.tuples(st.just("reorganise"), st.integers(1, 40), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("late"), st.integers(1, 12)),
        st.tuples(st.just("refresh")),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(
    STEPS,
    st.one_of(st.integers(0, 20), st.sampled_from(["safe", "finalized"])),
    st.sampled_from([None, 1, 7, 50]),
    st.booleans(),
)
def test_after_any_reorganisations_a_follower_has_what_a_fresh_reading_finds(
    steps: list[Any], confirmations: Any, most_range: int | None, batches: bool
) -> None:
    """And a node that is late takes nothing back."""
    node = ScriptedNode(most_range=most_range, batches=batches)
    options = {"confirmations": confirmations}
    follower = Follower(node.ledger(**options))
    for step in steps:
        match step:
            case ("grow", counts):
                node.grow(*(node.appoint(count) for count in counts))
            case ("reorganise", depth, shorter, empty):
                depth = min(depth, len(node.blocks) - 2)
                node.drop(depth)
                node.grow(*(() if empty else node.appoint() for _ in range(max(1, depth - shorter))))
            case ("late", behind):
                follower.refresh()
                node.behind = min(behind, len(node.blocks) - 2)
                before = list(follower.entries)
                follower.refresh()
                assert follower.entries == before
                node.behind = 0
            case _:
                follower.refresh()
                assert _events(follower) == node.truth
    view = follower.refresh()
    fresh = Follower(node.ledger(**options))
    assert fresh.refresh().coordinators == view.coordinators
    assert follower.entries == fresh.entries
    assert _events(follower) == node.truth
    assert follower.confirmed == fresh.confirmed


def test_a_reorganisation_deeper_than_the_marks_reads_everything_anew(caplog: pytest.LogCaptureFixture) -> None:
    """With a warning, and what follows is right."""
    node = ScriptedNode()
    node.grow(*(node.appoint() for _ in range(40)))
    follower = Follower(node.ledger(confirmations=5))
    follower.refresh()
    del node.blocks[2:]
    node.grow(*(node.appoint() for _ in range(45)))
    follower.refresh()
    assert _events(follower) == node.truth
    assert [record.levelno for record in caplog.records if record.name == reading.__name__] == [logging.WARNING]


def test_the_cursor_finds_where_the_chain_parted() -> None:
    """The last block that both have: no more than was lost is read again."""
    node = ScriptedNode()
    node.grow(*(node.appoint() for _ in range(100)))
    ledger = node.ledger(confirmations=10)
    cursor = ledger.read(Cursor()).cursor
    assert (cursor.next, ledger.read(cursor).since, ledger.read(cursor).confirmed) == (102, 102, 91)
    node.drop(4)
    node.grow(*(node.appoint() for _ in range(6)))
    news = ledger.read(cursor)
    assert (news.since, news.cursor.next, news.confirmed) == (98, 104, 93)
    assert [entry.event for entry in news.entries] == [event for block in node.blocks[98:] for event in block.events]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60))
def test_marks_are_dense_near_the_tip_and_few_below(steps: list[int]) -> None:
    """However a cursor came where it is: all of the last 256 that it was given, and at most some hundred more."""
    cursor = Cursor()
    for step in steps:
        given = range(cursor.next, cursor.next + step)
        cursor = cursor.moved(cursor.next, cursor.next + step, [Mark(number, bytes(32)) for number in given])  # type: ignore[arg-type]
    numbers = [mark.number for mark in cursor.marks]
    assert numbers == sorted(set(numbers))
    assert set(range(max(0, cursor.next - 256), cursor.next)) <= set(numbers)
    assert len(numbers) < 256 + 60
    distances = [cursor.next - number for number in numbers if number < cursor.next - 256]
    assert all(above < 2 * below for above, below in itertools.pairwise(distances))


def test_one_new_block_costs_two_requests_and_none_costs_one() -> None:
    """Its header, and its logs."""
    node = ScriptedNode()
    node.grow(*(node.appoint() for _ in range(100)))
    ledger = node.ledger()
    cursor = ledger.read(Cursor()).cursor
    for blocks, requests in ((0, 1), (1, 2), (5, 3)):
        node.grow(*(node.appoint() for _ in range(blocks)))
        node.asked.clear()
        cursor = ledger.read(cursor).cursor
        assert len(node.asked) == requests, node.asked


def test_a_range_shrinks_to_what_the_node_gives_and_grows_again() -> None:
    """Few requests where it gives much; every entry either way."""
    node = ScriptedNode(most_logs=30)
    node.grow(*(node.appoint() for _ in range(300)), *(() for _ in range(5_000)))
    assert [entry.event for entry in node.ledger().read(Cursor()).entries] == node.truth
    assert node.asked.count("eth_getLogs") < 60


def test_a_block_that_is_too_much_is_an_error() -> None:
    """There is nothing less to ask for."""
    node = ScriptedNode(most_logs=3)
    node.grow(node.appoint(4), *(() for _ in range(20)))
    with pytest.raises(LedgerError, match="eth_getLogs: query returned more than some results"):
        node.ledger().read(Cursor())


@pytest.mark.parametrize(
    "times",
    [None, lambda block: 0, lambda block: block.time - 7, lambda block: block.time + (block.number == 17)],
    ids=["none", "zero", "others", "one is wrong, and nobody can know"],
)
def test_times_are_those_of_the_headers(times: Any, request: pytest.FixtureRequest) -> None:
    """Whatever a node says of them in its logs, if the sample shows it."""
    node = ScriptedNode(times=times, batches=False)
    node.grow(*(node.appoint() for _ in range(60)))
    entries = node.ledger().read(Cursor()).entries
    expected = {block.number: block.time for block in node.blocks if block.events}
    if "nobody" in request.node.name:
        expected[17] += 1
    assert {entry.block: entry.time for entry in entries} == expected


def test_a_chain_that_changes_while_it_is_read_is_read_again() -> None:
    """In the middle of ranges and of single blocks; what comes out is one of the chains, never a part of each."""
    for moment in range(1, 14):
        node = ScriptedNode(most_range=20, batches=False)
        node.grow(*(node.appoint() for _ in range(60)))
        ledger, count = node.ledger(), 0

        def change(_: str, node: ScriptedNode = node, moment: int = moment) -> None:
            nonlocal count
            count += 1
            if count == moment:
                node.drop(50)
                node.grow(*(node.appoint() for _ in range(52)))

        node.before = change
        entries = ledger.read(Cursor()).entries
        assert [entry.event for entry in entries] == node.truth
        assert count > moment


def test_a_chain_that_never_holds_still_is_an_error() -> None:
    """One line, after a few tries."""
    node = ScriptedNode()
    node.grow(*(node.appoint() for _ in range(20)))
    ledger = node.ledger()

    def change(method: str) -> None:
        if method == "eth_getLogs":
            node.drop(15)
            node.grow(*(node.appoint() for _ in range(16)))

    node.before = change
    with pytest.raises(LedgerError, match="the chain changed each of 4 times that it was read"):
        ledger.read(Cursor())


LIES: dict[str, tuple[str, Any, str]] = {
    "another contract": ("eth_getLogs", {"address": "0x" + "ff" * 20}, "a log that is not the contract's"),
    "removed": ("eth_getLogs", {"removed": True}, "a log that is not the contract's"),
    "another block": ("eth_getLogs", {"blockNumber": "0x1"}, "gave others"),
    "another hash": ("eth_getLogs", {"blockHash": "0x" + "ff" * 32}, "gave others"),
    "no number": ("eth_getLogs", {"logIndex": "0xzz"}, "logIndex: expected a number, found '0xzz'"),
    "a huge number": ("eth_getLogs", {"logIndex": "0x" + "f" * 40}, "logIndex: expected a number"),
    "short hash": ("eth_getLogs", {"transactionHash": "0x11"}, "transactionHash: expected 32 bytes"),
    "no topics": ("eth_getLogs", {"topics": []}, "a log that is no event of the contract"),
    "odd topics": ("eth_getLogs", {"topics": [7]}, "topics and data: expected words"),
    "no data": ("eth_getLogs", {"data": None}, "topics and data: expected words"),
    "much data": ("eth_getLogs", {"data": "0x" + "00" * 3200}, r"Founded: expected \d+ bytes, found 3\d+"),
    "no parent": ("eth_getBlockByNumber", {"parentHash": None}, "parentHash: expected 32 bytes"),
    "no time": ("eth_getBlockByNumber", {"timestamp": -1}, "timestamp: expected a number"),
}


@pytest.mark.parametrize("name", LIES)
def test_what_a_node_cannot_have_seen_is_one_line(name: str) -> None:
    """And nothing of it becomes an entry."""
    method, lie, said = LIES[name]

    class Lying(ScriptedNode):
        def _answer(self, asked: str, params: Any) -> Any:
            answer = super()._answer(asked, params)
            if asked == method and isinstance(answer["result"], list):
                answer["result"] = [{**log, **lie} for log in answer["result"]]
            elif asked == method:
                answer["result"] = {**answer["result"], **lie}
            return answer

    node = Lying()
    node.grow(node.appoint(), node.appoint())
    with pytest.raises((LedgerError, RecordDamaged), match=said) as raised:
        node.ledger().read(Cursor())
    assert "\n" not in str(raised.value)


def test_the_end_of_confirmation_is_the_nodes_word_where_it_is_asked_for() -> None:
    """Until it has one, nothing is confirmed."""
    node = ScriptedNode()
    follower = Follower(node.ledger(confirmations="finalized"))
    follower.refresh()
    assert (follower.confirmed, follower.is_confirmed(0), follower.is_confirmed(None)) == (-1, False, False)
    node.grow(*(node.appoint() for _ in range(20)))
    follower.refresh()
    assert follower.confirmed == 15
    assert [follower.is_confirmed(entry) for entry in follower.entries] == [block <= 15 for block in range(1, 22)]


def test_no_block_before_the_first_is_asked_for() -> None:
    """A contract is younger than its chain."""
    node = ScriptedNode()
    founding = node.blocks[1].events
    node.blocks[1].events = ()
    node.grow(*(() for _ in range(500)), founding, node.appoint(), *(() for _ in range(40)))
    seen: list[int] = []
    answer = node.eth_getLogs

    def note(known: list[Block], asked: dict[str, str]) -> Any:
        seen.append(int(asked.get("fromBlock", "0x1f6"), 16))
        return answer(known, asked)

    node.eth_getLogs = note  # type: ignore[method-assign]
    follower = Follower(node.ledger(first_block=502))
    follower.refresh()
    assert _events(follower) == node.truth
    assert min(seen) == 502


# ------------------------------------------------------------------------------------------------------------- the time


def test_the_time_is_that_of_the_pending_block_where_there_is_one() -> None:
    """One that does not follow the latest block, or not in time, is none."""
    node = ScriptedNode()
    ledger, last = node.ledger(), node.blocks[-1]
    for number, later, expected in ((2, 9, 9), (1, 9, 1), (2, 0, 1), (2, -5, 1), (None, 9, 1)):
        node.pending = Block(number, "0x" + "22" * 32, last.hash, last.time + later, ())  # type: ignore[arg-type]
        assert ledger.now() == last.time + expected


def test_what_has_surely_passed_is_the_latest_blocks_time_whatever_is_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a node's clock nor a head that stands still makes time pass."""
    node = ScriptedNode()
    ledger, last, clock = node.ledger(), node.blocks[-1], [1000.0]
    monkeypatch.setattr(reading.time, "monotonic", lambda: clock[0])
    node.pending = Block(2, "0x" + "22" * 32, last.hash, last.time + 10**6, ())
    assert (ledger.now(), ledger.passed()) == (last.time + 10**6, last.time)
    clock[0] += 3600
    assert ledger.passed() == last.time
    node.grow(())
    assert ledger.passed() == last.time + 2


def test_the_time_of_a_chain_in_this_process_passes_without_blocks() -> None:
    """It is nobody's word but ours."""
    twins = Twins(eth_tester_side())
    twins.travel(twins.now + 5_000)
    assert twins.chain.passed() == twins.now


def test_a_node_that_refuses_to_make_a_pending_block_has_a_time_all_the_same() -> None:
    """It is not every node's business."""
    node = ScriptedNode()
    ledger, answer = node.ledger(), node.eth_getBlockByNumber

    def refuse(known: list[Block], number: str, full: bool) -> Any:
        if number == "pending":
            raise ValueError("pending block is not available")
        return answer(known, number, full)

    node.eth_getBlockByNumber = refuse  # type: ignore[method-assign]
    assert ledger.now() == node.blocks[-1].time + 1


def test_without_a_pending_block_only_the_seconds_since_the_last_one_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The date of this machine, which may be an hour off, is never asked for."""
    node = ScriptedNode()
    clock = [1000.0]
    monkeypatch.setattr(reading.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(reading.time, "time", lambda: pytest.fail("the date was asked for"))
    ledger, founded = node.ledger(), node.blocks[-1].time
    assert ledger.now() == founded + 1
    clock[0] += 12.5
    assert ledger.now() == founded + 12
    node.grow(())
    assert ledger.now() == founded + 3
    clock[0] += 3600
    assert ledger.now() == founded + 2 + 3600


# --------------------------------------------------------------------------------------------------------- a real chain


@pytest.fixture(scope="module")
def twins() -> Iterator[Twins]:
    """A federation on a node that remembers enough to change its mind."""
    with running("--slots-in-an-epoch", "4", states=200) as web3:
        yield Twins(anvil_side(web3))


@pytest.mark.nodes
@pytest.mark.parametrize("confirmations", [0, 3, "safe"])
def test_a_follower_stays_right_through_reorganisations_of_a_real_chain(twins: Twins, confirmations: Any) -> None:
    """Forty of them, each with other entries in place of those that it drops."""
    web3, owner = twins.side.web3, KEYS[0]
    contract = twins.chain.identity.contract
    ledger = EthereumLedger(web3, contract, confirmations=confirmations)
    follower, dice = Follower(ledger), random.Random(5)
    follower.refresh()
    rewinds, start = 0, web3.eth.block_number

    def signed() -> str:
        """An offer of ownership to somebody who is not there: allowed at any time, and no two are alike."""
        call = {"to": Web3.to_checksum_address(contract), "data": offer(dice.getrandbits(100)), "gas": 100_000}
        fees = {"maxFeePerGas": 10**12, "maxPriorityFeePerGas": 1, "chainId": web3.eth.chain_id, "type": 2, "value": 0}
        nonce = web3.eth.get_transaction_count(owner.address)
        return owner.sign_transaction({**call, **fees, "nonce": nonce}).raw_transaction.to_0x_hex()

    for _ in range(40):
        for _ in range(dice.randint(1, 4)):
            ask(web3, "eth_sendRawTransaction", signed())
            ask(web3, "evm_mine")
        if dice.random() < 0.7:
            follower.refresh()
        depth = dice.randint(1, min(12, web3.eth.block_number - start))
        before = list(follower.entries)
        ask(web3, "anvil_reorg", depth, [])
        if dice.random() < 0.5:
            ask(web3, "eth_sendRawTransaction", signed())
            ask(web3, "evm_mine")
        view = follower.refresh()
        fresh = Follower(EthereumLedger(web3, contract))
        assert fresh.refresh().pending_owner == view.pending_owner
        assert follower.entries == fresh.entries
        rewinds += follower.entries[: len(before)] != before
    assert rewinds >= 10


def offer(number: int) -> bytes:
    """The data of a call."""
    return Abi(federation().abi).call(TransferOwnership(Address(f"0x{number:040x}")))


@pytest.mark.nodes
def test_the_time_of_a_real_chain_is_that_of_its_next_block(twins: Twins) -> None:
    """Whatever the clock of this machine says: its chain is many years ahead."""
    for step in (1, 50, 7_000):
        twins.travel(twins.now + step)
        expected = twins.now
        ask(twins.side.web3, "evm_mine")
        assert twins.side.web3.eth.get_block("latest")["timestamp"] == expected
    assert twins.now > START
