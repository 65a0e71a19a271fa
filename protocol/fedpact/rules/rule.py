"""What a rule is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Rule(Protocol):
    """A pure function from the same elements of K updates to those elements of the model.

    It must give the same bits on every machine: float64 accumulation in the order given, element-wise operations only,
    one rounding to the dtype of the result.
    """

    name: str
    version: int

    def combine(
        self, updates: Sequence[NDArray[np.floating[Any]]], samples: Sequence[int]
    ) -> NDArray[np.floating[Any]]:
        """The model's elements.

        Args:
            updates: K arrays of shape (n,) and one dtype, all finite, in the order of the ledger's indexes.
            samples: K positive integers.

        Returns:
            Shape (n,), of the updates' dtype, all finite.
        """
        ...
