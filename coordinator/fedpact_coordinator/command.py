"""`fedpact coordinator`."""

from __future__ import annotations

import typer
from fedpact.cli.options import FEDERATION, SERVICE, with_settings
from fedpact.service.stopping import stoppable
from fedpact.settings import Settings

coordinator = typer.Typer(
    help="Open rounds, make models of updates, publish them.", no_args_is_help=True, rich_markup_mode=None
)


@coordinator.callback()
def _group() -> None:
    """Open rounds, make models of updates, publish them."""


@coordinator.command()
@with_settings(*FEDERATION, *SERVICE)
def run(settings: Settings) -> None:
    """Run a coordinator until the charter ends the federation.

    It may be stopped or killed at any moment, and started again: it continues from the ledger and the store. A second
    one, with another appointed key, takes over where the first does not publish in time.

    Exit code 0: the federation is over, or SIGTERM asked it to stop. 130: Ctrl-C did. 1 or 2: it cannot run, and why.

    \b
    Examples:
      fedpact coordinator run --rpc http://127.0.0.1:8545 --contract federation.deployment.json --key-file key.json
      fedpact coordinator run --config fedpact.toml --metrics 9464 --log-format json
    """
    with stoppable():
        from fedpact.cli.serving import serving

        from fedpact_coordinator.service import CoordinatorService

        serving("coordinator", settings, lambda station: CoordinatorService(station, settings.threads).step)
