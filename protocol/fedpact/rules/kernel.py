"""Applies a combination to elements in memory: piece by piece, with one rounding, and never past what is not finite."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fedpact.artifacts.dtypes import Dtype, Floats
from fedpact.errors import FedpactError, RuleFailed, WrongArithmetic
from fedpact.rules.optimiser import Optimiser
from fedpact.rules.rule import PIECE, Combination, Rule, Survey

_LARGEST = 30 << 20

Stored = NDArray[Any]
"""Elements as a file holds them (`Dtype.stored`)."""


class NotFinite(Exception):
    """An update has an element that is not finite."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What is done to every element of a model.

    Attributes:
        optimiser: what makes the model of the base and the combined updates; none where they are the model.
        checked: whether every update was seen to be finite before.
    """

    combination: Combination
    optimiser: Optimiser | None = None
    checked: bool = False

    @property
    def needs_base(self) -> bool:
        """Whether the base model's elements are part of it."""
        return self.combination.needs_base or self.optimiser is not None

    @property
    def piece(self) -> int:
        """Elements that are combined at once.

        Raises:
            RuleFailed: the combination wants none.
        """
        if self.combination.piece < 1:
            raise RuleFailed(f"piece: expected 1 to {PIECE} elements, found {self.combination.piece}")
        return min(self.combination.piece, PIECE)

    def run(
        self,
        dtype: Dtype,
        updates: Sequence[Stored],
        base: Stored | None,
        moments: Sequence[Floats],
        out: Stored,
        *,
        equal: bool = False,
    ) -> list[Floats]:
        """Makes the model's elements; returns the optimiser's new moments, each rounded once to the dtype that it had.

        Args:
            updates: those that count, arrays of shape (n,); there may be none of them where the base is needed.
            base: shape (n,), finite; none unless it is needed.
            moments: the optimiser's, of shape (n,), finite; none for integers.
            out: where the elements go, shape (n,).
            equal: whether the updates are all the same, and the base too where the combination needs it.

        Raises:
            NotFinite: an update that was not checked has an element that is not finite.
            RuleFailed: the rule made NaN of what is finite, or something of another shape or kind.
        """
        made = [np.empty_like(moment) for moment in moments]
        with np.errstate(all="ignore"):  # Overflows are dealt with, underflows are rounded.
            for piece in _pieces(out.size, self.piece):
                part = [update[piece] for update in updates]
                before = None if base is None else base[piece]
                if dtype.is_float:
                    old = [moment[piece] for moment in moments]
                    new = self._floats(dtype, part, before, old, out[piece], equal)
                    for moment, values in zip(made, new, strict=True):
                        moment[piece] = values
                else:
                    whole = self.combination.integers(part, before if self.combination.needs_base else None)
                    if (whole.shape, whole.dtype) != (out[piece].shape, out.dtype):
                        raise RuleFailed(f"expected {_kind(out[piece])}, found {_kind(whole)}")
                    out[piece] = whole
        return made

    def _floats(
        self,
        dtype: Dtype,
        updates: Sequence[Stored],
        base: Stored | None,
        moments: Sequence[Floats],
        out: Stored,
        equal: bool,
    ) -> list[Floats]:
        combination = self.combination
        if not self.checked and not combination.spreads:
            _check(dtype, updates[:1] if equal else updates)
        before = None if base is None else dtype.decode(base)
        worked = [dtype.decode(update) for update in updates]
        values = combination.equal(worked[0]) if equal else None
        if values is None:
            values = combination.floats(worked, before if combination.needs_base else None)
        if values.shape != out.shape or values.dtype.kind != "f":
            raise RuleFailed(f"expected floats of shape {out.shape}, found {_kind(values)}")
        made: Sequence[Floats] = []
        if self.optimiser is not None and before is not None:
            if not np.isfinite(values).all():
                if not self.checked:
                    _check(dtype, updates)
                values = dtype.clamp(values)
            wide = [each.astype(np.float64) for each in (before, values, *moments)]
            values, made = self.optimiser.step(wide[0], wide[1], wide[2:])
        dtype.encode(values, out)
        if not dtype.finite(out).all():
            if not self.checked:
                _check(dtype, updates)
            dtype.encode(dtype.clamp(values), out)
            if not dtype.finite(out).all():
                raise RuleFailed("expected finite elements of finite updates, found NaN")
        return [
            np.clip(moment, -(most := np.finfo(old.dtype).max), most) for moment, old in zip(made, moments, strict=True)
        ]


def check_arithmetic() -> None:
    """Whether this thread, and so those that it starts, computes as IEEE 754 says: with denormals, rounding to nearest.

    Raises:
        WrongArithmetic: it does not. A library that was compiled for speed may have changed that for the whole process.
    """
    one, half_a_unit = np.ones(1), np.full(1, 2.0**-53)
    kept = all((tiny + tiny.dtype.type(0) != 0).all() for tiny in (np.full(4, 5e-324), np.full(4, 1e-45, np.float32)))
    nearest = one + half_a_unit == one and one + 1.5 * half_a_unit > one and -one - half_a_unit == -one
    if not (kept and nearest):
        raise WrongArithmetic(
            "arithmetic: expected denormals and rounding to nearest (IEEE 754); a library here has switched them off"
        )


@functools.cache
def keep_freed_memory() -> None:
    """Has the allocator keep what is freed for the next leaves, so that the system need not clear fresh pages for each.

    The GNU C library gives back whatever lies beyond twice the largest piece that was freed so far, 32 MiB at most
    (mallopt(3), M_MMAP_THRESHOLD). One that is freed untouched costs nothing; elsewhere this has no effect.
    """
    bytes(_LARGEST)


_blas = threading.Lock()
_blas_users: list[threadpool_limits] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keeps matrix products to the thread that asks for them. The limit is the process's: the first one that needs it
    sets it, the last one lifts it."""
    with _blas:
        _blas_users.append(_blas_users[0] if _blas_users else threadpool_limits(1))
    try:
        yield
    finally:
        with _blas:
            limits = _blas_users.pop()
            if not _blas_users:
                limits.restore_original_limits()


@contextmanager
def blaming(rule: Rule) -> Iterator[None]:
    """Whatever a rule does wrong is a `RuleFailed` that names it: rules may come from elsewhere."""
    try:
        yield
    except RuleFailed as error:
        raise RuleFailed(f"rule {rule.name}: {error}") from error
    except (FedpactError, NotFinite, MemoryError, OSError):  # Of stores and files; rules have none.
        raise
    except Exception as error:
        raise RuleFailed(f"rule {rule.name}: {type(error).__name__}: {error}") from error


def measure(survey: Survey, dtype: Dtype, updates: Sequence[Stored], base: Stored | None) -> Any:
    """What elements add to a survey's sums; of no elements 0."""
    total: Any = 0.0
    measured = survey if dtype.is_float else survey.for_integers
    if measured is None:
        return total
    for piece in _pieces(updates[0].size):
        worked, before = [dtype.decode(update[piece]) for update in updates], None
        if base is not None and measured.needs_base:
            before = dtype.decode(base[piece])
        if not dtype.is_float:
            worked = [each.astype(np.float64) for each in worked]
            before = None if before is None else before.astype(np.float64)
        total = total + measured.measure(worked, before)
    return total


def nothing(survey: Survey, count: int) -> NDArray[np.float64]:
    """What a survey of K updates without elements finds: zeros."""
    zero = np.zeros(1, np.float32)
    return survey.measure([zero] * count, zero if survey.needs_base else None)


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _check(dtype: Dtype, updates: Sequence[Stored]) -> None:
    if not all(dtype.finite(update).all() for update in updates):
        raise NotFinite


def _pieces(size: int, length: int = PIECE) -> Iterator[slice]:
    return (slice(start, min(start + length, size)) for start in range(0, size, length))
