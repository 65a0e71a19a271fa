"""The chains of a simulation: what is sent together, with and without an EVM, and imports left for later."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from charters import small_charter
from fedpact.deferred import defer
from fedpact.errors import ContractRejected, LedgerError
from fedpact.ledger.actions import Admit, Appoint, OpenRound, Submit
from fedpact.ledger.events import UpdateSubmitted
from fedpact.ledger.facts import Address, RoundNumber, Update
from fedpact.ledger.in_process import InProcess
from fedpact.ledger.port import Cursor, Posted, Receipt
from fedpact.ledger.rejections import AlreadySubmitted
from fedpact.store.cid import Cid
from fedpact_simulation import chain
from fedpact_simulation.chain import Chain
from fedpact_simulation.evm import EthTesterChain

CHARTER = small_charter(rounds={"quorum": 2})
MODEL = Cid.of(b"genesis")
SILOS = 4
FIRST = RoundNumber(1)


@pytest.fixture(params=chain.KINDS)
def started(request: pytest.FixtureRequest) -> Chain:
    """A federation with an open round, on each kind of chain."""
    return _start(request.param)


def _start(kind: str, silos: int = SILOS) -> Chain:
    found = chain.start(kind, CHARTER, Cid.of(CHARTER.encode()), MODEL, silos, seed=0)
    found.ledger.send(found.owner, Admit(tuple(found.silos)))
    found.ledger.send(found.owner, Appoint(found.coordinator))
    found.ledger.send(found.coordinator, OpenRound(FIRST, CHARTER.terms(found.ledger.now())))
    return found


def _update(place: int) -> Submit:
    return Submit(FIRST, Update(Cid.of(b"update %d" % place), 100 + place, 500_000, 1000))


def test_what_is_posted_together_is_carried_out_in_order(started: Chain) -> None:
    """Receipts may be asked for in any order; they, and the ledger, say what each silo did, once."""
    ledger = started.ledger
    cursor = ledger.read(Cursor()).cursor
    posted = [ledger.post(silo, _update(place)) for place, silo in enumerate(started.silos)]
    receipts = [receipt() for receipt in reversed(posted)][::-1]
    expected = [UpdateSubmitted(FIRST, silo, _update(place).update) for place, silo in enumerate(started.silos)]
    assert [receipt.events for receipt in receipts] == [(each,) for each in expected]
    entries = ledger.read(cursor).entries
    assert [entry.event for entry in entries] == expected
    assert [(entry.block, entry.transaction) for entry in entries] == [(r.block, r.transaction) for r in receipts]
    places = [(entry.block, entry.position) for entry in entries]
    assert places == sorted(set(places))
    assert len({entry.transaction for entry in entries}) == SILOS


def test_one_that_is_refused_takes_nothing_from_the_others(started: Chain) -> None:
    """Whoever submits twice hears of it, when posting or when waiting; those before and after are submitted."""
    ledger, (first, second, *_) = started.ledger, started.silos

    def post(silo: Address, place: int) -> Posted:
        """Refuses late, whenever the ledger does."""
        try:
            return ledger.post(silo, _update(place))
        except AlreadySubmitted as error:
            return _raising(error)

    honest, again, other = post(first, 0), post(first, 1), post(second, 2)
    assert len(honest().events) == 1
    with pytest.raises(AlreadySubmitted):
        again()
    assert len(other().events) == 1
    silos = [entry.event.member for entry in ledger.read(Cursor()).entries if isinstance(entry.event, UpdateSubmitted)]
    assert silos == [first, second]


def _raising(error: ContractRejected) -> Posted:
    def receipt() -> Receipt:
        raise error

    return receipt


def test_submissions_share_a_block_and_cost_what_they_cost_alone() -> None:
    """On the EVM what was posted until somebody waits is one block; each transaction pays for itself alone."""
    shared, alone = _start(chain.ETH_TESTER), _start(chain.ETH_TESTER)
    posted = [shared.ledger.post(silo, _update(place)) for place, silo in enumerate(shared.silos)]
    together = [receipt() for receipt in posted]
    singly = [alone.ledger.send(silo, _update(place)) for place, silo in enumerate(alone.silos)]
    assert len({receipt.block for receipt in together}) == 1
    assert len({receipt.block for receipt in singly}) == SILOS
    assert [receipt.gas for receipt in together] == [receipt.gas for receipt in singly]


def test_what_is_invalid_takes_nothing_from_the_others() -> None:
    """A transaction that no block can hold is an error of its own, and the others get theirs."""
    started = _start(chain.ETH_TESTER)
    assert isinstance(started, EthTesterChain)
    first, second, third, _ = started.silos
    ledger = started.ledger
    honest = [ledger.post(first, _update(0))]
    assert isinstance(ledger._sending, InProcess)
    ledger._sending.nonces[second] = 7
    broken = ledger.post(second, _update(1))
    honest.append(ledger.post(third, _update(2)))
    with pytest.raises(LedgerError, match="nonce"):
        broken()
    assert [len(receipt().events) for receipt in honest] == [1, 1]
    assert len(ledger.send(second, _update(1)).events) == 1  # The nonce was asked for again.


def test_many_threads_send_at_once() -> None:
    """Each gets its own receipt."""
    found = _start(chain.ETH_TESTER, silos=12)
    with ThreadPoolExecutor(6) as pool:
        receipts = list(pool.map(lambda each: found.ledger.send(each[1], _update(each[0])), enumerate(found.silos)))
    assert [receipt.events[0].member for receipt in receipts] == list(found.silos)  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------- imports


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that can be imported, and was not yet."""
    name = "deferred_for_a_test"
    (tmp_path / f"{name}.py").write_text("def double(number, *, more=0):\n    return 2 * number + more\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield name
    sys.modules.pop(name, None)


def test_a_deferred_module_is_imported_when_a_function_of_it_is_called(module: str) -> None:
    """Importing it and its functions is nothing yet; calling one is what it always was."""
    defer(module)
    stand_in = sys.modules[module]
    double = stand_in.double
    assert sys.modules[module] is stand_in
    assert double(4, more=1) == 9
    assert sys.modules[module] is not stand_in
    assert double(5) == 10


def test_a_module_that_is_there_is_not_deferred(module: str) -> None:
    """What was imported before stays as it is."""
    imported = __import__(module)
    defer(module)
    assert sys.modules[module] is imported


def test_what_is_deferred_for_the_chain_still_computes() -> None:
    """The real module is behind the stand-in: a pairing of the generators is in the target group, and is not one."""
    code = """
import sys
from fedpact_simulation import chain
chain.load("eth-tester")
assert type(sys.modules["py_ecc.optimized_bls12_381.optimized_pairing"]).__name__ == "_Deferred"
from py_ecc.optimized_bls12_381 import FQ12, G1, G2, pairing
print(isinstance(pairing(G2, G1), FQ12), pairing(G2, G1) == FQ12.one())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
