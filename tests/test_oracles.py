"""Our rules make what Flower's and ByzFL's functions make, within the roundings of theirs.

What those made was recorded by `tests/vectors/oracles.py`. Where they differ on purpose is in docs/rules.md.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rounding
from fedpact.artifacts.dtypes import DTYPES
from fedpact.errors import InvalidWeights
from fedpact.rules import RULES, NormClip, Rule, make
from fedpact.rules.arrays import combine
from numpy.typing import NDArray
from rounding import FORMATS, Arithmetic, Result

Array = NDArray[Any]
KEPT: dict[str, dict[str, Any]] = {
    name: json.loads((Path(__file__).parent / "vectors" / f"{name}.json").read_bytes()) for name in ("flower", "byzfl")
}
KINDS = [
    *("random", "far from zero", "ties", "equal updates", "equal pairs", "signed zeros", "denormals", "huge and tiny"),
    *("large and small", "overflow", "overflow of one sign", "not finite", "one element", "K = 1", "K = 2", "K = 3"),
]
SHARED = {
    "flower": ["fedavg", "median", "trimmed_mean", "krum", "multi_krum", "bulyan", "norm_clip"],
    "byzfl": ["median", "trimmed_mean", "krum", "multi_krum", "geometric_median", "centered_clipping"],
}
ALL = [(oracle, rule, kind) for oracle, rules in SHARED.items() for rule in rules for kind in KINDS]


@dataclass(frozen=True, eq=False)
class Given:
    """An input."""

    kind: str
    dtype: str
    samples: list[int]
    updates: list[Array]
    base: Array

    @functools.cached_property
    def exact(self) -> list[rounding.Row]:
        """The updates as exact numbers."""
        return rounding.rows(self.updates)

    @functools.cached_property
    def exact_base(self) -> rounding.Row:
        """The base model as exact numbers."""
        return rounding.rows([self.base])[0]


@dataclass(frozen=True, eq=False)
class Case:
    """What another implementation made of an input.

    Attributes:
        samples: what it was told that the updates count.
        output: none where it raised an error.
    """

    given: Given
    rule: str
    parameters: dict[str, str | int]
    by: str
    samples: list[int]
    base: str
    output: Array | None
    error: str


@functools.cache
def cases(oracle: str) -> dict[tuple[str, str], list[Case]]:
    """All cases by rule and kind of input."""
    kept = KEPT[oracle]
    inputs = []
    for each in kept["inputs"]:
        dtype = DTYPES[each["dtype"]].array
        *updates, base = (np.frombuffer(bytes.fromhex(row), dtype) for row in (*each["updates"], each["base"]))
        inputs.append(Given(each["kind"], each["dtype"], each["samples"], updates, base))
    found: dict[tuple[str, str], list[Case]] = {}
    for each in kept["cases"]:
        given = inputs[each["input"]]
        # ByzFL knows no samples.
        equal = oracle == "byzfl" or each.get("samples") == "equal"
        samples = [1] * len(given.updates) if equal else given.samples
        output = np.frombuffer(bytes.fromhex(each["output"]), given.base.dtype) if "output" in each else None
        case = Case(
            *(given, each["rule"], each["parameters"], each["by"], samples),
            *(each.get("base", "given"), output, each.get("error", "")),
        )
        found.setdefault((case.rule, given.kind), []).append(case)
    return found


def rule_of(case: Case) -> Rule:
    """Our rule."""
    if case.rule == NormClip.name:
        return NormClip.of(case.parameters)
    return make(case.rule, RULES[case.rule].version, case.parameters)


def base_of(case: Case) -> Array:
    """The base model that a case has."""
    return np.zeros_like(case.given.base) if case.base == "zero" else case.given.base


def ours(case: Case) -> Array:
    """What our rule makes of the input."""
    return combine(rule_of(case), case.given.updates, case.samples, base=base_of(case))


def our_arithmetic(case: Case) -> Arithmetic:
    """Float64 throughout, but for the distances of float32 updates."""
    double, kept = FORMATS["F64"], FORMATS[case.given.dtype]
    return Arithmetic(double, kept, double, double, ours=True, coarse=kept is not double)


def their_arithmetic(case: Case) -> Arithmetic:
    """The updates' dtype; but Flower's older krum adds up scores in float64, and scipy measures in float64."""
    kept, double = FORMATS[case.given.dtype], FORMATS["F64"]
    match case.by:
        case "select_multikrum":
            return Arithmetic(kept, kept, kept, kept, shares=True, gram=True)
        case "aggregate_krum" | "aggregate_bulyan":
            return Arithmetic(kept, kept, kept, double)
        case "Krum of arrays" | "MultiKrum of arrays":
            return Arithmetic(kept, kept, double, double)
    return Arithmetic(kept, kept, kept, kept, shares=case.by in ("aggregate_arrayrecords", "aggregate_inplace"))


def explained(case: Case, how: Arithmetic) -> list[Result]:
    """What the rule may make of the input."""
    updates, told = case.given.exact, case.parameters
    count = len(updates)
    base = rounding.rows([base_of(case)])[0]
    match case.rule:
        case "fedavg":
            return rounding.weighted_mean(updates, case.samples, how)
        case "trimmed_mean":
            dropped = int(Fraction(told["share"]) * count) if "share" in told else int(told["count"])
            return rounding.trimmed_mean(updates, dropped, how)
        case "krum":
            return rounding.multi_krum(updates, [1] * count, int(told["byzantine"]), 1, how)
        case "multi_krum":
            weights = [1] * count if how.ours else case.samples
            return rounding.multi_krum(updates, weights, int(told["byzantine"]), int(told["selected"]), how)
        case "bulyan":
            return rounding.bulyan(updates, int(told["byzantine"]), how)
        case "norm_clip":
            return rounding.norm_clip(updates, base, case.samples, Decimal(float(told["bound"])), how)
        case "geometric_median":
            smoothing = Decimal(float(told["smoothing"]))
            return rounding.geometric_median(updates, base, int(told["iterations"]), smoothing, how)
        case "centered_clipping":
            radius = Decimal(float(told["radius"]))
            return rounding.centered_clipping(updates, base, int(told["iterations"]), radius, how)
    raise AssertionError(f"a rule that is not compared: {case.rule}")


# ------------------------------------------------------------------------------------------------- the comparison


def compare(case: Case) -> None:
    """Ours with theirs."""
    if not all(np.isfinite(update).all() for update in case.given.updates):
        with pytest.raises(InvalidWeights, match="not finite"):
            ours(case)
        return
    if len(case.given.updates) < rule_of(case).fewest:
        with pytest.raises(InvalidWeights, match="needs at least"):
            ours(case)
        return
    found = ours(case)
    assert np.isfinite(found).all()
    if case.rule == "median":
        compare_medians(case, found)
        return
    mine, theirs = explained(case, our_arithmetic(case)), explained(case, their_arithmetic(case))
    if overflows(mine):
        # No distance from any point is finite.
        assert case.rule == "geometric_median"
        assert case.given.dtype == "F64"
        mine = rounding.weighted_mean(case.given.exact, case.samples, our_arithmetic(case))
    assert rounding.explains(mine, found)
    if case.output is None:
        # The norm that Flower divides by came out as zero.
        assert case.rule == "norm_clip"
        assert "ZeroDivisionError" in case.error
        assert any(
            rounding.squared_distance(update, case.given.exact_base, FORMATS[case.given.dtype])[0] == 0
            for update in case.given.exact
        )
        return
    assert rounding.explains(theirs, case.output)
    if certain(mine) and certain(theirs) and not weighted_otherwise(case):
        for one, other, [near], [near_them] in zip(
            found.tolist(), case.output.tolist(), mine[0], theirs[0], strict=True
        ):
            assert abs(Decimal(one) - Decimal(other)) <= near.error + near_them.error


def certain(results: list[Result]) -> bool:
    """Whether each element has one value, and a finite bound."""
    return len(results) == 1 and all(len(options) == 1 for options in results[0]) and not overflows(results)


def overflows(results: list[Result]) -> bool:
    """Whether some bound is infinite."""
    return any(near.error == rounding.INFINITE for result in results for options in result for near in options)


def weighted_otherwise(case: Case) -> bool:
    """Whether Flower's multi-Krum counts samples that ours does not."""
    return case.rule == "multi_krum" and len(set(case.samples)) > 1


def compare_medians(case: Case, found: Array) -> None:
    """Of an odd number no operation rounds; of an even one the mean of two is rounded once, and halving is exact.

    So both are the exact median's nearest number, but where the sum of the two overflows theirs. Torch interpolates:
    its median is off by u of half the difference and of itself.
    """
    u = FORMATS[case.given.dtype].unit
    assert not np.signbit(found[found == 0]).any()
    for place, column in enumerate(rounding.columns(case.given.exact)):
        low, high = (sorted(column)[rank] for rank in ((len(column) - 1) // 2, len(column) // 2))
        exact = (Fraction(low) + Fraction(high)) / 2
        nearest = found.dtype.type(float(exact))
        assert found[place] == nearest
        assert case.output is not None
        theirs = case.output[place]
        most = FORMATS[case.given.dtype].most
        if "tensors" in case.by and low != high:
            if high - low <= most:
                error = u * ((high - low) / 2 + abs(low + high) / 2) + 4 * FORMATS[case.given.dtype].tiny
                assert abs(Decimal(theirs.item()) - (low + high) / 2) <= error
        elif low == high or abs(low + high) <= most:
            assert theirs == nearest


@pytest.mark.parametrize(("oracle", "rule", "kind"), ALL, ids=lambda each: each)
def test_the_same_values(oracle: str, rule: str, kind: str) -> None:
    """Of every input of a kind, within the roundings of each function that the other has for the rule."""
    found, random = cases(oracle)[rule, kind], cases(oracle)[rule, "random"]
    assert {(case.given.dtype, case.by) for case in found} == {(case.given.dtype, case.by) for case in random}
    for case in found:
        compare(case)


def test_nothing_was_recorded_in_vain() -> None:
    """Every case is compared, every rule that is shared has cases of every kind."""
    for oracle, rules in SHARED.items():
        recorded = {(rule, kind) for rule, kind in cases(oracle) if kind != "K = 100"}
        assert recorded == {(rule, kind) for rule in rules for kind in KINDS}


@pytest.mark.parametrize(("oracle", "rule"), [(oracle, rule) for oracle, rules in SHARED.items() for rule in rules])
def test_random_input_leaves_no_choice(oracle: str, rule: str) -> None:
    """There each element is compared with one value."""
    for case in cases(oracle)[rule, "random"]:
        if rule != "median":
            assert certain(explained(case, our_arithmetic(case))), case
            assert certain(explained(case, their_arithmetic(case))), case


def test_a_share_is_exact() -> None:
    """0.29 of 100 updates are 29. Flower multiplies floats, and cuts 28."""
    for case in cases("flower")["trimmed_mean", "K = 100"]:
        assert case.output is not None
        for dropped, found, how in (
            (29, ours(case), our_arithmetic(case)),
            (28, case.output, their_arithmetic(case)),
        ):
            assert rounding.explains(rounding.trimmed_mean(case.given.exact, dropped, how), found)
            assert not rounding.explains(rounding.trimmed_mean(case.given.exact, 57 - dropped, how), found)
