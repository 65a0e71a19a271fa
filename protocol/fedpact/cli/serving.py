"""A service from its settings to its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable

from fedpact.cli.asking import ask_password
from fedpact.cli.connection import open_blocks, open_ledger
from fedpact.errors import Interrupted
from fedpact.keys import read_account
from fedpact.ledger.entry_log import EntryLog
from fedpact.ledger.facts import address
from fedpact.ledger.port import Follower
from fedpact.service import logs
from fedpact.service.figures import Figures
from fedpact.service.instance import only_instance
from fedpact.service.loop import Outcome, run
from fedpact.service.station import Station
from fedpact.settings import Settings
from fedpact.version import fedpact_version

logger = logging.getLogger(__name__)


def serving(role: str, settings: Settings, steps: Callable[[Station], Callable[[], Outcome]]) -> None:
    """Runs a service until it is over, or somebody asks it to stop.

    Args:
        role: `coordinator` or `silo`.
        steps: makes of a station what takes the steps.

    Raises:
        FedpactError: it cannot run.
        Interrupted: with the exit code of the process; 0 where the system asked it to stop, as that is no failure.
    """
    logs.configure(settings.log_format, settings.log_level)
    account = read_account(settings.key_file, os.environ, ask_password, settings.password_file)
    own = address(account.address)
    with contextlib.ExitStack() as stack:
        stack.enter_context(only_instance(settings.state, own))
        blocks = stack.enter_context(contextlib.closing(open_blocks(settings)))
        ledger = stack.enter_context(
            contextlib.closing(open_ledger(settings, [account], journal=settings.state / f"{own}.sent"))
        )
        follower = Follower(ledger, memory=EntryLog(settings.state / f"{own}.entries.jsonl"))
        figures = Figures(role, own)
        if settings.metrics is not None:
            port = stack.enter_context(figures.served(*settings.metrics))
            logger.info("figures: http://%s:%d/metrics", settings.metrics[0], port)
        station = Station(ledger, own, blocks, follower, figures, by_charter=settings.confirmations is None)
        follower.refresh()
        station.follow_the_charter()
        identity = ledger.identity
        logger.info(
            "%s %s of %s on chain %d, fedpact %s", role, own, identity.contract, identity.chain_id, fedpact_version()
        )
        try:
            why = run(steps(station), poll=settings.poll, failed=figures.failed)
            logger.info("over: %s", why)
        except Interrupted as error:
            logger.info("stopped; nothing is lost, and the same command continues")
            if error.exit_code == 128 + signal.SIGTERM:
                error.exit_code = 0
            raise
