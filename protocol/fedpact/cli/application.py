"""All commands as one application.

Commands of other packages are found through the entry-point group `fedpact.commands`: a function is a command, a
`typer.Typer` a group of them. The module of a command imports nothing heavy before the command is called, so that
`fedpact --help` answers at once.
"""

from __future__ import annotations

from importlib.metadata import entry_points

import typer

from fedpact.cli.aggregate import aggregate
from fedpact.cli.audit import audit
from fedpact.cli.charter import charter_group
from fedpact.cli.config import config_group
from fedpact.cli.deploy import deploy
from fedpact.cli.federation import federation_group
from fedpact.cli.key import key_group
from fedpact.cli.model import model_group
from fedpact.cli.options import warn
from fedpact.cli.record import record
from fedpact.cli.report import report
from fedpact.cli.rounds import one_round, rounds
from fedpact.cli.rules import rules
from fedpact.cli.store import store
from fedpact.cli.verify_model import verify_model

COMMANDS = "fedpact.commands"


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
    app.add_typer(charter_group, name="charter")
    app.add_typer(config_group, name="config")
    app.add_typer(federation_group, name="federation")
    app.add_typer(key_group, name="key")
    app.add_typer(model_group, name="model")
    app.command()(audit)
    app.command()(aggregate)
    app.command()(deploy)
    app.command()(record)
    app.command()(report)
    app.command()(rounds)
    app.command("round")(one_round)
    app.command()(rules)
    app.command()(verify_model)
    app.add_typer(store, name="store")
    for each in sorted(entry_points(group=COMMANDS), key=lambda found: found.name):
        try:
            found = each.load()
        except Exception as error:  # Of another package: the other commands are there all the same.
            warn(f"command {each.name}: cannot be loaded: {type(error).__name__}: {str(error)[:200]}")
            continue
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=each.name)
        else:
            app.command(each.name)(found)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from fedpact.version import fedpact_version

        typer.echo(f"fedpact {fedpact_version()}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    pass
