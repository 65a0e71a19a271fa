"""`examples/linear-regression`: its README as it stands, and what each of its commands says when it cannot go on."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anvil import NODES, running
from fedpact.artifacts.charter import parse_toml
from fedpact.errors import InputError
from manuals import matches
from runs import fedpact
from terminals import SECONDS, Terminals

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/linear-regression"
README = (EXAMPLE / "README.md").read_text("utf-8")
WITH_PYGAD = ROOT / ".cache/torch-venv/bin"
LOOK = ("rounds", "--config", "fedpact-runs/server.toml")
BLOCK = re.compile(
    r"""block (\d+)
  client 1       0x[0-9a-f]{40}, 118 samples
                 bafkrei[a-z2-7]{52}
                 (?:-?\d\.\d{3} ?){11}
  client 2       0x[0-9a-f]{40}, 235 samples
                 bafkrei[a-z2-7]{52}
                 (?:-?\d\.\d{3} ?){11}
  server         0x[0-9a-f]{40}
                 (bafkrei[a-z2-7]{52})
                 (?:-?\d\.\d{3} ?){11}
  took part      client 1, client 2
  timestamp      \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ
  previous hash  (0x[0-9a-f]{64})
  hash           (0x[0-9a-f]{64})
"""
)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy to run in."""
    left_out = shutil.ignore_patterns("fedpact-runs", "__pycache__")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "linear-regression", ignore=left_out))


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports modules of the example, which are forgotten after the test."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(EXAMPLE), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module
    for path in EXAMPLE.glob("*.py"):
        assert path.stem not in before
        sys.modules.pop(path.stem, None)


def _started(example: Path, *arguments: str) -> subprocess.Popen[str]:
    """A program of the example."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEDPACT_")}
    command = [sys.executable, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=example, env=environment, stdout=pipe, stderr=pipe, text=True)


def _run(example: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, and what is printed."""
    with _started(example, *arguments) as process:
        try:
            printed, said = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    return process.returncode, printed, said


def _until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Waits for what a process is about to do."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end
        time.sleep(0.1)  # Another process works; bounded above.


def _model(printed: str) -> str:
    """The last model's address, of a record whose blocks follow from one another."""
    blocks = BLOCK.findall(printed)
    assert [int(number) for number, *_ in blocks] == [1, 2, 3, 4]
    assert [previous for _, _, previous, _ in blocks[1:]] == [made for *_, made in blocks[:-1]]
    (model,) = re.findall(r"^model: (bafkrei[a-z2-7]{52})\nrecord: ", printed, re.MULTILINE)
    assert model == blocks[-1][1]
    return str(model)


def _check_scores(federated: float, central: float) -> None:
    """The federated solution is as good as the central one, on samples that neither was trained on."""
    assert abs(federated - central) <= 0.02
    assert central > 0.5


def test_a_dry_run_reaches_the_central_solution(example: Path, modules: Callable[[str], Any]) -> None:
    """In one process, without a chain, with the original's blocks as its record."""
    code, printed, said = _run(example, "server.py", "--ledger", "memory")
    assert (code, said) == (0, "")
    assert _model(printed)
    _check_scores(*modules("central").scores(example / "fedpact-runs/memory-1/model.safetensors"))


def test_the_data_are_those_of_scikit_learn(tmp_path: Path, modules: Callable[[str], Any]) -> None:
    """Each client's file is what data.py writes."""
    modules("data").write(tmp_path)
    for file in (Path("client-1/data.csv"), Path("client-2/data.csv")):
        assert (tmp_path / file).read_bytes() == (EXAMPLE / file).read_bytes()


@pytest.mark.nodes
def test_its_readme(example: Path) -> None:
    """Three terminals with a chain, then what is left of it; a dry run has the same model, bit for bit."""
    with Terminals(README, example) as terminals:
        shown = _federation(terminals, "terminal 1", "terminal 2", "terminal 3")
        later = terminals.done("terminal 1 again")
        dry = terminals.done("terminal 1, once more")
    assert _model(shown) == _model(dry)
    block, scores = re.findall(r"^```text\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    found = BLOCK.search(shown)
    assert found is not None
    assert BLOCK.fullmatch(block)
    assert re.findall(r"0x[0-9a-f]{40}\b", block) == re.findall(r"0x[0-9a-f]{40}\b", found[0])
    assert matches(later.splitlines(), ["…", *scores.splitlines()])
    assert "audit: ok: 4 of 4 models reproduced bit for bit" in later
    assert re.search(r"^ +\d+ .* 3  .*published", later, re.MULTILINE)
    ((federated, central),) = re.findall(r"federated (0\.\d{4}), central (0\.\d{4})", later)
    _check_scores(float(federated), float(central))


@pytest.mark.nodes
def test_the_genetic_algorithm_reaches_it_too(
    example: Path, modules: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyGAD, seeded: the same bits with the chain, anvil this time, and without."""
    monkeypatch.setenv("FEDPACT_ANVIL", str(NODES / ".bin/anvil"))
    with Terminals(README, example, WITH_PYGAD) as terminals:
        shown = _federation(terminals, *(f"terminal {number} with PyGAD" for number in (1, 2, 3)))
        dry = terminals.done("terminal 1 with PyGAD, once more")
    assert _model(shown) == _model(dry)
    _check_scores(*modules("central").scores(example / "fedpact-runs/chain-1/model.safetensors"))


def _federation(terminals: Terminals, server: str, *clients: str) -> str:
    """What the server shows. The clients begin before it."""
    started = {name: terminals.open(name) for name in (*clients, server)}
    shown = {name: terminals.ended(name, process) for name, process in started.items()}
    for name in clients:
        assert "over: 4 rounds, as the charter says" in shown[name]
    assert "audit: ok: 4 of 4 models reproduced bit for bit" in shown[server]
    return shown[server]


def test_without_pygad_it_says_what_installs_it(modules: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    monkeypatch.setitem(sys.modules, "pygad", None)
    told = parse_toml(EXAMPLE / "genetic.toml").trainer
    with pytest.raises(InputError) as caught:
        modules("trainers").make(EXAMPLE / "client-1/data.toml", told)
    assert str(caught.value) == "PyGAD: not installed here; pip install pygad installs it"


def test_a_client_without_a_server_says_so(example: Path) -> None:
    """What a killed server left behind is none."""
    (example / "fedpact-runs").mkdir()
    settings = ["contract", "store", "state", "charter"]
    file = example / "fedpact-runs/server.toml"
    file.write_text('rpc = "http://127.0.0.1:1"\n' + "".join(f'{name} = "x"\n' for name in settings))
    code, printed, said = _run(example, "client.py", "1", "--wait", "0.3")
    assert (code, printed) == (2, "waiting for the server (python server.py), 0.3 s at most\n")
    expected = "expected a server that runs (python server.py) within 0.3 s, found none"
    assert said == f"fedpact: error: {file}: {expected}\n"


@pytest.mark.nodes
def test_each_is_stopped_with_a_line(example: Path) -> None:
    """Another server on the same chain, and a client that accepts another charter, say why they do not begin."""
    with contextlib.ExitStack() as stack:
        url = str(stack.enter_context(running()).provider.endpoint_uri)  # type: ignore[attr-defined]

        def start(*arguments: str) -> subprocess.Popen[str]:
            process = stack.enter_context(_started(example, *arguments))
            stack.callback(process.kill)
            return process

        server = start("server.py", "--rpc", url)
        client = start("client.py", "1", "--directory", "elsewhere")
        _until(lambda: (example / "fedpact-runs/server.toml").exists(), server)
        assert f"`fedpact {' '.join(LOOK)}`" in README
        _until(lambda: " 1  open " in fedpact(*LOOK, cwd=example).stdout, server)
        code, _, said = _run(example, "server.py", "--rpc", url)
        assert (code, len(said.splitlines())) == (2, 1)
        assert "expected no other server, found one that runs; --directory names another" in said
        code, _, said = _run(example, "client.py", "1", "--charter", "genetic.toml")
        assert (code, len(said.splitlines())) == (2, 1)
        assert "charter genetic.toml: expected the server's, bafkrei" in said
        for process, last in ((server, "interrupted; the next run begins anew"), (client, "interrupted")):
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=SECONDS)[1]
            assert (process.returncode, said.splitlines()[-1]) == (130, f"fedpact: error: {last}")
    assert not list((example / "fedpact-runs").iterdir())
