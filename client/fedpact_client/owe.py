"""What a silo owes the federation next: a pure function of the ledger, the time and the silo's account.

Read it from the top: the first case that applies is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedpact.artifacts.charter import Charter
from fedpact.ending import ending
from fedpact.ledger.facts import Address, Phase, RoundNumber
from fedpact.ledger.view import View
from fedpact.store.cid import Cid


@dataclass(frozen=True, slots=True)
class Train:
    """Train on the base model of a round and submit the update.

    Attributes:
        until: the last second in which a submission counts.
    """

    round: RoundNumber
    base: Cid
    until: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing is owed until something is logged."""

    why: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The silo takes no part, because its owner did not agree to this."""

    why: str


@dataclass(frozen=True, slots=True)
class Released:
    """The federation is over."""

    why: str


Debt = Train | Nothing | Refuse | Released


def owe(view: View, now: int, charter: Charter, accepted: Cid, silo: Address) -> Debt:
    """What a silo owes next.

    Args:
        view: the federation so far.
        now: the timestamp that the next block would carry.
        charter: the charter that the silo accepted.
        accepted: its address; under another one the silo does nothing.
        silo: the silo's account.
    """
    current = view.open_round
    if current is None:
        why = ending(view, charter) if view.charter == accepted else None
        return Nothing("no round is open") if why is None else Released(why)
    if current.charter != accepted:
        return Refuse(f"round {current.number} is under charter {current.charter}, accepted is {accepted}")
    member = view.members.get(silo)
    if member is None or not view.takes_part(silo, current):
        return Nothing(f"{silo} is no member in round {current.number}")
    if member.submitted == current.number:
        return Nothing(f"submitted in round {current.number}")
    phase = current.phase(now)
    if phase is not Phase.SUBMISSION:
        return Nothing(f"round {current.number} is in its phase {phase.name.lower()}")
    if current.terms.commit_by:
        return Nothing(f"round {current.number} asks for commitments, which this silo does not make")
    return Train(current.number, current.base, current.terms.submit_by)
