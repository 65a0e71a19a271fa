"""The ledger over its outbox, on a real EVM: what it costs, what an account has, what is refused and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chains import ACCOUNTS, KEYS, MEMBERS, OWNER, Twins, eth_tester_side, make_update, open_round
from fedpact.errors import LedgerError
from fedpact.ledger.actions import Admit, Appoint, Dismiss, Remove, Submit
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.events import UpdateSubmitted
from fedpact.ledger.fees import GWEI, Fees
from fedpact.ledger.rejections import AlreadySubmitted, NotOwner
from fedpact.ledger.spending import Spent
from sending import Killed
from web3 import Web3


@pytest.fixture
def twins() -> Twins:
    twins = Twins(eth_tester_side())
    twins.must(OWNER, Admit(tuple(MEMBERS)), Appoint(ACCOUNTS[1]))
    return twins


def _ledger(twins: Twins, **more: Any) -> EthereumLedger:
    return EthereumLedger(twins.side.web3, twins.chain.identity.contract, KEYS, **more)


def test_what_was_spent_is_what_the_account_lost(twins: Twins) -> None:
    """Gas, wei and transactions; a refusal costs nothing."""
    ledger = _ledger(twins)
    before = ledger.balance(OWNER)
    assert ledger.spent == Spent()
    receipts = [ledger.send(OWNER, action) for action in (Appoint(ACCOUNTS[6]), Dismiss(ACCOUNTS[6]))]
    with pytest.raises(NotOwner):
        ledger.send(MEMBERS[0], Appoint(MEMBERS[0]))
    spent = ledger.spent
    assert (spent.transactions, spent.reverts, spent.gas) == (2, 0, sum(each.gas or 0 for each in receipts))
    assert before - ledger.balance(OWNER) == spent.wei == sum((each.gas or 0) * (each.price or 0) for each in receipts)


def test_a_failure_on_the_chain_is_counted_and_explained(twins: Twins) -> None:
    """Without a simulation it costs gas; its reason is asked for afterwards."""
    ledger = _ledger(twins, simulate=False)
    with pytest.raises(NotOwner):
        ledger.send(MEMBERS[0], Appoint(MEMBERS[0]))
    assert (ledger.spent.transactions, ledger.spent.reverts) == (1, 1)


def test_what_may_be_meant_twice_is_done_twice(twins: Twins, tmp_path: Path) -> None:
    """Admitted, removed, admitted again, also by a process that was started in between."""
    for _ in range(2):
        ledger = _ledger(twins, journal=tmp_path / "journal")
        ledger.send(OWNER, Remove(MEMBERS[0]))
        assert not ledger.is_member(MEMBERS[0])
        ledger.send(OWNER, Admit((MEMBERS[0],)))
        assert ledger.is_member(MEMBERS[0])


def test_an_action_that_succeeded_is_refused_by_the_contract(twins: Twins, tmp_path: Path) -> None:
    """That is its caller's matter."""
    open_round(twins)
    ledger = _ledger(twins, journal=tmp_path / "journal")
    ledger.send(MEMBERS[0], Submit(1, make_update()))
    for again in (ledger, _ledger(twins, journal=tmp_path / "journal")):
        with pytest.raises(AlreadySubmitted):
            again.send(MEMBERS[0], Submit(1, make_update()))


@pytest.mark.parametrize("fault", [ConnectionError("reset"), Killed()], ids=["lost answer", "killed"])
def test_a_submission_whose_receipt_was_never_given_is_found(
    twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    """By the same process or the next: one event, one transaction."""
    open_round(twins)
    ledger, eth = _ledger(twins, journal=tmp_path / "journal"), twins.side.web3.eth
    send = eth.send_raw_transaction

    def lose(raw: bytes) -> Any:
        send(raw)
        raise fault

    monkeypatch.setattr(eth, "send_raw_transaction", lose)
    try:
        receipt = ledger.send(MEMBERS[0], Submit(1, make_update()))
    except Killed:
        receipt = _ledger(twins, journal=tmp_path / "journal").send(MEMBERS[0], Submit(1, make_update()))
    assert [type(event) for event in receipt.events] == [UpdateSubmitted]
    assert eth.get_transaction_count(KEYS[2].address) == 1


def test_a_deployment_keeps_to_the_cap(twins: Twins) -> None:
    """Nothing is sent."""
    web3 = twins.side.web3
    limits, cids = twins.memory.view.limits, (twins.memory.view.charter, twins.memory.view.base)
    sent = web3.eth.get_transaction_count(KEYS[0].address)
    with pytest.raises(LedgerError, match=r"^base fee: expected at most the cap of 0\.01 gwei, found "):
        EthereumLedger.deploy(web3, KEYS[0], *cids, limits, fees=Fees(GWEI // 100))
    assert web3.eth.get_transaction_count(KEYS[0].address) == sent


def test_a_balance_that_cannot_be_asked_for_is_an_error_in_a_line(twins: Twins) -> None:
    """As everything that a node does not answer."""
    ledger = _ledger(twins)
    ledger._web3 = Web3(Web3.HTTPProvider("http://127.0.0.1:9/secret", exception_retry_configuration=None))
    with pytest.raises(LedgerError, match=rf"^balance of {OWNER}: no answer \(ConnectionError\)$"):
        ledger.balance(OWNER)
