"""`fedpact new`, and `fedpact simulate` of what it made: a newcomer's way to a model of their own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedpact.artifacts.charter import parse_toml
from fedpact.artifacts.dtypes import DTYPES
from fedpact.artifacts.weights import Layout, Tensor
from fedpact.errors import CharterError, FedpactError, InputError, TrainingFailed
from fedpact_client.first_model import first_model, model_section, write_first_model
from fedpact_simulation.new import next_steps, write_project
from fedpact_simulation.project import read_project
from fedpact_simulation.setup import prepare
from fedpact_simulation.training import ProjectTraining, TrainingElsewhere, TrainingHere
from hypothesis import given
from hypothesis import strategies as st
from runs import FEDPACT

FILES = {
    "README.md",
    "charter.toml",
    "coordinator/fedpact.toml",
    "genesis.safetensors",
    "my_model.py",
    *(f"silo-{number}/{name}" for number in (1, 2) for name in ("data.csv", "data.toml", "fedpact.toml")),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project, which no test changes."""
    directory: Path = tmp_path_factory.mktemp("new") / "mine"
    with _modules_of_a_test():
        write_project(directory, "numpy", 2)
    return directory


@pytest.fixture
def mine(made: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(made, tmp_path / "mine"))


class _modules_of_a_test:  # noqa: N801  # A context manager.
    """Modules of projects are forgotten, those of other tests before it and its own after it."""

    def __enter__(self) -> None:
        self._path = sys.path[:]
        self._forget()

    def __exit__(self, *_: object) -> None:
        sys.path[:] = self._path
        self._forget()

    def _forget(self) -> None:
        for name in ("my_model", "ward"):
            sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with _modules_of_a_test():
        yield


def test_a_newcomers_two_commands(tmp_path: Path) -> None:
    """They end with a model of the newcomer's own estimator that has learned, on a record that was audited."""
    command = '"$0" new mine && "$0" simulate mine'
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", command, FEDPACT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:5] == next_steps(Path("mine"))
    assert "audit: ok: 5 of 5 models reproduced bit for bit" in done.stdout
    accuracies = re.findall(r"^ +\d +(0\.\d+) ", done.stdout, re.MULTILINE)
    assert len(accuracies) == 5
    assert float(accuracies[-1]) > 0.85


def test_what_is_made(made: Path) -> None:
    """Every silo's data apart, settings for every process, nothing else; the charter's model is the first model's."""
    assert {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()} == FILES
    layout = parse_toml(made / "charter.toml").layout()
    layout.decode((made / "genesis.safetensors").read_bytes())
    samples = [(made / f"silo-{number}/data.csv").read_text().splitlines()[1:] for number in (1, 2)]
    assert [len(each) for each in samples] == [899, 898]
    assert [each.name for each in read_project(made).silos] == ["silo-1", "silo-2"]


def test_a_projects_readme_leaves_nothing_to_fill_in(made: Path) -> None:
    """Every word of the template got its text, and every file that it names is there."""
    text = (made / "README.md").read_text()
    assert not re.findall(r"@[A-Z]+@", text)
    assert all((made / name.rstrip("/")).exists() for name in re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))


def test_any_process_trains_the_same(mine: Path) -> None:
    """This one or another, each with the silos of its part. What fails in a silo's code is named with its line."""
    failing = "class Failing:\n def __init__(*_): ...\n def evaluate(*_): ...\n def fit(*_):\n  return {}['x']\n"
    _written(mine, "ward.py", failing)
    _written(mine, "silo-3/fedpact.toml", 'trainer = "ward:Failing"\n')
    setup = prepare(str(mine))
    config = {**setup.charter.trainer, "round": 1}
    found = []
    for training in (TrainingHere(), TrainingElsewhere(2)):
        with contextlib.closing(training):
            training.assign(setup.assignment)
            weights = setup.start_from(training.initial())
            fits = [training.fit(silo, weights, config) for silo in (0, 1)]
            assert min(fit.metrics["accuracy"] for fit in fits) > 0.8
            found.append([({name: each.tobytes() for name, each in fit.weights.items()}, fit.metrics) for fit in fits])
            failed = KeyError if isinstance(training, TrainingHere) else TrainingFailed
            with pytest.raises(failed) as caught:
                training.fit(2, weights, config)
    assert found[0] == found[1]
    assert str(caught.value) == "trainer: KeyError: 'x' (ward.py, line 5, in fit)"


def test_the_model_is_written_once_more_after_a_change(mine: Path) -> None:
    """Until then a dry run says what does not go together. Without a change nothing changes."""
    model, charter = mine / "my_model.py", mine / "charter.toml"
    before = charter.read_text(), (mine / "genesis.safetensors").read_bytes()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    run = [sys.executable, str(model)]
    printed = subprocess.run(run, capture_output=True, text=True, check=True, env=environment, timeout=60).stdout
    assert (charter.read_text(), (mine / "genesis.safetensors").read_bytes()) == before
    assert printed.strip() in before[0]
    model.write_text(model.read_text().replace('"coef"', '"kernel"'))
    with pytest.raises(
        InputError, match="charter, model: coef: expected nothing, as my_model:Trainer learns it, found shape"
    ):
        _started(mine)
    subprocess.run(run, capture_output=True, check=True, env=environment, timeout=60)
    assert charter.read_text() != before[0]
    with _modules_of_a_test():
        assert _started(mine)


def _started(directory: Path, **options: Any) -> object:
    """What a dry run does before it writes anything."""
    setup = prepare(str(directory), **options)
    training = TrainingHere()
    training.assign(setup.assignment)
    return setup.start_from(training.initial())


def _written(directory: Path, name: str, text: str) -> None:
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text(text)


def _replaced(directory: Path, name: str, old: str, new: str) -> None:
    text = (directory / name).read_text()
    assert old in text
    (directory / name).write_text(text.replace(old, new))


SETTINGS = "silo-1/fedpact.toml"
WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no charter": (lambda mine: (mine / "charter.toml").unlink(), {}, "expected a project, as fedpact new makes one"),
    "no charter at all": (lambda mine: _written(mine, "charter.toml", "x"), {}, "charter.toml: "),
    "no silos": (
        lambda mine: [shutil.rmtree(mine / name) for name in ("silo-1", "silo-2")],
        {},
        "expected silos, folders whose fedpact.toml names a trainer, found none",
    ),
    "fewer silos than the quorum": (
        lambda mine: shutil.rmtree(mine / "silo-2"),
        {},
        "rounds.quorum: expected at most 1 (the silos), found 2",
    ),
    "an unknown setting": (
        lambda mine: _replaced(mine, SETTINGS, "trainer =", "trainr ="),
        {},
        "'trainr': unknown; did you mean trainer?",
    ),
    "another module": (
        lambda mine: _replaced(mine, SETTINGS, "my_model:", "my_modle:"),
        {},
        "no module 'my_modle', neither installed nor in ",
    ),
    "a module's name, nearly": (
        lambda mine: _replaced(mine, SETTINGS, "my_model:", "my_modle:"),
        {},
        "; did you mean my_model?",
    ),
    "a factory's name, nearly": (
        lambda mine: (
            _written(mine, SETTINGS, 'trainer = "my_model:mak"\n') or _written(mine, "my_model.py", "def make(): ...")
        ),
        {},
        "expected a factory in module my_model, found no mak; did you mean make?",
    ),
    "an extra that is not installed": (
        lambda mine: _written(mine, "my_model.py", "raise ModuleNotFoundError(name='torch')"),
        {},
        'pip install "fedpact[torch]" installs it',
    ),
    "a first model of another size": (
        lambda mine: _written(mine, "genesis.safetensors", "x"),
        {},
        "first model: ",
    ),
    "data that are not there": (lambda mine: (mine / "silo-1/data.csv").unlink(), {}, "data.csv: No such file"),
    "a number of silos": (lambda mine: None, {"silos": 3}, "silos 3: expected a built-in task with it; "),
    "a skew": (lambda mine: None, {"skew": 0.5}, "skew 0.5: expected a built-in task with it; "),
    "flipped labels": (
        lambda mine: None,
        {"hostile_kind": "label-flip"},
        "hostile label-flip: expected a built-in task with it; ",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_project_that_cannot_run_says_why(mine: Path, kind: str) -> None:
    """In one line, before anything is written."""
    change, options, said = WRONG[kind]
    change(mine)
    with pytest.raises(InputError) as caught:
        _started(mine, **options)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_trainer_without_a_first_model_starts_from_zeros(mine: Path) -> None:
    """As a deployment does whose genesis is zeros."""
    (mine / "genesis.safetensors").unlink()
    started = _started(mine)
    assert isinstance(started, dict)
    assert not any(array.any() for array in started.values())


def test_the_example_is_a_project_too(tmp_path: Path) -> None:
    """One without code of its own. Its silos together judge a model, each by the samples that it has."""
    write_project(tmp_path / "trial", "table", 3)
    assert not list((tmp_path / "trial").glob("*.py"))
    setup = prepare(str(tmp_path / "trial"))
    training = ProjectTraining(TrainingHere(), setup.silos)
    training.assign(setup.assignment)
    weights = setup.start_from(training.initial())
    fits = [training.fit(silo, weights, {**setup.charter.trainer, "round": 1}) for silo in range(3)]
    silos = [training.evaluate(silo, fits[0].weights)["accuracy"] for silo in range(3)]
    judged = training.judge(fits[0].weights)["accuracy"]
    assert judged == pytest.approx(np.average(silos, weights=[each.samples for each in fits]))
    assert judged > 0.8


def test_silos_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Not in that of their letters."""
    write_project(tmp_path / "many", "table", 11)
    assert [each.name for each in read_project(tmp_path / "many").silos] == [
        f"silo-{number}" for number in range(1, 12)
    ]


@pytest.mark.parametrize("what", ["a file", "a link", "something in it"])
def test_what_is_there_is_kept(tmp_path: Path, what: str) -> None:
    """Nothing is written over, or beside it."""
    place = tmp_path / "mine"
    if what == "a file":
        place.write_text("x")
    elif what == "a link":
        place.symlink_to(tmp_path)
    else:
        _written(tmp_path, "mine/notes.txt", "x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="expected a new or empty directory"):
        write_project(place, "numpy", 2)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_directory_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the one that somebody works in."""
    monkeypatch.chdir(tmp_path)
    write_project(Path(), "numpy", 2)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == FILES


def test_a_kind_that_there_is_not_gets_a_suggestion(tmp_path: Path) -> None:
    """And nothing is made."""
    expected = "kind: expected one of scikit-learn, numpy, torch, found 'sklearn'; did you mean scikit-learn?"
    with pytest.raises(InputError, match=re.escape(expected)):
        write_project(tmp_path / "mine", "sklearn", 2)
    assert list(tmp_path.iterdir()) == []


def test_without_pytorch_its_kind_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=re.escape('pip install "fedpact[torch]" installs it')):
        write_project(tmp_path / "mine", "torch", 2)
    assert list(tmp_path.iterdir()) == []


NAMES = st.from_regex(r"(?!__)[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,20}", fullmatch=True)
TENSORS = st.builds(Tensor, NAMES, st.sampled_from(sorted(DTYPES)), st.lists(st.integers(1, 99), max_size=4).map(tuple))


@given(st.lists(TENSORS, min_size=1, max_size=5, unique_by=lambda each: each.name))
def test_a_models_section_says_its_layout(tensors: list[Tensor]) -> None:
    """Whatever tensors are called."""
    section = tomllib.loads(model_section(Layout(tensors)))["model"]
    again = Layout(Tensor(name, each["dtype"], tuple(each["shape"])) for name, each in section.items())
    assert again.header == Layout(tensors).header


class _Zeros:
    def __init__(self, *_: object) -> None: ...

    def initial_weights(self) -> dict[str, Any]:
        return {"a.b": np.zeros((2, 3), np.float32), "n": np.zeros((), np.int64)}


def test_all_else_in_a_charter_stays_as_it_is(tmp_path: Path) -> None:
    """To the letter, comments too."""
    charter = tmp_path / "charter.toml"
    charter.write_text("# Ours.\n[trainer]  # told\nx = 1\n\n[model]\nold = 1\n# gone\n\n[[list]]\n# kept\n")
    section = write_first_model(_Zeros, charter)
    said = '[model]\nn = { dtype = "I64", shape = [] }\n"a.b" = { dtype = "F32", shape = [2, 3] }\n'
    assert section == said
    assert charter.read_text() == f"# Ours.\n[trainer]  # told\nx = 1\n\n{said}\n[[list]]\n# kept\n"
    found = first_model(_Zeros())
    assert found is not None
    assert found[0].decode((tmp_path / "genesis.safetensors").read_bytes())["n"] == 0


@pytest.mark.parametrize(
    ("text", "factory", "error", "said"),
    [
        ("[trainer]\n", _Zeros, CharterError, "expected one section [model]"),
        ("[model]\n[model.a]\nx = 1\n", _Zeros, CharterError, "expected one section [model]"),
        ("[model", _Zeros, CharterError, "charter.toml: "),
        ("[model]\n", lambda *_: object(), InputError, "expected the method initial_weights"),
    ],
)
def test_a_first_model_that_cannot_be_written_says_why(
    tmp_path: Path, text: str, factory: Any, error: type[FedpactError], said: str
) -> None:
    """And the charter is as it was."""
    charter = tmp_path / "charter.toml"
    charter.write_text(text)
    with pytest.raises(error, match=re.escape(said)):
        write_first_model(factory, charter)
    assert charter.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["charter.toml"]
