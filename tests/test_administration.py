"""What is left to be done for an owner's wish: enough, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chains import ACCOUNTS, CHARTER, COORDINATOR, GENESIS, LIMITS, MEMBERS, OWNER, START, STRANGER
from fedpact import administration
from fedpact.administration import BATCH, Pointless, Todo, in_words
from fedpact.ledger.actions import Admit, Appoint, OpenRound, Publish, Submit
from fedpact.ledger.facts import FOREVER, NO_TERMS, ZERO_ADDRESS, Address, Identity, Limits, Terms, Update, address
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.view import View
from fedpact.store.cid import Cid
from hypothesis import given
from hypothesis import strategies as st

IDENTITY = Identity(31337, address("0x" + "12" * 20))
OTHER = Cid.of(b"another charter")
WIDER = Limits(1, 10, 2000)


def _ledger() -> MemoryLedger:
    ledger = MemoryLedger(OWNER, CHARTER, GENESIS, LIMITS, identity=IDENTITY, now=START)
    ledger.send(OWNER, Admit(tuple(MEMBERS[:2])))
    ledger.send(OWNER, Appoint(COORDINATOR))
    return ledger


def _open(ledger: MemoryLedger) -> None:
    now = ledger.now()
    ledger.send(COORDINATOR, OpenRound(ledger.view.number + 1, Terms(0, 0, now + 200, now + 300, 1)))  # type: ignore[arg-type]


def _publish(ledger: MemoryLedger) -> None:
    _open(ledger)
    number = ledger.view.number
    for member in MEMBERS[:2]:
        ledger.send(member, Submit(number, Update(Cid.of(f"{number} {member}".encode()), 1, 0, 1)))
    model, manifest = Cid.of(b"model %d" % number), Cid.of(b"manifest %d" % number)
    ledger.send(COORDINATOR, Publish(number, ledger.view.rounds[number].transcript, model, manifest, NO_TERMS))


WISHES: dict[str, Callable[[View], Todo]] = {
    "admit": lambda view: administration.admit(view, [MEMBERS[1], MEMBERS[2], MEMBERS[3], MEMBERS[2]]),
    "remove": lambda view: administration.remove(view, MEMBERS[0]),
    "appoint": lambda view: administration.appoint(view, STRANGER),
    "dismiss": lambda view: administration.dismiss(view, COORDINATOR),
    "amend": lambda view: administration.amend(view, OTHER, LIMITS),
    "limits": lambda view: administration.amend(view, CHARTER, WIDER),
    "transfer": lambda view: administration.transfer(view, STRANGER),
}


@pytest.mark.parametrize("name", WISHES)
def test_a_wish_is_fulfilled_once(name: str) -> None:
    """The actions do it, each with words for a person; asked again, nothing is left, and a note says so."""
    ledger = _ledger()
    todo = WISHES[name](ledger.view)
    assert len(todo.actions) == 1
    for action in todo.actions:
        receipt = ledger.send(OWNER, action)
        assert all(": " in in_words(event) for event in receipt.events)
    again = WISHES[name](ledger.view)
    assert (len(again.actions), bool(again.notes)) == (0, True)


@given(st.lists(st.tuples(st.sampled_from(sorted(WISHES)), st.booleans()), max_size=12))
def test_no_order_of_wishes_is_refused(wishes: list[tuple[str, bool]]) -> None:
    """Whatever came before, what is left to be done is what the contract accepts of its owner."""
    ledger = _ledger()
    for name, undo in wishes:
        for action in WISHES[name](ledger.view).actions:
            ledger.send(OWNER, action)
        if undo:
            back: list[Any] = [
                administration.admit(ledger.view, [MEMBERS[0]]),
                administration.appoint(ledger.view, COORDINATOR),
                administration.amend(ledger.view, CHARTER, LIMITS),
                administration.transfer(ledger.view, ZERO_ADDRESS),
            ]
            for todo in back:
                for action in todo.actions:
                    ledger.send(OWNER, action)
            assert ledger.view.members[MEMBERS[0]].until == FOREVER
            assert (ledger.view.charter, ledger.view.pending_owner) == (CHARTER, ZERO_ADDRESS)


def test_many_members_are_admitted_in_batches() -> None:
    """As many as a block can hold."""
    accounts = [Address(f"0x{number:040x}") for number in range(1, 2 * BATCH + 2)]
    ledger = _ledger()
    todo = administration.admit(ledger.view, accounts)
    assert [len(action.members) for action in todo.actions if isinstance(action, Admit)] == [BATCH, BATCH, 1]
    for action in todo.actions:
        ledger.send(OWNER, action)
    assert administration.admit(ledger.view, accounts).actions == []


def test_what_follows_is_said() -> None:
    """Too few members, no coordinator, a round that goes on as it began, an offer that has to be accepted."""
    ledger = _ledger()
    _open(ledger)
    assert administration.amend(ledger.view, OTHER, LIMITS).notes == [
        "round 1 is open, and ends under the charter that it opened with"
    ]
    assert administration.dismiss(ledger.view, COORDINATOR).notes == ["no coordinator is left: no round can open"]
    assert administration.transfer(ledger.view, STRANGER).notes == [
        f"{STRANGER} has to accept it: fedpact federation accept"
    ]
    ledger.send(OWNER, administration.remove(ledger.view, MEMBERS[0]).actions[0])
    assert administration.remove(ledger.view, MEMBERS[1]).notes == [
        "0 members are left, fewer than the quorum of 1: no round can open"
    ]


def test_rounds_are_cancelled_and_rewound_once() -> None:
    """Only an open round is cancelled; only between rounds is one rewound."""
    ledger = _ledger()
    _publish(ledger)
    _publish(ledger)
    _open(ledger)
    with pytest.raises(Pointless, match=r"round 3 is open: cancel it first \(fedpact federation cancel 3\)"):
        administration.rewind(ledger.view, 2)
    with pytest.raises(Pointless, match="round 2: published; to go back to its base: fedpact federation rewind 2"):
        administration.cancel(ledger.view, 2)
    for wish in (administration.cancel, administration.rewind):
        with pytest.raises(Pointless, match="round 4: expected 1 to 3, the rounds so far"):
            wish(ledger.view, 4)
    for wish, number, words in (
        (administration.cancel, 3, "cancelled: round 3"),
        (administration.rewind, 2, f"rewound: the next round starts from {Cid.of(b'model 1')}, the base of round 2"),
    ):
        (action,) = wish(ledger.view, number).actions
        (event,) = ledger.send(OWNER, action).events
        assert in_words(event) == words
        again = wish(ledger.view, number)
        assert (len(again.actions), len(again.notes)) == (0, 1)


def test_the_ownership_passes_when_it_is_accepted() -> None:
    """And an offer can be taken back."""
    ledger = _ledger()
    for account in (STRANGER, ZERO_ADDRESS, STRANGER):
        (action,) = administration.transfer(ledger.view, account).actions
        ledger.send(OWNER, action)
        assert ledger.view.pending_owner == account
    (action,) = administration.accept(ledger.view, STRANGER).actions
    (event,) = ledger.send(STRANGER, action).events
    assert in_words(event) == f"accepted: the owner is {STRANGER}"
    assert administration.accept(ledger.view, STRANGER).notes == [f"{STRANGER} is the owner already"]
    assert administration.transfer(ledger.view, STRANGER).notes == [f"{STRANGER} is the owner already"]
    assert administration.transfer(ledger.view, ZERO_ADDRESS).notes == ["nobody is offered the ownership"]


def test_who_never_was_a_member_is_named() -> None:
    """That is a slip rather than a wish that came true."""
    with pytest.raises(Pointless, match=f"{STRANGER}: expected a member, found an account that was never admitted"):
        administration.remove(_ledger().view, STRANGER)
    assert STRANGER in ACCOUNTS
