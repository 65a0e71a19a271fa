"""The `fedpact` command: finds the commands, runs one, turns what goes wrong into one line and an exit code.

Commands of other packages are found through the entry-point group `fedpact.commands`. The module of a command imports
nothing heavy before the command is called, so that `fedpact --help` answers at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib.metadata import entry_points
from types import FrameType
from typing import NoReturn

import typer

from fedpact.cli.audit import audit
from fedpact.errors import FedpactError, Interrupted

COMMANDS = "fedpact.commands"


def main() -> NoReturn:
    """The console script."""
    logging.basicConfig(level=logging.ERROR, format="fedpact: %(message)s")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        code = application()(sys.argv[1:] or ["--help"], prog_name="fedpact", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except (FedpactError, Interrupted) as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say to anyone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        # The command line's own errors, whichever library under typer they come from.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        _fail(message(), 2)


def application() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        name="fedpact",
        help="Federated learning bound by a pact: organisations train one model together, and any of them can "
        "re-derive every published model, bit for bit.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # Its imports are most of what `--help` would take.
    )
    app.callback()(_options)
    app.command()(audit)
    for each in sorted(entry_points(group=COMMANDS), key=lambda found: found.name):
        app.command(each.name)(each.load())
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fedpact {version('fedpact')}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    pass


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # What cleans up after the first signal must not be cut off by a second.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted(number)


def _fail(message: str, code: int) -> NoReturn:
    one_line = " ".join(message.split())
    sys.stderr.write(f"fedpact: error: {one_line}\n")
    sys.exit(code)
