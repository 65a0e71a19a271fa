"""What a simulation says of itself: live, as a table, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedpact.audit import Audited
from fedpact.cli.audit import short, summary
from fedpact.errors import StoreError
from fedpact.files import write_atomically
from fedpact.workdir import RESULT
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fedpact_simulation.federation import RoundReport, Simulation
from fedpact_simulation.setup import Setup


class Live:
    """A progress bar on standard error, where somebody watches it."""

    def __init__(self, bar: Progress, setup: Setup) -> None:
        self._bar = bar
        self._metric = setup.metric
        self._task = bar.add_task("founding the federation", total=setup.charter.stop.rounds)

    def __call__(self, report: RoundReport) -> None:
        """Shows a round that ended."""
        gas = "" if report.gas is None else f", {report.gas:,} gas"
        score = f"{self._metric} {report.metrics[self._metric]:.4f}"
        text = f"{score}, {report.submitted} submissions{gas}, {short(str(report.model))}"
        self._bar.update(self._task, completed=report.number, description=text)


@contextmanager
def live(setup: Setup) -> Iterator[Live]:
    """A progress display for as long as the context lasts."""
    console = Console(stderr=True)
    columns = (
        TextColumn("round"),
        MofNCompleteColumn(),
        BarColumn(20),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Live(bar, setup)


def result(simulation: Simulation, found: Audited, seconds: float) -> dict[str, Any]:
    """The whole run as a program reads it."""
    setup, reports = simulation.setup, simulation.reports
    return {
        "task": setup.task,
        "silos": setup.silos,
        "seed": setup.seed,
        "ledger": setup.ledger,
        "hostile": setup.hostile,
        "hostile_silos": setup.hostile_silos,
        "record": found.is_record,
        "rounds": [
            {
                "round": each.number,
                "model": str(each.model),
                "manifest": str(each.manifest),
                "submissions": each.submitted,
                "excluded": [
                    {"silo": line.index, "member": line.member, "reason": line.reason, "detail": line.detail}
                    for line in each.excluded
                ],
                "not_selected": [line.index for line in each.not_selected],
                "refused": each.refused,
                "gas": {"open": each.opening, "submit": each.submissions, "publish": each.publication},
                "metrics": each.metrics,
            }
            for each in reports
        ],
        "cancelled": simulation.cancelled,
        "ended": simulation.ended,
        "model": str(reports[-1].model) if reports else None,
        "metrics": reports[-1].metrics if reports else {},
        "head": "0x" + found.audit.head.hex(),
        "audit": summary(found),
        "seconds": round(seconds, 3),
    }


def write(directory: Path, report: dict[str, Any]) -> None:
    """Writes the result as a whole.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        write_atomically(directory / RESULT, json.dumps(report, indent=1).encode() + b"\n")
    except OSError as error:
        raise StoreError(f"{directory / RESULT}: {error.strerror}") from error


def show(simulation: Simulation, console: Console) -> None:
    """The rounds as a table, and what went wrong in them."""
    table = Table(box=None, header_style="bold")
    selects = ("unselected",) if simulation.setup.charter.selection is not None else ()
    for name in ("round", simulation.setup.metric, "submissions", *selects, "left out", "gas", "model"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for each in simulation.reports:
        gas = "-" if each.gas is None else f"{each.gas:,}"
        out = str(len(each.excluded) + len(each.refused))
        table.add_row(
            str(each.number),
            f"{each.metrics[simulation.setup.metric]:.4f}",
            str(each.submitted),
            *([str(len(each.not_selected))] if selects else []),
            out,
            gas,
            short(str(each.model)),
        )
    console.print(table)
    for line in (*_troubles(simulation), *simulation.cancelled):
        console.print(f"- {line}", markup=False, highlight=False, soft_wrap=True)


def _troubles(simulation: Simulation) -> Iterator[str]:
    """Each thing once, with the rounds in which it happened."""
    rounds: dict[str, list[int]] = {}
    for each in simulation.reports:
        for line in each.excluded:
            rounds.setdefault(f"silo {line.index} excluded ({line.reason}): {line.detail}", []).append(each.number)
        for refused in each.refused:
            rounds.setdefault(f"refused: {refused}", []).append(each.number)
    for text, numbers in rounds.items():
        where = f"round {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} rounds, {numbers[0]} to {numbers[-1]}"
        yield f"{text} ({where})"
