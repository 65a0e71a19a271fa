"""`fedpact config`."""

from __future__ import annotations

import json
import os
import sys

import typer

from fedpact.cli.options import (
    AcceptedCharter,
    AsJson,
    ChainId,
    Config,
    Confirmations,
    Contract,
    FirstBlock,
    KeyFile,
    LogFormat,
    LogLevel,
    MaxFee,
    Metrics,
    PasswordFile,
    Rpc,
    SettingThreads,
    State,
    Store,
    Trainer,
    TrainerConfig,
    TrustedHead,
    settings_from,
)
from fedpact.settings import SETTINGS, shown

config_group = typer.Typer(help="What commands are told, and by whom.", no_args_is_help=True, rich_markup_mode=None)
_SECRETS = ("FEDPACT_KEY", "FEDPACT_PASSWORD")


@config_group.callback()
def _config() -> None:
    pass


@config_group.command()
def show(
    rpc: Rpc = None,
    contract: Contract = None,
    chain_id: ChainId = None,
    first_block: FirstBlock = None,
    confirmations: Confirmations = None,
    store: Store = None,
    key_file: KeyFile = None,
    password_file: PasswordFile = None,
    state: State = None,
    max_fee: MaxFee = None,
    trainer: Trainer = None,
    trainer_config: TrainerConfig = None,
    charter: AcceptedCharter = None,
    threads: SettingThreads = None,
    metrics: Metrics = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    head: TrustedHead = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show every setting and where its value came from.

    Flags come first, then variables (FEDPACT_RPC, …), then fedpact.toml, then defaults. Of a URL only scheme, host and
    port are shown; keys and passwords never.

    \b
    Examples:
      fedpact config show
      fedpact config show --config silo.toml --rpc http://127.0.0.1:8545
    """
    from fedpact.cli.audit import printable

    settings = settings_from(locals())
    values = {name: (shown(name, getattr(settings, name)), settings.origin[name]) for name in SETTINGS}
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
