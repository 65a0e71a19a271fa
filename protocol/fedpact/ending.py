"""When a federation ends: the charter's stopping rule, from the ledger alone, so that everyone decides the same."""

from __future__ import annotations

from fractions import Fraction
from weakref import WeakKeyDictionary

from fedpact.artifacts.charter import Charter, millionths
from fedpact.ledger.facts import SCORE_UNIT
from fedpact.ledger.view import Round, Status, View


class Standing:
    """How far a federation has come, by one charter's stopping rule. Rounds are counted in order."""

    def __init__(self, charter: Charter) -> None:
        self.charter = charter
        self._scores: list[Fraction] = []
        self._best: list[Fraction] = []  # The best score of all rounds up to each.
        self._failures = 0

    def count(self, each: Round) -> None:
        """Counts a round by how it ended. One that is still open does not count."""
        if each.status is Status.CANCELLED:
            self._failures += 1
        elif each.status is Status.PUBLISHED:
            self.count_as_published(each)

    def count_as_published(self, current: Round) -> None:
        """Counts a round as if it were published already."""
        score = mean_score(current, self.charter)
        self._scores.append(score)
        self._best.append(max(score, self._best[-1]) if self._best else score)
        self._failures = 0

    def with_published(self, current: Round) -> Standing:
        """The standing if a round were published, too."""
        other = Standing(self.charter)
        other._scores, other._best = self._scores.copy(), self._best.copy()
        other.count_as_published(current)
        return other

    def ending(self) -> str | None:
        """Why the federation is over, in words; none while it goes on."""
        stop, scores = self.charter.stop, self._scores
        if len(scores) >= stop.rounds:
            return f"{len(scores)} round{'s' if len(scores) > 1 else ''}, as the charter says"
        if self._failures >= stop.failures:
            return f"{self._failures} cancelled rounds in a row"
        if stop.target_score is not None and scores and scores[-1] >= millionths(stop.target_score):
            return f"mean score {_shown(scores[-1])} reached the target {stop.target_score}"
        if stop.patience is not None and len(scores) > stop.patience:
            before, recent = self._best[-stop.patience - 1], max(scores[-stop.patience :])
            if recent < before + max(1, millionths(stop.min_improvement)):
                return f"no progress in {stop.patience} rounds, best mean score {_shown(before)}"
        return None


def ending(view: View, charter: Charter, *, publishing: Round | None = None) -> str | None:
    """Why the federation is over, in words; none while it goes on.

    Args:
        publishing: the open round, to be counted as if it were published already.
    """
    standing = _standing(view, charter)
    return standing.ending() if publishing is None else standing.with_published(publishing).ending()


_standings: WeakKeyDictionary[View, tuple[Charter, Standing, int]] = WeakKeyDictionary()


def _standing(view: View, charter: Charter) -> Standing:
    """How far a view has come. What was counted of it before is not counted again: rounds that ended do not change, and
    whoever decides does so every second."""
    known, standing, last = _standings.get(view, (None, Standing(charter), 0))
    if known is not charter:
        standing, last = Standing(charter), 0
    while last + 1 in view.rounds and view.rounds[last + 1].status is not Status.OPEN:
        last += 1
        standing.count(view.rounds[last])
    _standings[view] = charter, standing, last
    return standing


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


def _shown(score: Fraction) -> str:
    return f"{float(score / SCORE_UNIT):.6f}"
