"""`fedpact coordinator`."""

from __future__ import annotations

import typer
from fedpact.cli.options import (
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
    Poll,
    Rpc,
    SettingThreads,
    State,
    Store,
    settings_from,
)

coordinator = typer.Typer(help="Open rounds, make models of updates, publish them.", no_args_is_help=True)


@coordinator.command()
def run(
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
    threads: SettingThreads = None,
    poll: Poll = None,
    metrics: Metrics = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    config: Config = None,
) -> None:
    """Run a coordinator until the charter ends the federation.

    It may be stopped or killed at any moment, and started again: it continues from the ledger and the store. A second
    one, with another appointed key, takes over where the first does not publish in time.

    Exit code 0: the federation is over, or SIGTERM asked it to stop. 130: Ctrl-C did. 1 or 2: it cannot run, and why.

    \b
    Examples:
      fedpact coordinator run --rpc http://127.0.0.1:8545 --contract federation.deployment.json --key-file key.json
      FEDPACT_PASSWORD=… fedpact coordinator run --config fedpact.toml --metrics 9464 --log-format json
    """
    settings = settings_from(locals())
    from fedpact.cli.serving import serving

    from fedpact_coordinator.service import CoordinatorService

    serving("coordinator", settings, lambda station: CoordinatorService(station, settings.threads).step)
