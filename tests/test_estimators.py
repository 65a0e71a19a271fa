"""Any scikit-learn estimator as a trainer: which work, which weights they have, and why others cannot."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedpact.artifacts.weights import Layout
from fedpact.errors import CharterError, InputError, TrainingFailed
from fedpact_client.data import Data
from fedpact_client.estimators import EstimatorTrainer
from fedpact_client.trainer import Fit
from fedpact_client.trainer_section import given
from sklearn import cluster, decomposition, ensemble, linear_model, naive_bayes, neighbors, neural_network, svm, tree
from sklearn.datasets import load_diabetes, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PAGE = (Path(__file__).parent.parent / "docs/how-to/your-own-model.md").read_text("utf-8")
COUNTS = ("class_count_", "class_log_prior_", "feature_count_", "feature_log_prob_")
LINEAR = ("coef_", "intercept_")
LAYERS = ("coefs_", "intercepts_")

WORKS: dict[str, tuple[Callable[[], Any], tuple[str, ...], float]] = {
    "SGDClassifier": (
        lambda: linear_model.SGDClassifier(loss="log_loss", eta0=0.1, learning_rate="constant"),
        LINEAR,
        0.8,
    ),
    "Perceptron": (linear_model.Perceptron, LINEAR, 0.6),
    "PassiveAggressiveClassifier": (linear_model.PassiveAggressiveClassifier, LINEAR, 0.6),
    "LogisticRegression": (lambda: linear_model.LogisticRegression(warm_start=True, max_iter=20), LINEAR, 0.9),
    "MLPClassifier": (lambda: neural_network.MLPClassifier((8,), learning_rate_init=0.05), LAYERS, 0.8),
    "GaussianNB": (naive_bayes.GaussianNB, ("class_count_", "class_prior_", "theta_", "var_"), 0.85),
    "MultinomialNB": (naive_bayes.MultinomialNB, COUNTS, 0.8),
    "BernoulliNB": (lambda: naive_bayes.BernoulliNB(binarize=2.0), COUNTS, 0.6),
    "ComplementNB": (naive_bayes.ComplementNB, ("class_count_", "feature_count_", "feature_log_prob_"), 0.6),
    "SGDRegressor": (linear_model.SGDRegressor, LINEAR, 0.4),
    "PassiveAggressiveRegressor": (lambda: linear_model.PassiveAggressiveRegressor(C=0.01), LINEAR, 0.3),
    "MLPRegressor": (
        lambda: neural_network.MLPRegressor(
            hidden_layer_sizes=(8,), solver="sgd", batch_size=16, learning_rate_init=0.01
        ),
        LAYERS,
        0.3,
    ),
    "Lasso": (lambda: linear_model.Lasso(alpha=0.01, warm_start=True), LINEAR, 0.4),
    "ElasticNet": (lambda: linear_model.ElasticNet(alpha=0.01, warm_start=True), LINEAR, 0.4),
    "HuberRegressor": (lambda: linear_model.HuberRegressor(warm_start=True), (*LINEAR, "scale_"), 0.4),
    "TweedieRegressor": (lambda: linear_model.TweedieRegressor(power=0, warm_start=True), LINEAR, 0.3),
    "MiniBatchKMeans": (lambda: cluster.MiniBatchKMeans(3), ("cluster_centers_",), -1.0),
}
"""By name: the estimator, the attributes that are its weights, and what two silos reach at least."""

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "Ridge": (linear_model.Ridge, "it cannot go on from a model: it has neither partial_fit nor warm_start"),
    "LinearRegression": (linear_model.LinearRegression, "it has neither partial_fit nor warm_start"),
    "SVC": (svm.SVC, "it has neither partial_fit nor warm_start"),
    "KNeighborsClassifier": (neighbors.KNeighborsClassifier, "it has neither partial_fit nor warm_start"),
    "DecisionTreeClassifier": (tree.DecisionTreeClassifier, "it has neither partial_fit nor warm_start"),
    "Pipeline": (
        lambda: make_pipeline(StandardScaler(), linear_model.SGDClassifier()),
        "it has neither partial_fit nor warm_start",
    ),
    "KMeans": (lambda: cluster.KMeans(3), "it has neither partial_fit nor warm_start"),
    "LogisticRegression()": (linear_model.LogisticRegression, "expected warm_start=True, as it has no partial_fit"),
    "LogisticRegression(liblinear)": (
        lambda: linear_model.LogisticRegression(warm_start=True, solver="liblinear"),
        "LogisticRegression: ",
    ),
    "RandomForestClassifier": (
        lambda: ensemble.RandomForestClassifier(2, warm_start=True),
        "it has no arrays that could be averaged and are all of the model: it keeps what it learns in",
    ),
    "GradientBoostingClassifier": (
        lambda: ensemble.GradientBoostingClassifier(n_estimators=2, warm_start=True),
        "it has no arrays that could be averaged and are all of the model: it keeps what it learns in",
    ),
    "Birch": (cluster.Birch, "its subcluster_centers_ has another shape with other samples"),
    "CategoricalNB": (naive_bayes.CategoricalNB, "its category_count_ has another shape with other samples"),
    "IncrementalPCA": (lambda: decomposition.IncrementalPCA(2), "expected a classifier, regressor or clusterer"),
    "SGDClassifier(average)": (lambda: linear_model.SGDClassifier(average=True), "expected average=False"),
    "SGDClassifier(early_stopping)": (
        lambda: linear_model.SGDClassifier(early_stopping=True),
        "ValueError: early_stopping should be False with partial_fit",
    ),
    "a wrong setting": (lambda: linear_model.SGDClassifier(loss="logg"), "InvalidParameterError: The 'loss' parameter"),
    "no estimator": (lambda: "SGDClassifier", "estimator: expected one of scikit-learn, found str"),
}
CONFIG: Mapping[str, str | int] = {"epochs": 10, "seed": 3}
_IRIS = load_iris(return_X_y=True)
_DIABETES = load_diabetes(return_X_y=True)


def _standardised(values: Any) -> Any:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def _data(estimator: Any, part: int = 0, of: int = 1) -> tuple[Data, int]:
    """A silo's share of irises, or, for a regressor, of patients; and how many classes there are."""
    regresses = type(estimator).__name__.endswith(
        ("Regressor", "Lasso", "Net", "Ridge", "Regression")
    ) and not isinstance(estimator, linear_model.LogisticRegression)
    features, targets = (_standardised(_DIABETES[0]), _standardised(_DIABETES[1])) if regresses else _IRIS
    order = np.random.default_rng(1).permutation(len(targets))
    train, held_out = order[40:][part::of], order[:40]
    data = Data(features[train], targets[train], features[held_out], targets[held_out])
    return data, 0 if regresses or isinstance(
        estimator, cluster.MiniBatchKMeans | cluster.KMeans | cluster.Birch
    ) else 3


def _made(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Some are on their way out of scikit-learn.
        return make()


def _trainer(make: Callable[[], Any], part: int = 0, of: int = 1, **config: str | int) -> EstimatorTrainer:
    estimator = _made(make)
    data, classes = _data(estimator, part, of)
    return EstimatorTrainer(estimator, data, {**CONFIG, **config}, classes)


def _bits(fit: Fit) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in fit.weights.items()}


@pytest.mark.parametrize("name", WORKS)
def test_two_silos_learn_with_it(name: str) -> None:
    """Its weights are the attributes that they should be; their mean, round by round, is a model that is right; and a
    round is repeated bit for bit by a trainer that has done other things in between."""
    make, names, least = WORKS[name]
    silos = [_trainer(make, part, 2) for part in (0, 1)]
    assert silos[0].names == names
    initial = silos[0].initial_weights()
    assert {array.dtype.name for array in initial.values()} == {"float32"}
    layout, weights, rounds = Layout.of(initial), initial, []
    for number in (1, 2, 3):
        base = layout.decode(layout.encode(weights))
        fits = [silo.fit(base, {**CONFIG, "round": number}) for silo in silos]
        assert all(np.isfinite(array).all() for fit in fits for array in fit.weights.values())
        weights = {each: (fits[0].weights[each] + fits[1].weights[each]) / 2 for each in weights}
        rounds.append((base, fits[0]))
    score = next(iter(silos[0].evaluate(weights).values()))
    assert score >= least
    base, first = rounds[1]
    again = silos[0].fit(base, {**CONFIG, "round": 2})
    assert (again.metrics, _bits(again)) == (first.metrics, _bits(first))


@pytest.mark.parametrize("name", ["SGDClassifier", "MLPClassifier", "MiniBatchKMeans"])
def test_a_trainer_that_was_made_anew_gives_the_same_bits(name: str) -> None:
    """As after a crash; another round is shuffled otherwise."""
    one, two = _trainer(WORKS[name][0]), _trainer(WORKS[name][0])
    weights = one.initial_weights()
    first, again, other = (
        each.fit(weights, {**CONFIG, "round": number}) for each, number in ((one, 1), (two, 1), (one, 2))
    )
    assert _bits(first) == _bits(again) != _bits(other)


@pytest.mark.parametrize("name", REFUSED)
def test_one_that_cannot_work_says_why(name: str) -> None:
    """In one line that names it, before anything is trained."""
    make, said = REFUSED[name]
    with pytest.raises(InputError) as caught:
        _trainer(make)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def test_the_page_names_those_that_work() -> None:
    """All of them, and no other."""
    (line,) = re.findall(r"^Tested: (.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", line)) == set(WORKS)


def test_the_example_of_the_page_trains(tmp_path: Path) -> None:
    """On a silo's table."""
    (code,) = re.findall(r"^```python\n(from fedpact_client.data .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    table = "\n".join(",".join(map(str, (*features, target))) for features, target in zip(*_IRIS, strict=True))
    (tmp_path / "data.csv").write_text(f"a,b,c,d,kind\n{table}\n")
    (tmp_path / "data.toml").write_text('data = "data.csv"\ntarget = "kind"\nclasses = 3\n')
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # Our own page.
    trainer = names["make"](tmp_path / "data.toml", CONFIG)
    assert trainer.fit(trainer.initial_weights(), {**CONFIG, "round": 1}).metrics["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"epochs": 0}, "trainer.epochs: expected a whole number from 1, found 0"),
        ({"batch_size": "16"}, "trainer.batch_size: expected a whole number from 1, found '16'"),
        ({"seed": -1}, "trainer.seed: expected a whole number from 0, found -1"),
    ],
)
def test_a_wrong_setting_of_the_charter_is_named(config: dict[str, str | int], said: str) -> None:
    """When the trainer is made."""
    with pytest.raises(CharterError, match=re.escape(said)):
        _trainer(linear_model.SGDClassifier, **config)


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("epoch", "epochs"),
        ("Batch_Size", "batch_size"),
        ("batchsize", "batch_size"),
        ("bacth_size", "batch_size"),
        ("batch_sise", "batch_size"),
        ("seeds", "seed"),
        ("epoch\x1b[K", None),
    ],
)
def test_a_slip_in_a_settings_name_is_named(slip: str, meant: str | None) -> None:
    """Although it may be left out; with both, nothing is wrong."""
    config: dict[str, str | int] = {"name": "mine", "learning_rate": "0.1", slip: 3}
    model, data = linear_model.SGDClassifier(), _data(linear_model.SGDClassifier())[0]
    if meant is None:  # Too far from anything.
        assert EstimatorTrainer(model, data, config, 10).names
        return
    with pytest.raises(CharterError, match=f"^trainer.{slip}: expected {meant}, or both where both are meant$"):
        EstimatorTrainer(model, data, config, 10)
    assert EstimatorTrainer(model, data, {**config, meant: 3}, 10).names


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ("bn_momentum", "momentum"),
        ("speed", "seed"),
        ("seed2", "seed"),
        ("weight_decay2", "weight_decay"),
        ("weight_decay_bias", "weight_decay"),
        ("eval_batch_size", "batch_size"),
        ("minibatch_size", "batch_size"),
        ("", "seed"),
        ("s", "seed"),
        ("learning_rate", "momentum"),
    ],
)
def test_a_factorys_own_names_are_its_own(other: str, name: str) -> None:
    """Also where they are like one of ours."""
    assert given({other: "0.1"}, name, "ours") == "ours"


def test_classes_belong_to_classifiers() -> None:
    """A classifier has to be told how many there are, and nobody else may be."""
    iris, diabetes = _data(linear_model.SGDClassifier())[0], _data(linear_model.SGDRegressor())[0]
    with pytest.raises(InputError, match=r"SGDClassifier: expected the number of classes \(classes=10\), found none"):
        EstimatorTrainer(linear_model.SGDClassifier(), iris, CONFIG)
    with pytest.raises(InputError, match=r"SGDRegressor: expected no classes, found 2"):
        EstimatorTrainer(linear_model.SGDRegressor(), diabetes, CONFIG, 2)


def test_who_learns_its_classes_from_samples_needs_some_of_each() -> None:
    """Otherwise its arrays would be of another shape than everyone's."""
    data, _ = _data(linear_model.SGDClassifier())
    few = Data(data.features[data.targets < 2], data.targets[data.targets < 2], data.features, data.targets)
    make = WORKS["LogisticRegression"][0]
    with pytest.raises(InputError, match=r"expected samples of all 3 classes, .* found none of class 2"):
        EstimatorTrainer(make(), few, CONFIG, 3)
    assert EstimatorTrainer(linear_model.SGDClassifier(), few, CONFIG, 3).names == LINEAR


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"coef_": np.zeros((3, 5), np.float32)},
            "tensor coef_: SGDClassifier has shape (3, 4), the charter shape (3, 5)",
        ),
        ({"more": np.zeros(1, np.float32)}, "tensor more: SGDClassifier has none, the charter shape (1,)"),
        ({"coef_": np.zeros((3, 4), np.int64)}, "tensor coef_: expected floats in the charter, found int64"),
    ],
)
def test_another_model_than_the_estimators_is_named(change: dict[str, Any], said: str) -> None:
    """Not trained on, as far as it fits."""
    trainer = _trainer(linear_model.SGDClassifier)
    with pytest.raises(TrainingFailed, match=re.escape(said)):
        trainer.fit({**trainer.initial_weights(), **change}, {**CONFIG, "round": 1})


def test_batches_are_of_the_charters_size() -> None:
    """Another size is another result; so is another seed."""
    fits = [
        _trainer(linear_model.SGDClassifier, **config).fit(
            {"coef_": np.zeros((3, 4), np.float32), "intercept_": np.zeros(3, np.float32)},
            {**CONFIG, **config, "round": 1},
        )
        for config in ({}, {"batch_size": 7}, {"seed": 4})
    ]
    assert len({fit.weights["coef_"].tobytes() for fit in fits}) == 3
