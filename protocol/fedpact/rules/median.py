"""The coordinate-wise median.

Source: Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates" (2018), option I.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from fedpact.artifacts.dtypes import Floats, Integers
from fedpact.rules.mean import integer_mean
from fedpact.rules.order import piece_for, ranked, sees_all
from fedpact.rules.parameters import WithoutParameters
from fedpact.rules.rule import Blockwise, Combination


class Median(WithoutParameters, Blockwise):
    """The middle value of each element; of an even number of updates the mean of the two in the middle.

    That mean is rounded to float64; it lies between the two, also where their sum overflows. Samples do not count. The
    result does not depend on the order of the updates. A negative zero becomes a positive one.
    """

    name: ClassVar[str] = "median"

    def combination(self, samples: Sequence[int]) -> Combination:
        return _Middle(len(samples))


class _Middle(Combination):
    def __init__(self, count: int) -> None:
        super().__init__([1] * count)
        self.piece = piece_for(count)
        self.spreads = sees_all(count)

    def floats(self, updates: Sequence[Floats], base: Floats | None) -> Floats:
        low, *high = ranked(updates, _middle(len(updates)))
        if not high:
            return low
        total = np.add(low, high[0], dtype=np.float64)
        if low.dtype == np.float64:
            # Where the sum overflows both are huge, and half of each is exact.
            return np.where(np.isfinite(total), total / 2, low * 0.5 + high[0] * 0.5)
        total *= 0.5
        return total

    def integers(self, updates: Sequence[Integers], base: Integers | None) -> Integers:
        middle = ranked(updates, _middle(len(updates)))
        return integer_mean(middle, [1] * len(middle))

    def equal(self, values: Floats) -> Floats:
        return values + values.dtype.type(0)


def _middle(count: int) -> range:
    return range((count - 1) // 2, count // 2 + 1)
