"""`fedpact config`."""

from __future__ import annotations

import json
import os
import sys

import typer

from fedpact.cli.options import AsJson, with_settings
from fedpact.settings import SETTINGS, Settings, shown

config_group = typer.Typer(help="What commands are told, and by whom.", no_args_is_help=True, rich_markup_mode=None)
_SECRETS = ("FEDPACT_KEY", "FEDPACT_PASSWORD")


@config_group.callback()
def _config() -> None:
    pass


@config_group.command()
@with_settings(*SETTINGS)
def show(settings: Settings, as_json: AsJson = False) -> None:
    """Show every setting and where its value came from.

    Flags come first, then variables (FEDPACT_RPC, …), then fedpact.toml, then defaults. Of a URL only scheme, host and
    port are shown; keys and passwords never.

    \b
    Examples:
      fedpact config show
      fedpact config show --config silo.toml --rpc http://127.0.0.1:8545
    """
    from fedpact.cli.audit import printable

    origins = {**settings.origin, **settings.problems}
    values = {name: (shown(name, getattr(settings, name)), origins[name]) for name in SETTINGS}
    secrets = [name for name in _SECRETS if os.environ.get(name)]
    if as_json:
        answer = {name: {"value": value, "origin": origin} for name, (value, origin) in values.items()}
        sys.stdout.write(json.dumps({"settings": answer, "secrets": secrets}) + "\n")
        return
    width = max(map(len, SETTINGS))
    for name, (value, origin) in values.items():
        text = ", ".join(value) if isinstance(value, list) else "-" if value is None else str(value)
        typer.echo(printable(f"{name:{width}}  {text or '-'}  ({origin})"))
    for name in secrets:
        typer.echo(f"{'':{width}}  variable {name} is set, and not shown")
