"""Applies a rule to arrays in memory: the same arithmetic as for files, without hashes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpact.artifacts.dtypes import DTYPES, Dtype
from fedpact.errors import InvalidWeights
from fedpact.rules.kernel import (
    Kernel,
    NotFinite,
    Stored,
    blaming,
    check_arithmetic,
    keep_freed_memory,
    measure,
    nothing,
    one_blas_thread,
)
from fedpact.rules.rule import PIECE, Rule, Survey

_SPAN = PIECE
"""Elements that are surveyed at once; the sums depend on it."""
_REGISTERS = 64
"""Elements that spans are multiples of: whole registers of vector instructions."""
_KINDS = {each.array.newbyteorder("="): each for each in DTYPES.values() if each.name != "BF16"}


def combine(
    rule: Rule,
    updates: Sequence[NDArray[Any]],
    samples: Sequence[int],
    *,
    base: NDArray[Any] | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """What a rule makes of arrays.

    Args:
        updates: K arrays of one shape and one of the dtypes that models have.
        samples: K positive integers.
        base: the same of the base model, for a rule that needs it.
        threads: the result does not depend on it.

    Returns:
        An array of that shape and dtype.

    Raises:
        InvalidWeights: the arrays do not fit together, are too few, or hold what is not finite; or the base is needed
            and not given.
    """
    _check(rule, updates, samples, base)
    dtype = _KINDS[updates[0].dtype.newbyteorder("=")]
    flat = [update.ravel().astype(dtype.stored, copy=False) for update in updates]
    before = None if base is None else base.ravel().astype(dtype.stored, copy=False)
    check_arithmetic()
    keep_freed_memory()
    with ThreadPoolExecutor(threads) as pool:
        try:
            with blaming(rule):
                return _Arrays(dtype, flat, before, pool, threads).make(rule, samples).reshape(updates[0].shape)
        except NotFinite:
            place = next(place for place, update in enumerate(updates) if not np.isfinite(update).all())
            raise InvalidWeights(f"update {place}: it has values that are not finite") from None


class _Arrays:
    def __init__(
        self, dtype: Dtype, updates: list[Stored], base: Stored | None, pool: ThreadPoolExecutor, threads: int
    ) -> None:
        self._dtype = dtype
        self._updates = updates
        self._base = base
        self._pool = pool
        self._threads = threads
        self._size = updates[0].size

    def make(self, rule: Rule, samples: Sequence[int]) -> Stored:
        plan = rule.plan(samples)
        checked = False
        try:
            survey = next(plan)
            with one_blas_thread():  # The threads are ours.
                while True:
                    checked = True
                    survey = plan.send(self._survey(survey))
        except StopIteration as end:
            return self._combine(Kernel(end.value, checked=checked))

    def _survey(self, survey: Survey) -> NDArray[np.float64]:
        def look(span: slice) -> Any:
            part = [update[span] for update in self._updates]
            if not all(self._dtype.finite(each).all() for each in part):
                raise NotFinite
            before = self._before(span) if survey.needs_base else None
            return measure(survey, self._dtype, part, before)

        sums = nothing(survey, len(self._updates))
        for found in self._pool.map(look, _spans(self._size, _SPAN)):
            sums = sums + found
        return sums

    def _combine(self, kernel: Kernel) -> Stored:
        out = np.empty(self._size, self._dtype.stored)
        counted = kernel.combination.places

        def make(span: slice) -> None:
            before = self._before(span) if kernel.needs_base else None
            kernel.run(self._dtype, [self._updates[place][span] for place in counted], before, [], out[span])

        for _ in self._pool.map(make, _spans(self._size, self._share(kernel.piece))):
            pass
        return out

    def _share(self, most: int) -> int:
        """How many elements a thread is best given at once: as many for each of them, and for each as often."""
        rounds = max(1, math.ceil(self._size / (most * self._threads)))
        return max(1, math.ceil(self._size / (rounds * self._threads * _REGISTERS))) * _REGISTERS

    def _before(self, span: slice) -> Stored:
        if self._base is None:
            raise InvalidWeights("base: needed by the rule, and not given")
        return self._base[span]


def _spans(size: int, length: int) -> list[slice]:
    return [slice(start, min(start + length, size)) for start in range(0, size, length)]


def _check(rule: Rule, updates: Sequence[NDArray[Any]], samples: Sequence[int], base: NDArray[Any] | None) -> None:
    """Whether arrays fit together."""
    if len(updates) < rule.fewest:
        raise InvalidWeights(f"updates: {rule.name} needs at least {rule.fewest}, found {len(updates)}")
    if len(samples) != len(updates) or not all(each > 0 for each in samples):
        raise InvalidWeights(f"samples: expected a positive number for each of {len(updates)} updates")
    first = updates[0]
    if first.dtype.newbyteorder("=") not in _KINDS:
        raise InvalidWeights(f"update 0: dtype: expected one that models have, found {first.dtype}")
    for name, each in [*((f"update {place}", update) for place, update in enumerate(updates)), ("base", base)]:
        if each is not None and (each.shape, each.dtype) != (first.shape, first.dtype):
            expected = f"{first.dtype} of shape {first.shape}"
            raise InvalidWeights(f"{name}: expected {expected}, as update 0, found {each.dtype} of shape {each.shape}")
