"""A service from its settings to its end."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fedpact.cli.asking import ask_password
from fedpact.cli.connection import open_blocks, open_ledger
from fedpact.errors import FedpactError, Interrupted
from fedpact.keys import read_account
from fedpact.ledger.entry_log import EntryLog
from fedpact.ledger.facts import address
from fedpact.ledger.port import Follower
from fedpact.service import logs
from fedpact.service.figures import Figures
from fedpact.service.instance import only_instance
from fedpact.service.loop import Outcome, run
from fedpact.service.station import Station
from fedpact.settings import Settings, key_file
from fedpact.version import fedpact_version

if TYPE_CHECKING:
    from fedpact.store.several import SeveralBlocks

logger = logging.getLogger(__name__)


def serving(role: str, settings: Settings, steps: Callable[[Station], Callable[[], Outcome]]) -> None:
    """Runs a service until it is over, or somebody asks it to stop.

    Args:
        role: `coordinator` or `silo`.
        steps: makes of a station what takes the steps.

    Raises:
        FedpactError: it cannot run.
        Interrupted: somebody asked it to stop.
    """
    logs.configure(settings.log_format, settings.log_level)
    try:
        why = _run(role, settings, steps)
    except Interrupted:
        logger.info("stopped; nothing is lost, and the same command continues")
        raise
    except FedpactError:
        raise
    except Exception as error:  # A mistake of ours, or of a package: one line, and whoever restarts it goes on.
        place = _place(error)
        raise FedpactError(f"{role}: unexpected {type(error).__name__} {place}: {str(error)[:200]}") from error
    logger.info("over: %s", why)


def _run(role: str, settings: Settings, steps: Callable[[Station], Callable[[], Outcome]]) -> str:
    """Everything between what a service is told and the reason of its end."""
    account = read_account(key_file(settings, os.environ), os.environ, ask_password, settings.password_file)
    own = address(account.address)
    with contextlib.ExitStack() as stack:
        stack.enter_context(only_instance(settings.state, own))
        blocks = stack.enter_context(contextlib.closing(open_blocks(settings, account=account)))
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
        stack.callback(_say_what_moved, blocks)
        return run(steps(station), poll=settings.poll, failed=figures.failed, went_well=station.took_step)


def _say_what_moved(blocks: SeveralBlocks) -> None:
    """What came from which store, once all is over: who gave what was fetched, and how much that was."""
    stores = ((name, moved.bytes_read, moved.bytes_written) for name, moved in blocks.moved.items())
    moved = [f"{name}: {read:,} bytes read, {written:,} written" for name, read, written in stores if read or written]
    logger.info("moved: %s", "; ".join(moved) or "nothing")


def _place(error: Exception) -> str:
    """Where an error was raised, for a bug report."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"in {Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}"
