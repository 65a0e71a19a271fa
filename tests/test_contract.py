"""The contract and the ledger in memory, side by side: what each lets pass and what it refuses, one scenario a test.

Every scenario runs on a real EVM in this process and, under `make test-nodes`, on anvil. After each, every view of the
contract is what its events fold to, and an audit believes the record.

    who may act     nobody_but_…, whoever_has_no_part_…, what_lands_late_…, a_submission_counts_once
    membership      membership_changes_…, a_member_that_returns_…, nobody_gets_a_role_twice_…
    phases          submissions_end_…, registration_decides_…, too_few_registrations_…, commitments_…
    silence         below_the_quorum_…, silent_members_…, a_coordinator_that_disappears_…, another_coordinator_…
    the record      a_publication_names_…, a_model_can_be_disowned_…, a_bad_model_…, one_attests_…
    absurd values   absurd_terms_…, an_empty_update_…, extreme_claims_…, limits_that_…, an_amendment_…
    money and code  ether_is_refused, the_code_calls_nothing

How many there may be, and what it costs: `test_contract_limits`.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from chains import (
    ACCOUNTS,
    CHARTER,
    COORDINATOR,
    GENESIS,
    LIMITS,
    MEMBERS,
    OWNER,
    STRANGER,
    Twins,
    make_publication,
    make_terms,
    make_update,
    open_round,
    refused,
    submit_all,
)
from eth_tester.exceptions import TransactionFailed
from fedpact.errors import LedgerError
from fedpact.ledger import hashes, rejections
from fedpact.ledger.abi import Abi
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
from fedpact.ledger.artifact import federation
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.events import EVENTS
from fedpact.ledger.facts import NO_TERMS, Hash, Limits, OutOfRange, Terms, Update, address
from fedpact.ledger.port import Receipt
from fedpact.ledger.rejections import REJECTIONS
from fedpact.store.cid import Cid
from web3.exceptions import Web3Exception

SALT = Hash(b"s" * 32)


OWNERS_ACTIONS: list[Action] = [
    TransferOwnership(STRANGER),
    Admit((STRANGER,)),
    Remove(MEMBERS[0]),
    Appoint(STRANGER),
    Dismiss(COORDINATOR),
    AmendCharter(CHARTER, LIMITS),
    Rewind(1, GENESIS),
]


@pytest.mark.parametrize("action", OWNERS_ACTIONS, ids=lambda action: type(action).__name__)
@pytest.mark.parametrize("sender", [STRANGER, COORDINATOR, MEMBERS[0]])
def test_nobody_but_the_owner_decides(twins: Twins, sender: str, action: Action) -> None:
    """Strangers, coordinators and members cannot do what is the owner's."""
    refused(twins.do(sender, action), rejections.NotOwner)


@pytest.mark.parametrize("sender", [STRANGER, OWNER, MEMBERS[0]])
def test_nobody_but_a_coordinator_opens_and_publishes(twins: Twins, sender: str) -> None:
    """The owner and members cannot open or publish rounds."""
    refused(twins.do(sender, OpenRound(1, make_terms(twins))), rejections.NotCoordinator)
    open_round(twins)
    submit_all(twins)
    refused(twins.do(sender, make_publication(twins)), rejections.NotCoordinator)


WITHOUT_A_PART = {
    "a stranger": STRANGER,
    "a removed member": MEMBERS[3],
    "a dismissed coordinator": ACCOUNTS[6],
    "another member": MEMBERS[0],
}
"""Who could try something in round 2, which members 0 to 2 belong to."""
ONLY_MEMBERS = "a member may"
EVERY_FUNCTION: list[tuple[Action, type[rejections.Rejection], str]] = [
    (TransferOwnership(STRANGER), rejections.NotOwner, ""),
    (AcceptOwnership(), rejections.NotPendingOwner, ""),
    (Admit((STRANGER,)), rejections.NotOwner, ""),
    (Remove(MEMBERS[1]), rejections.NotOwner, ""),
    (Appoint(STRANGER), rejections.NotOwner, ""),
    (Dismiss(COORDINATOR), rejections.NotOwner, ""),
    (AmendCharter(CHARTER, LIMITS), rejections.NotOwner, ""),
    (Rewind(1, GENESIS), rejections.NotOwner, ""),
    (OpenRound(3, Terms(0, 0, 1, 2, 1)), rejections.NotCoordinator, ""),
    (Publish(2, Hash(bytes(28)), CHARTER, CHARTER, NO_TERMS), rejections.NotCoordinator, ""),
    (CancelRound(2), rejections.CannotCancel, ""),
    (Register(2), rejections.WrongPhase, ""),
    (Commit(2, SALT), rejections.WrongPhase, ""),
    (Reveal(2, make_update(), SALT), rejections.NotCommitted, ""),
    (Submit(2, make_update()), rejections.NotMember, ONLY_MEMBERS),
    (Announce(SALT), rejections.NotMember, ONLY_MEMBERS),
    (Attest(1, False, CHARTER), rejections.NotMember, ONLY_MEMBERS),
]


def test_every_function_is_in_the_table() -> None:
    """No function of the contract is forgotten below."""
    functions = {entry["name"] for entry in federation().abi if entry["type"] == "function"}
    changing = functions - {e["name"] for e in federation().abi if e.get("stateMutability") in ("view", "pure")}
    assert len(changing) == len({type(action) for action, _, _ in EVERY_FUNCTION}) == len(EVERY_FUNCTION)


@pytest.mark.parametrize("caller", WITHOUT_A_PART)
def test_whoever_has_no_part_in_something_is_refused(twins: Twins, caller: str) -> None:
    """Strangers, removed members, dismissed coordinators and other members call every function there is."""
    twins.must(OWNER, Appoint(ACCOUNTS[6]))
    open_round(twins)
    submit_all(twins)
    twins.must(OWNER, Remove(MEMBERS[3]), Dismiss(ACCOUNTS[6]))
    twins.must(COORDINATOR, make_publication(twins, terms=make_terms(twins)))
    for action, reason, unless in EVERY_FUNCTION:
        outcome = twins.do(WITHOUT_A_PART[caller], action)
        if unless == ONLY_MEMBERS and caller == "another member":
            assert isinstance(outcome, Receipt), outcome
        else:
            refused(outcome, reason)


def test_whoever_did_not_register_or_commit_has_no_part_in_such_a_round(twins: Twins) -> None:
    """In a round with registration and commitments each step asks for the one before."""
    open_round(twins, 1, register=True, commit=True)
    refused(twins.do(STRANGER, Register(1)), rejections.NotMember)
    twins.must(MEMBERS[0], Register(1))
    twins.travel(twins.now + 60)
    for outsider in (STRANGER, MEMBERS[1]):
        refused(twins.do(outsider, Commit(1, SALT)), rejections.NotRegistered)
        refused(twins.do(outsider, Reveal(1, make_update(), SALT)), rejections.NotCommitted)


@pytest.mark.parametrize("register", [False, True])
@pytest.mark.parametrize("commit", [False, True])
def test_a_removed_member_has_no_part_in_a_round_of_any_kind(twins: Twins, register: bool, commit: bool) -> None:
    """Nor has one that is admitted while the round is open: at every step of it, while those who belong go on."""
    update = make_update()
    bound = hashes.commitment(twins.chain.identity, 1, MEMBERS[3], update, SALT)
    newcomer = ACCOUNTS[6]
    twins.must(OWNER, Remove(MEMBERS[3]))
    open_round(twins, 1, register=register, commit=commit)
    twins.must(OWNER, Admit((newcomer, MEMBERS[3])))
    terms = twins.memory.view.rounds[1].terms
    steps: list[tuple[int, list[Action]]] = []
    if register:
        steps.append((terms.register_by, [Register(1)]))
    if commit:
        steps.append((terms.commit_by, [Commit(1, bound)]))
    steps.append((terms.submit_by, [Submit(1, update), Reveal(1, update, SALT)]))
    kinds = (rejections.NotMember, rejections.NotRegistered, rejections.NotCommitted, rejections.CommitmentRequired)
    for deadline, actions in steps:
        for outsider in (MEMBERS[3], newcomer):
            for action in actions:
                outcome = twins.do(outsider, action)
                assert isinstance(outcome, kinds), (action, outcome)
        if isinstance(actions[0], Register):
            twins.must(MEMBERS[0], Register(1))
        elif isinstance(actions[0], Commit):
            twins.must(MEMBERS[0], Commit(1, bound))
        twins.travel(deadline + 1)
    assert not twins.memory.view.rounds[1].submissions


def test_another_members_update_cannot_be_taken_in_a_round_with_commitments(twins: Twins) -> None:
    """Once it is revealed, another can neither submit it, nor reveal it in place of what it committed to itself."""
    identity = twins.chain.identity
    mine, theirs = make_update(b"mine"), make_update(b"theirs")
    open_round(twins, commit=True)
    twins.must(MEMBERS[0], Commit(1, hashes.commitment(identity, 1, MEMBERS[0], mine, SALT)))
    twins.must(MEMBERS[1], Commit(1, hashes.commitment(identity, 1, MEMBERS[1], theirs, SALT)))
    twins.travel(twins.memory.view.rounds[1].terms.commit_by + 1)
    twins.must(MEMBERS[0], Reveal(1, mine, SALT))
    refused(twins.do(MEMBERS[1], Submit(1, mine)), rejections.CommitmentRequired)
    refused(twins.do(MEMBERS[1], Reveal(1, mine, SALT)), rejections.CommitmentMismatch)
    twins.must(MEMBERS[1], Reveal(1, theirs, SALT))


def test_whatever_lands_late_is_refused_by_name(twins: Twins) -> None:
    """Registrations, commitments and reveals for a round that has ended do not count for the one that is open."""
    open_round(twins, 1, register=True, commit=True)
    twins.must(OWNER, CancelRound(1))
    open_round(twins, 2, register=True, commit=True)
    for late in (Register(1), Commit(1, SALT), Reveal(1, make_update(), SALT)):
        refused(twins.do(MEMBERS[0], late), rejections.WrongRound)


def test_a_coordinator_that_keeps_reopening_is_dismissed_first(twins: Twins) -> None:
    """The owner cannot rewind while a round is open; once dismissed, the coordinator opens no other."""
    open_round(twins)
    submit_all(twins)
    twins.must(COORDINATOR, make_publication(twins, terms=make_terms(twins)))
    twins.must(OWNER, CancelRound(2))
    open_round(twins, 3)
    refused(twins.do(OWNER, Rewind(1, GENESIS)), rejections.RoundIsOpen)
    twins.must(OWNER, Dismiss(COORDINATOR), CancelRound(3), Rewind(1, GENESIS))
    refused(twins.do(COORDINATOR, OpenRound(4, make_terms(twins))), rejections.NotCoordinator)


def test_a_submission_counts_once(twins: Twins) -> None:
    """A member cannot submit twice in a round, also not another update."""
    open_round(twins)
    twins.must(MEMBERS[0], Submit(1, make_update()))
    refused(twins.do(MEMBERS[0], Submit(1, make_update(b"other"))), rejections.AlreadySubmitted)


def test_what_lands_late_cannot_act_on_another_round(twins: Twins) -> None:
    """A transaction for a round that has ended is refused, whatever round is open by then."""
    open_round(twins)
    submit_all(twins)
    late = make_publication(twins)
    twins.must(COORDINATOR, make_publication(twins, terms=make_terms(twins)))
    for sender, action in ((MEMBERS[0], Submit(1, make_update())), (COORDINATOR, late), (OWNER, CancelRound(1))):
        refused(twins.do(sender, action), rejections.WrongRound)
    twins.must(OWNER, CancelRound(2))
    refused(twins.do(MEMBERS[0], Submit(2, make_update())), rejections.RoundNotOpen)


def test_submissions_end_when_all_have_come_or_the_deadline_has_passed(twins: Twins) -> None:
    """The publication phase begins early when nobody is missing, otherwise after `submitBy`, to the second."""
    open_round(twins)
    refused(twins.do(COORDINATOR, make_publication(twins)), rejections.WrongPhase)
    submit_all(twins)
    twins.must(COORDINATOR, make_publication(twins))
    open_round(twins, 2)
    terms = twins.memory.view.rounds[2].terms
    for member in MEMBERS[:2]:
        twins.must(member, Submit(2, make_update(member.encode())))
    twins.travel(terms.submit_by)
    refused(twins.do(COORDINATOR, make_publication(twins, 2)), rejections.WrongPhase)
    twins.must(MEMBERS[2], Submit(2, make_update(b"in the last second")))
    refused(twins.do(MEMBERS[3], Submit(2, make_update(b"a second late"))), rejections.WrongPhase)
    twins.must(COORDINATOR, make_publication(twins, 2))


def test_below_the_quorum_anyone_may_cancel_and_nobody_publish(twins: Twins) -> None:
    """A round that missed its quorum cannot be published, and does not hang."""
    open_round(twins, quorum=3)
    twins.must(MEMBERS[0], Submit(1, make_update()))
    refused(twins.do(STRANGER, CancelRound(1)), rejections.CannotCancel)
    twins.travel(twins.memory.view.rounds[1].terms.submit_by + 1)
    refused(twins.do(COORDINATOR, make_publication(twins)), rejections.QuorumNotReached)
    twins.must(STRANGER, CancelRound(1))
    open_round(twins, 2)


def test_silent_members_do_not_stop_a_round(twins: Twins) -> None:
    """Who registers or commits and then does nothing delays the others until the deadline, and no longer."""
    open_round(twins, register=True, commit=True)
    for member in MEMBERS:
        twins.must(member, Register(1))
    current = twins.memory.view.rounds[1]
    twins.travel(current.terms.register_by + 1)
    for member in MEMBERS[:3]:  # The fourth registered and commits to nothing.
        bound = hashes.commitment(twins.chain.identity, 1, member, make_update(member.encode()), SALT)
        twins.must(member, Commit(1, bound))
    twins.travel(current.terms.commit_by + 1)
    for member in MEMBERS[:2]:  # The third committed and reveals nothing.
        twins.must(member, Reveal(1, make_update(member.encode()), SALT))
    refused(twins.do(COORDINATOR, make_publication(twins)), rejections.WrongPhase)
    twins.travel(current.terms.submit_by + 1)
    refused(twins.do(MEMBERS[2], Reveal(1, make_update(MEMBERS[2].encode()), SALT)), rejections.WrongPhase)
    twins.must(COORDINATOR, make_publication(twins, terms=make_terms(twins)))
    assert twins.memory.view.rounds[2].expected == 4


def test_too_few_commitments_end_a_round(twins: Twins) -> None:
    """Once the commitments are in and below the quorum, anyone may cancel, and need not wait for the reveals."""
    open_round(twins, quorum=3, commit=True)
    for member in MEMBERS[:2]:
        twins.must(member, Commit(1, SALT))
    refused(twins.do(STRANGER, CancelRound(1)), rejections.CannotCancel)
    twins.travel(twins.memory.view.rounds[1].terms.commit_by + 1)
    twins.must(STRANGER, CancelRound(1))


def test_a_coordinator_that_disappears_is_replaced(twins: Twins) -> None:
    """The owner appoints another, who publishes its round after `publishBy`; and if nobody does, anyone ends it."""
    other = ACCOUNTS[6]
    open_round(twins)
    submit_all(twins)
    twins.must(OWNER, Dismiss(COORDINATOR), Appoint(other))
    refused(twins.do(other, make_publication(twins)), rejections.NotOpener)
    twins.travel(twins.memory.view.rounds[1].terms.publish_by + 1)
    refused(twins.do(STRANGER, CancelRound(1)), rejections.CannotCancel)
    twins.must(other, make_publication(twins, terms=make_terms(twins)))
    submit_all(twins, 2)
    twins.must(OWNER, Dismiss(other))  # Now there is none, and round 2 is open.
    twins.travel(twins.memory.view.rounds[2].takeover_by)
    refused(twins.do(STRANGER, CancelRound(2)), rejections.CannotCancel)
    twins.travel(twins.memory.view.rounds[2].takeover_by + 1)
    twins.must(STRANGER, CancelRound(2))
    twins.must(OWNER, Appoint(other))
    twins.must(other, OpenRound(3, make_terms(twins)))


def test_a_publication_names_the_submissions_that_it_was_made_of(twins: Twins) -> None:
    """A model computed from other submissions than those on the ledger is refused."""
    open_round(twins)
    stale = make_publication(twins)
    submit_all(twins)
    refused(twins.do(COORDINATOR, stale), rejections.TranscriptMismatch)


def test_another_coordinator_takes_over_after_publish_by(twins: Twins) -> None:
    """Until `publishBy` only the opener publishes, then any coordinator, then nobody and anyone cancels."""
    other = STRANGER
    twins.must(OWNER, Appoint(other))
    open_round(twins)
    submit_all(twins)
    refused(twins.do(other, make_publication(twins)), rejections.NotOpener)
    current = twins.memory.view.rounds[1]
    twins.travel(current.terms.publish_by + 1)
    refused(twins.do(MEMBERS[0], CancelRound(1)), rejections.CannotCancel)
    twins.must(other, make_publication(twins, terms=make_terms(twins)))
    assert twins.memory.view.rounds[2].opener == other
    submit_all(twins, 2)
    twins.travel(twins.memory.view.rounds[2].takeover_by + 1)
    refused(twins.do(other, make_publication(twins, 2)), rejections.WrongPhase)
    twins.must(MEMBERS[0], CancelRound(2))


def test_a_dismissed_coordinator_can_do_nothing_more(twins: Twins) -> None:
    """Dismissal counts at once, also for an open round."""
    open_round(twins)
    submit_all(twins)
    twins.must(OWNER, Dismiss(COORDINATOR))
    refused(twins.do(COORDINATOR, make_publication(twins)), rejections.NotCoordinator)
    refused(twins.do(COORDINATOR, CancelRound(1)), rejections.CannotCancel)
    refused(twins.do(OWNER, Dismiss(COORDINATOR)), rejections.NotCoordinator)
    twins.must(OWNER, CancelRound(1))


def test_membership_changes_count_from_the_next_round(twins: Twins) -> None:
    """Who is admitted in a round cannot act in it; who is removed still can; neither changes whom it expects."""
    open_round(twins)
    twins.must(OWNER, Admit((STRANGER,)), Remove(MEMBERS[0]))
    refused(twins.do(STRANGER, Submit(1, make_update())), rejections.NotMember)
    submit_all(twins)
    twins.must(COORDINATOR, make_publication(twins, terms=make_terms(twins)))
    assert twins.memory.view.rounds[2].expected == 4
    refused(twins.do(MEMBERS[0], Submit(2, make_update())), rejections.NotMember)
    twins.must(STRANGER, Submit(2, make_update()))


def test_a_member_that_returns_keeps_its_index(twins: Twins) -> None:
    """Removal and re-admission change nothing but the rounds that a member belongs to."""
    twins.must(OWNER, Remove(MEMBERS[1]))
    refused(twins.do(OWNER, Remove(MEMBERS[1])), rejections.NotMember)
    open_round(twins)
    twins.must(OWNER, Admit((MEMBERS[1],)))
    refused(twins.do(MEMBERS[1], Submit(1, make_update())), rejections.NotMember)
    member = twins.memory.view.members[MEMBERS[1]]
    assert (member.index, member.since) == (2, 2)
    twins.must(OWNER, Remove(MEMBERS[0]), Admit((MEMBERS[0],)))
    assert twins.memory.view.members[MEMBERS[0]].since == 1
    twins.must(MEMBERS[0], Submit(1, make_update()))
    refused(twins.do(OWNER, Admit((MEMBERS[0],))), rejections.AlreadyMember)
    refused(twins.do(OWNER, Admit((STRANGER, STRANGER))), rejections.AlreadyMember)


@pytest.mark.parametrize("count", [0, 1, 2, 17, 255, 256, 257, pytest.param(5000, marks=pytest.mark.nodes)])
def test_any_number_of_members(twins: Twins, count: int) -> None:
    """Each is expected, the first can submit, and the round goes on without the others at its deadline."""
    for member in MEMBERS[count:]:
        twins.must(OWNER, Remove(member))
    others = [address("0x%040x" % (2**100 + number)) for number in range(count - len(MEMBERS))]
    for start in range(0, len(others), 200):
        twins.must(OWNER, Admit(tuple(others[start : start + 200])))
    assert twins.contract.functions.memberCount().call() == count
    if count == 0:
        refused(twins.do(COORDINATOR, OpenRound(1, make_terms(twins, quorum=1))), rejections.QuorumOutOfRange)
        return
    open_round(twins, quorum=1)
    assert twins.memory.view.rounds[1].expected == count
    twins.must(MEMBERS[0], Submit(1, make_update()))
    twins.travel(twins.memory.view.rounds[1].terms.submit_by + 1)
    twins.must(COORDINATOR, make_publication(twins))


def test_registration_decides_who_is_expected(twins: Twins) -> None:
    """Only who registered may act, registration never ends early, and nobody acts before it has closed."""
    open_round(twins, register=True)
    for member in MEMBERS:
        twins.must(member, Register(1))
    refused(twins.do(MEMBERS[0], Register(1)), rejections.AlreadyRegistered)
    refused(twins.do(MEMBERS[0], Submit(1, make_update())), rejections.WrongPhase)
    twins.must(OWNER, CancelRound(1))
    open_round(twins, 2, register=True)
    twins.must(MEMBERS[0], Register(2))
    twins.must(MEMBERS[1], Register(2))
    twins.travel(twins.memory.view.rounds[2].terms.register_by + 1)
    refused(twins.do(MEMBERS[2], Register(2)), rejections.WrongPhase)
    refused(twins.do(MEMBERS[2], Submit(2, make_update())), rejections.NotRegistered)
    for member in MEMBERS[:2]:
        twins.must(member, Submit(2, make_update(member.encode())))
    twins.must(COORDINATOR, make_publication(twins, 2))


def test_too_few_registrations_end_a_round(twins: Twins) -> None:
    """Once registration has closed below the quorum, anyone may cancel."""
    open_round(twins, register=True)
    twins.must(MEMBERS[0], Register(1))
    refused(twins.do(STRANGER, CancelRound(1)), rejections.CannotCancel)
    twins.travel(twins.memory.view.rounds[1].terms.register_by + 1)
    twins.must(STRANGER, CancelRound(1))


def test_commitments_bind_update_salt_member_and_round(twins: Twins) -> None:
    """A reveal with another update, salt or sender is refused, and so is a copied commitment."""
    open_round(twins, commit=True)
    identity = twins.chain.identity
    mine, other = make_update(b"mine"), make_update(b"other")
    bound = hashes.commitment(identity, 1, MEMBERS[0], mine, SALT)
    refused(twins.do(MEMBERS[0], Submit(1, mine)), rejections.CommitmentRequired)
    for member in MEMBERS[:3]:
        twins.must(member, Commit(1, bound))  # The second and third copy the first's.
    refused(twins.do(MEMBERS[0], Commit(1, bound)), rejections.AlreadyCommitted)
    refused(twins.do(MEMBERS[0], Reveal(1, mine, SALT)), rejections.WrongPhase)
    twins.travel(twins.memory.view.rounds[1].terms.commit_by + 1)
    refused(twins.do(MEMBERS[1], Reveal(1, mine, SALT)), rejections.CommitmentMismatch)
    refused(twins.do(MEMBERS[0], Reveal(1, other, SALT)), rejections.CommitmentMismatch)
    refused(twins.do(MEMBERS[0], Reveal(1, mine, Hash(bytes(32)))), rejections.CommitmentMismatch)
    refused(twins.do(MEMBERS[3], Reveal(1, mine, SALT)), rejections.NotCommitted)
    twins.must(MEMBERS[0], Reveal(1, mine, SALT))
    refused(twins.do(MEMBERS[0], Reveal(1, mine, SALT)), rejections.AlreadySubmitted)


def test_commitments_end_early_when_all_have_committed(twins: Twins) -> None:
    """The submission phase begins when the last expected member has committed."""
    open_round(twins, commit=True)
    for member in MEMBERS:
        update = make_update(member.encode())
        twins.must(member, Commit(1, hashes.commitment(twins.chain.identity, 1, member, update, SALT)))
    for member in MEMBERS:
        twins.must(member, Reveal(1, make_update(member.encode()), SALT))
    twins.must(COORDINATOR, make_publication(twins))


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (Update(Cid(bytes(32), 0x55), 1, 0, 1), rejections.InvalidCid),  # type: ignore[arg-type]  # The codec as a number.
        (make_update(samples=0), rejections.EmptyUpdate),
        (make_update(size=0), rejections.EmptyUpdate),
    ],
)
def test_an_empty_update_is_refused(twins: Twins, update: Update, reason: type[rejections.Rejection]) -> None:
    """A zero digest, no samples or no bytes are no update; and a refused one uses nothing up."""
    open_round(twins)
    refused(twins.do(MEMBERS[0], Submit(1, update)), reason)
    twins.must(MEMBERS[0], Submit(1, make_update()))


@pytest.mark.parametrize("score", [-(2**63), -1, 0, 2**63 - 1])
def test_extreme_claims_are_recorded_as_they_are(twins: Twins, score: int) -> None:
    """The contract keeps every claim that its types can hold; the charter decides what it is worth."""
    open_round(twins)
    update = make_update(samples=2**64 - 1, score=score, size=2**64 - 1)
    (event,) = twins.must(MEMBERS[0], Submit(1, update))
    assert event.update == update  # type: ignore[union-attr]  # It is an UpdateSubmitted.


@pytest.mark.parametrize(("name", "value"), [("samples", -900), ("samples", 2**64), ("score", 2**63), ("size", -1)])
def test_claims_that_no_type_can_hold_are_refused_by_name(name: str, value: int) -> None:
    """A negative sample count never gets as far as the chain."""
    with pytest.raises(OutOfRange, match=f"^{name}: expected .* found {value}$"):
        make_update(**{name: value})


@pytest.mark.parametrize(
    ("word", "value", "refused"),
    [(2, 0x70, False), (2, 0x71, True), (2, 0x170, True), (3, -900, True), (3, 2**64, True), (4, 2**63, True)],
)
def test_words_that_python_would_not_write_are_refused_by_the_contract(
    twins: Twins, word: int, value: int, refused: bool
) -> None:
    """Call data with an unknown codec, or with a word that its type cannot hold, reverts; the same with good words does
    not."""
    open_round(twins)
    data = bytearray(Abi(federation().abi).call(Submit(1, make_update())))
    data[4 + word * 32 : 4 + (word + 1) * 32] = value.to_bytes(32, "big", signed=value < 0)
    call = {"from": twins.chain._accounts[MEMBERS[0]].address, "to": twins.contract.address, "data": bytes(data)}
    with pytest.raises((Web3Exception, TransactionFailed)) if refused else contextlib.nullcontext():
        twins.side.web3.eth.call(call)  # type: ignore[arg-type]  # A plain dictionary is a transaction.


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"quorum": 0}, rejections.QuorumOutOfRange),
        ({"quorum": 5}, rejections.QuorumOutOfRange),
        ({"submit_by": -300}, rejections.PhaseTooShort),
        ({"publish_by": -1}, rejections.PhaseTooShort),
        ({"register_by": 5}, rejections.PhaseTooShort),
        ({"commit_by": 195}, rejections.PhaseTooShort),
        ({"publish_by": 2000}, rejections.RoundTooLong),
        ({"publish_by": 2**40 - 1}, rejections.RoundTooLong),
    ],
)
def test_absurd_terms_are_refused(twins: Twins, change: dict[str, int], reason: type[rejections.Rejection]) -> None:
    """Deadlines in the past, out of order, too close or too far, and quorums that nobody or everybody meets."""
    now = twins.now
    wanted = {"register_by": 0, "commit_by": 0, "submit_by": 200, "publish_by": 300, "quorum": 2, **change}
    deadlines = [
        wanted[name] and min(now + wanted[name], 2**40 - 1)
        for name in ("register_by", "commit_by", "submit_by", "publish_by")
    ]
    refused(twins.do(COORDINATOR, OpenRound(1, Terms(*deadlines, wanted["quorum"]))), reason)
    open_round(twins)


@pytest.mark.parametrize("limits", [Limits(0, 10, 1000), Limits(1, 0, 1000), Limits(1, 10, 19)])
def test_limits_that_contradict_themselves_are_refused(twins: Twins, limits: Limits) -> None:
    """No amendment can make rounds impossible, or quorums meaningless."""
    refused(twins.do(OWNER, AmendCharter(CHARTER, limits)), rejections.InvalidLimits)


def test_an_amendment_counts_from_the_next_opened_round(twins: Twins) -> None:
    """The open round keeps its charter; its head commits to it."""
    open_round(twins)
    amended = Cid.of(b"another charter")
    twins.must(OWNER, AmendCharter(amended, Limits(3, 20, 2000)))
    submit_all(twins)
    twins.must(COORDINATOR, make_publication(twins))
    refused(twins.do(COORDINATOR, OpenRound(2, make_terms(twins, quorum=2))), rejections.QuorumOutOfRange)
    open_round(twins, 2, quorum=3)
    assert [each.charter for each in twins.memory.view.rounds.values()] == [CHARTER, amended]


def test_a_publication_raced_by_an_amendment_opens_nothing_by_the_old_rules(twins: Twins) -> None:
    """It is refused as a whole where its next terms break the new limits; without them, or with others, it counts."""
    open_round(twins)
    submit_all(twins)
    raced = make_publication(twins, terms=make_terms(twins, quorum=2))
    twins.must(OWNER, AmendCharter(Cid.of(b"another charter"), Limits(3, 20, 2000)))
    refused(twins.do(COORDINATOR, raced), rejections.QuorumOutOfRange)
    assert twins.memory.view.open_round is not None
    twins.must(COORDINATOR, make_publication(twins, terms=make_terms(twins, quorum=3)))
    assert twins.memory.view.rounds[2].charter == Cid.of(b"another charter")


def test_ownership_passes_in_two_steps(twins: Twins) -> None:
    """An offer changes nothing until it is accepted, can be taken back, and cannot go to nobody."""
    refused(twins.do(STRANGER, AcceptOwnership()), rejections.NotPendingOwner)
    twins.must(OWNER, TransferOwnership(STRANGER), TransferOwnership("0x" + "0" * 40))
    refused(twins.do(STRANGER, AcceptOwnership()), rejections.NotPendingOwner)
    twins.must(OWNER, TransferOwnership(STRANGER))
    twins.must(OWNER, Dismiss(COORDINATOR))
    twins.must(STRANGER, AcceptOwnership(), Appoint(COORDINATOR))
    refused(twins.do(OWNER, Dismiss(COORDINATOR)), rejections.NotOwner)
    refused(twins.do(STRANGER, AcceptOwnership()), rejections.NotPendingOwner)


def test_nobody_gets_a_role_twice_or_for_nobody(twins: Twins) -> None:
    """The zero address has no role, and a role is not given twice."""
    zero = "0x" + "0" * 40
    refused(twins.do(OWNER, Admit((zero,))), rejections.ZeroAddress)
    refused(twins.do(OWNER, Appoint(zero)), rejections.ZeroAddress)
    refused(twins.do(OWNER, Appoint(COORDINATOR)), rejections.AlreadyCoordinator)


def test_a_model_can_be_disowned_and_never_erased(twins: Twins) -> None:
    """After a rewind the next round starts from the earlier base; the head remembers both."""
    open_round(twins)
    refused(twins.do(OWNER, Rewind(1, GENESIS)), rejections.RoundIsOpen)
    submit_all(twins)
    twins.must(COORDINATOR, make_publication(twins))
    before = twins.memory.view.head
    refused(twins.do(OWNER, Rewind(2, GENESIS)), rejections.WrongRound)
    twins.must(MEMBERS[0], Attest(1, False, CHARTER))
    twins.must(OWNER, Rewind(1, GENESIS))
    assert twins.memory.view.head != before
    open_round(twins, 2)
    assert twins.memory.view.rounds[2].base == GENESIS


def test_a_bad_model_is_disowned_while_the_next_round_is_under_way(twins: Twins) -> None:
    """Published, attested against, the round that starts from it cancelled, rewound: the next starts from before it."""
    open_round(twins)
    submit_all(twins)
    twins.must(COORDINATOR, make_publication(twins, terms=make_terms(twins)))
    twins.must(MEMBERS[0], Attest(1, False, Cid.of(b"what I derived")), Submit(2, make_update()))
    refused(twins.do(OWNER, Rewind(1, GENESIS)), rejections.RoundIsOpen)
    refused(twins.do(MEMBERS[0], CancelRound(2)), rejections.CannotCancel)
    twins.must(OWNER, CancelRound(2), Rewind(1, GENESIS))
    refused(twins.do(MEMBERS[1], Submit(2, make_update())), rejections.RoundNotOpen)
    open_round(twins, 3)
    assert twins.memory.view.rounds[3].base == GENESIS
    assert twins.memory.view.rounds[2].base == Cid.of(b"model 1")


def test_one_attests_only_what_has_ended(twins: Twins) -> None:
    """An open or future round cannot be attested."""
    refused(twins.do(MEMBERS[0], Attest(1, True, CHARTER)), rejections.WrongRound)
    open_round(twins)
    refused(twins.do(MEMBERS[0], Attest(1, True, CHARTER)), rejections.RoundIsOpen)
    refused(twins.do(COORDINATOR, OpenRound(2, make_terms(twins))), rejections.RoundIsOpen)
    twins.must(COORDINATOR, CancelRound(1))
    refused(twins.do(COORDINATOR, OpenRound(3, make_terms(twins))), rejections.WrongRound)
    twins.must(MEMBERS[0], Attest(1, True, CHARTER), Announce(SALT))


def test_ether_is_refused(twins: Twins) -> None:
    """The contract holds no money: it has no payable function and no receive."""
    call = {"from": twins.chain._accounts[OWNER].address, "to": twins.contract.address, "value": 1}
    with pytest.raises((Web3Exception, TransactionFailed), match="revert"):
        twins.side.web3.eth.call(call)  # type: ignore[arg-type]  # A plain dictionary is a transaction.


def test_the_code_calls_nothing() -> None:
    """There is nothing to re-enter: no call, no creation, no self-destruction among the instructions."""
    found, at, code = set(), 0, federation().runtime
    while at < len(code):
        found.add(code[at])
        at += 1 + (code[at] - 0x5F if 0x60 <= code[at] <= 0x7F else 0)  # What a PUSH pushes is no instruction.
    calls = {"CREATE": 0xF0, "CALL": 0xF1, "CALLCODE": 0xF2, "DELEGATECALL": 0xF4, "CREATE2": 0xF5, "STATICCALL": 0xFA}
    assert not found & {*calls.values(), 0xFF}
    assert {0x54, 0x55, 0xA3} <= found  # It reads, writes and logs: these are its instructions.


def test_code_of_another_contract_is_named(twins: Twins) -> None:
    """A ledger is not opened on an address that holds something else."""
    with pytest.raises(LedgerError, match="expected the code of a federation, found no code"):
        EthereumLedger(twins.side.web3, STRANGER)


def test_every_event_and_error_has_its_class_and_no_other() -> None:
    """Python and Solidity know the same events and the same errors, with fields of the same names in the same order."""
    for kind, classes in {"event": EVENTS, "error": REJECTIONS}.items():
        in_solidity = {
            entry["name"]: [re.sub("(?<=[a-z])(?=[A-Z])", "_", each["name"]).lower() for each in entry["inputs"]]
            for entry in federation().abi
            if entry["type"] == kind
        }
        assert in_solidity == {name: list(cls.__dataclass_fields__) for name, cls in classes.items()}


def test_the_storage_layout_is_the_one_that_was_counted_on() -> None:
    """What a round writes lies in as few slots as the gas figures assume."""
    path = Path(__file__).parent.parent / "protocol/fedpact/ledger/Federation.json"
    slots: dict[str, list[str]] = {}
    for entry in json.loads(path.read_text("utf-8"))["storage"]:
        slots.setdefault(entry["slot"], []).append(entry["label"])
    assert list(slots.values())[:7] == [
        ["_round"],
        ["_transcript"],
        ["head"],
        ["_baseDigest"],
        ["_charterDigest"],
        ["opener", "_baseCodec", "_charterCodec", "memberCount", "admittedCount"],
        ["owner", "_minQuorum", "_minPhase", "_maxRound"],
    ]


def test_accounts_of_the_tests_are_distinct() -> None:
    """The scenarios above tell roles apart by account."""
    assert len(set(ACCOUNTS)) == len(ACCOUNTS)
