"""What the silos train with: the same weights, account and round give the same update, after a while."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np
from fedpact.artifacts.weights import Weights
from fedpact_client.trainer import Config, Fit, Metrics


def contribution(account: str, number: int) -> tuple[np.float32, int]:
    """What an account adds to every weight in a round, and the samples that it claims."""
    digest = hashlib.sha256(f"{account} {number}".encode()).digest()
    return np.float32(int.from_bytes(digest[:3]) / 2**24 - 0.5), 1 + digest[3]


class Steady:
    """Adds an account's contribution.

    Args:
        file: JSON: `account`, and `seconds`, the least and the most that training takes.
    """

    def __init__(self, file: Path) -> None:
        told = json.loads(file.read_text())
        self._account = told["account"]
        self._least, self._most = told["seconds"]

    def fit(self, weights: Weights, config: Config) -> Fit:
        number = int(config["round"])
        value, samples = contribution(self._account, number)
        share = int.from_bytes(hashlib.sha256(f"time {self._account} {number}".encode()).digest()[:3]) / 2**24
        time.sleep(self._least + share * (self._most - self._least))  # Stands for training.
        return Fit({name: array + value for name, array in weights.items()}, samples, {"score": share})

    def evaluate(self, weights: Weights) -> Metrics:
        return {"score": 0.0}


def make(file: Path | None, config: Config) -> Steady:
    """The factory that `fedpact silo run --trainer` names."""
    assert file is not None, "trainer: expected --trainer-config"
    return Steady(file)
