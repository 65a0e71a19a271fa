"""Where the silos of a simulation train: in this process, or in others beside it.

An EVM and gradient descent in one Python process would wait for one another; apart, each has a core. A training process
starts before an EVM is imported, because scikit-learn takes as long to import; then it is told what everyone knows
(task, number of silos, seed, skew, trainer; or a project's folder and trainers), deals out the same data, and answers
requests over a pipe with JSON and safetensors. It ends when the pipe does, so none outlives the simulation for long,
however that ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fedpact import errors
from fedpact.artifacts.weights import Layout, Tensor, Weights
from fedpact.errors import FedpactError, InputError, TrainingFailed
from fedpact_client.blame import in_words
from fedpact_client.trainer import Config, Fit, Metrics, Trainer
from numpy.typing import NDArray

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that is needed to deal out the data and to train.

    Attributes:
        trainer: the charter's section of this name.
        flipped: how many silos, the last ones, train on flipped labels.
        project: the folder of a project, whose silos have trainers and data of their own; none for a task.
        learners: of a project: every silo's trainer by its name, and the file that it is handed.
        part: of a project: whoever trains has the silos whose numbers, divided by the second, leave the first.
    """

    task: str
    silos: int
    seed: int
    skew: float | None
    trainer: Mapping[str, str | int]
    flipped: int = 0
    project: str | None = None
    learners: Sequence[tuple[str, str | None]] = ()
    part: tuple[int, int] = (0, 1)


class Training(Protocol):
    """Where silos train."""

    def assign(self, assignment: Assignment) -> None:
        """Says what there is to do. Nothing else is asked for before."""
        ...

    def initial(self) -> Weights:
        """The weights that the first round of a task starts from; those that a project's trainers would start from, and
        none where they do not say.

        Raises:
            InputError: the assignment cannot be carried out.
        """
        ...

    def fit(self, silo: int, weights: Weights, config: Config) -> Fit:
        """Lets silo `silo` (from 0) train, as `Trainer.fit`."""
        ...

    def evaluate(self, silo: int, weights: Weights) -> Metrics:
        """Figures of weights on what silo `silo` (from 0) held out, as `Trainer.evaluate`."""
        ...

    def judge(self, weights: Weights) -> Metrics:
        """Figures of weights on the held-out samples of all silos."""
        ...

    def close(self) -> None:
        """Ends what was started."""
        ...


class TrainingHere:
    """Trains in this process."""

    def __init__(self) -> None:
        self._silos: dict[int, Trainer] = {}

    def assign(self, assignment: Assignment) -> None:
        self._assignment = assignment

    def initial(self) -> Weights:
        asked = self._assignment
        if asked.project is not None:
            return self._load(Path(asked.project))
        # Only now: scikit-learn takes a second to import.
        from fedpact_client.scikit_learn import ScikitLearnTrainer, initial_weights

        from fedpact_simulation import tasks

        task = tasks.load(asked.task)
        data = tasks.split(task, asked.silos, asked.seed, asked.skew)
        honest = asked.silos - asked.flipped
        own = [*data[:honest], *(tasks.flip_labels(each, task.classes) for each in data[honest:])]
        self._silos = {silo: ScikitLearnTrainer(each, asked.trainer, task.classes) for silo, each in enumerate(own)}
        self._judge = ScikitLearnTrainer(tasks.held_out(data), asked.trainer, task.classes)
        return initial_weights(asked.trainer, task.features.shape[1], task.classes)

    def _load(self, project: Path) -> Weights:
        """Makes a project's trainers; returns what the first of them would start from, empty where it does not say."""
        from fedpact_client.first_model import first_model
        from fedpact_client.loading import load_trainer

        place, of = self._assignment.part
        for silo, (name, file) in enumerate(self._assignment.learners):
            if silo % of == place:
                handed = None if file is None else Path(file)
                self._silos[silo] = load_trainer(name, handed, self._assignment.trainer, project)
        if 0 not in self._silos:
            return {}
        try:
            found = first_model(self._silos[0])
        except FedpactError:
            raise
        except Exception as error:
            raise InputError(f"trainer {self._assignment.learners[0][0]}: {in_words(error)}") from error
        return {} if found is None else found[1]

    def fit(self, silo: int, weights: Weights, config: Config) -> Fit:
        return self._silos[silo].fit(weights, config)

    def evaluate(self, silo: int, weights: Weights) -> Metrics:
        return self._silos[silo].evaluate(weights)

    def judge(self, weights: Weights) -> Metrics:
        return self._judge.evaluate(weights)

    def close(self) -> None:
        pass


class TrainingElsewhere:
    """Trains in other processes, each for its share of the silos.

    Args:
        processes: how many; they start at once, and work while this process does other things.
    """

    def __init__(self, processes: int) -> None:
        self._workers = [_Worker() for _ in range(processes)]

    def assign(self, assignment: Assignment) -> None:
        # Every process can deal out a task's data; of a project's, each reads only what it trains on.
        self._asked = self._workers[:1] if assignment.project is None else self._workers
        for place, worker in enumerate(self._workers):
            worker.assign(replace(assignment, part=(place, len(self._workers))))

    def initial(self) -> Weights:
        first, *_ = (worker.ask({"do": "initial"}, {})[1] for worker in self._asked)
        return first

    def fit(self, silo: int, weights: Weights, config: Config) -> Fit:
        worker = self._workers[silo % len(self._workers)]
        said, trained = worker.ask({"do": "fit", "silo": silo, "config": dict(config)}, weights)
        return Fit(trained, said["samples"], said["metrics"])

    def evaluate(self, silo: int, weights: Weights) -> Metrics:
        worker = self._workers[silo % len(self._workers)]
        return dict(worker.ask({"do": "evaluate", "silo": silo}, weights)[0]["metrics"])

    def judge(self, weights: Weights) -> Metrics:
        return dict(self._workers[0].ask({"do": "judge"}, weights)[0]["metrics"])

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


class ProjectTraining:
    """A project's training: nobody has the held-out samples of all its silos, so all of them judge a model.

    Args:
        training: where its silos train.
    """

    def __init__(self, training: Training, silos: int) -> None:
        self._training = training
        self._samples = [1] * silos

    def assign(self, assignment: Assignment) -> None:
        self._training.assign(assignment)

    def initial(self) -> Weights:
        return self._training.initial()

    def fit(self, silo: int, weights: Weights, config: Config) -> Fit:
        fit = self._training.fit(silo, weights, config)
        if isinstance(fit, Fit) and isinstance(fit.samples, int) and fit.samples > 0:
            self._samples[silo] = fit.samples
        return fit

    def evaluate(self, silo: int, weights: Weights) -> Metrics:
        return self._training.evaluate(silo, weights)

    def judge(self, weights: Weights) -> Metrics:
        """The mean of what the silos find, each weighted by the samples that it trains on."""
        found = [self.evaluate(silo, weights) for silo in range(len(self._samples))]
        common = [name for name in found[0] if all(name in each for each in found)]
        return {
            name: sum(each[name] * count for each, count in zip(found, self._samples, strict=True)) / sum(self._samples)
            for name in common
        }

    def close(self) -> None:
        self._training.close()


class SiloTrainer:
    """One silo's trainer, wherever it trains."""

    def __init__(self, training: Training, silo: int) -> None:
        self._training = training
        self._silo = silo

    def fit(self, weights: Weights, config: Config) -> Fit:
        return self._training.fit(self._silo, weights, config)

    def evaluate(self, weights: Weights) -> Metrics:
        return self._training.evaluate(self._silo, weights)


def start(threads: int, silos: int) -> Training:
    """Training for as many threads as the user allows: this process is one of them.

    More processes than silos, or than cores, would not be faster.
    """
    processes = min(threads - 1, silos, os.cpu_count() or 1)
    return TrainingElsewhere(processes) if processes > 0 else TrainingHere()


class _Worker:
    """A training process, as its parent sees it."""

    def __init__(self) -> None:
        # A fresh interpreter: a fork would inherit threads' locks and the parent's end of the pipe.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=serve, args=(theirs,), daemon=True)
        self._lock = threading.Lock()
        # The terminal sends its interrupt to the whole group, and the parent decides what it means. A child inherits
        # what is ignored, so it never meets this one, not even while it starts.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()

    def assign(self, assignment: Assignment) -> None:
        with contextlib.suppress(OSError):  # It has ended: whoever asks it for something will hear of it.
            self._pipe.send_bytes(json.dumps(asdict(assignment)).encode())

    def ask(self, request: dict[str, Any], weights: Weights) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Sends a request and waits for its answer.

        Raises:
            FedpactError: whatever went wrong there.
        """
        with self._lock:
            try:
                for part in _encoded(request, weights):
                    self._pipe.send_bytes(part)
                said, answer = _receive(self._pipe)
            except (EOFError, OSError):
                raise TrainingFailed(
                    f"training process {self._process.pid}: ended (exit code {self._process.exitcode})"
                ) from None
        if "error" in said:
            raise getattr(errors, said["kind"], TrainingFailed)(said["error"])
        return said, answer

    def close(self) -> None:
        """Ends the process. It holds nothing that would be lost."""
        self._pipe.close()
        self._process.kill()
        self._process.join()


def serve(pipe: Connection) -> None:
    """The life of a training process."""
    gc.set_threshold(100_000, 20, 20)  # As for the parent.
    # Importing is the point: by the time that the parent says what there is to do, all of it is here.
    from threadpoolctl import threadpool_limits

    from fedpact_simulation import tasks  # noqa: F401

    with contextlib.suppress(EOFError, OSError):  # The parent has gone.
        training = TrainingHere()
        training.assign(Assignment(**json.loads(pipe.recv_bytes())))
        initial: Weights = {}
        failed: FedpactError | None = None
        try:
            initial = training.initial()
        except FedpactError as error:
            failed = error
        with threadpool_limits(1):
            while True:
                request, weights = _receive(pipe)
                for part in _answer(training, request, weights, initial, failed):
                    pipe.send_bytes(part)


def _answer(
    training: TrainingHere,
    request: dict[str, Any],
    weights: Weights,
    initial: Weights,
    failed: FedpactError | None,
) -> tuple[bytes, bytes]:
    try:
        if failed is not None:
            raise failed
        if request["do"] == "initial":
            return _encoded({}, initial)
        if request["do"] == "judge":
            return _encoded({"metrics": dict(training.judge(weights))}, {})
        if request["do"] == "evaluate":
            return _encoded({"metrics": dict(training.evaluate(request["silo"], weights))}, {})
        fit = training.fit(request["silo"], weights, request["config"])
        if not isinstance(fit, Fit):
            raise TrainingFailed(f"trainer: expected a Fit, found {type(fit).__name__}")
        return _encoded({"samples": fit.samples, "metrics": dict(fit.metrics)}, fit.weights)
    except FedpactError as error:
        return _encoded({"error": str(error), "kind": type(error).__name__}, {})
    except (Exception, SystemExit) as error:  # Of a project's own code.
        return _encoded({"error": f"trainer: {in_words(error)}", "kind": TrainingFailed.__name__}, {})


def _encoded(said: dict[str, Any], weights: Weights) -> tuple[bytes, bytes]:
    tensors = [(each.name, each.dtype, each.shape) for each in Layout.of(weights).tensors] if weights else []
    # Figures may be numpy's numbers.
    text = json.dumps({**said, "tensors": tensors}, default=lambda number: number.item())
    return text.encode(), Layout.of(weights).encode(weights) if weights else b""


def _receive(pipe: Connection) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    said = json.loads(pipe.recv_bytes())
    data = pipe.recv_bytes()
    tensors = [Tensor(name, dtype, tuple(shape)) for name, dtype, shape in said.pop("tensors")]
    return said, dict(Layout(tensors).decode(data)) if tensors else {}
