"""`fedpact silo`."""

from __future__ import annotations

from typing import Annotated

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
    Poll,
    Rpc,
    SettingThreads,
    State,
    Store,
    Trainer,
    TrainerConfig,
    Verify,
    settings_from,
)

silo = typer.Typer(help="Train on your own data, submit updates, and see what became of them.", no_args_is_help=True)


@silo.command()
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
    charter: AcceptedCharter = None,
    trainer: Trainer = None,
    trainer_config: TrainerConfig = None,
    verify: Verify = None,
    threads: SettingThreads = None,
    poll: Poll = None,
    metrics: Metrics = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    config: Config = None,
) -> None:
    """Run a silo: in every round, train on your own data and submit the update, until the charter ends the federation.

    It may be stopped or killed at any moment, and started again: it continues from the ledger, the store and its
    journal. Under another charter than the accepted one it does nothing.

    Exit code 0: the federation is over, or SIGTERM asked it to stop. 130: Ctrl-C did. 1 or 2: it cannot run, and why.

    \b
    Examples:
      fedpact silo run --charter charter.toml --trainer fedpact_client.table:trainer --trainer-config ward-3.toml
      fedpact silo run --config fedpact.toml --trainer my_model:make
    """
    settings = settings_from(locals())
    from fedpact.cli.serving import serving

    from fedpact_client.serving import steps_of

    serving("silo", settings, steps_of(settings))


@silo.command()
def status(
    rpc: Rpc = None,
    contract: Contract = None,
    chain_id: ChainId = None,
    first_block: FirstBlock = None,
    confirmations: Confirmations = None,
    store: Store = None,
    key_file: KeyFile = None,
    state: State = None,
    account: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The silo's account; else that of the key file.")
    ] = None,
    last: Annotated[int, typer.Option(metavar="N", help="Only the last N rounds; 0 for all of them.")] = 20,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Say what became of a silo's work, round by round: did it count?

    Trained, stored, sent, on the ledger with how many confirmations, selected or why not, its weight in the model,
    published, and whether the model was derived again here.

    \b
    Examples:
      fedpact silo status --config fedpact.toml
      fedpact silo status --account 0x7099… --json
    """
    settings = settings_from(locals())
    from fedpact_client.serving import show_status

    show_status(settings, account, last, as_json=as_json)
