"""A ledger entry by entry, in plain words: who did what, when, and which hash that made out of which.

Everything is read from the entries alone; what manifests decided is in the store, and the matter of `fedpact.overview`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from fedpact.ledger.events import (
    CharterAmended,
    CoordinatorAppointed,
    CoordinatorDismissed,
    Entry,
    Event,
    Founded,
    KeyAnnounced,
    MemberAdmitted,
    MemberRegistered,
    MemberRemoved,
    OwnershipOffered,
    OwnershipTransferred,
    Rewound,
    RoundAttested,
    RoundCancelled,
    RoundOpened,
    RoundPublished,
    UpdateCommitted,
    UpdateRevealed,
    UpdateSubmitted,
)
from fedpact.ledger.facts import NO_HASH, ZERO_ADDRESS, Address, Hash, Identity, Limits
from fedpact.ledger.view import View
from fedpact.overview import decimal
from fedpact.store.cid import Cid


@dataclass(frozen=True, slots=True)
class Step:
    """One entry as a person reads it.

    Attributes:
        index: its place among the entries, from 0.
        round: the round that it is of; none where it is of none.
        who: whose action it was, as what: `owner`, `coordinator`, `member 3`, or `anyone` who may cancel a round.
        account: whose.
        what: the action in words.
        previous: the hash that its own builds on; none where it makes none.
        hash: a head (32 bytes) or, of what happens within a round, a transcript (28 bytes).
    """

    index: int
    entry: Entry
    round: int | None
    who: str
    account: Address
    what: str
    previous: Hash | None
    hash: Hash | None


def chronicle(identity: Identity, entries: Iterable[Entry], shown: Callable[[Cid], str] = str) -> Iterator[Step]:
    """Tells the entries of a federation in their order.

    Args:
        shown: how an address is written.

    Raises:
        RecordInconsistent: an entry cannot follow the ones before it; those were told.
    """
    view = View(identity)
    for index, entry in enumerate(entries):
        before = view.head, view.last_transcript
        view.fold(entry)
        who, account = _actor(view, entry.event)
        previous, made = _hashes(view, entry.event, *before)
        number = getattr(entry.event, "round", None)
        yield Step(index, entry, number, who, account, _what(view, entry, shown), previous, made)


def _actor(view: View, event: Event) -> tuple[str, Address]:
    """Who acts, by what an event says; what it does not say of, only the owner can do."""
    match event:
        case RoundOpened(coordinator=account) | RoundPublished(coordinator=account):
            return "coordinator", account
        case (
            KeyAnnounced(member=account)
            | MemberRegistered(member=account)
            | UpdateCommitted(member=account)
            | UpdateSubmitted(member=account)
            | UpdateRevealed(member=account)
            | RoundAttested(member=account)
        ):
            return _role(view, account), account
        case RoundCancelled(number, account):
            opener = view.rounds[number].opener == account
            return "coordinator" if opener else _role(view, account), account
    return "owner", view.owner


def _role(view: View, account: Address) -> str:
    if account in view.members:
        return f"member {view.members[account].index}"
    if account == view.owner:
        return "owner"
    return "coordinator" if account in view.coordinators else "anyone"


def _hashes(view: View, event: Event, head: Hash, transcript: Hash) -> tuple[Hash | None, Hash | None]:
    """What a hash builds on, and the hash."""
    match event:
        case Founded():
            return None, view.head
        case RoundPublished() | Rewound():
            return head, view.head
        case RoundOpened():
            return head, view.last_transcript
        case UpdateSubmitted() | UpdateRevealed():
            return transcript, view.last_transcript
    return None, None


def _what(view: View, entry: Entry, shown: Callable[[Cid], str]) -> str:
    match entry.event:
        case Founded(charter=charter, genesis=genesis, limits=limits):
            return f"founded the federation: charter {shown(charter)}, first model {shown(genesis)}, {_limits(limits)}"
        case OwnershipOffered(pending=pending):
            if pending == ZERO_ADDRESS:
                return "took the offer of the ownership back"
            return f"offered the ownership to {pending}"
        case OwnershipTransferred(previous=previous):
            return f"took the ownership over from {previous}"
        case MemberAdmitted(member, index, since):
            return f"admitted {member} as member {index}, from round {since} on"
        case MemberRemoved(member, until):
            return f"removed {member}, member {view.members[member].index}, from round {until} on"
        case KeyAnnounced(key=key):
            return "took its public key back" if key == NO_HASH else f"announced its public key 0x{key.hex()}"
        case CoordinatorAppointed(coordinator):
            return f"appointed {coordinator} as coordinator"
        case CoordinatorDismissed(coordinator):
            return f"dismissed {coordinator} as coordinator"
        case CharterAmended(charter, limits):
            return f"amended the charter: {shown(charter)}, {_limits(limits)}"
        case RoundOpened(base=base, terms=terms, expected=expected):
            awaited = f"{expected} members expected" if terms.register_by == 0 else "members register first"
            seconds = terms.submit_by - entry.time
            return f"opened: base {shown(base)}, {awaited}, quorum {terms.quorum}, {seconds} s to submit"
        case MemberRegistered():
            return "registered"
        case UpdateCommitted(commitment=commitment):
            return f"committed to an update, 0x{commitment.hex()}"
        case UpdateSubmitted(update=update) | UpdateRevealed(update=update):
            verb = "revealed" if isinstance(entry.event, UpdateRevealed) else "submitted"
            score = decimal(Fraction(update.score))
            return (
                f"{verb}: update {shown(update.cid)}, {update.samples:,} samples, score {score}, {update.size:,} bytes"
            )
        case RoundPublished(model=model, manifest=manifest):
            return f"published: model {shown(model)}, manifest {shown(manifest)}"
        case RoundCancelled():
            return "cancelled"
        case Rewound(number, base):
            return f"rewound to the base of round {number}: {shown(base)}"
        case RoundAttested(reproduced=reproduced, report=report):
            verdict = "reproduced" if reproduced else "NOT REPRODUCED"
            return f"attested: the model was {verdict}, report {shown(report)}"


def _limits(limits: Limits) -> str:
    least, phase = limits.min_quorum, limits.min_phase
    return f"quorum at least {least}, phases of at least {phase} s, rounds of at most {limits.max_round} s"
