"""When a federation ends: rounds, target, patience and failures, from the ledger alone, whatever members claim."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from charters import small_charter
from fedpact.artifacts.charter import Charter
from fedpact.ending import ending, mean_score
from fedpact.ledger.facts import Address, Identity
from fedpact.ledger.view import Round, Status, Submission, View
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import claim, round_with

PUBLISHED, CANCELLED, OPEN = Status.PUBLISHED, Status.CANCELLED, Status.OPEN


def stopping(**stop: Any) -> Charter:
    """A charter with scores from 0 to 1, at most 1000 samples, and this stopping rule."""
    return small_charter(limits={"min_score": "0", "max_score": "1"}, stop={"rounds": 100} | stop)


def view_of(*rounds: Round) -> View:
    """A federation with these rounds, whatever their entries were."""
    view = View(Identity(1, Address("0x" + "0" * 40)))
    view.rounds = {each.number: each for each in rounds}
    view.number = max(view.rounds, default=view.number)  # type: ignore[assignment]  # The rounds are numbered by integers.
    return view


def scored(*scores: float, first: int = 1) -> list[Round]:
    """Published rounds with one honest claim each."""
    return [
        round_with(claim(10, round(score * 10**6)), number=number, status=PUBLISHED)
        for number, score in enumerate(scores, first)
    ]


def ended(*statuses: Status) -> list[Round]:
    """Rounds that ended, or did not, like this; those published had a perfect score."""
    return [round_with(claim(10, 10**6), number=number, status=status) for number, status in enumerate(statuses, 1)]


# ------------------------------------------------------------------------------------------------- it goes on


@pytest.mark.parametrize("status", [OPEN, CANCELLED])
def test_a_federation_without_a_published_round_goes_on(status: Status) -> None:
    """Before the first model nothing but failures can end a federation, whatever was claimed in its rounds."""
    charter = stopping(rounds=1, target_score="0", patience=1)
    assert ending(view_of(), charter) is None
    assert ending(view_of(*ended(status)), charter) is None


def test_a_federation_goes_on_below_every_limit() -> None:
    """One round, one failure, one millionth short of each limit it goes on."""
    charter = stopping(rounds=5, target_score="0.9", patience=2, min_improvement="0.01", failures=2)
    assert ending(view_of(*scored(0.1, 0.2, 0.3, 0.899999)), charter) is None
    assert ending(view_of(*scored(0.5, 0.1, 0.51)), charter) is None
    assert ending(view_of(*ended(CANCELLED)), charter) is None


def test_without_target_and_patience_scores_do_not_matter() -> None:
    """A charter that names neither goes on with perfect scores and with ever worse ones."""
    assert ending(view_of(*scored(1.0, 1.0, 1.0)), stopping()) is None
    assert ending(view_of(*scored(0.9, 0.5, 0.1, 0.0, 0.0)), stopping()) is None


# ------------------------------------------------------------------------------------------------- rounds


def test_it_ends_after_the_charters_rounds() -> None:
    """Published rounds count; cancelled and open ones do not."""
    charter = stopping(rounds=3)
    assert ending(view_of(*ended(PUBLISHED, CANCELLED, PUBLISHED, OPEN)), charter) is None
    assert (
        ending(view_of(*ended(PUBLISHED, CANCELLED, PUBLISHED, PUBLISHED)), charter) == "3 rounds, as the charter says"
    )
    assert ending(view_of(*ended(*[PUBLISHED] * 4)), charter) == "4 rounds, as the charter says"


def test_the_round_that_is_about_to_be_published_counts() -> None:
    """With the open round as `publishing` the coordinator knows the end before it opens another round."""
    charter = stopping(rounds=2)
    *published, current = ended(PUBLISHED, OPEN)
    view = view_of(*published, current)
    assert ending(view, charter) is None
    assert ending(view, charter, publishing=current) == "2 rounds, as the charter says"


# ------------------------------------------------------------------------------------------------- target


@pytest.mark.parametrize(("score", "over"), [(0.929999, False), (0.93, True), (0.930001, True), (1.0, True)])
def test_it_ends_when_the_target_is_reached(score: float, over: bool) -> None:
    """The mean score of the last published round must be at least the target."""
    found = ending(view_of(*scored(0.1, score)), stopping(target_score="0.93"))
    assert (found is not None) == over
    if over:
        assert found == f"mean score {score:.6f} reached the target 0.93"


def test_a_target_that_was_reached_before_does_not_count() -> None:
    """A round that was better earlier does not end the federation: the last model is what it has."""
    assert ending(view_of(*scored(0.95, 0.5)), stopping(target_score="0.93")) is None


def test_the_score_of_the_round_that_is_being_published_counts() -> None:
    """The open round's score counts when it is about to be published, and not before."""
    current = round_with(claim(10, 940_000), number=2)
    view = view_of(*scored(0.5), current)
    assert ending(view, stopping(target_score="0.93")) is None
    assert (
        ending(view, stopping(target_score="0.93"), publishing=current) == "mean score 0.940000 reached the target 0.93"
    )


def test_a_mean_just_below_the_target_does_not_reach_it() -> None:
    """The mean is an exact fraction: no rounding lifts it over the target."""
    last = round_with(claim(999, 930_000), claim(1, 929_999), status=PUBLISHED)
    assert mean_score(last, stopping()) == 930_000 - Fraction(1, 1000)
    assert ending(view_of(last), stopping(target_score="0.93")) is None


# ------------------------------------------------------------------------------------------------- patience


@pytest.mark.parametrize(
    ("scores", "over"),
    [
        ([0.5, 0.5], False),  # Patience is two rounds; there was only one since the best.
        ([0.5, 0.5, 0.5], True),
        ([0.5, 0.4, 0.3], True),
        ([0.5, 0.4, 0.500001], False),
        ([0.5, 0.500001, 0.4], False),
        ([0.5, 0.500001, 0.4, 0.500001], True),
        ([0.1, 0.2, 0.3, 0.4], False),
        ([0.0, 0.0, 0.0], True),
        ([0.9, 0.1, 0.2, 0.3], True),  # Better than the last is not better than the best.
    ],
)
def test_it_ends_without_progress(scores: list[float], over: bool) -> None:
    """After two published rounds without a mean score better than the best before, by a millionth at least."""
    found = ending(view_of(*scored(*scores)), stopping(patience=2))
    assert (found is not None) == over
    if over:
        assert found == f"no progress in 2 rounds, best mean score {max(scores[:-2]):.6f}"


@pytest.mark.parametrize(("last", "over"), [(0.519999, True), (0.52, False)])
def test_progress_must_be_as_large_as_the_charter_says(last: float, over: bool) -> None:
    """An improvement below `min_improvement` is none; one of exactly that size is."""
    charter = stopping(patience=1, min_improvement="0.02")
    assert (ending(view_of(*scored(0.5, last)), charter) is not None) == over


@pytest.mark.parametrize("improvement", ["0", "-1", "0.0000001"])
def test_standing_still_is_never_progress(improvement: str) -> None:
    """Whatever the charter asks for, the same score again is no improvement."""
    assert ending(view_of(*scored(0.5, 0.5)), stopping(patience=1, min_improvement=improvement)) is not None


def test_cancelled_rounds_do_not_try_patience() -> None:
    """Only published rounds count as rounds without progress."""
    rounds = [*scored(0.5, 0.4), *(round_with(number=number, status=CANCELLED) for number in (3, 4))]
    assert ending(view_of(*rounds), stopping(patience=2)) is None


# ------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("statuses", "over"),
    [
        ([CANCELLED], False),
        ([CANCELLED, CANCELLED], True),
        ([CANCELLED, PUBLISHED, CANCELLED], False),
        ([PUBLISHED, CANCELLED, CANCELLED], True),
        ([CANCELLED, CANCELLED, PUBLISHED], False),
        ([CANCELLED, CANCELLED, OPEN], True),
        ([CANCELLED, OPEN], False),
    ],
)
def test_it_ends_after_cancelled_rounds_in_a_row(statuses: list[Status], over: bool) -> None:
    """Two cancelled rounds with none published between them end it, the open round apart."""
    found = ending(view_of(*ended(*statuses)), stopping(failures=2))
    assert found == ("2 cancelled rounds in a row" if over else None)


def test_a_round_that_is_being_published_ends_the_row_of_failures() -> None:
    """The round that succeeds after failures is published like any other."""
    rounds = ended(CANCELLED, CANCELLED, OPEN)
    assert ending(view_of(*rounds), stopping(failures=2), publishing=rounds[-1]) is None


# ------------------------------------------------------------------------------------------------- hostile claims

HOSTILE = {
    "a score beyond the limit": claim(10, 1_000_001),
    "the greatest score that the ledger holds": claim(10, 2**63 - 1),
    "the least score that the ledger holds": claim(10, -(2**63)),
    "a score below the limit": claim(10, -1),
    "samples beyond the limit": claim(1001, 1_000_000),
    "the most samples that the ledger holds": claim(2**64 - 1, 1_000_000),
    "the most samples with the worst score": claim(2**64 - 1, 0),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_claim_does_not_count(hostile: Submission) -> None:
    """What is beyond the charter's limits neither lifts the mean nor lowers it, neither ends nor prolongs anything."""
    honest = round_with(claim(10, 500_000), claim(30, 700_000), status=PUBLISHED)
    attacked = round_with(claim(10, 500_000), hostile, claim(30, 700_000), status=PUBLISHED)
    charter = stopping(target_score="0.651", patience=1)
    assert mean_score(attacked, charter) == mean_score(honest, charter) == 650_000
    assert ending(view_of(attacked), charter) is None
    assert ending(view_of(attacked, *scored(0.65, first=2)), charter) is not None


@pytest.mark.parametrize("submissions", [[], [claim(10, 2**62)], [claim(2**50, 900_000), claim(10, -250_001)]])
def test_a_round_without_an_honest_claim_has_the_least_score(submissions: Sequence[Submission]) -> None:
    """Where no claim counts, the round has the charter's least score, so it is no progress and no target."""
    charter = small_charter(limits={"min_score": "-0.25"}, stop={"target_score": "0"})
    last = round_with(*submissions, status=PUBLISHED)
    assert mean_score(last, charter) == -250_000
    assert ending(view_of(last), charter) is None


@pytest.mark.parametrize(("samples", "score"), [(1000, 0), (1000, 1_000_000), (1, 0), (1, 1_000_000)])
def test_a_claim_at_the_limit_counts(samples: int, score: int) -> None:
    """The charter's own limits are allowed claims."""
    assert mean_score(round_with(claim(samples, score), claim(10, 2_000_000)), stopping()) == score


claims = st.lists(st.tuples(st.integers(1, 2000), st.integers(-(10**6), 2 * 10**6)), max_size=6)


@settings(max_examples=100)
@given(claims)
def test_the_mean_score_is_the_exact_mean_of_the_claims_that_count(pairs: list[tuple[int, int]]) -> None:
    """Weighted by samples, without rounding, over the claims within the limits, in any order."""
    counted = [(samples, score) for samples, score in pairs if samples <= 1000 and 0 <= score <= 10**6]
    found = mean_score(round_with(*(claim(*pair) for pair in pairs)), stopping())
    if counted:
        total = sum(samples for samples, _ in counted)
        assert found * total == sum(samples * score for samples, score in counted)
    else:
        assert found == 0
    assert found == mean_score(round_with(*(claim(*pair) for pair in reversed(pairs))), stopping())
