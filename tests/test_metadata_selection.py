"""The example of metadata on the ledger: its README is what happens, and what it claims holds."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from fedpact.artifacts.charter import parse_toml
from fedpact.errors import FedpactError
from fedpact.ledger.view import View
from fedpact.overview import Documents
from fedpact.store.directory import DirectoryBlocks
from fedpact.workdir import read_record
from fedpact_simulation.project import read_project
from manuals import Reader
from test_readme import ROOT

EXAMPLE = ROOT / "examples" / "metadata-selection"
README = (EXAMPLE / "README.md").read_text("utf-8")
MODULES = ("digits", "processes", "run", "trainer", "transfers")
SECONDS = 240.0


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The example's `run`, within this process; other examples have modules of the same names."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("run")
    for name in MODULES:
        sys.modules.pop(name, None)
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--clients", "0"], "--clients: expected 1 to 50, found 0"),
        (["--clients", "2", "--selected", "3"], "--selected: expected 1 to 2, the clients, found 3"),
        (["--clients", "2", "--away", "2"], "--away: expected 0 to 1, found 2"),
        (["--rounds", "0"], "--rounds: expected 1 to 1000, found 0"),
        (["--seed", "-1"], "--seed: expected a number that is not negative, found -1"),
        (["--block-time", "0"], "--block-time: expected 0.1 to 3600, found 0.0"),
        (["--workdir", str(EXAMPLE)], f"workdir {EXAMPLE}: expected a new or empty directory"),
        (["--workdir", str(EXAMPLE / "run.py")], f"workdir {EXAMPLE / 'run.py'}: expected a new or empty directory"),
        (["--workdir", "/dev/null/here"], "/dev/null/here/server/store: Not a directory"),
    ],
)
def test_what_cannot_be_run_is_one_line(
    example: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    """Before anything is started."""
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    try:
        code = example.main()
    except SystemExit as error:
        code = error.code
    assert code in (1, 2)
    assert capsys.readouterr().err.splitlines()[-1] == f"run.py: error: {said}"


def test_a_run_begins_with_a_project(example: ModuleType, tmp_path: Path) -> None:
    """The charter is the example's but for the numbers that were asked for; nobody trains on what judges the models."""
    told = Namespace(workdir=tmp_path / "run", clients=3, selected=1, away=0, rounds=7, data="digits", seed=5)
    directory = example._prepare(told, ["client-1", "client-2", "client-3"])
    ours, made = parse_toml(EXAMPLE / "charter.toml"), parse_toml(directory / "charter.toml")
    assert ours.selection is not None
    asked = {"selection": ours.selection.model_copy(update={"count": 1})}
    assert made == ours.model_copy(update={**asked, "stop": ours.stop.model_copy(update={"rounds": 7})})
    example._settings(directory / "client-1", "http://127.0.0.1:1", [])
    project = read_project(directory)
    assert [each.name for each in project.silos] == ["client-1"]
    assert project.genesis(made.layout())["coefs_0"].shape == (64, 32)
    parts = [np.load(path) for path in [*sorted(directory.glob("client-*/data.npz")), directory / "held-out.npz"]]
    names = ("features", "held_out_features")
    samples = [sum(len(part[name]) for name in names) for part in parts]
    assert (len(parts), sum(samples), samples[-1]) == (4, 1797, 360)
    assert len(parts[-1]["features"]) == 0
    for part in parts:
        part.close()


def test_mnist_where_there_is_a_network_and_where_there_is_none(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is scaled and has numbers as targets; what keeps it away is one line with what to do."""
    import sklearn.datasets

    def fetched(name: str, **_: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        assert name == "mnist_784"
        return np.full((100, 784), 255), np.array([str(number % 10) for number in range(100)], object)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetched)
    features, targets = example.digits.load("mnist")
    assert (features.shape, features.max(), targets.dtype) == ((100, 784), 1.0, np.int64)

    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", unreachable)
    with pytest.raises(FedpactError, match=r"^mnist: openml\.org does not give it: .*no route.*; --data digits needs "):
        example.digits.load("mnist")


def test_what_its_readme_names_exists() -> None:
    """Files of its own, and links to elsewhere."""
    named = set(re.findall(r"`(\w+\.(?:py|toml))`", README)) | set(re.findall(r"\]\(([^)#:]+)", README))
    assert {"charter.toml", "trainer.py", "../../README.md"} <= named
    assert [each for each in named - {"fedpact.toml"} if not (EXAMPLE / each).exists()] == []


# ------------------------------------------------------------------------------------------------- with real processes


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A directory with the example in it, as the repository is one."""
    shutil.copytree(EXAMPLE, tmp_path / "examples" / "metadata-selection", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.nodes
def test_the_readme(repository: Path) -> None:
    """Its commands print what it shows; the network is good, and at most half is transferred where half is selected."""
    with Reader(repository) as reader:
        printed = reader.read(README)
    assert len(printed) == 7
    accuracy = re.findall(r"^accuracy on digits that nobody trained on: (.*)$", printed[0], re.MULTILINE)
    assert float(accuracy[0]) >= 0.95
    _check_transfers(repository / "selection" / "server", printed[0])
    (model,) = re.findall(r"^model: (\S+)$", printed[-1], re.MULTILINE)
    record = [json.loads(line) for line in (repository / "record.jsonl").read_text().splitlines()]
    assert (record[0]["event"], record[-1]["fields"]["model"]) == ("Founded", model)
    assert (repository / "report.html").read_bytes().startswith(b"<!DOCTYPE html>")


def _check_transfers(server: Path, printed: str) -> None:
    """What the processes counted is what the record and the manifests say was to be fetched, client by client."""
    read = read_record(server)
    view, documents = View(read.identity, read.entries), Documents(DirectoryBlocks(server / "store"))
    sizes, fetched = dict.fromkeys(range(1, 5), 0), dict.fromkeys(range(1, 5), 0)
    for each in view.published:
        manifest = documents.manifest(each)
        assert manifest is not None
        chosen = {line.index for line in manifest.submissions if line.decision == "included"}
        best = sorted(each.submissions, key=lambda found: (-found.update.score, found.index))[:2]
        assert chosen == {found.index for found in best}
        for submission in each.submissions:
            sizes[submission.index] += submission.update.size
            fetched[submission.index] += submission.update.size * (submission.index in chosen)
    rows = [line.replace(",", "").split() for line in printed.splitlines() if re.match(r" *client-\d +6 ", line)]
    assert [(int(row[3]), int(row[4])) for row in rows] == [(sizes[index], fetched[index]) for index in range(1, 5)]
    assert 0 < sum(fetched.values()) <= sum(sizes.values()) / 2


@pytest.mark.nodes
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_everything_ends_with_it(repository: Path, number: signal.Signals) -> None:
    """However it ends: chain, block servers and services. Where it can say so, that is one line."""
    with subprocess.Popen(
        [sys.executable, "examples/metadata-selection/run.py", "--clients", "1", "--workdir", "one"],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert any(" round 1: opened" in line for line in process.stdout)
            assert len(_working_in(repository / "one")) >= 5
            process.send_signal(number)
            process.wait(SECONDS)
        finally:
            process.kill()
        said = process.stderr.read()
    if number != signal.SIGKILL:
        assert (process.returncode, said) == (130, "run.py: interrupted; everything that it started has ended\n")
    end = time.monotonic() + 20
    while _working_in(repository / "one"):
        assert time.monotonic() < end, "something goes on without it"
        time.sleep(0.05)  # Other processes end; bounded above.


def _working_in(directory: Path) -> list[str]:
    """The processes that work in a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == directory:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # It is somebody else's, or just ended.
            continue
    return [each for each in found if each]
