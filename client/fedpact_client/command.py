"""`fedpact silo`."""

from __future__ import annotations

from typing import Annotated

import typer
from fedpact.cli.options import FEDERATION, SERVICE, AsJson, with_settings
from fedpact.service.stopping import stoppable
from fedpact.settings import Settings

silo = typer.Typer(
    help="Train on your own data, submit updates, and see what became of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@silo.command()
@with_settings(*FEDERATION, "charter", "trainer", "trainer_config", "verify", *SERVICE)
def run(settings: Settings) -> None:
    """Run a silo: in every round, train on your own data and submit the update, until the charter ends the federation.

    It may be stopped or killed at any moment, and started again: it continues from the ledger, the store and its
    journal. Under another charter than the accepted one it does nothing. The trainer is yours:
    docs/how-to/your-own-model.md of the sources says what it gets and gives.

    Exit code 0: the federation is over, or SIGTERM asked it to stop. 130: Ctrl-C did. 1 or 2: it cannot run, and why.

    \b
    Examples:
      fedpact silo run --charter charter.toml --trainer fedpact_client.table:trainer --trainer-config ward-3.toml
      fedpact silo run --config fedpact.toml --trainer my_model:make
    """
    with stoppable():
        from fedpact.cli.serving import serving

        from fedpact_client.serving import steps_of

        serving("silo", settings, steps_of(settings))


@silo.command()
@with_settings(*FEDERATION, "key_file", "password_file", "state")
def status(
    settings: Settings,
    account: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The silo's account; else that of the key file.")
    ] = None,
    last: Annotated[int, typer.Option(metavar="N", min=0, help="Only the last N rounds; 0 for all of them.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Say what became of a silo's work, round by round: did it count?

    Trained, stored, sent, on the ledger with how many confirmations, selected or why not, its weight in the model,
    published, and whether the model was derived again here.

    \b
    Examples:
      fedpact silo status --config fedpact.toml
      fedpact silo status --account 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --json
    """
    from fedpact_client.serving import show_status

    show_status(settings, account, last, as_json=as_json)
