"""Any scikit-learn estimator that can go on from a model as a trainer.

    EstimatorTrainer(SGDClassifier(loss="log_loss"), data, config, classes=10)

Which of an estimator's attributes are its weights is found out by trying, on made-up samples, and two laws are checked
before anything is trained:

- the weights are all of the model: another estimator that is given them answers alike;
- training goes on from them: from other weights it comes to others.

An estimator that does not keep both is refused with the reason. Weights are float arrays or numbers, called as their
attributes (`coef_`); the arrays of a list are numbered (`coefs_0`, `coefs_1`). In a round an estimator of its own is
begun with a step on zeros, gets the weights, and trains: nothing else is carried from one round to the next, so
schedules that count steps begin anew, and so does momentum.

The charter's section `trainer` (all optional; what else is there is for whoever makes the estimator):

    epochs      passes over the silo's data in a round (default 1)
    batch_size  samples handed to `partial_fit` at once (default: all)
    seed        for shuffling, and the estimator's `random_state` (default 0)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from fedpact.artifacts.weights import Weights
from fedpact.errors import FedpactError, InputError, TrainingFailed
from numpy.typing import NDArray
from sklearn.base import ClusterMixin, clone, is_classifier, is_regressor
from threadpoolctl import threadpool_limits

from fedpact_client.data import Data
from fedpact_client.scores import scores
from fedpact_client.trainer import Config, Fit, Metrics
from fedpact_client.trainer_section import seed_of, whole

Arrays = dict[str, NDArray[Any]]

_MAX_SAID = 200
_ROWS = 32
"""Made-up samples, at least."""


class EstimatorTrainer:
    """Trains an estimator.

    Args:
        estimator: with its settings; it is cloned, not trained itself. A classifier, regressor or clusterer.
        data: the silo's own.
        config: the charter's section `trainer`.
        classes: number of classes of a classifier.
        threads: that BLAS computes with; another number may give other bits.

    Attributes:
        names: the estimator's attributes that are its weights.

    Raises:
        InputError: the estimator cannot be trained in rounds, or not on these data, and why.
        CharterError: a setting is none.
    """

    def __init__(self, estimator: Any, data: Data, config: Config, classes: int = 0, *, threads: int = 1) -> None:
        self._data, self._threads = data, threads
        self._subject = _Subject(estimator, data.features.shape[1], data.targets.shape[1:], classes)
        self._check(config)
        with _blaming(self._subject.name, self._threads):
            self.names = _weights_of(self._subject)

    def initial_weights(self) -> Arrays:
        """Float32 weights to start from: what the estimator has after a step on zeros. A clusterer has to begin among
        samples, and does on this silo's own."""
        with _blaming(self._subject.name, self._threads):
            begun = self._subject.begun(0)
            if self._subject.clusters:
                self._subject.teach(begun, self._data.features, self._data.targets)
            return {name: array.astype(np.float32) for name, array in _arrays(begun, self.names).items()}

    def fit(self, weights: Weights, config: Config) -> Fit:
        """Takes the charter's number of passes over the data, starting from the given weights."""
        data, subject, count = self._data, self._subject, len(self._data.targets)
        seed, number = whole(config, "seed", 0), whole(config, "round")
        size = min(whole(config, "batch_size", count), count) if subject.stepwise else count
        estimator = self._at(weights, seed_of(seed, number))
        with _working(self._threads):
            for epoch in range(whole(config, "epochs", 1)):
                if subject.random:
                    estimator.set_params(random_state=seed_of(seed, number, epoch))
                order = np.random.default_rng([seed, number, epoch]).permutation(count)
                for start in range(0, count, size):
                    batch = order[start : start + size]
                    subject.teach(estimator, data.features[batch], data.targets[batch])
        trained = {name: array.astype(weights[name].dtype) for name, array in _arrays(estimator, self.names).items()}
        return Fit(trained, count, self._metrics(estimator))

    def evaluate(self, weights: Weights) -> Metrics:
        """On the held-out samples: `accuracy` of a classifier, `r2` of a regressor, both with a `loss`; of a clusterer
        `score`: the mean squared distance to the nearest centre, as a negative number."""
        return self._metrics(self._at(weights, 0))

    def _at(self, weights: Weights, seed: int) -> Any:
        """A new estimator with given weights."""
        with _working(self._threads):
            estimator = self._subject.begun(seed)
        own = _arrays(estimator, self.names)
        for name in {**own, **weights}:
            expected, found = (each[name].shape if name in each else "none" for each in (own, weights))
            if expected != found:
                raise TrainingFailed(
                    f"tensor {name}: {self._subject.name} has {_shape(expected)}, the charter {_shape(found)}"
                )
            if weights[name].dtype.kind != "f":
                raise TrainingFailed(f"tensor {name}: expected floats in the charter, found {weights[name].dtype}")
        _put(estimator, self.names, weights)
        return estimator

    def _metrics(self, estimator: Any) -> dict[str, float]:
        features, targets = self._data.held_out_features, self._data.held_out_targets
        with _working(self._threads):
            if self._subject.clusters:
                return {"score": float(estimator.score(features)) / len(features)}
            return scores(estimator, features, targets)

    def _check(self, config: Config) -> None:
        for setting, default in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            whole(config, setting, default)
        subject = self._subject
        if subject.classes and not subject.stepwise:
            missing = sorted(set(range(subject.classes)) - set(np.unique(self._data.targets).tolist()))
            if missing:
                raise InputError(
                    f"{subject.name}: expected samples of all {subject.classes} classes, for without partial_fit it "
                    f"learns from its samples which there are; found none of class {missing[0]}"
                )


class _Subject:
    """An estimator as it is begun and taught.

    Attributes:
        stepwise: whether it has `partial_fit`; otherwise `fit` goes on from what it has (`warm_start`).
        random: whether it has a `random_state`.
    """

    def __init__(self, estimator: Any, features: int, targets: tuple[int, ...], classes: int) -> None:
        self.name = type(estimator).__name__
        self._estimator, self._features, self._targets, self.classes = estimator, features, targets, classes
        self.clusters = isinstance(estimator, ClusterMixin)
        self.stepwise = hasattr(estimator, "partial_fit")
        if not hasattr(estimator, "get_params"):
            raise InputError(f"estimator: expected one of scikit-learn, found {self.name}")
        parameters = estimator.get_params(deep=False)
        self.random = "random_state" in parameters
        self._rows = max(_ROWS, 2 * classes, 2 * (parameters.get("n_clusters") or 0))
        if not self.stepwise and not parameters.get("warm_start"):
            how = "it has neither partial_fit nor warm_start"
            if "warm_start" in parameters:
                how = "expected warm_start=True, as it has no partial_fit"
            raise InputError(f"{self.name}: it cannot go on from a model: {how}; SGDClassifier or MLPClassifier can")
        if parameters.get("average"):
            raise InputError(f"{self.name}: expected average=False, for it keeps what it averages to itself")
        if not (self.clusters or is_classifier(estimator) or is_regressor(estimator)):
            raise InputError(
                f"{self.name}: expected a classifier, regressor or clusterer: of others there is no score on the ledger"
            )
        if is_classifier(estimator) != bool(classes):
            expected = "the number of classes (classes=10)" if not classes else "no classes"
            raise InputError(f"{self.name}: expected {expected}, found {classes or 'none'}")

    def begun(self, seed: int) -> Any:
        """A new estimator that has all of its arrays: it took a step on zeros, or on made-up samples where it has to
        find different ones among them."""
        estimator = clone(self._estimator)
        if self.random:
            estimator.set_params(random_state=seed)
        features, targets = self.made_up(0)
        if not self.clusters:
            count = max(self.classes, 2)
            features, targets = np.zeros((count, self._features)), targets[:count]
            if not self.classes:
                targets = np.ones_like(targets)  # Some regressions are of positive numbers alone.
        self.teach(estimator, features, targets)
        return estimator

    def taught(self, number: int) -> Any:
        """An estimator that was begun, and learned from made-up samples."""
        estimator = self.begun(0)
        self.teach(estimator, *self.made_up(number))
        return estimator

    def made_up(self, number: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Samples that every estimator takes: small whole numbers from 0, as it may count them; every class in turn,
        then more of some."""
        random = np.random.default_rng(number)
        features = random.integers(0, 4, (self._rows, self._features)).astype(np.float64)
        if not self.classes:
            return features, 1 + random.random((self._rows, *self._targets))
        more = random.integers(0, self.classes, self._rows - self.classes)
        return features, np.concatenate([np.arange(self.classes), more])

    def teach(self, estimator: Any, features: NDArray[np.float64], targets: NDArray[Any]) -> None:
        """Lets an estimator learn from samples, going on from what it has."""
        if not self.stepwise:
            estimator.fit(features, targets)
        elif self.clusters:
            estimator.partial_fit(features)
        elif self.classes:
            estimator.partial_fit(features, targets, classes=np.arange(self.classes))
        else:
            estimator.partial_fit(features, targets)


def _weights_of(subject: _Subject) -> tuple[str, ...]:
    """The attributes that are an estimator's weights: those that its answers, or what it learns next, depend on.

    Raises:
        InputError: they are not all of the model, or training does not go on from them.
    """
    one, two, samples = subject.taught(1), subject.taught(2), subject.made_up(3)
    learned = [
        name for name in _floats(one) if name in _floats(two) and not _same(_arrays(one, [name]), _arrays(two, [name]))
    ]
    for name in learned:
        begun, *taught = (
            {key: array.shape for key, array in _arrays(each, [name]).items()} for each in (subject.begun(1), one, two)
        )
        if taught != [begun, begun]:
            raise InputError(f"{subject.name}: its {name} has another shape with other samples")

    def outcome(weights: Arrays) -> tuple[list[NDArray[Any]], Arrays]:
        """What an estimator with these weights answers, and what it has learned after the next step."""
        estimator = subject.begun(1)
        _put(estimator, learned, weights)
        answers = _answers(estimator, samples[0])
        subject.teach(estimator, *samples)
        return answers, _arrays(estimator, learned)

    ones, twos = _arrays(one, learned), _arrays(two, learned)
    answers, after = outcome(ones)
    names = []
    for name in learned:
        others_answers, others_after = outcome({**ones, **_arrays(two, [name])})
        rest = [key for key in after if key not in _arrays(one, [name])]
        same = _close(answers, others_answers) and all(_close([after[key]], [others_after[key]]) for key in rest)
        if not same:
            names.append(name)
    if not names or not _close(answers, _answers(one, samples[0])):
        others = [name for name, value in vars(one).items() if name.endswith("_") and not _is_plain(value)]
        kept = f": it keeps what it learns in {', '.join(others[:3])}" if others else ""
        raise InputError(f"{subject.name}: it has no arrays that could be averaged and are all of the model{kept}")
    if _same(after, outcome(twos)[1]):
        raise InputError(f"{subject.name}: training does not go on from its {', '.join(names)}, but begins anew")
    return tuple(names)


def _is_plain(value: object) -> bool:
    """Whether it is nothing, text, a number or an array of them."""
    return (
        value is None
        or isinstance(value, str | int | float | np.number)
        or (isinstance(value, np.ndarray) and value.dtype != object)
    )


def _floats(estimator: Any) -> list[str]:
    """The attributes that hold floats: an array, a list of arrays, or a number."""
    return sorted(
        name
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_") and _parts(value) is not None
    )


def _parts(value: object) -> list[Any] | None:
    """The arrays and numbers that an attribute holds; none where it holds anything else."""
    parts = (
        list(value)
        if isinstance(value, list | tuple) and all(isinstance(each, np.ndarray) for each in value)
        else [value]
    )
    good = all(
        isinstance(each, np.ndarray | float | np.floating) and np.asarray(each).dtype.kind == "f" for each in parts
    )
    return parts if parts and good else None


def _arrays(estimator: Any, names: Sequence[str]) -> Arrays:
    """Copies of an estimator's arrays, by the names of tensors."""
    arrays: Arrays = {}
    for name in names:
        value = getattr(estimator, name)
        parts = _parts(value) or []
        for number, part in enumerate(parts):
            arrays[f"{name}{number}" if isinstance(value, list | tuple) else name] = np.array(part)
    return arrays


def _put(estimator: Any, names: Sequence[str], weights: Mapping[str, NDArray[Any]]) -> None:
    """Gives an estimator other weights, in place: it may have its arrays under other names as well."""
    for name in names:
        value = getattr(estimator, name)
        if isinstance(value, list | tuple):
            for number, part in enumerate(value):
                part[...] = weights[f"{name}{number}"]
        elif isinstance(value, np.ndarray):
            value[...] = weights[name]
        else:
            setattr(estimator, name, type(value)(weights[name]))


def _answers(estimator: Any, features: NDArray[np.float64]) -> list[NDArray[Any]]:
    asked = ("decision_function", "predict_proba", "transform", "predict")
    return [np.asarray(getattr(estimator, each)(features)) for each in asked if hasattr(estimator, each)]


def _same(one: Arrays, two: Arrays) -> bool:
    """Whether arrays are equal in every bit that counts."""
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name], equal_nan=True) for name in one)


def _close(one: Sequence[NDArray[Any]], two: Sequence[NDArray[Any]]) -> bool:
    return all(
        left.shape == right.shape and np.allclose(left, right, rtol=1e-9, atol=1e-12, equal_nan=True)
        for left, right in zip(one, two, strict=True)
    )


def _shape(shape: object) -> str:
    return shape if isinstance(shape, str) else f"shape {shape}"


@contextmanager
def _working(threads: int) -> Iterator[None]:
    """With so many threads, and quiet: rounds are short on purpose, so that an estimator did not converge within one is
    nothing to be told of."""
    with threadpool_limits(threads), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _blaming(name: str, threads: int) -> Iterator[None]:
    """Whatever an estimator does not take is one line that names it."""
    with _working(threads):
        try:
            yield
        except FedpactError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())[:_MAX_SAID]
            raise InputError(f"{name}: {type(error).__name__}: {said}") from error
