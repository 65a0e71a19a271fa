"""PyTorch modules as trainers, in the environment that `make test-nodes` makes for them, as users would install it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = ROOT / ".cache/torch-venv/bin"
SCRIPT = Path(__file__).with_name("torch_checks.py")
CHECKS = [
    each.name
    for each in ast.parse(SCRIPT.read_text("utf-8")).body
    if isinstance(each, ast.FunctionDef) and each.decorator_list
]


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEDPACT_")}
    arguments = [str(each) for each in command]
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.nodes
@pytest.mark.parametrize("name", CHECKS)
def test_with_pytorch(name: str, tmp_path: Path) -> None:
    """What `torch_checks.py` says of it."""
    done = _run(BIN / "python", SCRIPT, name, tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.nodes
def test_a_new_project_trains_a_module(tmp_path: Path) -> None:
    """A newcomer's commands, with either number of processes the same bits, and a model that has learned."""
    made = _run(BIN / "fedpact", "new", "mine", "--kind", "torch", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    runs = []
    for threads in ("1", "2"):
        done = _run(BIN / "fedpact", "simulate", "mine", "--threads", threads, "--json", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        runs.append(json.loads(done.stdout))
    assert runs[0]["head"] == runs[1]["head"]
    assert runs[0]["audit"]["ok"]
    assert runs[0]["metrics"]["accuracy"] > 0.85


def test_without_pytorch_its_trainer_says_what_installs_it(tmp_path: Path) -> None:
    """Wherever it is imported from; a module that is broken otherwise says so itself."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch', name='torch')")
    code = "import fedpact_client.loading as l; l.load_trainer('fedpact_client.pytorch:TorchTrainer', None, {})"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == (
        'fedpact.errors.InputError: PyTorch: not installed here; pip install "fedpact[torch]" installs it'
    )
