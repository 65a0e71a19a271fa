"""Federated averaging: checked against exact arithmetic, for every dtype and every awkward value."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedpact.artifacts.charter_sections import MAX_SAMPLES
from fedpact.artifacts.dtypes import DTYPES
from fedpact.rules import RULES, FedAvg
from fedpact.rules.arrays import combine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "fedavg.json").read_bytes())["vectors"]

Array = NDArray[np.floating[Any]]

FLOATS = {name: DTYPES[name].array for name in ("F64", "F32", "F16")}
"""The formats that numpy has itself."""


def mean(updates: Sequence[Array], samples: Sequence[int]) -> Array:
    """Federated averaging of arrays."""
    return combine(FedAvg(), updates, samples)


counts = st.integers(1, MAX_SAMPLES) | st.integers(1, 1000) | st.sampled_from([1, MAX_SAMPLES - 1, MAX_SAMPLES])
PIECE = 1 << 14
"""Elements that the rule works on at once; nothing may depend on where one such piece ends."""


@st.composite
def updates(draw: st.DrawFn, most: int = 6, dtype: str | None = None) -> tuple[list[Array], list[int]]:
    """A few updates of one dtype and a few finite elements each, with their samples; every finite value may occur."""
    kind = FLOATS[dtype or draw(st.sampled_from(list(FLOATS)))]
    length, number = draw(st.integers(1, 4)), draw(st.integers(1, most))
    values = st.floats(width=8 * kind.itemsize, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]  # 16, 32 or 64.
    made = [draw(arrays_of.arrays(kind, length, elements=values)) for _ in range(number)]
    return made, [draw(counts) for _ in range(number)]


def bits(array: Array) -> bytes:
    """The bits of an array: signs of zeros count."""
    return array.tobytes()


def rounded(value: Fraction, dtype: np.dtype[Any]) -> float:
    """The element of a dtype next to an exact value, at most its largest finite one."""
    largest = Fraction(float(np.finfo(dtype).max))
    return float(dtype.type(float(max(-largest, min(largest, value)))))


def bounds(column: Sequence[float], samples: Sequence[int], dtype: np.dtype[Any]) -> tuple[float, float]:
    """The least and the greatest element that the mean of one column may have.

    Every product, sum and quotient may be off by half a unit in the last place of a float64; the sum of K products is
    off by at most K + 1 such roundings of the sum of all magnitudes, and by as many of the smallest denormals.
    """
    products = [Fraction(value) * count for value, count in zip(column, samples, strict=True)]
    exact = sum(products, Fraction()) / sum(samples)
    magnitude = sum(map(abs, products), Fraction()) / sum(samples)
    error = (len(column) + 1) * (magnitude * Fraction(101, 100) / 2**53 + Fraction(1, 2**1074))
    return rounded(exact - error, dtype), rounded(exact + error, dtype)


# --------------------------------------------------------------------------------------------- what no rule may do


@settings(max_examples=70)
@given(updates())
def test_the_mean_of_finite_values_is_finite(given_: tuple[list[Array], list[int]]) -> None:
    """No sum overflows into infinity or NaN, however large values and samples are, and no warning is raised."""
    assert np.isfinite(mean(*given_)).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("number", [1, 2, 3, 100])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_mean_of_the_largest_values_is_the_largest(dtype: str, number: int, sign: int) -> None:
    """Sums far beyond the largest float64 come back to the largest finite value, not to infinity and nothing less."""
    largest = sign * np.finfo(FLOATS[dtype]).max
    update = np.full(3, largest, FLOATS[dtype])
    for samples in ([1] * number, [MAX_SAMPLES] * number, [MAX_SAMPLES, *[1] * (number - 1)]):
        assert bits(mean([update] * number, samples)) == bits(update)


def test_opposite_overflows_cancel() -> None:
    """Infinity less infinity never appears: huge values of both signs have their exact mean."""
    huge = np.array([1.7e308, -1.7e308, 1.7e308])
    assert mean([huge, -huge], [MAX_SAMPLES, MAX_SAMPLES]).tolist() == [0.0, 0.0, 0.0]
    expected = [value * 0.5 for value in huge]
    assert mean([huge, -huge], [3 * 2**38, 2**38]).tolist() == pytest.approx(expected, rel=1e-15)


def test_only_the_elements_that_overflow_are_computed_anew() -> None:
    """An element beside one that overflows has the bits that it has alone."""
    huge, small = np.array([1.7e308]), np.array([0.1])
    both = mean([np.concatenate((huge, small, huge))] * 3, [1, 2, 4])
    assert bits(both[1:2]) == bits(mean([small] * 3, [1, 2, 4]))
    other = mean([np.array([1.7e308, 0.3]), np.array([1.7e308, 5e-324])], [3, 2])
    assert bits(other[1:]) == bits(mean([np.array([0.3]), np.array([5e-324])], [3, 2]))


def test_the_updates_are_not_changed() -> None:
    """A rule reads its updates and nothing else; they may be read only, as decoded weights are."""
    made = [
        np.frombuffer(np.arange(4, dtype="<f4").tobytes(), "<f4"),
        np.frombuffer(np.ones(4, "<f4").tobytes(), "<f4"),
    ]
    before = [bits(update) for update in made]
    result = mean(made, [1, 3])
    result[:] = 0
    assert [bits(update) for update in made] == before


# ------------------------------------------------------------------------------------------------------- exact means


@settings(max_examples=70)
@given(updates())
@example(([np.array([0.1]), np.array([0.2]), np.array([-0.3])], [1, 1, 1]))
@example(([np.array([5e-324]), np.array([-5e-324]), np.array([1e-323])], [1, 1, 1]))
@example(([np.array([1.7e308]), np.array([-1.7e308]), np.array([1e300])], [2**40, 2**40, 1]))
@example(([np.array([65504], "<f2"), np.array([6e-8], "<f2")], [2**40, 1]))
def test_the_mean_is_the_exact_one_within_the_rounding_of_float64(given_: tuple[list[Array], list[int]]) -> None:
    """Each element is the exact weighted mean but for the roundings that its definition allows."""
    made, samples = given_
    result = mean(made, samples)
    assert (result.dtype, result.shape) == (made[0].dtype, made[0].shape)
    for place, found in enumerate(result):
        least, most = bounds([float(update[place]) for update in made], samples, result.dtype)
        assert least <= float(found) <= most


@settings(max_examples=70)
@given(
    st.lists(st.tuples(st.integers(-(2**20), 2**20), st.integers(1, 2**20)), min_size=1, max_size=6),
    st.sampled_from(list(FLOATS)),
)
def test_a_mean_that_needs_no_rounding_is_exact(pairs: list[tuple[int, int]], dtype: str) -> None:
    """Where every sum is exact in float64, the mean is the exact one, rounded once to float64 and once to its dtype."""
    kind = FLOATS[dtype]
    values = [kind.type(value / 2**10) for value, _ in pairs]
    samples = [count for _, count in pairs]
    exact = sum(Fraction(float(value)) * count for value, count in zip(values, samples, strict=True)) / sum(samples)
    [found] = mean([np.array([value], kind) for value in values], samples)
    assert found == kind.type(float(exact))


@settings(max_examples=70)
@given(updates(most=1))
def test_one_update_is_itself(given_: tuple[list[Array], list[int]]) -> None:
    """The mean of one update is that update, bit for bit, for every dtype and any samples."""
    [update], samples = given_
    assert bits(mean([update], samples)) == bits(update)


@settings(max_examples=70)
@given(updates(most=1), st.lists(counts, min_size=1, max_size=8))
@example(([np.array([0.1])], [1]), [1, 1, 1])
def test_equal_updates_are_themselves(given_: tuple[list[Array], list[int]], samples: list[int]) -> None:
    """The mean of equal updates is that update, bit for bit: what nobody trained does not drift."""
    [update], _ = given_
    assert bits(mean([update] * len(samples), samples)) == bits(update)


@settings(max_examples=70)
@given(updates())
def test_the_mean_lies_between_the_least_and_the_greatest(given_: tuple[list[Array], list[int]]) -> None:
    """Below float64 no mean lies outside its updates; in float64 by no more than the roundings of the sum."""
    made, samples = given_
    least, most = np.min(made, axis=0), np.max(made, axis=0)
    slack = 0.0
    if made[0].dtype == np.float64:
        with np.errstate(over="ignore"):
            slack = np.minimum(np.max(np.abs(made), axis=0) * 2.0**-49 + 2.0**-1060, np.finfo(np.float64).max)
    found = mean(made, samples)
    with np.errstate(over="ignore"):
        assert (found >= least - slack).all()
        assert (found <= most + slack).all()


# ---------------------------------------------------------------------------------------------------- signs of zeros


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("signs", "expected"),
    [([1], 1), ([-1], -1), ([-1, -1, -1], -1), ([1, -1], 1), ([-1, 1], 1), ([-1, -1, 1], 1), ([1, 1], 1)],
)
def test_the_mean_of_zeros_has_a_stated_sign(dtype: str, signs: list[int], expected: int) -> None:
    """Negative zeros have a negative mean; one positive zero among them, wherever it is, makes it positive."""
    zeros = [np.array([math.copysign(0.0, sign)], FLOATS[dtype]) for sign in signs]
    [found] = mean(zeros, [3] * len(signs))
    assert found == 0
    assert math.copysign(1, found) == expected


@pytest.mark.parametrize("dtype", FLOATS)
def test_values_that_cancel_make_a_positive_zero(dtype: str) -> None:
    """A value and its opposite have the mean zero, with a positive sign in either order."""
    one = np.array([1.5, -1.5], FLOATS[dtype])
    assert bits(mean([one, -one], [7, 7])) == bytes(2 * one.dtype.itemsize)


# --------------------------------------------------------------------------------------------------------- denormals


@pytest.mark.parametrize("dtype", FLOATS)
def test_denormals_are_kept(dtype: str) -> None:
    """The smallest denormals are averaged, not flushed to zero."""
    smallest = np.finfo(FLOATS[dtype]).smallest_subnormal
    update = np.array([1, 3, -7], FLOATS[dtype]) * smallest
    assert bits(mean([update] * 3, [1, 1, 1])) == bits(update)
    assert mean([update, 3 * update], [1, 1]).tolist() == (2 * update).tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_half_a_denormal_is_rounded_to_even(dtype: str) -> None:
    """Between two denormals the mean is the even one, after a single rounding."""
    smallest = FLOATS[dtype].type(np.finfo(FLOATS[dtype]).smallest_subnormal)
    zero = np.zeros(1, FLOATS[dtype])
    assert mean([zero + smallest, zero], [1, 1]).tolist() == [0.0]
    assert mean([zero + 3 * smallest, zero], [1, 1]).tolist() == [float(2 * smallest)]


# ------------------------------------------------------------------------------------------------------ no context


@settings(max_examples=60)
@given(updates(), st.randoms(use_true_random=False))
def test_an_element_does_not_depend_on_the_others(given_: tuple[list[Array], list[int]], source: Any) -> None:
    """Elements in another order have their means in that order, bit for bit."""
    made, samples = given_
    order = list(range(made[0].size))
    source.shuffle(order)
    assert bits(mean([update[order] for update in made], samples)) == bits(mean(made, samples)[order])


def large(dtype: str, number: int = 3) -> tuple[list[Array], list[int]]:
    """Updates of more elements than the rule works on at once, overflowing and denormal ones among them."""
    kind = FLOATS[dtype]
    made = []
    for seed in range(number):
        raw = np.random.default_rng(seed).bytes((2 * PIECE + 77) * kind.itemsize)
        update = np.frombuffer(raw, kind).copy()
        update[~np.isfinite(update)] = np.finfo(kind).max
        made.append(update)
    return made, [MAX_SAMPLES, 3, 12345][:number]


@pytest.mark.parametrize("dtype", FLOATS)
def test_pieces_and_their_order_do_not_matter(dtype: str) -> None:
    """However elements are cut into pieces, and in whatever order the pieces are worked on, the bits are the same."""
    made, samples = large(dtype)
    whole = mean(made, samples)
    for size in (1000, PIECE - 1, PIECE, PIECE + 1):
        starts = list(range(0, whole.size, size))[::-1]
        found = {start: mean([update[start : start + size] for update in made], samples) for start in starts}
        assert bits(np.concatenate([found[start] for start in reversed(starts)])) == bits(whole)


@pytest.mark.parametrize("dtype", FLOATS)
def test_how_updates_lie_in_memory_does_not_matter(dtype: str) -> None:
    """Updates with strides, or at an odd place in memory, have the same mean: no path of the code shows in it."""
    made, samples = large(dtype)
    whole = mean(made, samples)
    strided = [np.stack([update, update], axis=1)[:, 1] for update in made]
    shifted = [np.frombuffer(b"\x00" + update.tobytes(), np.uint8)[1:].view(update.dtype) for update in made]
    assert bits(mean(strided, samples)) == bits(whole)
    assert bits(mean(shifted, samples)) == bits(whole)


@pytest.mark.parametrize("dtype", FLOATS)
def test_settings_of_numpy_do_not_matter(dtype: str) -> None:
    """A caller who lets numpy raise for overflows and underflows gets the same bits."""
    made, samples = large(dtype)
    expected = bits(mean(made, samples))
    with np.errstate(all="raise"):
        assert bits(mean(made, samples)) == expected


def test_the_order_of_updates_is_the_order_of_the_sum() -> None:
    """The sum is taken in the order given, so its rounding is that of this order and no other."""
    made = [np.array([value]) for value in (1.0, 2.0**-53, 2.0**-53)]
    assert mean(made, [1, 1, 1]).tolist() == [1 / 3]
    assert mean(made[::-1], [1, 1, 1]).tolist() == [(1 + 2.0**-52) / 3]


# ------------------------------------------------------------------------------------------------------ golden bits


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['dtype']}-{len(vector['samples'])}")
def test_the_golden_means_do_not_change(vector: dict[str, Any]) -> None:
    """Pure Python, one element at a time, made these bits; every machine must make the same."""
    made = [np.frombuffer(bytes.fromhex(update), FLOATS[vector["dtype"]]) for update in vector["updates"]]
    assert bits(mean(made, vector["samples"])).hex() == vector["mean"]


def test_the_rule_is_known_by_its_name() -> None:
    """Charters and manifests call it `fedavg`, version 1."""
    assert RULES["fedavg"] is FedAvg
    assert (RULES["fedavg"].name, RULES["fedavg"].version) == ("fedavg", 1)
