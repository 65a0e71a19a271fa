"""The arithmetic of server optimisers: that of the papers, and a result for every finite input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from charters import small_charter
from fedpact.artifacts import charter as charters
from fedpact.artifacts.dtypes import DTYPES
from fedpact.artifacts.mistakes import first_mistake
from fedpact.errors import InvalidDocument, NotInstalled
from fedpact.rules import OPTIMISERS, FedAvg, make_optimiser
from fedpact.rules.kernel import Kernel, NotFinite
from hypothesis import given
from hypothesis import strategies as st
from optimised import INITIAL, MOMENTS, NAMES, PARAMETERS, reference
from pydantic import ValidationError

doubles = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.integers(1, 10**30 - 1).map(lambda digits: f"0.{digits:030d}")


def made(name: str, **changes: str) -> Any:
    """An optimiser with good parameters, or with others."""
    return make_optimiser(name, 1, PARAMETERS[name] | changes)


# ------------------------------------------------------------------------------------------------------------ charters

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing said": (
        {"name": "fedavgm"},
        "optimiser.parameters: fedavgm has the parameters learning_rate, momentum; missing: learning_rate, momentum",
    ),
    "a part not said": (
        {"name": "fedavgm", "parameters": {"learning_rate": "1"}},
        "optimiser.parameters.momentum: expected a decimal number from 0 to less than 1 as text, found nothing",
    ),
    "a number that is no text": (
        {"name": "fedavgm", "parameters": {"learning_rate": 1, "momentum": "0"}},
        "optimiser.parameters.learning_rate: expected a decimal number greater than 0 and below 10^9 as text, found 1",
    ),
    "no step at all": (
        {"name": "fedavgm", "parameters": {"learning_rate": "0.0", "momentum": "0"}},
        "optimiser.parameters.learning_rate: expected a decimal number greater than 0 and below 10^9 as text, "
        "found '0.0'",
    ),
    "a step backwards": (
        {"name": "fedavgm", "parameters": {"learning_rate": "-1", "momentum": "0"}},
        "optimiser.parameters.learning_rate: expected a decimal",
    ),
    "a momentum that never ends": (
        {"name": "fedavgm", "parameters": {"learning_rate": "1", "momentum": "1"}},
        "optimiser.parameters.momentum: expected a decimal number from 0 to less than 1 as text, found '1'",
    ),
    "a parameter of another": (
        {"name": "fedadagrad", "parameters": PARAMETERS["fedadam"]},
        "optimiser.parameters.beta2: fedadagrad has the parameters learning_rate, beta1, tau",
    ),
    "no tau": (
        {"name": "fedyogi", "parameters": PARAMETERS["fedyogi"] | {"tau": "0"}},
        "optimiser.parameters.tau: expected a decimal number greater than 0",
    ),
    "a beta in words": (
        {"name": "fedadam", "parameters": PARAMETERS["fedadam"] | {"beta2": "1e-2"}},
        "optimiser.parameters.beta2: expected a decimal number from 0 to less than 1 as text, like 0.1, without an "
        "exponent, found '1e-2'",
    ),
    "a long story": (
        {"name": "fedadam", "parameters": PARAMETERS["fedadam"] | {"beta2": "9" * 1000}},
        "optimiser.parameters.beta2: expected a decimal number from 0 to less than 1 as text, found '999",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_charter_with_an_optimiser_that_is_none(case: str) -> None:
    """The mistake is named on one line."""
    section, says = BAD[case]
    with pytest.raises(ValidationError) as caught:
        small_charter(optimiser=section)
    message = first_mistake(caught.value)
    assert message.startswith(says)
    assert len(message) < 200
    assert "\n" not in message


def test_a_model_without_floats_has_nothing_to_optimise() -> None:
    """Integers have no moments."""
    with pytest.raises(ValidationError, match="optimiser: its state: tensors: expected 1 to"):
        small_charter(
            model={"w": {"dtype": "I64", "shape": [3]}},
            optimiser={"name": "fedavgm", "parameters": PARAMETERS["fedavgm"]},
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_charter_with_an_optimiser(name: str) -> None:
    """It is canonical, and makes the optimiser; without the section the bytes are those that they always were."""
    charter = small_charter(optimiser={"name": name, "parameters": PARAMETERS[name]})
    optimiser = charters.decode(charter.encode()).make_optimiser()
    assert isinstance(optimiser, OPTIMISERS[name])
    assert (optimiser.moments, list(optimiser.initial)) == (tuple(MOMENTS[name]), INITIAL[name])
    without = small_charter()
    assert without.make_optimiser() is None
    assert b"optimiser" not in without.encode()
    with pytest.raises(InvalidDocument):
        charters.decode(without.encode().replace(b'"name":"small",', b'"name":"small","optimiser":null,'))


def test_every_optimiser_is_tested() -> None:
    """The table of this file is that of the package."""
    assert list(OPTIMISERS) == NAMES
    with pytest.raises(NotInstalled):
        make_optimiser("none", 1, {})


# ---------------------------------------------------------------------------------------------------------- arithmetic


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(0, 2**32), st.integers(1, 50), st.data())
def test_several_steps_are_those_of_the_paper(name: str, seed: int, size: int, data: st.DataObject) -> None:
    """Bit for bit, with any parameters, also where an element never moves."""
    changes = {key: data.draw(decimals) for key in PARAMETERS[name]}
    optimiser, step = made(name, **changes), reference(name, changes)
    source = np.random.default_rng(seed)
    base = source.standard_normal(size)
    moments = expected = [np.full(size, value) for value in optimiser.initial]
    for _ in range(4):
        combined = base + source.standard_normal(size) * source.integers(0, 2, size)
        model, moments = optimiser.step(base, combined, moments)
        there, expected = step(base, combined, expected)
        assert np.array_equal(model, there)
        assert all(np.array_equal(one, other) for one, other in zip(moments, expected, strict=True))
        base = model


@pytest.mark.parametrize("name", NAMES)
@given(st.lists(st.tuples(doubles, doubles, doubles, doubles), min_size=1), st.data())
def test_nothing_finite_makes_a_nan(name: str, elements: list[tuple[float, ...]], data: st.DataObject) -> None:
    """Whatever base, combined updates and moments are: moments stay finite, and a model that overflows is infinite."""
    wanted = {key: data.draw(decimals) for key in PARAMETERS[name]}
    optimiser = made(name, **wanted)
    base, combined, *moments = (np.array(column) for column in zip(*elements, strict=True))
    with np.errstate(all="ignore"):
        model, after = optimiser.step(base, combined, moments[: len(optimiser.moments)])
    assert not np.isnan(model).any()
    assert len(after) == len(optimiser.moments)
    assert all(np.isfinite(moment).all() for moment in after)


EXTREMES = [0.0, -0.0, 5e-324, -5e-324, 1e-160, 1.0, -1.0, 1e155, -1e155, math.nextafter(math.inf, 0), -1.7e308]


@pytest.mark.parametrize("tau", ["0." + "0" * 29 + "1", "999999999"])
@pytest.mark.parametrize("beta", ["0", "0." + "9" * 30])
@pytest.mark.parametrize("name", NAMES)
def test_extremes_in_every_combination(name: str, beta: str, tau: str) -> None:
    """Denormals, signed zeros and the largest numbers, with the most extreme parameters there are."""
    told = {"learning_rate": tau, "momentum": beta, "beta1": beta, "beta2": beta, "tau": tau}
    optimiser = made(name, **{key: told[key] for key in PARAMETERS[name]})
    grid = np.meshgrid(EXTREMES, EXTREMES, EXTREMES, [*EXTREMES, *optimiser.initial])
    base, combined, *moments = (each.ravel() for each in grid)
    with np.errstate(all="ignore"):
        for _ in range(3):
            model, moments = optimiser.step(base, combined, moments[: len(optimiser.moments)])
            assert not np.isnan(model).any()
            assert all(np.isfinite(moment).all() for moment in moments)
            base = np.clip(model, -1.7e308, 1.7e308)


@pytest.mark.parametrize("name", NAMES)
def test_what_never_moved_stays(name: str) -> None:
    """From the beginning, updates that are the base model leave it as it is."""
    optimiser = made(name)
    base = np.array([0.0, 1.0, -3.5, 1e300])
    model, moments = optimiser.step(base, base, [np.full(4, value) for value in optimiser.initial])
    assert np.array_equal(model, base)
    assert np.array_equal(moments[0], np.zeros(4))


def test_momentum_without_memory_is_averaging() -> None:
    """With momentum 0 and learning rate 1 the model is the combined updates, but for a rounding."""
    optimiser = made("fedavgm", momentum="0", learning_rate="1")
    model, _ = optimiser.step(np.array([1.0, 2.0]), np.array([1.5, -2.0]), [np.array([100.0, 100.0])])
    assert model.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_valley_is_descended(name: str) -> None:
    """Silos that go a tenth of the way down a parabola bring the model to its bottom."""
    optimiser = made(name, **({"learning_rate": "1"} if name == "fedadagrad" else {}))
    model = np.array([3.0, -2.0])
    moments = [np.full(2, value) for value in optimiser.initial]
    for _ in range(400):
        model, moments = optimiser.step(model, 0.9 * model, moments)
    assert np.abs(model).max() < 0.1


# ------------------------------------------------------------------------------------------------------------ rounding

FLOATS = [dtype for dtype in DTYPES.values() if dtype.is_float]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", NAMES)
def test_what_overflows_is_the_largest(name: str, dtype: Any) -> None:
    """A model's element, or a moment, that its dtype does not hold is the largest one that it holds, of its sign."""
    optimiser = made(name, learning_rate="999999999")
    kernel = Kernel(FedAvg().combination([1]), optimiser)
    ends = np.array([dtype.largest, -dtype.largest], dtype.worked)
    update, base = np.empty(2, dtype.stored), np.empty(2, dtype.stored)
    dtype.encode(ends, update)
    dtype.encode(-ends, base)
    kept = np.float64 if dtype.name == "F64" else np.float32
    moments = [np.full(2, value, kept) for value in optimiser.initial]
    for _ in range(2):
        model = np.empty(2, dtype.stored)
        moments = kernel.run(dtype, [update], base, moments, model)
        assert np.isfinite(dtype.decode(model)).all()
        if name == "fedavgm":
            assert dtype.decode(model).tolist() == ends.tolist()
        elif dtype.name in ("F32", "BF16"):
            assert moments[1].tolist() == [np.finfo(kept).max] * 2
        assert [moment.dtype for moment in moments] == [kept] * len(moments)
        assert all(np.isfinite(moment).all() for moment in moments)
        assert moments[0][0] == -moments[0][1] > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_is_never_optimised(name: str, value: float) -> None:
    """An update with NaN or infinity is noticed, however the optimiser would round it."""
    kernel = Kernel(FedAvg().combination([1, 1]), made(name))
    moments = [np.zeros(3, np.float32) for _ in MOMENTS[name]]
    good, bad = np.ones(3, np.float32), np.array([1, value, 1], np.float32)
    with pytest.raises(NotFinite):
        kernel.run(DTYPES["F32"], [good, bad], good, moments, np.empty(3, np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_a_mean_beyond_the_largest_double_is_the_largest(name: str) -> None:
    """Finite updates whose mean rounds to infinity are no fault: the step is made from the largest number."""
    largest = np.full(1, np.finfo(np.float64).max)
    kernel = Kernel(FedAvg().combination([1, 1, 1]), made(name))
    moments = [np.full(1, value) for value in made(name).initial]
    model = np.empty(1)
    after = kernel.run(DTYPES["F64"], [largest, np.nextafter(largest, 0), largest], largest, moments, model)
    assert np.isfinite(model).all()
    assert all(np.isfinite(moment).all() for moment in after)
