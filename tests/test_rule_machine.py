"""A rule machine that drives the contract and the in-memory ledger together through random histories.

The rules are the actions, by anyone, sensible and not. After every step both must have logged the same or refused for
the same reason, the contract's head must be the one that Python folds, and the invariants must hold; at the end of a
history every view of the contract must be what its events fold to. A meta-test shows that the same rules, on the ledger
in memory alone and for longer, reach every phase and every refusal but those named in it.

How long the first looks depends on the profile: a few seconds, half a minute in CI (`ci`), ten minutes with
`make machine`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from chains import (
    ACCOUNTS,
    CHARTER,
    COORDINATOR,
    GENESIS,
    LIMITS,
    MEMBERS,
    OWNER,
    START,
    Side,
    Twins,
    eth_tester_side,
)
from fedpact.ledger import facts as ledger_facts
from fedpact.ledger import hashes, pact, rejections
from fedpact.ledger.actions import (
    AcceptOwnership,
    Action,
    Admit,
    AmendCharter,
    Announce,
    Appoint,
    Attest,
    CancelRound,
    Commit,
    Dismiss,
    OpenRound,
    Publish,
    Register,
    Remove,
    Reveal,
    Rewind,
    Submit,
    TransferOwnership,
)
from fedpact.ledger.events import (
    Event,
    MemberAdmitted,
    MemberRegistered,
    MemberRemoved,
    Rewound,
    RoundPublished,
    UpdateCommitted,
    UpdateRevealed,
    UpdateSubmitted,
)
from fedpact.ledger.facts import NO_TERMS, Address, Hash, Identity, Limits, Terms, Update, address
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Cursor
from fedpact.ledger.rejections import Rejection
from fedpact.ledger.view import View
from fedpact.store.cid import Cid
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

SECONDS = {"default": 0.0, "ci": 30.0, "long": 600.0}
HISTORIES = 6
accounts = st.sampled_from(ACCOUNTS[:7])
members = st.sampled_from([*MEMBERS, MEMBERS[0], ACCOUNTS[6]])
owners = st.sampled_from([OWNER, OWNER, OWNER, MEMBERS[0], ACCOUNTS[6]])
coordinators = st.sampled_from([COORDINATOR, COORDINATOR, COORDINATOR, ACCOUNTS[6], MEMBERS[0]])
off = st.sampled_from([0] * 12 + [-1, 1])
cids = st.sampled_from([Cid.of(b"%d" % number) for number in range(20)] + [Cid(bytes(32), 0x55)])  # type: ignore[arg-type]
salts = st.sampled_from([Hash(b"salt" * 8), Hash(bytes(32))])
updates = st.builds(
    Update,
    cids,
    st.sampled_from([1, 144, 2**64 - 1, 0]),
    st.sampled_from([0, 900_000, -1, -(2**63)]),
    st.sampled_from([2680, 1, 2680, 0]),
)


class Machine(RuleBasedStateMachine):
    """Actions of everybody on one federation; a subclass says where they are carried out."""

    do: Callable[[Address, Action], Sequence[Event]]
    """Carries out an action; nothing is logged where it is refused."""
    advance: Callable[[int], None]
    """Lets the next block carry a timestamp."""
    view: View
    now: int
    started = False
    before = (0, ledger_facts.Phase.IDLE)
    base = GENESIS
    belonging: Mapping[Address, tuple[int, int]] = {}  # Replaced, never changed.

    def logged(self, events: Sequence[Event]) -> Sequence[Event]:
        """Keeps in mind what the next round must start from, and who belongs to it: from the events alone, apart from
        the rules that let them happen."""
        for event in events:
            if isinstance(event, RoundPublished):
                self.base = event.model
            elif isinstance(event, Rewound):
                self.base = event.base
            elif isinstance(event, MemberAdmitted):
                self.belonging = {**self.belonging, event.member: (event.since, ledger_facts.FOREVER)}
            elif isinstance(event, MemberRemoved):
                self.belonging = {**self.belonging, event.member: (self.belonging[event.member][0], event.until)}
            elif isinstance(event, MemberRegistered | UpdateCommitted | UpdateSubmitted | UpdateRevealed):
                since, until = self.belonging[event.member]
                assert since <= event.round < until, f"{event} by one who does not belong to the round"
        return events

    @invariant()
    def a_phase_only_moves_forward(self) -> None:
        if self.started:
            after = (self.view.number, self.view.phase(self.now))
            same_round = after[0] == self.before[0] and ledger_facts.Phase.IDLE not in (after[1], self.before[1])
            assert not same_round or after[1] >= self.before[1]
            self.before = after

    @invariant()
    def someone_can_always_end_an_open_round(self) -> None:
        if self.started and self.view.open_round is not None:
            assert pact.execute(self.view, self.view.owner, CancelRound(self.view.number), self.now)

    @invariant()
    def counters_are_what_they_count(self) -> None:
        current = self.view.round if self.started else None
        if current is not None:
            marks = self.view.members.values()
            assert len(current.submissions) == sum(each.submitted == current.number for each in marks)
            assert current.committed == sum(each.committed == current.number for each in marks)
            if current.terms.register_by:
                assert current.expected == sum(each.registered == current.number for each in marks)
            assert self.view.member_count == sum(each.until == ledger_facts.FOREVER for each in marks)

    @invariant()
    def the_base_is_the_last_model_published_or_rewound_to(self) -> None:
        if self.started:
            assert self.view.base == self.base
            current = self.view.open_round
            assert current is None or current.base == self.base

    @invariant()
    def no_function_of_a_finished_round_succeeds(self) -> None:
        if self.started:
            current = self.view.round
            finished = self.number(-1 if self.view.open_round is not None else 0)
            for sender, action in self.actions_on(finished) if current is not None else ():
                with pytest.raises(Rejection):
                    pact.execute(self.view, sender, action, self.now)

    def actions_on(self, number: int) -> list[tuple[Address, Action]]:
        """Everything that can be done in a round, each by somebody who could."""
        update = Update(Cid.of(b"late"), 144, 900_000, 2680)
        transcript = self.view.rounds[number].transcript if number in self.view.rounds else Hash(bytes(28))
        return [
            (COORDINATOR, OpenRound(number, self.terms((0, 0, 40, 40), (False, False), 1))),
            (MEMBERS[0], Register(number)),
            (MEMBERS[0], Commit(number, Hash(bytes(32)))),
            (MEMBERS[0], Submit(number, update)),
            (MEMBERS[0], Reveal(number, update, Hash(bytes(32)))),
            (COORDINATOR, Publish(number, transcript, update.cid, update.cid, NO_TERMS)),
            (OWNER, CancelRound(number)),
        ]

    @rule()
    def everybody_is_late(self) -> None:
        """What is refused above by the rules in Python is refused by the contract."""
        finished = self.number(-1 if self.view.open_round is not None else 0)
        for sender, action in self.actions_on(finished):
            assert self.do(sender, action) == ()

    def number(self, wrong: int) -> int:
        return min(max(0, self.view.number + wrong), 2**32 - 1)

    @rule(sender=owners, newcomers=st.lists(accounts, min_size=1, max_size=3))
    def admit(self, sender: Address, newcomers: list[Address]) -> None:
        self.do(sender, Admit(tuple(newcomers)))

    @rule(sender=owners, who=members)
    def remove(self, sender: Address, who: Address) -> None:
        self.do(sender, Remove(who))

    @rule(sender=owners, who=st.sampled_from([COORDINATOR, ACCOUNTS[6], ledger_facts.ZERO_ADDRESS]), away=st.booleans())
    def appoint_or_dismiss(self, sender: Address, who: Address, away: bool) -> None:
        self.do(sender, Dismiss(who) if away else Appoint(who))
        self.do(OWNER, Appoint(COORDINATOR))

    @rule(sender=owners, who=accounts)
    def offer_ownership_and_back(self, sender: Address, who: Address) -> None:
        self.do(sender, TransferOwnership(who))
        if self.do(who, AcceptOwnership()):
            self.do(who, TransferOwnership(OWNER))
            self.do(OWNER, AcceptOwnership())

    @rule(sender=owners, cid=cids, limits=st.sampled_from([LIMITS, LIMITS, Limits(2, 20, 500), Limits(0, 1, 2)]))
    def amend(self, sender: Address, cid: Cid, limits: Limits) -> None:
        self.do(sender, AmendCharter(cid, limits))

    @rule(sender=owners, wrong=off, cid=cids)
    def rewind(self, sender: Address, wrong: int, cid: Cid) -> None:
        self.do(sender, Rewind(self.number(wrong), cid))

    @rule(
        sender=coordinators,
        wrong=off,
        steps=st.tuples(*[st.sampled_from([20, 40, 40, 5, 2000])] * 4),
        kinds=st.tuples(st.booleans(), st.booleans()),
        quorum=st.sampled_from([1, 1, 2, 3, 0, 60_000]),
    )
    def open(self, sender: Address, wrong: int, steps: tuple[int, ...], kinds: tuple[bool, bool], quorum: int) -> None:
        self.do(sender, OpenRound(self.number(wrong + 1), self.terms(steps, kinds, quorum)))

    def terms(self, steps: tuple[int, ...], kinds: tuple[bool, bool], quorum: int) -> Terms:
        at, deadlines = self.now, []
        for step, wanted in zip(steps, (*kinds, True, True), strict=True):
            at += step if wanted else 0
            deadlines.append(at if wanted else 0)
        return Terms(*deadlines, quorum)

    @rule(who=members, wrong=off)
    def register(self, who: Address, wrong: int) -> None:
        self.do(who, Register(self.number(wrong)))

    @rule(who=members, wrong=off, update=updates, salt=salts, copied=st.booleans())
    def commit(self, who: Address, wrong: int, update: Update, salt: Hash, copied: bool) -> None:
        bound = hashes.commitment(self.view.identity, self.number(wrong), MEMBERS[0] if copied else who, update, salt)
        self.do(who, Commit(self.number(wrong), bound))

    @rule(kinds=st.tuples(st.booleans(), st.booleans()), update=updates, salt=salts, stale=st.booleans())
    def a_whole_round(self, kinds: tuple[bool, bool], update: Update, salt: Hash, stale: bool) -> None:
        self.do(OWNER, CancelRound(self.number(0)))
        self.open(COORDINATOR, 0, (40, 40, 40, 40), kinds, 1)
        terms = self.view.round.terms if self.view.round is not None else NO_TERMS
        for who in MEMBERS if kinds[0] else ():
            self.do(who, Register(self.number(0)))
            self.do(who, Register(self.number(0)))
        self.advance(terms.register_by + 1)
        if kinds[1]:
            self.everyone_commits_and_one_reveals(salt, update)
            self.advance(terms.commit_by + 1)
            for each, grain in ((update, salt), (replace(update, samples=5), salt)):
                self.do(MEMBERS[2], Reveal(self.number(0), each, grain))
        for who in MEMBERS:
            self.do(who, Submit(self.number(0), update))
        self.advance(terms.submit_by + 1)
        self.publish(COORDINATOR, 0, update.cid, stale=stale, opens=False)

    @rule(salt=salts, update=updates)
    def everyone_commits_and_one_reveals(self, salt: Hash, update: Update) -> None:
        number = self.number(0)
        for who in MEMBERS:
            bound = hashes.commitment(self.view.identity, number, who, update, salt)
            self.do(who, Commit(number, bound))
            if who == MEMBERS[0]:
                self.do(who, Commit(number, bound))
        self.do(MEMBERS[1], Reveal(number, update, salt))

    @rule(who=members, wrong=off, update=updates, salt=salts)
    def reveal(self, who: Address, wrong: int, update: Update, salt: Hash) -> None:
        self.do(who, Reveal(self.number(wrong), update, salt))

    @rule(who=members, wrong=off, update=updates)
    def submit(self, who: Address, wrong: int, update: Update) -> None:
        self.do(who, Submit(self.number(wrong), update))

    @rule(cid=cids)
    def everyone_submits(self, cid: Cid) -> None:
        for who in (*MEMBERS, MEMBERS[0]):
            self.do(who, Submit(self.number(0), Update(cid, 144, 900_000, 2680)))

    @rule(cid=cids, who=coordinators, seconds=st.sampled_from([1, 1, 1000]))
    def the_opener_is_late(self, cid: Cid, who: Address, seconds: int) -> None:
        self.everyone_submits(cid)
        if self.view.open_round is not None:
            self.advance(self.view.open_round.terms.publish_by + seconds)
        self.publish(who, 0, cid, stale=False, opens=True)

    @rule(cid=cids)
    def a_rival_publishes(self, cid: Cid) -> None:
        self.do(OWNER, Appoint(ACCOUNTS[6]))
        self.everyone_submits(cid)
        self.publish(ACCOUNTS[6], 0, cid, stale=False, opens=True)

    @rule(sender=coordinators, wrong=off, cid=cids, stale=st.sampled_from([False, False, True]), opens=st.booleans())
    def publish(self, sender: Address, wrong: int, cid: Cid, stale: bool, opens: bool) -> None:
        current = self.view.round
        transcript = Hash(bytes(28)) if current is None or stale else current.transcript
        terms = self.terms((0, 0, 40, 40), (False, False), 1) if opens else NO_TERMS
        self.do(sender, Publish(self.number(wrong), transcript, cid, Cid.of(b"manifest"), terms))

    @rule(sender=accounts, wrong=off)
    def cancel(self, sender: Address, wrong: int) -> None:
        self.do(sender, CancelRound(self.number(wrong)))

    @rule(who=members, wrong=off, cid=cids, reproduced=st.booleans())
    def announce_and_attest(self, who: Address, wrong: int, cid: Cid, reproduced: bool) -> None:
        self.do(who, Announce(Hash(cid.digest)))
        self.do(who, Attest(self.number(wrong), reproduced, cid))

    @rule(seconds=st.sampled_from([1, 15, 41, 41, 700]))
    def time_passes(self, seconds: int) -> None:
        self.advance(self.now + seconds)


class InMemory(Machine):
    """The machine on the ledger in memory, keeping account of what it reached."""

    phases: set[ledger_facts.Phase] = set()  # noqa: RUF012  # Collected over all histories on purpose.
    refusals: set[type[Rejection]] = set()  # noqa: RUF012  # As above.

    @initialize()
    def found(self) -> None:
        identity = Identity(1, address("0x" + "11" * 20))
        self.ledger = MemoryLedger(OWNER, CHARTER, GENESIS, LIMITS, identity=identity, now=START)
        self.do(OWNER, Admit(tuple(MEMBERS[:3])))
        self.do(OWNER, Appoint(COORDINATOR))
        self.started = True

    @property
    def view(self) -> View:  # type: ignore[override]  # An attribute of the base that is computed here.
        return self.ledger.view

    @property
    def now(self) -> int:  # type: ignore[override]  # As above.
        return self.ledger.now()

    def do(self, sender: Address, action: Action) -> Sequence[Event]:
        self.phases.add(self.view.phase(self.now))
        try:
            return self.logged(self.ledger.send(sender, action).events)
        except Rejection as refusal:
            self.refusals.add(type(refusal))
            return ()

    def advance(self, to: int) -> None:
        self.ledger.advance(to)

    def teardown(self) -> None:
        """An audit must believe every history that happened."""
        if self.started:
            again = View(self.ledger.identity)
            for entry in self.ledger.read(Cursor()).entries:
                pact.replay(again, entry)
            assert again.head == self.view.head


class Together(Machine):
    """The machine on the contract and in memory at once."""

    side: Side

    @initialize()
    def found(self) -> None:
        self.snapshot = self.side.snapshot()
        self.twins = Twins(self.side)
        self.logged(self.twins.must(OWNER, Admit(tuple(MEMBERS[:3])), Appoint(COORDINATOR)))
        self.started = True

    @invariant()
    def the_head_is_the_one_that_python_folds(self) -> None:
        if self.started:
            functions = self.twins.contract.functions
            assert bytes(functions.head().call()) == self.view.head
            assert functions.phase().call(block_identifier="pending") == self.view.phase(self.now)
            current = self.view.round
            if current is not None:
                assert functions.round().call()[6:8] == (current.expected, current.committed)
                assert functions.transcript().call()[1] == len(current.submissions)

    @property
    def view(self) -> View:  # type: ignore[override]  # An attribute of the base that is computed here.
        return self.twins.memory.view

    @property
    def now(self) -> int:  # type: ignore[override]  # As above.
        return self.twins.now

    def do(self, sender: Address, action: Action) -> Sequence[Event]:
        outcome = self.twins.do(sender, action)
        return () if isinstance(outcome, Rejection) else self.logged(outcome.events)

    def advance(self, to: int) -> None:
        self.twins.travel(to)

    def teardown(self) -> None:
        if self.started:
            self.twins.compare()
            self.side.revert(self.snapshot)


def test_the_contract_and_the_ledger_in_memory_do_the_same() -> None:
    """Random histories on a real EVM, for as long as the profile says."""
    Together.side = eth_tester_side()
    end = time.monotonic() + SECONDS[os.environ.get("HYPOTHESIS_PROFILE", "default")]
    histories = 0
    while histories == 0 or time.monotonic() < end:
        run_state_machine_as_test(
            Together,
            settings=settings(
                max_examples=HISTORIES,
                stateful_step_count=25,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.explicit, Phase.generate),  # Shrinking a history on an EVM takes minutes.
            ),
        )
        histories += HISTORIES


def test_the_machine_reaches_every_phase_and_every_refusal() -> None:
    """The rules lead everywhere; what they cannot reach is named here, with where it is tested."""
    run_state_machine_as_test(
        InMemory,
        settings=settings(
            max_examples=300,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert InMemory.phases == set(ledger_facts.Phase)
    elsewhere = {rejections.FederationFull}  # It takes 65,536 members: `test_pact`.
    assert set(rejections.REJECTIONS.values()) - InMemory.refusals == elsewhere
