"""The coordinate-wise trimmed mean.

Source: Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates" (2018), option II.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

import numpy as np

from fedpact.artifacts.dtypes import Floats, Integers
from fedpact.errors import CharterError
from fedpact.rules import parameters as read
from fedpact.rules.mean import added, finite_mean, integer_mean
from fedpact.rules.order import piece_for, ranked, sees_all
from fedpact.rules.rule import Blockwise, Combination, Parameters


@dataclass(frozen=True)
class TrimmedMean(Blockwise):
    """The mean of each element without its smallest and its greatest values.

    The values that stay are added from the smallest to the greatest, in float64, and divided by their number. Where a
    float64 sum overflows, it is taken of values shrunk by 2^-70. Samples do not count. The result does not depend on
    the order of the updates. A negative zero becomes a positive one.

    Attributes:
        count: values that are dropped at each end; or
        share: the part of all updates that is, rounded down.
    """

    name: ClassVar[str] = "trimmed_mean"
    takes: ClassVar[Mapping[str, str]] = {
        "share": "the part of all updates dropped at each end, a decimal below 0.5; or",
        "count": "how many are dropped at each end",
    }
    decimals: ClassVar[tuple[str, ...]] = ("share",)

    count: int | None = None
    share: Fraction | None = None

    @classmethod
    def of(cls, parameters: Parameters) -> Self:
        read.only(cls.name, parameters, *cls.takes)
        if ("share" in parameters) == ("count" in parameters):
            found = ", ".join(parameters) or "neither"
            raise CharterError(f"rule.parameters: {cls.name}: expected either share or count, found {found}")
        if "count" in parameters:
            return cls(count=read.whole(parameters, "count", 0, 0x7FFF))
        return cls(share=read.decimal(parameters, "share", below=Fraction(1, 2)))

    @property
    def fewest(self) -> int:
        return 1 if self.count is None else 2 * self.count + 1

    def dropped(self, updates: int) -> int:
        """Values that are dropped at each end, of so many updates."""
        return int(self.share * updates) if self.share is not None else self.count or 0

    def combination(self, samples: Sequence[int]) -> Combination:
        return _Trimmed(len(samples), self.dropped(len(samples)))


class _Trimmed(Combination):
    def __init__(self, count: int, dropped: int) -> None:
        super().__init__([1] * count)
        self.piece = piece_for(count)
        self.spreads = sees_all(count)
        self._kept = range(dropped, count - dropped)

    def floats(self, updates: Sequence[Floats], base: Floats | None) -> Floats:
        return finite_mean(added, ranked(updates, self._kept), len(self._kept))

    def integers(self, updates: Sequence[Integers], base: Integers | None) -> Integers:
        return integer_mean(ranked(updates, self._kept), [1] * len(self._kept))

    def equal(self, values: Floats) -> Floats | None:
        # The roundings of the sum show in float64 only.
        return values + values.dtype.type(0) if values.dtype == np.float32 else None
