"""The `fedpact` command as a whole: it answers at once, and finds the commands of other packages."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import typer
from fedpact.cli import application as applications
from typer.testing import CliRunner

HEAVY = ("numpy", "web3", "pydantic", "httpcore", "sklearn", "eth_account", "eth_tester", "starlette", "rich")
GROUPS = {"charter", "config", "federation", "key", "model", "store"}
COMMANDS = {"aggregate", "audit", "deploy", "record", "report", "round", "rounds", "rules", "verify-model"}

group = typer.Typer()


@group.command()
def one() -> None:
    """Of a group."""
    typer.echo("one of a group")


@group.command()
def two() -> None:
    """Of a group."""


def single() -> None:
    """A command by itself."""
    typer.echo("a command")


def _with(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> typer.Typer:
    monkeypatch.setattr(applications, "entry_points", lambda group: entries)
    return applications.application()


def test_help_imports_nothing_heavy() -> None:
    """Whatever command is added: what it needs is imported when it is called."""
    code = (
        "import sys; from fedpact.cli.application import application; application();"
        f"print(*sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "\n"


def test_all_commands_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with help of its own."""
    app = _with(monkeypatch)
    shown = CliRunner().invoke(app, ["--help"]).output
    for name in GROUPS | COMMANDS:
        assert f"\n  {name} " in shown
        done = CliRunner().invoke(app, [name, "--help"])
        assert (done.exit_code, done.output.startswith("Usage: ")) == (0, True)


def test_another_package_offers_a_command_or_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function, or a `typer.Typer`."""
    entries = (
        EntryPoint("alone", f"{__name__}:single", applications.COMMANDS),
        EntryPoint("together", f"{__name__}:group", applications.COMMANDS),
    )
    app = _with(monkeypatch, *entries)
    assert CliRunner().invoke(app, ["alone"]).output == "a command\n"
    assert CliRunner().invoke(app, ["together", "one"]).output == "one of a group\n"


def test_a_command_that_cannot_be_loaded_is_in_no_other_ones_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, and the others are there."""
    app = _with(monkeypatch, EntryPoint("broken", "no_such_module_anywhere:command", applications.COMMANDS))
    said = capsys.readouterr().err
    assert said.startswith("fedpact: warning: command broken: cannot be loaded: ModuleNotFoundError: ")
    assert CliRunner().invoke(app, ["rules", "--help"]).exit_code == 0
