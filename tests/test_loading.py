"""Every way in which `module:factory` fails is one line that names it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fedpact.errors import CharterError, InputError
from fedpact_client.loading import load_trainer
from fedpact_client.told import _warn

GOOD = """
class Trainer:
    def __init__(self, file, config):
        self.told = file, config
    def fit(self, weights, config): ...
    def evaluate(self, weights): ...
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of a test are found in its working directory, and forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


FAULTS = {
    "no module": ("", "absent:make", "no module 'absent', neither installed nor in the working directory"),
    "no package": ("", "absent.deep:make", "no module 'absent'"),
    "a module that needs another": ("import absent_too", "ward:make", "no module 'absent_too'"),
    "no factory": ("x = 1", "ward:make", "expected a factory in module ward, found no make"),
    "a factory that is none": ("make = 1", "ward:make", "expected a factory in module ward, found make, which is none"),
    "a module that fails": ("1 / 0", "ward:make", "ZeroDivisionError: division by zero"),
    "an attribute missing in the module": ("import os; os.absent", "ward:make", "AttributeError: module 'os' has no"),
    "a module that is no Python": ("def", "ward:make", "SyntaxError: invalid syntax"),
    "a module that ends the process": ("raise SystemExit('no')", "ward:make", "SystemExit: no"),
    "a factory that fails": ("def make(*_): raise KeyError('data')", "ward:make", "KeyError: 'data'"),
    "a factory that ends the process": ("import sys\ndef make(*_): sys.exit(0)", "ward:make", "SystemExit: 0"),
    "a factory that takes nothing": ("def make(): ...", "ward:make", "expected make(file, config), found make()"),
    "a factory of nothing": ("def make(*_): ...", "ward:make", "found one without fit"),
    "no evaluate": ("class make:\n def __init__(*_): ...\n def fit(self): ...", "ward:make", "found one without eva"),
    "an empty part": ("", "ward.:make", "no module 'ward.'"),
    "an endless message": ("raise ValueError('x\\n' * 10**6)", "ward:make", "ValueError: x x x"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_is_wrong_is_one_line(tmp_path: Path, kind: str) -> None:
    """It names the trainer, and what its owner can do."""
    source, name, said = FAULTS[kind]
    (tmp_path / "ward.py").write_text(source)
    with pytest.raises(InputError) as caught:
        load_trainer(name, None, {})
    assert str(caught.value).startswith(f"trainer {name}: ")
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def test_an_error_of_ours_is_kept(tmp_path: Path) -> None:
    """What says itself what is wrong is not wrapped."""
    (tmp_path / "ward.py").write_text("from fedpact.errors import CharterError\ndef make(*_): raise CharterError('a')")
    with pytest.raises(CharterError, match=r"^a$"):
        load_trainer("ward:make", None, {})


def test_an_interrupt_is_no_fault_of_the_factory(tmp_path: Path) -> None:
    """Who asks the process to stop while a trainer is made stops it."""
    (tmp_path / "ward.py").write_text("def make(*_): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_trainer("ward:make", None, {})


def test_a_trainer_is_made_from_the_working_directory(tmp_path: Path) -> None:
    """It is told its owner's file and the charter's section."""
    (tmp_path / "ward.py").write_text(GOOD)
    trainer = load_trainer("ward:Trainer", tmp_path / "x.toml", {"epochs": 3})
    assert trainer.told == (tmp_path / "x.toml", {"epochs": 3})  # type: ignore[attr-defined]


READS = """
from fedpact_client.trainer import Fit
class Trainer:
    extra = "its own"
    def __init__(self, file, config): self.config, self.epochs = config, config["epochs"]
    def fit(self, weights, config):
        {reads}
        return Fit(weights, 1, {{}})
    def evaluate(self, weights): return {{}}
"""
SECTION = {"name": "mine", "epochs": 3, "learnig_rate": "0.1", "depth": 2}


@pytest.mark.parametrize(
    ("reads", "unread"),
    [
        ("pass", ["depth", "learnig_rate"]),
        ("config.get('learning_rate', '1')", ["depth", "learnig_rate; did you mean learnig_rate?"]),
        ("self.config['depth']", ["learnig_rate"]),
        ("config['depth'], 'learnig_rate' in config", []),
        ("{**config}", []),
        ("dict(config)", []),
        ("config | {}", []),
        ("{} | config", []),
        ("config.copy()", []),
        ("list(self.config.items())", []),
        ("list(self.config.values())", []),
        ("(lambda **told: told)(**config)", []),
        ("__import__('json').dumps(config)", []),
        ("[config[name] for name in config]", []),
        ("[name for name in config]", ["depth", "learnig_rate"]),
    ],
)
def test_what_a_trainer_does_not_read_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reads: str, unread: list[str]
) -> None:
    """After it has trained, in whatever way it reads; with the name that it would have read, where one is like it."""
    _warn.cache_clear()
    (tmp_path / "ward.py").write_text(READS.format(reads=reads))
    for _ in range(2):
        trainer = load_trainer("ward:Trainer", None, SECTION)
        assert trainer.extra == "its own"  # type: ignore[attr-defined]
        assert caplog.messages == [] or unread
        for number in (1, 2):
            trainer.fit({}, {**SECTION, "round": number})
    assert [each.partition(", which")[0] for each in caplog.messages] == [
        f"trainer ward:Trainer: it reads no {each.partition(';')[0]}" for each in unread
    ]
    if "; did" in "".join(unread):
        assert caplog.messages[1].endswith("[trainer] says; did you mean learning_rate?")
