"""Handwritten digits: scikit-learn's own (1,797 of 8 x 8 pixels) or the full MNIST (70,000 of 28 x 28), dealt out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fedpact.errors import FedpactError
from numpy.typing import NDArray

KINDS = ("digits", "mnist")
_HELD_OUT = 5
"""Every so many-th sample: of a client's to score its models on, and of all for nobody to train on."""


def load(kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pixels from 0 to 1, shape (samples, pixels), and digits.

    Raises:
        FedpactError: MNIST cannot be had.
    """
    from sklearn.datasets import fetch_openml, load_digits  # Only now: it takes a second.

    if kind == "digits":
        features, targets = load_digits(return_X_y=True)
        return features / 16, targets
    try:
        features, targets = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, n_retries=1)
    except (OSError, ValueError) as error:
        raise FedpactError(f"mnist: openml.org does not give it: {error}; --data digits needs no network") from error
    return features / 255, targets.astype(np.int64)


def deal(kind: str, directories: list[Path], judge: Path, seed: int) -> None:
    """Writes every client's share into its directory as data.npz, and what belongs to nobody into a file.

    Raises:
        FedpactError: as `load`.
    """
    features, targets = load(kind)
    order = np.random.default_rng(seed).permutation(len(targets))
    held_out, dealt = order[::_HELD_OUT], np.delete(order, np.s_[::_HELD_OUT])
    for directory, share in zip(directories, np.array_split(dealt, len(directories)), strict=True):
        own, train = share[::_HELD_OUT], np.delete(share, np.s_[::_HELD_OUT])
        _write(directory / "data.npz", features[train], targets[train], features[own], targets[own])
    _write(judge, features[:0], targets[:0], features[held_out], targets[held_out])


def _write(path: Path, *arrays: NDArray[Any]) -> None:
    """As `fedpact_client.data.Data` has them."""
    names = ("features", "targets", "held_out_features", "held_out_targets")
    np.savez(path, **dict(zip(names, arrays, strict=True)))
