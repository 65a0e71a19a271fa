"""What tests/test_torch.py runs in the environment that has PyTorch, each check as a process of its own.

python torch_checks.py NAME DIRECTORY
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fedpact.artifacts.weights import Layout, Weights
from fedpact.errors import CharterError, InputError, TrainingFailed
from fedpact.rules.kernel import check_arithmetic
from fedpact_client.data import Data
from fedpact_client.first_model import model_section, write_first_model
from fedpact_client.pytorch import TorchTrainer, datasets
from fedpact_client.trainer import Fit
from sklearn.datasets import load_diabetes, load_digits
from torch import nn
from torch.utils.data import DataLoader

PAGE = (Path(__file__).parent.parent / "docs/how-to/your-own-model.md").read_text("utf-8")
CONFIG: dict[str, str | int] = {"learning_rate": "0.1", "epochs": 2, "batch_size": 16, "seed": 5}
CHECKS: dict[str, Callable[[Path], None]] = {}


def check(function: Callable[[Path], None]) -> Callable[[Path], None]:
    """Registers a check by its name."""
    CHECKS[function.__name__] = function
    return function


def digits() -> Data:
    """Handwritten digits."""
    features, targets = load_digits(return_X_y=True)
    return Data(
        features[400:] / 16, targets[400:].astype(np.int64), features[:400] / 16, targets[:400].astype(np.int64)
    )


def trainer(module: Any, config: dict[str, str | int] = CONFIG, **options: Any) -> TorchTrainer:
    """Of digits."""
    return TorchTrainer(module, nn.CrossEntropyLoss(), *datasets(digits()), config, **options)


def network() -> Any:
    """One with dropout, whose results depend on random numbers, and batch normalisation, which counts batches."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))


def bits(fit: Fit) -> dict[str, bytes]:
    """Every tensor's bytes."""
    return {name: array.tobytes() for name, array in fit.weights.items()}


def round_of(number: int, **config: str | int) -> dict[str, str | int]:
    """What a silo tells its trainer."""
    return {**CONFIG, **config, "round": number}


def refused(kind: type[Exception], said: str, attempt: Callable[[], object]) -> None:
    """An error of this kind, of one line with these words."""
    found = ""
    try:
        attempt()
    except kind as error:
        found = str(error)
    assert said in found, f"expected {said}, found {found}"
    assert len(found.splitlines()) == 1


@check
def two_silos_learn(directory: Path) -> None:
    """The mean of their weights is right more often, integers and all, and a round is repeated bit for bit."""
    data = digits()
    halves = [
        Data(data.features[part::2], data.targets[part::2], data.held_out_features, data.held_out_targets)
        for part in (0, 1)
    ]
    silos = [TorchTrainer(network(), nn.CrossEntropyLoss(), *datasets(each), CONFIG) for each in halves]
    layout = silos[0].layout()
    weights: Weights = silos[0].initial_weights()
    assert silos[0].evaluate(weights)["accuracy"] < 0.3
    for number in range(1, 4):
        base = layout.decode(layout.encode(weights))
        fits = [silo.fit(base, round_of(number)) for silo in silos]
        assert [fit.samples for fit in fits] == [699, 698]
        assert bits(silos[0].fit(base, round_of(number))) == bits(fits[0])
        weights = {
            name: ((fits[0].weights[name] + fits[1].weights[name]) / 2).astype(fits[0].weights[name].dtype)
            for name in weights
        }
    assert weights["1.num_batches_tracked"] == 3 * 2 * 44
    assert silos[0].evaluate(weights)["accuracy"] > 0.9


@check
def a_round_is_repeated(directory: Path) -> None:
    """By another trainer, whatever PyTorch's global state; every other round, and seed, gives other bits."""
    one, weights = trainer(network()), trainer(network()).initial_weights()
    first = bits(one.fit(weights, round_of(1)))
    torch.manual_seed(99)
    torch.set_num_threads(2)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    two = trainer(network())
    two.fit(weights, round_of(2))
    assert bits(two.fit(weights, round_of(1))) == first
    assert bits(two.fit(weights, round_of(2))) != first
    assert bits(two.fit(weights, round_of(1, seed=6))) != first
    drawn = torch.get_rng_state()  # `network` draws; a trainer must not.
    two.fit(weights, round_of(3))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not torch.equal(state, drawn)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert one.fit(weights, round_of(1)).metrics == two.fit(weights, round_of(1)).metrics


@check
def arithmetic_stays_as_it_is(directory: Path) -> None:
    """PyTorch leaves denormals alone, so rules compute as everyone's do, in the process that trained."""
    made = trainer(network())
    made.fit(made.initial_weights(), round_of(1))
    check_arithmetic()


@check
def every_dtype_comes_and_goes(directory: Path) -> None:
    """To the last bit, through the bytes of a charter's layout."""
    module = nn.Module()
    for name, dtype in (("a", torch.float64), ("b", torch.float32), ("c", torch.bfloat16), ("d", torch.float16)):
        module.register_parameter(name, nn.Parameter(torch.linspace(-3, 3, 7, dtype=dtype), requires_grad=False))
    for name, kind in (
        ("e", torch.int64),
        ("f", torch.int32),
        ("g", torch.int16),
        ("h", torch.int8),
        ("i", torch.uint8),
    ):
        module.register_buffer(name, torch.tensor([[1], [7]], dtype=kind))
    made = trainer(module)
    layout, weights = made.layout(), made.initial_weights()
    assert {each.name: each.dtype for each in layout.tensors} == dict(
        zip("abcdefghi", ("F64", "F32", "BF16", "F16", "I64", "I32", "I16", "I8", "U8"), strict=True)
    )
    back = made._at(layout.decode(layout.encode(weights)))
    for name, value in module.state_dict().items():
        assert back.state_dict()[name].dtype == value.dtype
        assert torch.equal(back.state_dict()[name], value)
    assert '"a"' not in model_section(layout)


@check
def bfloat16_learns(directory: Path) -> None:
    """A module all in bfloat16: its weights, as float32, are exactly those of the charter's bytes."""
    module = nn.Linear(64, 10).to(torch.bfloat16)
    inputs, held_out = datasets(digits())
    cast = [torch.utils.data.TensorDataset(each.tensors[0].bfloat16(), each.tensors[1]) for each in (inputs, held_out)]
    made = TorchTrainer(module, nn.CrossEntropyLoss(), *cast, CONFIG)
    fit = made.fit(made.initial_weights(), round_of(1))
    layout = made.layout()
    decoded = layout.decode(layout.encode(fit.weights))
    assert all((decoded[name] == fit.weights[name]).all() for name in decoded)
    assert fit.metrics["accuracy"] > 0.7


@check
def numbers_are_learned(directory: Path) -> None:
    """A regression, with an optimiser of the charter's and a loader, an optimiser and figures of one's own."""
    features, targets = load_diabetes(return_X_y=True)
    x, y = ((each - each.mean(axis=0)) / each.std(axis=0) for each in (features, targets))
    train, held_out = datasets(Data(x[100:], y[100:], x[:100], y[:100]))
    for name in ("sgd", "adam", "adamw"):
        config = {**CONFIG, "learning_rate": "0.01", "optimiser": name, "epochs": 10}
        made = TorchTrainer(nn.Linear(10, 1), nn.MSELoss(), train, held_out, config)
        assert made.fit(made.initial_weights(), {**config, "round": 1}).metrics["r2"] > 0.3
    made = TorchTrainer(
        nn.Linear(10, 1),
        nn.MSELoss(),
        lambda generator: DataLoader(train, batch_size=7, shuffle=True, generator=generator),
        held_out,
        {},
        optimiser=lambda parameters, _: torch.optim.RMSprop(parameters, lr=0.01),
        metrics=lambda outputs, targets: {"error": float((outputs - targets).abs().mean())},
    )
    fits = [made.fit(made.initial_weights(), {"round": 1}) for _ in range(2)]
    assert bits(fits[0]) == bits(fits[1])
    assert fits[0].samples == 342
    assert 0 < fits[0].metrics["error"] < 1


@check
def what_is_wrong_is_one_line(directory: Path) -> None:
    """It names the tensor, or the setting."""
    made = trainer(nn.Linear(64, 10))
    weights = made.initial_weights()
    for change, said in (
        ({"bias": np.zeros(9, np.float32)}, "tensor bias: the module has (10,), the charter (9,)"),
        ({"more": np.zeros(1, np.float32)}, "tensor more: the module has nothing, the charter (1,)"),
    ):
        refused(TrainingFailed, said, lambda change=change: made.fit({**weights, **change}, round_of(1)))  # type: ignore[misc]
    for config, said in (
        ({"learning_rate": "fast"}, "trainer.learning_rate: expected a positive decimal as text, found 'fast'"),
        ({"optimiser": "lion"}, "trainer.optimiser: expected one of sgd, adam, adamw, found 'lion'"),
        ({"optimiser": "adma"}, "found 'adma'; did you mean adam?"),
        ({"optimizer": "adam"}, "trainer.optimizer: expected optimiser, or both where both are meant"),
        ({"momentum": "-1"}, "trainer.momentum: expected a decimal from 0 as text, found '-1'"),
        ({"epochs": 0}, "trainer.epochs: expected a whole number from 1, found 0"),
    ):
        refused(
            CharterError,
            said,
            lambda config=config: trainer(nn.Linear(64, 10), {**CONFIG, **config}),
        )  # type: ignore[misc]
    module = nn.Linear(64, 10)
    module.register_buffer("mask", torch.ones(3, dtype=torch.bool))
    refused(InputError, "module: mask: dtype: expected one of float64, float32, bfloat16", lambda: trainer(module))


@check
def the_page_is_right(directory: Path) -> None:
    """Its example trains, and says its own model."""
    (code,) = re.findall(r"^```python\n(import torch\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # Our own page.
    data = digits()
    table = np.column_stack([data.features, data.targets])
    lines = [",".join([*(f"p{index}" for index in range(64)), "digit"]), *(",".join(map(str, each)) for each in table)]
    (directory / "data.csv").write_text("\n".join(lines) + "\n")
    (directory / "data.toml").write_text('data = "data.csv"\ntarget = "digit"\nclasses = 10\n')
    made = names["make"](directory / "data.toml", CONFIG)
    assert made.fit(made.initial_weights(), round_of(1)).metrics["accuracy"] > 0.5
    (directory / "charter.toml").write_text("[model]\n[trainer]\nseed = 1\nlearning_rate = '0.1'\n")
    section = write_first_model(names["make"], directory / "charter.toml", directory / "data.toml")
    assert '"0.weight" = { dtype = "F32", shape = [32, 64] }' in section
    Layout.of(made.initial_weights()).decode((directory / "genesis.safetensors").read_bytes())


if __name__ == "__main__":
    CHECKS[sys.argv[1]](Path(sys.argv[2]))
