"""What an owner wants of a federation, and what is still to be done for it: nothing where it is so already.

Pure: from a view and a wish to the actions that are left, so that asking twice is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedpact.errors import FedpactError
from fedpact.ledger import events
from fedpact.ledger.actions import (
    AcceptOwnership,
    Action,
    Admit,
    AmendCharter,
    Appoint,
    CancelRound,
    Dismiss,
    Remove,
    Rewind,
    TransferOwnership,
)
from fedpact.ledger.events import Event
from fedpact.ledger.facts import FOREVER, ZERO_ADDRESS, Address, Limits, RoundNumber
from fedpact.ledger.view import Status, View
from fedpact.store.cid import Cid
from fedpact.suggestion import did_you_mean

BATCH = 200
"""Members that one transaction admits at most: some 10 million gas."""


class Pointless(FedpactError):
    """Something that cannot be asked of this federation as it is now: to remove who is no member, say."""


@dataclass(frozen=True, slots=True)
class Todo:
    """What is left to be done.

    Attributes:
        actions: to be sent, in order.
        notes: what a person should know: what is so already, what follows.
    """

    actions: Sequence[Action] = ()
    notes: Sequence[str] = ()


def admit(view: View, accounts: Iterable[Address]) -> Todo:
    """Makes accounts members."""
    wanted = list(dict.fromkeys(accounts))
    there = [each for each in wanted if each in view.members and view.members[each].until == FOREVER]
    missing = [each for each in wanted if each not in there]
    batches = [Admit(tuple(missing[start : start + BATCH])) for start in range(0, len(missing), BATCH)]
    return Todo(batches, [f"{each} is a member already" for each in there])


def remove(view: View, account: Address) -> Todo:
    """Ends a membership.

    Raises:
        Pointless: the account never was a member.
    """
    member = view.members.get(account)
    if member is None:
        near = did_you_mean(account, view.members, likeness=0.9)
        raise Pointless(
            f"{account}: expected a member, found an account that was never admitted"
            + (near or "; fedpact federation show lists the members")
        )
    if member.until != FOREVER:
        return Todo(notes=[f"{account} is no member any more"])
    left = view.member_count - 1
    short = [f"{left} members are left, fewer than the quorum of {view.limits.min_quorum}: no round can open"]
    return Todo([Remove(account)], short if left < view.limits.min_quorum else [])


def appoint(view: View, account: Address) -> Todo:
    """Makes an account a coordinator."""
    if account in view.coordinators:
        return Todo(notes=[f"{account} is a coordinator already"])
    return Todo([Appoint(account)])


def dismiss(view: View, account: Address) -> Todo:
    """Takes the coordinator's part from an account."""
    if account not in view.coordinators:
        return Todo(notes=[f"{account} is no coordinator"])
    left = len(view.coordinators) - 1
    return Todo([Dismiss(account)], [] if left else ["no coordinator is left: no round can open"])


def amend(view: View, charter: Cid, limits: Limits) -> Todo:
    """Puts another charter in force."""
    if (view.charter, view.limits) == (charter, limits):
        return Todo(notes=[f"the charter is {charter} already"])
    current = view.open_round
    notes = (
        [] if current is None else [f"round {current.number} is open, and ends under the charter that it opened with"]
    )
    return Todo([AmendCharter(charter, limits)], notes)


def rewind(view: View, number: int) -> Todo:
    """Goes back to the model that a round started from.

    Raises:
        Pointless: there was no such round, or one is open.
    """
    if number not in view.rounds:
        raise Pointless(f"round {number}: expected 1 to {view.number}, the rounds so far")
    base = view.rounds[number].base
    if view.open_round is not None:
        raise Pointless(f"round {view.number} is open: cancel it first (fedpact federation cancel {view.number})")
    if view.base == base and view.origin is view.rounds[number].origin:  # Two rounds may have one model.
        return Todo(notes=[f"the next round starts from {base}, the base of round {number}, already"])
    return Todo([Rewind(RoundNumber(number), base)])


def cancel(view: View, number: int) -> Todo:
    """Ends a round without a model.

    Raises:
        Pointless: there was no such round, or it ended with a model.
    """
    if number not in view.rounds:
        raise Pointless(f"round {number}: expected 1 to {view.number}, the rounds so far")
    status = view.rounds[number].status
    if status is Status.PUBLISHED:
        raise Pointless(f"round {number}: published; to go back to its base: fedpact federation rewind {number}")
    if status is Status.CANCELLED:
        return Todo(notes=[f"round {number} is cancelled already"])
    return Todo([CancelRound(RoundNumber(number))])


def transfer(view: View, account: Address) -> Todo:
    """Offers the ownership; to the zero address: takes the offer back."""
    if view.pending_owner == account:
        taken_back = "nobody is offered the ownership"
        return Todo(notes=[taken_back if account == ZERO_ADDRESS else f"{account} is offered the ownership already"])
    if view.owner == account:
        return Todo(notes=[f"{account} is the owner already"])
    notes = [] if account == ZERO_ADDRESS else [f"{account} has to accept it: fedpact federation accept"]
    return Todo([TransferOwnership(account)], notes)


def accept(view: View, own: Address) -> Todo:
    """Takes the ownership that was offered."""
    return Todo(notes=[f"{own} is the owner already"]) if view.owner == own else Todo([AcceptOwnership()])


def in_words(event: Event) -> str:
    """What became of an action, for a person."""
    match event:
        case events.MemberAdmitted():
            return f"admitted: {event.member}, member {event.index} from round {event.since} on"
        case events.MemberRemoved():
            return f"removed: {event.member}, no member from round {event.until} on"
        case events.CoordinatorAppointed():
            return f"appointed: {event.coordinator}"
        case events.CoordinatorDismissed():
            return f"dismissed: {event.coordinator}"
        case events.CharterAmended():
            return f"amended: the charter is {event.charter} from the next round on"
        case events.Rewound():
            return f"rewound: the next round starts from {event.base}, the base of round {event.round}"
        case events.RoundCancelled():
            return f"cancelled: round {event.round}"
        case events.OwnershipOffered() if event.pending == ZERO_ADDRESS:
            return "taken back: nobody is offered the ownership"
        case events.OwnershipOffered():
            return f"offered: the ownership to {event.pending}"
        case events.OwnershipTransferred():
            return f"accepted: the owner is {event.owner}"
        case _:
            return type(event).__name__
