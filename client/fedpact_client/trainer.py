"""The port to whatever trains: a silo knows nothing of its data but this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fedpact.artifacts.weights import Weights

Config = Mapping[str, str | int]
"""What the charter tells trainers (its section `trainer`), and `round`, the number of the round."""


Metrics = Mapping[str, float]
"""Figures by name: `accuracy`, `r2`, …"""


@dataclass(frozen=True, slots=True)
class Fit:
    """What training gave.

    Attributes:
        weights: all tensors of the charter, in its shapes and dtypes.
        samples: training samples, at least 1.
        metrics: figures by name, on data that the silo held out; the charter says which is the score on the ledger.
    """

    weights: Weights
    samples: int
    metrics: Metrics


class Trainer(Protocol):
    """Trains on data that never leave the silo."""

    def fit(self, weights: Weights, config: Config) -> Fit:
        """Trains from given weights. The same weights and config give the same result: a round may be repeated after a
        crash.

        Raises:
            Exception: whatever goes wrong; the silo reports it and submits nothing.
        """
        ...

    def evaluate(self, weights: Weights) -> Metrics:
        """Figures of weights on the data that the silo held out."""
        ...
