"""One federation in Flower's simulation: the other side of `federation.py`, run by the Python of Flower's environment.

    python flower_federation.py TASK RESULT

TASK is a directory that `federation.py` wrote: `task.json` (silos, rounds, classes and the charter's `trainer`),
`initial.npz` (the weights that the first round starts from) and `silo-0.npz`, `silo-1.npz`, … (each silo's samples).
RESULT is the file to write.

The training takes the steps of `fedpact_client.scikit_learn`, with the same seeds: both sides do the same arithmetic.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.neural_network import MLPClassifier

CLIENT_RESOURCES = {"num_cpus": 1, "num_gpus": 0}
"""As many clients train at once as there are cores."""


class EveryClient(FedAvg):
    """FedAvg with every client in every round; a run that lost one does less work, so it is no comparison."""

    def __init__(self, clients: int) -> None:
        # The model is evaluated on the server, see `make_server_app`.
        super().__init__(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
        self._clients = clients

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Averages the clients' weights by their samples.

        Raises:
            RuntimeError: a client failed or did not answer.
        """
        replies = list(replies)
        good = sum(not reply.has_error() for reply in replies)
        if good != self._clients:
            raise RuntimeError(f"round {server_round}: expected the updates of {self._clients} clients, found {good}")
        return super().aggregate_train(server_round, replies)


def make_client_app(directory: Path, task: Mapping[str, Any]) -> ClientApp:
    """The app of a silo: trains on its own samples, scores the result on those that it held out."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        silo = load(directory / f"silo-{context.node_config['partition-id']}.npz")
        estimator = make_estimator(task, message.content["arrays"].to_numpy_ndarrays())
        fit(estimator, silo, task["trainer"], message.content["config"]["server-round"])
        arrays = [array.astype(np.float32) for array in (*estimator.coefs_, *estimator.intercepts_)]
        metrics = {"num-examples": len(silo["targets"]), "accuracy": score(estimator, silo)}
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord(metrics)}), reply_to=message)

    return app


def make_server_app(directory: Path, task: Mapping[str, Any], result: Path) -> ServerApp:
    """The app of the server: averages, scores every model on all held-out samples together, writes the last score."""
    app = ServerApp()
    silos = [load(directory / f"silo-{index}.npz") for index in range(task["silos"])]
    together = {name: np.concatenate([silo[name] for silo in silos]) for name in silos[0]}
    initial = load(directory / "initial.npz")

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        return MetricRecord({"accuracy": score(make_estimator(task, arrays.to_numpy_ndarrays()), together)})

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        found = EveryClient(task["silos"]).start(
            grid=grid,
            initial_arrays=ArrayRecord([initial["coef0"], initial["intercept0"]]),
            num_rounds=task["rounds"],
            evaluate_fn=evaluate,
        )
        answer = {
            "accuracy": found.evaluate_metrics_serverapp[task["rounds"]]["accuracy"],
            "versions": {name: version(name) for name in ("flwr", "ray", "scikit-learn", "numpy")},
        }
        result.write_text(json.dumps(answer))

    return app


def make_estimator(task: Mapping[str, Any], weights: list[NDArray[np.float32]]) -> MLPClassifier:
    """Softmax regression at the given weights: scikit-learn's perceptron without a hidden layer."""
    estimator = MLPClassifier(
        hidden_layer_sizes=(),
        solver="sgd",
        momentum=0.0,
        alpha=0.0,
        learning_rate_init=float(task["trainer"]["learning_rate"]),
        batch_size=task["classes"],
        random_state=task["trainer"]["seed"],
    )
    # scikit-learn makes its arrays at the first step, so one is taken on zeros.
    classes = np.arange(task["classes"])
    estimator.partial_fit(np.zeros((len(classes), weights[0].shape[0])), classes, classes=classes)
    for array, given in zip((*estimator.coefs_, *estimator.intercepts_), weights, strict=True):
        array[...] = given
    return estimator


def fit(
    estimator: MLPClassifier, silo: Mapping[str, NDArray[Any]], trainer: Mapping[str, Any], server_round: int
) -> None:
    """Takes the charter's number of passes over a silo's samples, shuffled as fedpact shuffles them."""
    estimator.set_params(batch_size=min(trainer["batch_size"], len(silo["targets"])))
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for epoch in range(trainer["epochs"]):
            seed = np.random.SeedSequence([trainer["seed"], server_round, epoch]).generate_state(1)[0]
            estimator.set_params(random_state=int(seed))
            estimator.partial_fit(silo["features"], silo["targets"])


def score(estimator: MLPClassifier, samples: Mapping[str, NDArray[Any]]) -> float:
    """Accuracy on the held-out samples."""
    return float(estimator.score(samples["held_out_features"], samples["held_out_targets"]))


def load(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file, by name."""
    with np.load(path) as arrays:
        return dict(arrays)


def main(directory: Path, result: Path) -> None:
    """Runs the federation."""
    task = json.loads((directory / "task.json").read_text())
    run_simulation(
        server_app=make_server_app(directory, task, result),
        client_app=make_client_app(directory, task),
        num_supernodes=task["silos"],
        backend_config={"client_resources": CLIENT_RESOURCES, "init_args": {"include_dashboard": False}},
    )


if __name__ == "__main__":
    # Flower looks at its own when it is imported, so whoever starts this script has to set them.
    for switch in ("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED"):
        if os.environ.get(switch) != "0":
            sys.exit(f"set {switch}=0, as federation.py does: a benchmark reports to nobody")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
