"""The built-in tasks: scikit-learn's own data sets, each with a charter, split among silos.

Every silo holds out a fifth of its own samples. The score that a simulation reports is taken on all held-out samples
together, which nobody in a real federation could do; the silos' own scores are on the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fedpact.errors import InputError
from fedpact_client.data import Data
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

MIN_SAMPLES = 2
"""Samples of a silo at least: one to train on, one held out."""
_HELD_OUT = 5  # One sample in so many.
_BINS = 10  # Into so many classes a regression's targets are sorted, to skew them.


@dataclass(frozen=True, slots=True)
class Task:
    """A data set.

    Attributes:
        features: shape (samples, features), float64, scaled.
        targets: shape (samples,): classes from 0 as int64, or standardised numbers as float64.
        classes: number of classes; 0 for regression.
    """

    name: str
    features: NDArray[np.float64]
    targets: NDArray[Any]
    classes: int


def load(name: str) -> Task:
    """A task by its name in `setup.METRICS`. Features and numeric targets are standardised over the whole data set
    (pixels: divided by their maximum), where a real federation would agree on constants beforehand.
    """
    loaders = {"digits": load_digits, "breast_cancer": load_breast_cancer, "diabetes": load_diabetes}
    features, targets = loaders[name](return_X_y=True)
    features = features / 16.0 if name == "digits" else _standardised(features)
    if name == "diabetes":
        return Task(name, features, _standardised(targets), 0)
    return Task(name, features, targets.astype(np.int64), int(targets.max()) + 1)


def split(task: Task, silos: int, seed: int, skew: float | None) -> list[Data]:
    """Deals the samples out to silos.

    Args:
        skew: none for equal shares at random; otherwise the concentration of the Dirichlet distribution by which each
            class is dealt out (Hsu et al., "Measuring the Effects of Non-Identical Data Distribution", 2019): the
            smaller, the more uneven.

    Raises:
        InputError: there are not enough samples.
    """
    samples = len(task.targets)
    if silos * MIN_SAMPLES > samples:
        most = samples // MIN_SAMPLES
        raise InputError(
            f"silos: expected at most {most} ({task.name} has {samples} samples, a silo needs 2), found {silos}"
        )
    random = np.random.default_rng([seed, silos])
    order = random.permutation(samples)
    if skew is None:
        shares: Sequence[NDArray[np.int64]] = np.array_split(order, silos)
    else:
        shares = _skewed(task, order, silos, skew, random)
    return [_hold_out(task, share) for share in shares]


def held_out(data: Sequence[Data]) -> Data:
    """All samples of all silos as one: what a simulation scores the model on."""
    return Data(
        np.concatenate([each.features for each in data]),
        np.concatenate([each.targets for each in data]),
        np.concatenate([each.held_out_features for each in data]),
        np.concatenate([each.held_out_targets for each in data]),
    )


def flip_labels(data: Data, classes: int) -> Data:
    """The same samples to learn from with wrong targets: class c becomes class C - 1 - c, a number its negative.

    What is held out stays as it is. Source: Fang et al., "Local Model Poisoning Attacks to Byzantine-Robust Federated
    Learning" (2020), label flipping attack.
    """
    return replace(data, targets=classes - 1 - data.targets if classes else -data.targets)


def _standardised(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    return scaled


def _hold_out(task: Task, share: NDArray[np.int64]) -> Data:
    count = max(1, len(share) // _HELD_OUT)
    test, train = share[:count], share[count:]
    return Data(task.features[train], task.targets[train], task.features[test], task.targets[test])


def _skewed(
    task: Task, order: NDArray[np.int64], silos: int, skew: float, random: np.random.Generator
) -> list[NDArray[np.int64]]:
    targets = task.targets[order]
    if task.classes:
        labels = targets
    else:
        labels = np.searchsorted(np.quantile(targets, np.linspace(0, 1, _BINS + 1)[1:-1]), targets)
    shares: list[list[int]] = [[] for _ in range(silos)]
    for label in np.unique(labels):
        members = order[labels == label]
        cuts = (np.cumsum(random.dirichlet(np.full(silos, skew)))[:-1] * len(members)).astype(np.int64)
        for share, piece in zip(shares, np.split(members, cuts), strict=True):
            share.extend(piece.tolist())
    for share in shares:  # Nobody goes without: whoever has most gives.
        while len(share) < MIN_SAMPLES:
            share.append(max(shares, key=len).pop())
    return [random.permutation(np.array(share, dtype=np.int64)) for share in shares]
