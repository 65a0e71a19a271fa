"""Trainers on scikit-learn: softmax regression, linear regression, and a small multilayer perceptron, by gradient
descent.

All three are scikit-learn's perceptron: without a hidden layer it *is* multinomial logistic regression (softmax and
cross-entropy) or linear regression (identity and squared error). Weights are called `coef0`, `intercept0`, `coef1`, …
as in the estimator.

A fit starts from the weights that it is given, takes plain stochastic gradient steps without momentum, and shuffles
from the charter's seed, the round and the epoch: nothing is carried from one round to the next, so a round can be
repeated.

The charter's section `trainer`:

    name           what is trained: softmax_regression, linear_regression or perceptron
    epochs         passes over the silo's data in a round
    batch_size     samples of a step
    learning_rate  how far a step goes, a decimal as text
    seed           what the samples are shuffled with
    hidden         units of the hidden layer; of a perceptron alone
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from fedpact.artifacts.weights import Weights
from fedpact.errors import CharterError
from fedpact.suggestion import did_you_mean
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fedpact_client.data import Data
from fedpact_client.scores import scores
from fedpact_client.trainer import Config, Fit, Metrics
from fedpact_client.trainer_section import positive, seed_of, whole

TRAINERS = ("softmax_regression", "linear_regression", "perceptron")


class ScikitLearnTrainer:
    """Trains one of scikit-learn's perceptrons.

    Args:
        data: the silo's own.
        config: the charter's section `trainer`.
        classes: number of classes; 0 for regression.

    Raises:
        CharterError: the section names no trainer of this module, lacks a setting, or has one that is none.
    """

    def __init__(self, data: Data, config: Config, classes: int) -> None:
        self._data = data
        self._estimator = _initialised(_estimator(config, classes), data.features.shape[1], classes)

    def fit(self, weights: Weights, config: Config) -> Fit:
        """Takes the charter's number of passes over the data, starting from the given weights."""
        estimator, data = self._start(weights), self._data
        estimator.set_params(batch_size=min(whole(config, "batch_size"), len(data.targets)))
        with _trusting():
            for epoch in range(whole(config, "epochs")):
                estimator.set_params(random_state=seed_of(whole(config, "seed"), whole(config, "round"), epoch))
                estimator.partial_fit(data.features, data.targets)
        trained = {name: array.astype(weights[name].dtype) for name, array in _arrays(estimator).items()}
        return Fit(trained, len(data.targets), self._metrics(estimator))

    def evaluate(self, weights: Weights) -> Metrics:
        """Accuracy of a classifier, R2 of a regression, and the loss, on the held-out samples."""
        return self._metrics(self._start(weights))

    def _metrics(self, estimator: Any) -> dict[str, float]:
        features, targets = self._data.held_out_features, self._data.held_out_targets
        with _trusting():
            return scores(estimator, features, targets)

    def _start(self, weights: Weights) -> Any:
        """The estimator at the given weights; without momentum nothing else is carried over."""
        for name, array in _arrays(self._estimator).items():
            array[...] = weights[name]
        return self._estimator


def initial_weights(config: Config, features: int, classes: int) -> dict[str, NDArray[np.floating[Any]]]:
    """Float32 weights to start from: zeros without a hidden layer, else scikit-learn's own from the charter's seed."""
    estimator = _initialised(_estimator(config, classes), features, classes)
    hidden = len(estimator.coefs_) > 1
    return {
        name: (array if hidden else np.zeros_like(array)).astype(np.float32)
        for name, array in _arrays(estimator).items()
    }


def _trusting() -> AbstractContextManager[None]:
    """scikit-learn without its checks of arrays and settings: both were checked when they came."""
    context: AbstractContextManager[None] = config_context(assume_finite=True, skip_parameter_validation=True)
    return context


def _initialised(estimator: Any, features: int, classes: int) -> Any:
    """An estimator with arrays to put weights into: scikit-learn makes them at its first step, here on zeros."""
    if classes:
        estimator.partial_fit(np.zeros((classes, features)), np.arange(classes), classes=np.arange(classes))
    else:
        estimator.partial_fit(np.zeros((1, features)), np.zeros(1))
    return estimator


def _arrays(estimator: Any) -> dict[str, NDArray[np.floating[Any]]]:
    """The arrays that an estimator learns, by name."""
    arrays = {}
    for layer, (coef, intercept) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        arrays[f"coef{layer}"], arrays[f"intercept{layer}"] = coef, intercept
    return arrays


def _estimator(config: Config, classes: int) -> Any:
    name = config.get("name")
    if name not in TRAINERS:
        near = did_you_mean(str(name), TRAINERS)
        raise CharterError(f"trainer.name: expected one of {', '.join(TRAINERS)}, found {name!r}{near}")
    known = ["name", "epochs", "batch_size", "learning_rate", "seed", *(["hidden"] if name == "perceptron" else [])]
    for setting in config:
        if setting not in known:
            near = did_you_mean(setting, known)
            raise CharterError(f"trainer.{setting}: {name} has the settings {', '.join(known)}{near}")
    if (name == "softmax_regression" and not classes) or (name == "linear_regression" and classes):
        raise CharterError(f"trainer.name: {name} does not fit the task, which has {classes or 'no'} classes")
    settings = {
        "hidden_layer_sizes": (whole(config, "hidden"),) if name == "perceptron" else (),
        "solver": "sgd",
        "momentum": 0.0,
        "alpha": 0.0,
        "learning_rate_init": positive(config, "learning_rate"),
        "batch_size": 1,
        "random_state": whole(config, "seed"),
    }
    for setting in ("epochs", "batch_size"):
        whole(config, setting)
    return (MLPClassifier if classes else MLPRegressor)(**settings)
