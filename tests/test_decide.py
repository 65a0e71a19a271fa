"""What a coordinator is to do next: one table of ledger, time and charter, and that the ledger allows each answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from chains import ACCOUNTS, COORDINATOR, MEMBERS, OWNER, START, STRANGER
from charters import small_charter
from fedpact.artifacts.charter import Charter
from fedpact.ledger.actions import (
    Action,
    Admit,
    Appoint,
    CancelRound,
    Commit,
    Dismiss,
    OpenRound,
    Publish,
    Register,
    Remove,
    Submit,
)
from fedpact.ledger.facts import LAST_ROUND, NO_TERMS, Address, Hash, Identity, RoundNumber, Terms, Update
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.view import View
from fedpact.store import Cid, Codec
from fedpact_coordinator.decide import Aggregate, Decision, Finished, Wait, decide

CHARTER = small_charter(rounds={"quorum": 2})
SECOND = ACCOUNTS[6]
OPENED = START + 100
SUBMIT_BY, PUBLISH_BY, TAKEOVER_BY = OPENED + 100, OPENED + 160, OPENED + 220
PLAIN = Terms(0, 0, SUBMIT_BY, PUBLISH_BY, 2)
REGISTER_BY, COMMIT_BY, REVEAL_BY = OPENED + 40, OPENED + 80, OPENED + 120
PHASED = Terms(REGISTER_BY, COMMIT_BY, REVEAL_BY, REVEAL_BY + 40, 2)
FIRST = RoundNumber(1)
FIGURE = Cid.of(b"a figure of speech", Codec.DAG_PB)

Deed = Callable[[MemoryLedger], object]
"""Something that happens to a ledger."""


def does(sender: Address, action: Action) -> Deed:
    """An account acts."""
    return lambda ledger: ledger.send(sender, action)


def at(time: int) -> Deed:
    """Time passes."""
    return lambda ledger: ledger.advance(time)


def opens(terms: Terms = PLAIN, number: int = 1) -> Deed:
    """The first coordinator opens a round at `OPENED`, or at once if it is later."""
    return lambda ledger: (
        ledger.advance(OPENED),
        ledger.send(COORDINATOR, OpenRound(RoundNumber(number), terms)),
    )


def submits(*members: Address, number: int = 1, score: int = 0) -> Deed:
    """Members submit updates."""
    return lambda ledger: [
        ledger.send(each, Submit(RoundNumber(number), Update(Cid.of(each.encode(), Codec.DAG_PB), 10, score, 100)))
        for each in members
    ]


def registers(*members: Address) -> Deed:
    """Members register for the first round."""
    return lambda ledger: [ledger.send(each, Register(FIRST)) for each in members]


def commits(*members: Address) -> Deed:
    """Members commit to updates of the first round."""
    return lambda ledger: [ledger.send(each, Commit(FIRST, Hash(b"c" * 32))) for each in members]


def publishes(sender: Address = COORDINATOR, upcoming: Terms = NO_TERMS) -> Deed:
    """A coordinator publishes the open round."""

    def publish(ledger: MemoryLedger) -> None:
        current = ledger.view.open_round
        assert current is not None
        ledger.send(sender, Publish(current.number, current.transcript, FIGURE, FIGURE, upcoming))

    return publish


def last_round(ledger: MemoryLedger) -> None:
    """The round becomes the last that can have a number: nobody can wait for four thousand million rounds."""
    current = ledger.view.rounds.pop(1)
    current.number = RoundNumber(LAST_ROUND)
    ledger.view.rounds[LAST_ROUND] = current
    ledger.view.number = current.number


def after(*deeds: Deed) -> MemoryLedger:
    """A federation of three members and two coordinators after these deeds."""
    ledger = MemoryLedger(
        OWNER, Cid.of(b"charter"), FIGURE, CHARTER.contract_limits(), identity=Identity(1, STRANGER), now=START
    )
    for action in (Admit(tuple(MEMBERS[:3])), Appoint(COORDINATOR), Appoint(SECOND)):
        ledger.send(OWNER, action)
    for deed in deeds:
        deed(ledger)
    return ledger


def no_coordinator(account: Address) -> Wait:
    """What somebody else than a coordinator is told."""
    return Wait(f"{account} is no coordinator (the owner may make it one: fedpact federation appoint)")


@dataclass(frozen=True)
class Case:
    """What happened, the time of the next block, and the expected decision."""

    deeds: tuple[Deed, ...]
    now: int
    expected: Decision
    charter: Charter = field(default=CHARTER)
    coordinator: Address = COORDINATOR
    unusable: bool = False

    def ledger(self) -> MemoryLedger:
        """The ledger, at the time of the case."""
        ledger = after(*self.deeds)
        assert ledger.now() <= self.now, "the case is set before its own deeds"
        ledger.advance(self.now)
        return ledger

    def decide(self, view: View, now: int) -> Decision:
        """The decision for a view at a time."""
        return decide(view, now, self.charter, self.coordinator, unusable=self.unusable)


def stopping(**stop: object) -> Charter:
    """The charter with this stopping rule."""
    return small_charter(rounds={"quorum": 2}, stop=stop)


def waiting(phase: str, until: int) -> Wait:
    """To wait for a phase of the first round to end."""
    return Wait(f"round 1 is in its phase {phase}", until)


PUBLISHER = f"until publishBy round 1 is for {COORDINATOR} to publish"
TWO = MEMBERS[:2]
THREE = MEMBERS[:3]
QUORATE = (opens(), submits(*TWO))
TAKEN = PUBLISH_BY + 1
LATE = TAKEOVER_BY + 1

CASES = {
    # ---------------------------------------------------------------------------------------- nothing for this one
    "a stranger waits": Case((), OPENED, no_coordinator(STRANGER), coordinator=STRANGER),
    "the owner alone is no coordinator": Case((), OPENED, no_coordinator(OWNER), coordinator=OWNER),
    "a dismissed opener waits": Case((*QUORATE, does(OWNER, Dismiss(COORDINATOR))), TAKEN, no_coordinator(COORDINATOR)),
    # ---------------------------------------------------------------------------------------------- no round is open
    "too few members wait": Case(
        (does(OWNER, Remove(MEMBERS[0])), does(OWNER, Remove(MEMBERS[1]))),
        OPENED,
        Wait("1 members, the quorum is 2"),
    ),
    "the charter's quorum counts, not the contract's": Case(
        (), OPENED, Wait("3 members, the quorum is 4"), charter=small_charter(rounds={"quorum": 4})
    ),
    "a quorum of members opens": Case(
        (does(OWNER, Remove(MEMBERS[0])),), OPENED, OpenRound(FIRST, CHARTER.terms(OPENED))
    ),
    "the second coordinator opens as well": Case(
        (), OPENED, OpenRound(FIRST, CHARTER.terms(OPENED)), coordinator=SECOND
    ),
    "after a cancelled round the next opens": Case(
        (opens(), does(COORDINATOR, CancelRound(FIRST))), LATE, OpenRound(RoundNumber(2), CHARTER.terms(LATE))
    ),
    "after a published round the next opens": Case(
        (*QUORATE, at(SUBMIT_BY + 1), publishes()), LATE, OpenRound(RoundNumber(2), CHARTER.terms(LATE))
    ),
    # ------------------------------------------------------------------------------------------------- it is over
    "the charter's rounds are published": Case(
        (*QUORATE, at(SUBMIT_BY + 1), publishes()),
        LATE,
        Finished("1 round, as the charter says"),
        charter=stopping(rounds=1),
    ),
    "too many failures in a row": Case(
        (opens(), does(COORDINATOR, CancelRound(FIRST))),
        LATE,
        Finished("1 cancelled rounds in a row"),
        charter=stopping(failures=1),
    ),
    "the target is reached": Case(
        (opens(), submits(*THREE, score=900_000), publishes()),
        LATE,
        Finished("mean score 0.900000 reached the target 0.9"),
        charter=stopping(target_score="0.9"),
    ),
    "it is over even with too few members": Case(
        (*QUORATE, at(SUBMIT_BY + 1), publishes(), *(does(OWNER, Remove(each)) for each in THREE)),
        LATE,
        Finished("1 round, as the charter says"),
        charter=stopping(rounds=1),
    ),
    "no round number is left": Case(
        (*QUORATE, last_round, at(SUBMIT_BY + 1), publishes()), LATE, Finished("no round number is left")
    ),
    # -------------------------------------------------------------------------------------- phases are waited for
    "submissions are awaited": Case((opens(),), OPENED + 1, waiting("submission", SUBMIT_BY)),
    "submissions are awaited to the last second": Case(QUORATE, SUBMIT_BY, waiting("submission", SUBMIT_BY)),
    "the second coordinator waits for submissions": Case(
        QUORATE, SUBMIT_BY, waiting("submission", SUBMIT_BY), coordinator=SECOND
    ),
    "registrations are awaited to the last second": Case(
        (opens(PHASED),), REGISTER_BY, waiting("registration", REGISTER_BY)
    ),
    "commitments are awaited to the last second": Case(
        (opens(PHASED), registers(*TWO)), COMMIT_BY, waiting("commitment", COMMIT_BY)
    ),
    "reveals are awaited to the last second": Case(
        (opens(PHASED), registers(*TWO), at(REGISTER_BY + 1), commits(*TWO)),
        REVEAL_BY,
        waiting("submission", REVEAL_BY),
    ),
    "another's round is left to it until publishBy": Case(
        QUORATE, PUBLISH_BY, Wait(PUBLISHER, PUBLISH_BY), coordinator=SECOND
    ),
    "another's complete round is left to it": Case(
        (opens(), submits(*THREE)), OPENED + 4, Wait(PUBLISHER, PUBLISH_BY), coordinator=SECOND
    ),
    # ----------------------------------------------------------------------------------------------- below the quorum
    "too few registrations cancel": Case((opens(PHASED), registers(MEMBERS[0])), REGISTER_BY + 1, CancelRound(FIRST)),
    "no registration cancels": Case((opens(PHASED),), REGISTER_BY + 1, CancelRound(FIRST), coordinator=SECOND),
    "too few commitments cancel": Case(
        (opens(PHASED), registers(*THREE), at(REGISTER_BY + 1), commits(MEMBERS[0])),
        COMMIT_BY + 1,
        CancelRound(FIRST),
    ),
    "too few reveals cancel": Case(
        (opens(PHASED), registers(*THREE), at(REGISTER_BY + 1), commits(*TWO)), REVEAL_BY + 1, CancelRound(FIRST)
    ),
    "too few submissions cancel": Case((opens(), submits(MEMBERS[0])), SUBMIT_BY + 1, CancelRound(FIRST)),
    "too few submissions cancel another's round": Case(
        (opens(), submits(MEMBERS[0])), SUBMIT_BY + 1, CancelRound(FIRST), coordinator=SECOND
    ),
    "too few submissions cancel in the takeover": Case((opens(),), TAKEN, CancelRound(FIRST), coordinator=SECOND),
    "an expired round is cancelled": Case(QUORATE, LATE, CancelRound(FIRST)),
    "another's expired round is cancelled": Case(QUORATE, LATE, CancelRound(FIRST), coordinator=SECOND),
    # ------------------------------------------------------------------------------------------------------ aggregate
    "a quorum aggregates after the deadline": Case(QUORATE, SUBMIT_BY + 1, Aggregate(FIRST, True)),
    "all submissions aggregate at once": Case((opens(), submits(*THREE)), OPENED + 4, Aggregate(FIRST, True)),
    "the opener aggregates to the end of the takeover": Case(QUORATE, TAKEOVER_BY, Aggregate(FIRST, True)),
    "another takes over after publishBy": Case(QUORATE, TAKEN, Aggregate(FIRST, True), coordinator=SECOND),
    "another takes over to the last second": Case(QUORATE, TAKEOVER_BY, Aggregate(FIRST, True), coordinator=SECOND),
    "members removed meanwhile still count in their round": Case(
        (*QUORATE, does(OWNER, Remove(MEMBERS[0]))), SUBMIT_BY + 1, Aggregate(FIRST, True)
    ),
    "at the charter's end none opens next": Case(
        QUORATE, SUBMIT_BY + 1, Aggregate(FIRST, False), charter=stopping(rounds=1)
    ),
    "one round before the charter's end the next opens": Case(
        QUORATE, SUBMIT_BY + 1, Aggregate(FIRST, True), charter=stopping(rounds=2)
    ),
    "at the target none opens next": Case(
        (opens(), submits(*THREE, score=900_000)),
        OPENED + 4,
        Aggregate(FIRST, False),
        charter=stopping(target_score="0.9"),
    ),
    "after the last number none opens next": Case(
        (*QUORATE, last_round), SUBMIT_BY + 1, Aggregate(RoundNumber(LAST_ROUND), False)
    ),
    "with too few members none opens next": Case(
        (*QUORATE, *(does(OWNER, Remove(each)) for each in TWO)), SUBMIT_BY + 1, Aggregate(FIRST, False)
    ),
    # ------------------------------------------------------------------------------------------------------- unusable
    "the opener cancels what is unusable": Case(QUORATE, SUBMIT_BY + 1, CancelRound(FIRST), unusable=True),
    "the opener cancels it in the takeover": Case(QUORATE, TAKEN, CancelRound(FIRST), unusable=True),
    "another waits with what is unusable": Case(
        QUORATE,
        TAKEN,
        Wait("round 1 has too few usable updates", TAKEOVER_BY),
        coordinator=SECOND,
        unusable=True,
    ),
    "another waits for the opener to find out first": Case(
        QUORATE, PUBLISH_BY, Wait(PUBLISHER, PUBLISH_BY), coordinator=SECOND, unusable=True
    ),
    "the owner cancels what is unusable in another's round": Case(
        (*QUORATE, does(OWNER, Appoint(OWNER))), TAKEN, CancelRound(FIRST), coordinator=OWNER, unusable=True
    ),
    "another cancels what is unusable when it expired": Case(
        QUORATE, LATE, CancelRound(FIRST), coordinator=SECOND, unusable=True
    ),
}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@each_case
def test_the_decision(case: Case) -> None:
    """Ledger, time and charter decide, and nothing else: the same again gives the same."""
    ledger = case.ledger()
    assert case.decide(ledger.view, case.now) == case.expected
    assert case.decide(ledger.view, case.now) == case.expected


@each_case
def test_the_ledger_allows_what_was_decided(case: Case) -> None:
    """Whoever decides to open, cancel or publish may do so at that time, with the next round where one is to open."""
    ledger = case.ledger()
    match case.expected:
        case OpenRound() | CancelRound() as action:
            assert ledger.send(case.coordinator, action).events
        case Aggregate(number, opens_next):
            upcoming = case.charter.terms(case.now) if opens_next else NO_TERMS
            publishes(case.coordinator, upcoming)(ledger)
            assert ledger.view.number == number + opens_next
        case Wait() | Finished():
            pass


@each_case
def test_a_wait_with_a_time_ends_then(case: Case) -> None:
    """To the last second that it names the decision stays, and in the next one there is another."""
    if isinstance(case.expected, Wait) and case.expected.until is not None:
        view = case.ledger().view
        assert case.now <= case.expected.until
        assert case.decide(view, case.expected.until) == case.expected
        assert case.decide(view, case.expected.until + 1) != case.expected


def test_the_table_has_every_decision() -> None:
    """No kind of decision is missing from the table."""
    assert {type(case.expected) for case in CASES.values()} == set(Decision.__args__)
