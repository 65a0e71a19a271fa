"""Any PyTorch module as a trainer; needs the extra `fedpact[torch]`.

    TorchTrainer(nn.Linear(64, 10), nn.CrossEntropyLoss(), train, held_out, config)

The weights are the module's state dict, entry by entry: floats of any width, bfloat16 among them, and integers, such as
the counters of batch normalisation, which rules combine exactly.

A round can be repeated to the last bit on the same machine: each starts from a fresh copy of the module, a fresh
optimiser and seeds from the charter's and the round's number, with deterministic algorithms and as many threads as the
trainer is told (1, as sums over several have another order). Random numbers of numpy's or Python's own that a data set
draws are not seeded here. Denormals are left as they are: to flush them to zero (`torch.set_flush_denormal`) would
change the arithmetic of the whole process, and fedpact would refuse to aggregate in it.

The charter's section `trainer`; what else is there is for whoever makes the module:

    learning_rate  a positive decimal as text
    epochs         passes over the silo's data in a round (default 1)
    batch_size     samples of a step (default 32)
    seed           for shuffling and dropout (default 0)
    optimiser      sgd, adam or adamw (default sgd)
    momentum       (sgd) a decimal as text (default 0)
    weight_decay   a decimal as text (default 0)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from fedpact.artifacts.weights import Layout, Tensor, Weights
from fedpact.errors import CharterError, InputError, TrainingFailed
from fedpact.suggestion import did_you_mean
from numpy.typing import NDArray

from fedpact_client.data import Data
from fedpact_client.trainer import Config, Fit, Metrics
from fedpact_client.trainer_section import decimal, given, positive, seed_of, whole

try:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Dataset, TensorDataset
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] != "torch":
        raise
    raise InputError('PyTorch: not installed here; pip install "fedpact[torch]" installs it') from None

Loader = Callable[[Any], Iterable[Any]]
"""Makes batches of inputs and targets, shuffled with the `torch.Generator` that it gets."""
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
}
_OPTIMISERS = ("sgd", "adam", "adamw")
_SCORED_AT_ONCE = 1024


def accuracy(outputs: Any, targets: Any) -> dict[str, float]:
    """The share of samples whose greatest output is that of their class: outputs (samples, classes)."""
    return {"accuracy": float((outputs.argmax(dim=1) == targets).double().mean())}


def r2(outputs: Any, targets: Any) -> dict[str, float]:
    """The coefficient of determination, of outputs in the shape of the targets."""
    wide, expected = outputs.double(), targets.double()
    spread = ((expected - expected.mean(dim=0)) ** 2).sum()
    return {"r2": float(1 - ((wide - expected) ** 2).sum() / spread)}


def datasets(data: Data) -> tuple[Any, Any]:
    """Arrays as data sets, to train on and held out.

    Features are float32; classes int64 of shape (samples,); numbers float32 of shape (samples, 1), as a last layer with
    one output gives them.
    """

    def dataset(features: NDArray[Any], targets: NDArray[Any]) -> Any:
        if targets.dtype.kind == "f":
            targets = targets.astype(np.float32).reshape(len(targets), -1)
        return TensorDataset(torch.from_numpy(features.astype(np.float32)), torch.from_numpy(targets))

    return dataset(data.features, data.targets), dataset(data.held_out_features, data.held_out_targets)


def make_optimiser(parameters: Any, config: Config) -> Any:
    """The optimiser that the charter's section `trainer` names.

    Raises:
        CharterError: it names none, or a setting is none.
    """
    name, rate, decay = (
        given(config, "optimiser", "sgd"),
        positive(config, "learning_rate"),
        decimal(config, "weight_decay", "0"),
    )
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=decimal(config, "momentum", "0"), weight_decay=decay)
    if name == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    near = did_you_mean(str(name), _OPTIMISERS)
    raise CharterError(f"trainer.optimiser: expected one of {', '.join(_OPTIMISERS)}, found {name!r}{near}")


class TorchTrainer:
    """Trains a module.

    Args:
        module: is copied, not trained itself.
        loss: of outputs and targets, a tensor of one element.
        train: a data set of pairs of input and target, or what makes the batches (`Loader`).
        held_out: a data set, to score models on.
        config: the charter's section `trainer`.
        optimiser: makes one of a module's parameters and the section.
        metrics: figures of outputs and targets; otherwise `accuracy` where targets are integers, else `r2`.
        threads: that PyTorch computes with; another number may give other bits.

    Raises:
        InputError: an entry of the module's state cannot be a tensor of a charter.
        CharterError: a setting is none.
    """

    def __init__(
        self,
        module: Any,
        loss: Callable[[Any, Any], Any],
        train: Any,
        held_out: Any,
        config: Config,
        *,
        optimiser: Callable[[Any, Config], Any] = make_optimiser,
        metrics: Callable[[Any, Any], Mapping[str, float]] | None = None,
        threads: int = 1,
    ) -> None:
        self._loss, self._train, self._held_out = loss, train, held_out
        self._optimiser, self._metrics, self._threads = optimiser, metrics, threads
        for setting, default in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            whole(config, setting, default)
        self._module = copy.deepcopy(module)
        self._tensors = {name: _tensor(name, value) for name, value in self._module.state_dict().items()}
        if any(parameter.requires_grad for parameter in self._module.parameters()):
            optimiser(self._module.parameters(), config)

    def layout(self) -> Layout:
        """Names, shapes and dtypes of the state dict."""
        return Layout(self._tensors.values())

    def initial_weights(self) -> dict[str, NDArray[Any]]:
        """The module's own weights, as it came."""
        return _arrays(self._module)

    def fit(self, weights: Weights, config: Config) -> Fit:
        """Takes the charter's number of passes over the data, starting from the given weights."""
        seed = seed_of(whole(config, "seed", 0), whole(config, "round"))
        with _reproducible(seed, self._threads):
            module = self._at(weights)
            place = _place(module)
            optimiser = self._optimiser(module.parameters(), config)
            module.train()
            samples = 0
            shuffling = torch.Generator().manual_seed(seed)
            for epoch in range(whole(config, "epochs", 1)):
                for inputs, targets in self._batches(shuffling, whole(config, "batch_size", 32)):
                    optimiser.zero_grad()
                    self._loss(module(inputs.to(place)), targets.to(place)).backward()
                    optimiser.step()
                    samples += len(targets) if epoch == 0 else 0
            return Fit(_arrays(module), samples, self._scores(module))

    def evaluate(self, weights: Weights) -> Metrics:
        """Figures on the held-out data."""
        with _reproducible(0, self._threads):
            return self._scores(self._at(weights))

    def _batches(self, shuffling: Any, size: int) -> Any:
        if isinstance(self._train, Dataset):
            return DataLoader(self._train, batch_size=size, shuffle=True, generator=shuffling)
        return self._train(shuffling)

    def _scores(self, module: Any) -> dict[str, float]:
        place = _place(module)
        module.eval()
        outputs, expected = [], []
        with torch.no_grad():
            for inputs, targets in DataLoader(self._held_out, batch_size=_SCORED_AT_ONCE):
                outputs.append(module(inputs.to(place)).cpu())
                expected.append(targets)
        out, wanted = torch.cat(outputs), torch.cat(expected)
        metrics = self._metrics or (r2 if wanted.is_floating_point() else accuracy)
        loss = float(self._loss(out, wanted))
        found = {name: float(value) for name, value in metrics(out, wanted).items()}
        return found | ({"loss": loss} if math.isfinite(loss) and "loss" not in found else {})

    def _at(self, weights: Weights) -> Any:
        """A new module with given weights."""
        module = copy.deepcopy(self._module)
        state = module.state_dict()
        for name in {**self._tensors, **weights}:
            expected = self._tensors[name].shape if name in self._tensors else "nothing"
            found = weights[name].shape if name in weights else "nothing"
            if expected != found:
                raise TrainingFailed(f"tensor {name}: the module has {expected}, the charter {found}")
        with torch.no_grad():
            for name, value in state.items():
                value.copy_(torch.from_numpy(np.array(weights[name])))
        return module


def _tensor(name: str, value: Any) -> Tensor:
    """An entry of a state dict as a charter names it."""
    if not isinstance(value, torch.Tensor):
        raise InputError(f"module: {name}: expected a tensor, found {type(value).__name__}")
    if value.dtype not in _DTYPES:
        known = ", ".join(str(each).removeprefix("torch.") for each in _DTYPES)
        raise InputError(
            f"module: {name}: dtype: expected one of {known}, found {str(value.dtype).removeprefix('torch.')}"
        )
    return Tensor(name, _DTYPES[value.dtype], tuple(value.shape))


def _arrays(module: Any) -> dict[str, NDArray[Any]]:
    """A state dict as arrays; bfloat16 as float32, which holds it exactly."""
    return {
        name: np.array((value.float() if value.dtype == torch.bfloat16 else value).detach().cpu().numpy())
        for name, value in module.state_dict().items()
    }


def _place(module: nn.Module) -> Any:
    """Where a module's parameters are."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


@contextmanager
def _reproducible(seed: int, threads: int) -> Iterator[None]:
    """PyTorch with given seeds, deterministic algorithms and a number of threads; afterwards as it was before."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_num_threads(),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            torch.set_num_threads(before[2])
