"""Sending through nodes that forget, lose answers and change their minds: every transaction is carried out once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anvil import ask, running
from chains import ACCOUNTS, KEYS
from fedpact.errors import InputError, LedgerError
from fedpact.ledger.facts import address
from fedpact.ledger.fees import GWEI, Fees, Offer
from fedpact.ledger.outbox import Superseded
from fedpact.ledger.rejections import AlreadySubmitted
from fedpact.ledger.transactions import Call, NotTaken, sign
from sending import HASTE, SEND, SENDER, Anvil, Killed, Node, Party, Scripted, done, failing, killing, until
from web3 import Web3


@pytest.fixture(params=["scripted", pytest.param("anvil", marks=pytest.mark.nodes)])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """Every scenario runs on the scripted node, and on a real one."""
    if request.param == "scripted":
        yield Scripted()
    else:
        with running() as web3:
            yield Anvil(web3)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def _hashes(party: Party) -> list[bytes]:
    return [variant.hash for entry in party.entries().values() for variant in entry.variants]


# ------------------------------------------------------------------------------------------------------- as it goes


def test_what_is_sent_is_carried_out_in_order(node: Node, journal: Path) -> None:
    """One after the other, and several before the first receipt is asked for."""
    party = Party(node, journal)
    assert party.send(b"1")["status"] == 1
    waiting = [party.post(data) for data in (b"2", b"3", b"4")]
    assert [receipt()["status"] for receipt in reversed(waiting)] == [1, 1, 1]
    assert done(node) == [b"1", b"2", b"3", b"4"]
    spent = party.spending.spent
    assert (spent.transactions, spent.reverts, spent.gas > 80_000, spent.wei >= spent.gas * GWEI // 2) == (
        4,
        0,
        True,
        True,
    )


def test_an_intention_that_is_under_way_is_not_sent_twice(node: Node, journal: Path) -> None:
    """Whoever posts it again waits for the same transaction; once its receipt was given, the same may be meant anew."""
    node.automine(False)
    party = Party(node, journal)
    waiting = [party.post(b"same") for _ in range(3)]
    node.mine()
    assert len({bytes(receipt()["transactionHash"]) for receipt in waiting}) == 1
    assert party.spending.spent.transactions == 1
    node.automine(True)
    party.send(b"same")
    assert done(node) == [b"same", b"same"]


def test_a_refusal_costs_nothing(node: Node, journal: Path) -> None:
    """Nothing is signed, and the next transaction has the nonce."""
    party = Party(node, journal)
    party.refuses, party.error = {b"no"}, AlreadySubmitted(1, ACCOUNTS[6])
    with pytest.raises(AlreadySubmitted):
        party.post(b"no")
    assert (party.entries(), list(journal.iterdir()), party.wire.asked[SEND]) == ({}, [], 0)
    party.send(b"yes")
    assert done(node) == [b"yes"]


def test_what_is_settled_leaves_the_journal(node: Node, journal: Path) -> None:
    """Once enough blocks lie on top."""
    party = Party(node, journal, replace(HASTE, settled=2))
    for number in range(6):
        party.send(b"%d" % number)
        party.outbox._market._until = 0.0  # As if a second had passed.
    kept = sorted(int(path.stem.split("-")[1]) for path in journal.iterdir())
    assert kept == sorted(party.entries()) == [3, 4, 5]


def test_each_key_has_a_lock_of_its_own(node: Node) -> None:
    """One that is held up holds up nobody else."""
    party = Party(node, None, keys=KEYS[5:7])
    other = address(KEYS[5].address)
    with party.outbox._lanes[SENDER].lock, ThreadPoolExecutor(1) as pool:
        assert pool.submit(party.send, b"free", other).result(10)["status"] == 1


def test_many_threads_share_a_key(node: Node, journal: Path) -> None:
    """Each gets the receipt of its own."""
    party = Party(node, journal)
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(party.send, (b"%d" % number for number in range(16))))
    assert len({bytes(receipt["transactionHash"]) for receipt in receipts}) == 16
    assert sorted(done(node)) == sorted(b"%d" % number for number in range(16))


# --------------------------------------------------------------------------------------------- answers that are lost


def test_an_answer_that_is_lost_costs_nothing(node: Node, journal: Path) -> None:
    """The node took it; its receipt is found."""
    party = Party(node, journal)
    party.wire.after = failing(SEND)
    assert party.send(b"once")["status"] == 1
    assert (done(node), party.wire.asked[SEND]) == ([b"once"], 1)


def test_a_request_that_is_lost_is_made_again(node: Node, journal: Path) -> None:
    """The node never saw it: the same bytes are sent."""
    party = Party(node, journal)
    party.wire.before = failing(SEND)
    assert party.send(b"once")["status"] == 1
    assert (done(node), party.wire.asked[SEND], len(_hashes(party))) == ([b"once"], 2, 1)


def test_a_node_that_is_away_is_waited_for(node: Node, journal: Path) -> None:
    """Receipts that cannot be asked for are asked for again."""
    party = Party(node, journal)
    party.wire.before = failing("eth_getTransactionReceipt", 5)
    assert party.send(b"once")["status"] == 1


def test_a_node_that_stays_away_is_named_in_time(node: Node, journal: Path) -> None:
    """One line; the transaction is in the journal, and posting it again goes on."""
    party = Party(node, journal, replace(HASTE, receipt=0.3))
    waiting = party.post(b"once")
    party.wire.before = failing("eth_getTransactionReceipt", 10**6)
    with pytest.raises(LedgerError, match=r"^transaction 0x[0-9a-f]{64}: expected in a block .*: no answer \(Conn"):
        waiting()
    party.wire.before = lambda _: None
    assert party.send(b"once")["status"] == 1
    assert done(node) == [b"once"]


def test_a_transaction_that_the_node_refuses_is_forgotten(node: Node, journal: Path) -> None:
    """A refusal is a line; nothing is left behind, and the nonce serves again."""
    party = Party(node, journal)
    with pytest.raises(NotTaken, match=f"^transaction of {SENDER}: "):
        party.outbox.post(SENDER, replace(_call(b"x"), gas=7))
    assert (party.entries(), list(journal.iterdir())) == ({}, [])
    party.send(b"next")
    assert done(node) == [b"next"]


def _call(data: bytes) -> Call:
    return Call(ACCOUNTS[7], data, 100_000)


@pytest.mark.nodes
def test_an_account_without_money_is_named(journal: Path) -> None:
    """Account, what it has, what it takes."""
    with running() as web3:
        ask(web3, "anvil_setBalance", SENDER, hex(10**9))
        party = Party(Anvil(web3), journal)
        said = rf"^balance of {SENDER}: expected at least 0\.0\d+ ether, found 0\.000000001 ether: send it more$"
        with pytest.raises(LedgerError, match=said):
            party.post(b"x")
        assert list(journal.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------- fees


def test_nothing_is_sent_while_the_base_fee_is_above_the_cap(node: Node, journal: Path) -> None:
    """It waits, then says what the base fee is, what the cap, and what to do; when the fee has fallen it goes out."""
    node.base_fee(50 * GWEI)
    party = Party(node, journal, replace(HASTE, receipt=0.2), Fees(20 * GWEI))
    said = (
        "^base fee: expected at most the cap of 20 gwei, found 50 gwei for 0 s: wait, or raise the cap \\(--max-fee\\)$"
    )
    with pytest.raises(LedgerError, match=said):
        party.post(b"x")
    assert list(journal.iterdir()) == []
    node.base_fee(15 * GWEI)
    party = Party(node, journal, HASTE, Fees(20 * GWEI))
    party.send(b"x")
    assert [entry.newest.offer for entry in party.entries().values()] == [Offer(20 * GWEI, GWEI)]


def test_a_transaction_that_the_market_left_behind_is_replaced(node: Node, journal: Path) -> None:
    """Both fees rise by an eighth at least; the variants share a nonce, and one of them is carried out."""
    node.automine(False)
    party = Party(node, journal)
    waiting = party.post(b"once")
    node.base_fee(10 * GWEI)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(waiting)
        until(lambda: len(_hashes(party)) == 2)
        (entry,) = party.entries().values()
        first, second = (variant.offer for variant in entry.variants)
        assert 8 * second.tip > 9 * first.tip
        assert second.max_fee == max(21 * GWEI, 9 * first.max_fee // 8 + 1)
        assert json.loads(next(journal.iterdir()).read_bytes())["variants"][1]["max_fee"] == second.max_fee
        until(lambda: party.outbox._is_known(entry, entry.newest))  # It is journalled first.
        node.mine()
        mined = found.result(10)
    assert bytes(mined["transactionHash"]) == entry.variants[1].hash
    assert done(node) == [b"once"]


def test_the_first_variant_counts_too(journal: Path) -> None:
    """A miner may have had it before its replacement."""
    node = Scripted()
    node.automine(False)
    party = Party(node, journal)
    waiting = party.post(b"once")
    (first,) = node.pool.values()
    node.base_fee(10 * GWEI)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(waiting)
        until(lambda: len(_hashes(party)) == 2)
        node.pool[SENDER, 0] = first
        node.base_fee(GWEI)
        node.mine()
        assert bytes(found.result(10)["transactionHash"]) == first["hash"]
    assert done(node) == [b"once"]


def test_no_replacement_goes_beyond_the_cap(node: Node, journal: Path) -> None:
    """It waits, and says why it waited in vain."""
    node.automine(False)
    party = Party(node, journal, replace(HASTE, receipt=0.5), Fees(4 * GWEI))
    waiting = party.post(b"once")
    node.base_fee(10 * GWEI)
    said = "it offers 3 gwei, the base fee is 10 gwei, the cap 4 gwei: wait, or raise the cap"
    with pytest.raises(LedgerError, match=said if isinstance(node, Scripted) else "expected in a block within"):
        waiting()
    assert len(_hashes(party)) == 1
    node.base_fee(GWEI)
    node.automine(True)
    node.mine()
    assert Party(node, journal, HASTE, Fees(4 * GWEI)).send(b"once")["status"] == 1
    assert done(node) == [b"once"]


@pytest.mark.nodes
def test_a_base_fee_that_rose_since_it_was_asked_for(journal: Path) -> None:
    """A node that refuses what does not cover it gets a higher offer at once."""
    with running() as web3:
        node = Anvil(web3)
        party = Party(node, journal)
        party.outbox._market.quote()
        node.base_fee(30 * GWEI)
        assert party.send(b"once")["status"] == 1
        assert len(_hashes(party)) == 1


# ------------------------------------------------------------------------------------- nodes that change their minds


def test_what_the_node_dropped_is_sent_again(node: Node, journal: Path) -> None:
    """The same bytes."""
    node.automine(False)
    party = Party(node, journal)
    waiting = party.post(b"once")
    (transaction,) = _hashes(party)
    node.drop(transaction)
    assert not party.outbox._is_known(party.entries()[0])
    node.automine(True)
    assert bytes(waiting()["transactionHash"]) == transaction
    assert done(node) == [b"once"]


def test_what_a_reorganisation_took_out_is_sent_again(node: Node, journal: Path) -> None:
    """Posted again, it is the same transaction in another block, also after a restart."""
    for restarts in (False, True):
        party = Party(node, journal)
        data = b"restarted" if restarts else b"once"
        mark = node.snapshot()
        first = party.send(data)
        node.revert(mark)
        if restarts:
            party = Party(node, journal)
        again = party.send(data)
        assert again["transactionHash"] == first["transactionHash"]
        assert done(node).count(data) == 1
    assert done(node) == [b"once", b"restarted"]


def test_what_a_reorganisation_took_out_goes_before_what_is_new(node: Node, journal: Path) -> None:
    """Or the new one would wait for its nonce for ever."""
    party = Party(node, journal)
    mark = node.snapshot()
    party.send(b"1")
    party.send(b"2")
    node.revert(mark)
    party.send(b"3")
    assert done(node) == [b"1", b"2", b"3"]


def test_what_a_reorganisation_took_out_and_is_refused_now_is_given_up(node: Node, journal: Path) -> None:
    """Its nonce serves the next, at a higher offer."""
    party = Party(node, journal)
    mark = node.snapshot()
    party.send(b"old")
    (before,) = (entry.newest.offer for entry in party.entries().values())
    node.revert(mark)
    party.refuses, party.error = {b"old"}, AlreadySubmitted(1, ACCOUNTS[6])
    party.send(b"new")
    (entry,) = party.entries().values()
    assert (done(node), entry.nonce) == ([b"new"], 0)
    assert 8 * entry.newest.offer.tip > 9 * before.tip


def test_what_is_given_up_is_no_longer_waited_for(node: Node, journal: Path) -> None:
    """Whoever still does is told."""
    node.automine(False)
    party = Party(node, journal)
    waiting = party.post(b"old")
    node.drop(_hashes(party)[0])
    party.refuses, party.error = {b"old"}, AlreadySubmitted(1, ACCOUNTS[6])
    with pytest.raises(AlreadySubmitted):
        party.post(b"old")
    with pytest.raises(Superseded, match="was given up meanwhile"):
        waiting()


def test_what_the_node_lost_and_is_refused_now_is_not_sent_again(node: Node, journal: Path) -> None:
    """A node that comes back with an older chain would take it, and have it fail."""
    node.automine(False)
    party = Party(node, journal)
    waiting = party.post(b"old")
    node.drop(_hashes(party)[0])
    party.refuses, party.error = {b"old"}, AlreadySubmitted(1, ACCOUNTS[6])
    node.automine(True)
    with pytest.raises(AlreadySubmitted):
        waiting()
    party.send(b"new")
    assert done(node) == [b"new"]


def test_another_process_with_the_same_key_is_named(node: Node, journal: Path) -> None:
    """It is seen by a nonce that is gone; afterwards the node is asked for the next."""
    party = Party(node, journal)
    party.send(b"1")
    Party(node, None).send(b"elsewhere")
    waiting = party.post(b"2")
    with pytest.raises(Superseded, match=f"its nonce 1 was used: another process sends with the key of {SENDER}$"):
        waiting()
    party.send(b"2")
    assert done(node) == [b"1", b"elsewhere", b"2"]


# ----------------------------------------------------------------------------------------------------------- restarts

_KILLS = [
    pytest.param("before", "eth_getTransactionCount", id="before it is signed"),
    pytest.param("before", SEND, id="in the journal, not sent"),
    pytest.param("after", SEND, id="sent, not answered"),
    pytest.param("before", "eth_getTransactionReceipt", id="sent, no receipt"),
    pytest.param("after", "eth_getTransactionReceipt", id="receipt there, not noted"),
]


@pytest.mark.parametrize(("moment", "method"), _KILLS)
@pytest.mark.parametrize("mines", [True, False], ids=["mined at once", "mined later"])
def test_killed_at_any_point(node: Node, journal: Path, moment: str, method: str, mines: bool) -> None:
    """The next process carries out the intention, once."""
    party = Party(node, journal)
    node.automine(mines)
    setattr(party.wire, moment, killing(method))
    with pytest.raises(Killed):
        party.send(b"once")
    node.automine(True)
    node.mine()
    party = Party(node, journal)
    assert party.send(b"once")["status"] == 1
    assert party.send(b"next")["status"] == 1
    assert done(node) == [b"once", b"next"]


@pytest.mark.parametrize(("moment", "method"), _KILLS[1:])
def test_killed_and_another_intention_after_the_restart(node: Node, journal: Path, moment: str, method: str) -> None:
    """What was signed is carried out before the new one is tried; what is refused meanwhile gives its nonce away."""
    party = Party(node, journal)
    setattr(party.wire, moment, killing(method))
    with pytest.raises(Killed):
        party.send(b"old")
    was_sent = done(node) == [b"old"]
    party = Party(node, journal)
    party.refuses, party.error = {b"old"}, AlreadySubmitted(1, ACCOUNTS[6])
    party.send(b"new")
    assert done(node) == ([b"old", b"new"] if was_sent else [b"new"])


def test_killed_between_two_sends(node: Node, journal: Path) -> None:
    """A gap in the nonces is closed: the first never reached the node, the second waits for it there."""
    party = Party(node, journal)
    party.wire.before = failing(SEND)
    party.post(b"1")
    party.post(b"2")
    assert done(node) == []
    party = Party(node, journal)
    party.send(b"3")
    assert done(node) == [b"1", b"2", b"3"]


def test_a_journal_of_a_chain_that_was_started_anew(journal: Path) -> None:
    """A development chain with the same id and fewer nonces: what can never be carried out is given up."""
    old, new = Scripted(), Scripted()
    for number in range(3):
        Party(old, journal).send(b"%d" % number)
    next(journal.glob(f"{SENDER}-0-*.json")).unlink()
    Party(new, journal).send(b"new")
    assert done(new) == [b"new"]


def test_a_transaction_that_failed_before_a_restart_is_not_its_answer(journal: Path) -> None:
    """The same intention is tried anew."""
    node = Scripted()
    party = Party(node, journal)
    party.post(b"reverts")
    party = Party(node, journal)
    assert party.send(b"reverts")["status"] == 0
    assert done(node) == [b"reverts", b"reverts"]
    assert (party.spending.spent.transactions, party.spending.spent.reverts) == (2, 2)


# ------------------------------------------------------------------------------------------------------- the journal


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts | {"chain_id": 5}, "expected a transaction of chain 31337, found one of 5"),
        (lambda facts: facts | {"nonce": 9}, f"expected the transaction in its name, found {SENDER}-9"),
        (lambda facts: facts | {"account": ACCOUNTS[0]}, "expected the transaction in its name"),
        (lambda facts: facts | {"variants": []}, "variants: expected"),
        (lambda facts: facts | {"more": 1}, "more: expected nothing of this name"),
        (lambda facts: facts | {"variants": [facts["variants"][0] | {"raw": "0x02"}]}, "expected bytes whose hash is"),
    ],
)
def test_a_file_that_is_no_entry_is_named(journal: Path, change: Any, said: str) -> None:
    """Nothing is sent with a journal that cannot be believed."""
    Party(Scripted(), journal).post(b"1")
    path = journal / f"{SENDER}-0.json"
    facts = change(json.loads(path.read_bytes()))
    path.write_text(json.dumps(facts, sort_keys=True, separators=(",", ":")) + "\n")
    with pytest.raises(InputError, match=rf"^journal .*{path.name}: {said}"):
        Party(Scripted(), journal)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"0" * (1 << 22) + b"0"])
def test_bytes_that_are_no_entry_are_named(journal: Path, data: bytes) -> None:
    """Half a file, none, another, one too long."""
    journal.mkdir()
    (journal / f"{SENDER}-0.json").write_bytes(data)
    with pytest.raises(InputError, match=rf"^journal .*{SENDER}-0.json: ") as raised:
        Party(Scripted(), journal)
    assert len(str(raised.value)) < 400


def test_what_a_killed_process_left_half_written_is_removed(journal: Path) -> None:
    """It has another name, and never counted."""
    journal.mkdir()
    partial = journal / f".{SENDER}-0.json.7.partial"
    partial.write_bytes(b"{")
    assert Party(Scripted(), journal).send(b"1")["status"] == 1
    assert not partial.exists()


def test_a_journal_that_cannot_be_written_stops_the_sending(tmp_path: Path) -> None:
    """What could not be known after a restart is not sent."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"^journal .*file: cannot be written: "):
        Party(Scripted(), tmp_path / "file")
    node, journal = Scripted(), tmp_path / "journal"
    party = Party(node, journal)
    journal.rmdir()
    with pytest.raises(InputError, match=r"^journal .*journal: cannot be written: No such file or directory"):
        party.post(b"1")
    assert (party.entries(), done(node)) == ({}, [])
    journal.mkdir()
    party.send(b"1")
    assert done(node) == [b"1"]


def test_it_is_on_the_disk_before_the_node_sees_it(journal: Path) -> None:
    """Account, nonce, data, hash, bytes and fees."""
    party = Party(Scripted(), journal)
    seen: list[Any] = []

    def look(method: str) -> None:
        if method == SEND:
            seen.extend(json.loads(path.read_bytes()) for path in journal.iterdir())

    party.wire.before = look
    receipt = party.send(b"1")
    (facts,) = seen
    (variant,) = facts["variants"]
    assert (facts["account"], facts["nonce"], facts["data"]) == (SENDER, 0, "0x31")
    assert bytes.fromhex(variant["hash"][2:]) == bytes(receipt["transactionHash"])
    signed = sign(KEYS[6], _call(b"1").asked_by(SENDER), 0, 31337, Offer(variant["max_fee"], variant["tip"]))
    assert "0x" + signed.raw.hex() == variant["raw"]
    assert abs(facts["signed_at"] - time.time()) < 60
    assert bytes(KEYS[6].key).hex() not in str(facts)


def test_waiting_holds_no_lock(node: Node, journal: Path) -> None:
    """While one thread waits for a block, another sends with the same key."""
    node.automine(False)
    party = Party(node, journal)
    first = party.post(b"1")
    waiter = threading.Thread(target=first)
    waiter.start()
    second = party.post(b"2")
    node.mine()
    waiter.join(10)
    assert not waiter.is_alive()
    assert second()["status"] == 1


def test_a_url_is_never_shown(journal: Path) -> None:
    """It may hold a key."""
    party = Party(Scripted(), journal)
    party.outbox._web3 = Web3(Web3.HTTPProvider("http://127.0.0.1:9/secret", exception_retry_configuration=None))
    with pytest.raises(LedgerError) as raised:
        party.post(b"1")
    assert "secret" not in str(raised.value)
    assert "no answer (ConnectionError)" in str(raised.value)
