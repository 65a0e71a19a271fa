"""When a federation ends: the charter's stopping rule, from the ledger alone, so that everyone decides the same."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from fedpact.artifacts.charter import Charter, millionths
from fedpact.ledger.facts import SCORE_UNIT
from fedpact.ledger.view import Round, Status, View


def ending(view: View, charter: Charter, *, publishing: Round | None = None) -> str | None:
    """Why the federation is over, in words; none while it goes on.

    Args:
        publishing: the open round, to be counted as if it were published already.
    """
    stop = charter.stop
    rounds = view.published + ([publishing] if publishing is not None else [])
    if len(rounds) >= stop.rounds:
        return f"{len(rounds)} round{'s' if len(rounds) > 1 else ''}, as the charter says"
    failures = _cancelled_in_a_row(list(view.rounds.values())) if publishing is None else 0
    if failures >= stop.failures:
        return f"{failures} cancelled rounds in a row"
    scores = [mean_score(each, charter) for each in rounds]
    if stop.target_score is not None and scores and scores[-1] >= millionths(stop.target_score):
        return f"mean score {_shown(scores[-1])} reached the target {stop.target_score}"
    if stop.patience is not None and len(scores) > stop.patience:
        before, recent = scores[: -stop.patience], scores[-stop.patience :]
        if max(recent) < max(before) + max(1, millionths(stop.min_improvement)):
            return f"no progress in {stop.patience} rounds, best mean score {_shown(max(before))}"
    return None


def mean_score(current: Round, charter: Charter) -> Fraction:
    """The members' own scores of a round in millionths, weighted by their samples.

    Claims beyond the charter's limits do not count; a round without any other claim has the charter's least score.
    """
    least, greatest = charter.score_range()
    counted = [
        each.update
        for each in current.submissions
        if each.update.samples <= charter.limits.max_samples and least <= each.update.score <= greatest
    ]
    total = sum(update.samples for update in counted)
    return Fraction(sum(update.samples * update.score for update in counted), total) if total else Fraction(least)


def _cancelled_in_a_row(rounds: Sequence[Round]) -> int:
    count = 0
    for each in reversed(rounds):
        if each.status is Status.PUBLISHED:
            break
        count += each.status is Status.CANCELLED
    return count


def _shown(score: Fraction) -> str:
    return f"{float(score / SCORE_UNIT):.6f}"
