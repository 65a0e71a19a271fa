"""What a coordinator is to do next: a pure function of the ledger, the time and the charter.

    no round open ──open──▶ registration ─▶ commitment ─▶ submission ─▶ publication ──publish──▶ no round, or the next
                                     └────── below the quorum: cancel ──────┘

Read it from the top: the first case that applies is the answer. Every answer is checked against the ledger first, so
asking again after a crash, or with two coordinators at once, does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedpact.artifacts.charter import Charter
from fedpact.ending import ending
from fedpact.ledger.actions import CancelRound, OpenRound
from fedpact.ledger.facts import LAST_ROUND, Address, Phase, RoundNumber
from fedpact.ledger.view import View


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something is logged, or until a time (seconds since the epoch) has passed."""

    why: str
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Make the model of a round and publish it.

    Attributes:
        opens_next: whether the publication opens the next round.
    """

    round: RoundNumber
    opens_next: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """The federation is over."""

    why: str


Decision = OpenRound | CancelRound | Aggregate | Wait | Finished


def decide(view: View, now: int, charter: Charter, coordinator: Address, *, unusable: bool = False) -> Decision:
    """The next thing to do.

    Args:
        view: the federation so far.
        now: the timestamp that the next block would carry.
        charter: the one in force for the next opened round.
        coordinator: who asks.
        unusable: whether the open round was aggregated already, and fewer updates than its quorum could be used.
    """
    current = view.open_round
    if coordinator not in view.coordinators:
        why = ending(view, charter) if current is None else None
        if why is not None:
            return Finished(why)
        return Wait(f"{coordinator} is no coordinator (the owner may make it one: fedpact federation appoint)")
    if current is None:
        return _between_rounds(view, now, charter)
    phase = current.phase(now)
    if current.hopeless(phase) or phase is Phase.EXPIRED:
        return CancelRound(current.number)
    if phase in (Phase.REGISTRATION, Phase.COMMITMENT, Phase.SUBMISSION):
        deadlines = {
            Phase.REGISTRATION: current.terms.register_by,
            Phase.COMMITMENT: current.terms.commit_by,
            Phase.SUBMISSION: current.terms.submit_by,
        }
        return Wait(f"round {current.number} is in its phase {phase.name.lower()}", deadlines[phase])
    if phase is Phase.PUBLICATION and current.opener != coordinator:
        return Wait(
            f"until publishBy round {current.number} is for {current.opener} to publish", current.terms.publish_by
        )
    if unusable:
        if current.opener == coordinator or view.owner == coordinator:
            return CancelRound(current.number)
        return Wait(f"round {current.number} has too few usable updates", current.takeover_by)
    over = current.number == LAST_ROUND or ending(view, charter, publishing=current) is not None
    return Aggregate(current.number, not over and view.member_count >= charter.rounds.quorum)


def _between_rounds(view: View, now: int, charter: Charter) -> Decision:
    why = ending(view, charter)
    if why is not None:
        return Finished(why)
    if view.number == LAST_ROUND:
        return Finished("no round number is left")
    if view.member_count < charter.rounds.quorum:
        return Wait(f"{view.member_count} members, the quorum is {charter.rounds.quorum}")
    return OpenRound(RoundNumber(view.number + 1), charter.terms(now))
