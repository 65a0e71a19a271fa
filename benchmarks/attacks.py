"""The final accuracy of every rule under every attack.

    python benchmarks/attacks.py [--rounds 20] [--seed 0] [--jobs 2] [--json FILE] [--write docs/attacks.md]

Every cell is a whole federation on the digits, with 10 silos of which the last 2 or 3 are hostile: the contract's rules
in memory, the store, manifests, and an audit that has to reproduce every model. Exit code: 0, or 1 where a run failed,
a rule does not hold what its paper claims, or the mean is not broken by what has to break it; 2 for a wrong option.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from command import Result, finish, positive
from fedpact import rules
from fedpact.cli.audit import verdict
from fedpact.workdir import audit_directory
from fedpact_simulation import hostile
from fedpact_simulation.federation import Simulation
from fedpact_simulation.setup import prepare
from fedpact_simulation.training import TrainingHere
from processes import RunFailed

TASK = "digits"
SILOS = 10
HOSTILE = (2, 3)
ATTACKS = (hostile.LABEL_FLIP, *hostile.ATTACKS)
SKEW = 0.3
HELD = 0.05
"""A rule that lost at most this much accuracy against its own run without an attack has held."""
BROKEN = 0.1
"""A rule that lost at least this much is broken."""
BREAKS_THE_MEAN = ("sign-flip", "noise", "inner-product-large", "one-coordinate")
UNCLAIMED = ("alie", "inner-product")
"""Attacks that were made to defeat the robust rules: what happens is measured, and nothing is asserted."""
BEGIN, END = "<!-- Made by `make attacks`. -->", "<!-- End of what it made. -->"


class Claim(Enum):
    """What is asserted of a rule where it has an answer for K updates and data are dealt out evenly."""

    WITHSTANDS = "holds under every attack but `UNCLAIMED`"
    FAILS = "is broken by `BREAKS_THE_MEAN`"
    NOTHING = "is measured"


@dataclass(frozen=True)
class Configuration:
    """One way to make models, told how many silos are hostile.

    Attributes:
        rule: its name in charters.
        parameters: what the charter says of it, given K and f.
        before: what the charter has done before it, and what it says of that.
    """

    name: str
    rule: str
    claim: Claim
    parameters: Callable[[int, int], Mapping[str, str | int]] = lambda silos, byzantine: {}
    before: tuple[str, Mapping[str, str]] | None = None

    def applies(self, silos: int, byzantine: int) -> bool:
        """Whether the rule has an answer for so many updates."""
        version = rules.RULES[self.rule].version
        return rules.make(self.rule, version, self.parameters(silos, byzantine)).fewest <= silos


def _byzantine(silos: int, byzantine: int) -> Mapping[str, str | int]:
    return {"byzantine": byzantine}


CONFIGURATIONS = (
    Configuration("fedavg", "fedavg", Claim.FAILS),
    # Yin et al. (2018): fewer than half of the updates are arbitrary.
    Configuration("median", "median", Claim.WITHSTANDS),
    Configuration("trimmed_mean", "trimmed_mean", Claim.WITHSTANDS, lambda silos, byzantine: {"count": byzantine}),
    # Blanchard et al. (2017): 2 f + 2 < K.
    Configuration("krum", "krum", Claim.WITHSTANDS, _byzantine),
    # Damaskinos et al. (2019): the same, and at most K - f - 2 are selected.
    Configuration(
        "multi_krum",
        "multi_krum",
        Claim.WITHSTANDS,
        lambda silos, byzantine: {"byzantine": byzantine, "selected": silos - byzantine - 2},
    ),
    # El Mhamdi et al. (2018): K >= 4 f + 3.
    Configuration("bulyan", "bulyan", Claim.WITHSTANDS, _byzantine),
    # Pillutla et al. (2022): arbitrary updates have less than half of all samples.
    Configuration(
        "geometric_median",
        "geometric_median",
        Claim.WITHSTANDS,
        lambda silos, byzantine: {"iterations": 8, "smoothing": "0.000001"},
    ),
    # Karimireddy et al. (2021) prove it for a tenth of the updates, with momentum in the silos.
    Configuration(
        "centered_clipping",
        "centered_clipping",
        Claim.NOTHING,
        lambda silos, byzantine: {"radius": "1", "iterations": 3},
    ),
    # Sun et al. (2019) measure it against backdoors; a mean of clipped updates still follows them.
    Configuration("norm_clip + fedavg", "fedavg", Claim.NOTHING, before=("norm_clip", {"bound": "median"})),
    # What is clipped is no less arbitrary, and no more updates are.
    Configuration("norm_clip + median", "median", Claim.WITHSTANDS, before=("norm_clip", {"bound": "median"})),
)
"""The rows of the table, each with the paper and the condition under which it claims to withstand arbitrary updates."""


@dataclass(frozen=True)
class Cell:
    """One federation.

    Attributes:
        told: how many hostile silos the rule is made for.
        attack: one of `ATTACKS`; none for no hostile silo.
        skew: as `fedpact simulate --skew`.
    """

    configuration: str
    told: int
    attack: str | None
    skew: float | None = None


Accuracies = Mapping[Cell, float]


def cells(skews: Iterable[float | None]) -> list[Cell]:
    """Every cell of the tables."""
    return [
        Cell(each.name, told, attack, skew)
        for skew in skews
        for told in HOSTILE
        for each in CONFIGURATIONS
        if each.applies(SILOS, told)
        for attack in (None, *ATTACKS)
    ]


def accuracy(cell: Cell, rounds: int, seed: int) -> float:
    """The accuracy of a federation's last model on the samples that all silos held out.

    Raises:
        RunFailed: an update was left out, or the audit does not reproduce the models.
    """
    (configuration,) = (each for each in CONFIGURATIONS if each.name == cell.configuration)
    before, before_parameters = configuration.before or (None, {})
    setup = prepare(
        TASK,
        silos=SILOS,
        rounds=rounds,
        seed=seed,
        skew=cell.skew,
        ledger="memory",
        rule=configuration.rule,
        parameters=_options(configuration.parameters(SILOS, cell.told)),
        before=before,
        before_parameters=_options(before_parameters),
        hostile_kind=cell.attack,
        hostile_silos=None if cell.attack is None else cell.told,
    )
    school = TrainingHere()
    school.assign(setup.assignment)
    with tempfile.TemporaryDirectory(prefix="fedpact-") as workdir:
        simulation = Simulation(setup, school, school.initial(), Path(workdir))
        simulation.run()
        found = audit_directory(Path(workdir), threads=1)
    if found.audit.exit_code:
        raise RunFailed(f"{cell}: {verdict(found)}")
    if len(simulation.reports) != rounds or any(each.excluded or each.refused for each in simulation.reports):
        raise RunFailed(f"{cell}: expected {rounds} rounds with the updates of all {SILOS} silos")
    return simulation.reports[-1].metrics[setup.metric]


def _options(parameters: Mapping[str, str | int]) -> list[str]:
    return [f"{name}={value}" for name, value in parameters.items()]


def measure(wanted: Iterable[Cell], rounds: int, seed: int, jobs: int) -> dict[Cell, float]:
    """The accuracy of every cell, several at a time.

    Raises:
        RunFailed: as `accuracy`.
    """
    ordered = list(wanted)
    found: dict[Cell, float] = {}
    # An interrupt reaches the whole group; the parent decides what it means.
    context, quiet = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(jobs, context, initializer=signal.signal, initargs=quiet) as pool:
        waiting = [pool.submit(accuracy, cell, rounds, seed) for cell in ordered]
        try:
            for cell, result in zip(ordered, waiting, strict=True):
                found[cell] = result.result()
                if len(found) % 10 == 0:
                    print(f"{len(found)} of {len(ordered)} federations", file=sys.stderr)
        finally:
            pool.shutdown(cancel_futures=True)
    return found


def lost(cell: Cell, accuracies: Accuracies) -> float:
    """What an attack cost: the accuracy without it less the one with it."""
    return accuracies[Cell(cell.configuration, cell.told, None, cell.skew)] - accuracies[cell]


def broken_claims(accuracies: Accuracies) -> list[str]:
    """What is not as it is claimed, in words. Of data that are dealt out unevenly nothing is claimed."""
    claims = {each.name: each.claim for each in CONFIGURATIONS}
    found = []
    for cell in accuracies:
        if cell.attack is None or cell.skew is not None:
            continue
        loss = lost(cell, accuracies)
        claim = claims[cell.configuration]
        what = f"{cell.configuration}, {cell.told} of {SILOS} silos, {cell.attack}"
        if claim is Claim.WITHSTANDS and cell.attack not in UNCLAIMED and loss > HELD:
            found.append(f"{what}: expected to lose {HELD} at most, found {loss:.3f}")
        if claim is Claim.FAILS and cell.attack in BREAKS_THE_MEAN and loss < BROKEN:
            found.append(f"{what}: expected to lose {BROKEN} at least, found {loss:.3f}")
    return found


def rows(accuracies: Accuracies, told: int, skew: float | None) -> Iterator[list[str]]:
    """A table: header, then a row for every configuration. A star marks what did not hold, a dash what cannot be."""
    yield ["rule", "no attack", *ATTACKS]
    for each in CONFIGURATIONS:
        row = [each.name]
        for attack in (None, *ATTACKS):
            cell = Cell(each.name, told, attack, skew)
            if cell in accuracies:
                row.append(f"{accuracies[cell]:.3f}" + ("*" if lost(cell, accuracies) > HELD else ""))
            else:
                row.append("—")
        yield row


def titles(accuracies: Accuracies) -> Iterator[tuple[str, int, float | None]]:
    """Every table's title, and which it is."""
    for skew in dict.fromkeys(cell.skew for cell in accuracies):
        for told in HOSTILE:
            dealt = "dealt out evenly" if skew is None else f"dealt out unevenly (Dirichlet, {skew})"
            yield f"{told} of {SILOS} silos hostile, data {dealt}", told, skew


def markdown(accuracies: Accuracies, rounds: int, seed: int) -> str:
    """The tables as they are in the documentation."""
    lines = [f"Accuracy after {rounds} rounds, seed {seed}."]
    for title, told, skew in titles(accuracies):
        header, *body = rows(accuracies, told, skew)
        lines += ["", f"**{title}**", "", _line(header), _line(["---", *["---:"] * (len(header) - 1)])]
        lines += [_line(row).replace("*", "\\*") for row in body]
    return "\n".join(lines)


def _line(row: Iterable[str]) -> str:
    return f"| {' | '.join(row)} |"


def show(accuracies: Accuracies) -> None:
    """Prints the tables."""
    for title, told, skew in titles(accuracies):
        table = list(rows(accuracies, told, skew))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        print(title)
        for name, *figures in table:
            cells = (f"{each:>{width}}" for each, width in zip(figures, widths[1:], strict=True))
            print(f"{name:{widths[0]}}  {'  '.join(cells)}")
        print()
    print(f"* more than {HELD} below the same rule without an attack; — the rule has no answer for so many silos")


def around(page: Path) -> tuple[str, str]:
    """What a page says before and after the tables, up to the markers and with them.

    Raises:
        RunFailed: it has no markers.
    """
    parts = re.fullmatch(f"(.*{re.escape(BEGIN)}\n).*({re.escape(END)}.*)", page.read_text("utf-8"), re.DOTALL)
    if parts is None:
        raise RunFailed(f"{page}: expected the lines {BEGIN} and {END}, found none")
    return parts[1], parts[2]


def write(page: Path, text: str) -> None:
    """Puts the tables between the markers of a page.

    Raises:
        RunFailed: as `around`.
    """
    before, after = around(page)
    page.write_text(f"{before}\n{text}\n\n{after}", "utf-8")


def result(accuracies: Accuracies, rounds: int, seed: int) -> dict[str, Any]:
    """The tables as a program reads them."""
    return {
        "task": TASK,
        "silos": SILOS,
        "rounds": rounds,
        "seed": seed,
        "cells": [
            {
                "rule": cell.configuration,
                "hostile_silos": cell.told if cell.attack else 0,
                "made_for": cell.told,
                "attack": cell.attack,
                "skew": cell.skew,
                "accuracy": figure,
            }
            for cell, figure in accuracies.items()
        ],
        "broken_claims": broken_claims(accuracies),
    }


def main() -> int:
    """Measures, prints, and returns the exit code."""
    parser = argparse.ArgumentParser(description="The final accuracy of every rule under every attack.")
    parser.add_argument("--rounds", type=positive, default=20, metavar="N", help="rounds of a federation")
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="splits and shuffles the data")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count(), metavar="N", help="federations at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between this page's markers")
    options = parser.parse_args()
    found: dict[Cell, float] = {}

    def compare() -> Result:
        if options.write is not None:
            around(options.write)  # Six minutes later would be late to find that out.
        found.update(measure(cells((None, SKEW)), options.rounds, options.seed, options.jobs))
        if options.write is not None:
            write(options.write, markdown(found, options.rounds, options.seed))
        return result(found, options.rounds, options.seed)

    return finish(compare, lambda _: show(found), lambda _: broken_claims(found), options.json)


def whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
