"""How good an estimator is on held-out samples: what silos report, and a simulation judges by."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import is_classifier


def scores(estimator: Any, features: Any, targets: Any) -> dict[str, float]:
    """Figures of a classifier or regressor.

    Args:
        features: [samples, features].
        targets: [samples]; of a classifier, whole numbers from 0 on, one for each column of its probabilities.

    Returns:
        `accuracy` or `r2`; and `loss` where there is one, which is finite: the mean of -ln of the probability that the
        right class was given, or the mean squared error.
    """
    if not is_classifier(estimator):
        error = np.asarray(estimator.predict(features), np.float64).reshape(len(targets)) - targets
        found = {"r2": float(estimator.score(features, targets)), "loss": float(np.mean(error * error))}
    else:
        found = {"accuracy": float(np.mean(estimator.predict(features) == targets))}
        if hasattr(estimator, "predict_proba"):
            given = estimator.predict_proba(features)[np.arange(len(targets)), targets]
            found["loss"] = float(-np.mean(np.log(np.maximum(given, np.finfo(np.float64).tiny))))
    return {name: figure for name, figure in found.items() if name != "loss" or math.isfinite(figure)}
