"""`fedpact simulate`."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fedpact.settings import PROCESSORS

if TYPE_CHECKING:
    from fedpact.audit import Audited

    from fedpact_simulation.federation import Simulation

RUNS = Path("fedpact-runs")
"""Where a run goes that was not told where."""


def simulate(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="digits, breast_cancer, diabetes, or the folder of a project.")
    ],
    silos: Annotated[int | None, typer.Option(metavar="N", help="Organisations that take part; otherwise 10.")] = None,
    rounds: Annotated[int | None, typer.Option(metavar="R", help="Rounds; otherwise the charter's.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Splits and shuffles the data.")] = 0,
    skew: Annotated[
        float | None, typer.Option(metavar="ALPHA", help="Deal the data out unevenly: Dirichlet, 0.1 is very uneven.")
    ] = None,
    ledger: Annotated[
        str, typer.Option(metavar="KIND", help="eth-tester (a real EVM) or memory (a dry run).")
    ] = "eth-tester",
    charter: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A charter (TOML) in place of the task's own.")
    ] = None,
    rule: Annotated[
        str | None, typer.Option(metavar="RULE", help="How updates become a model; fedpact rules lists them.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="What the rule has to be told: share=0.1, count=1.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="NAME", help="What is done to the updates before the rule: norm_clip.")
    ] = None,
    before_param: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="What that has to be told: bound=10, bound=median.")
    ] = None,
    optimiser: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Takes the rule's result for a step: fedavgm, fedadagrad, fedadam or fedyogi.",
        ),
    ] = None,
    optimiser_param: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="What it has to be told: learning_rate, momentum, beta1, beta2, tau."),
    ] = None,
    hostile: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="The last silo misbehaves: samples-huge, samples-negative, nan, shape; label-flip, sign-flip, noise, "
            "alie, inner-product, inner-product-large, zero or one-coordinate.",
        ),
    ] = None,
    hostile_silos: Annotated[
        int | None, typer.Option(metavar="N", help="So many of the last silos do; otherwise one.")
    ] = None,
    threads: Annotated[
        int, typer.Option(metavar="T", help="Done at once; changes no result.", show_default=PROCESSORS)
    ] = os.cpu_count() or 1,
    workdir: Annotated[
        Path | None, typer.Option(metavar="DIR", help=f"A new or empty directory; otherwise {RUNS}/TASK-1, -2, …")
    ] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE", help="Artifacts go here: a directory or a URL of a store; otherwise DIR/store."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Run a whole federation on this machine: real training, a real contract, an audit.

    A project is a folder as fedpact new makes it: its silos train with their own settings, trainers and data.

    Exit code 0: the charter's rounds are over, and the audit reproduced every model. 1: no round was published, or the
    audit found a difference. 2: something that was given cannot be used.

    \b
    Examples:
      fedpact simulate digits --silos 10 --rounds 20
      fedpact simulate diabetes --silos 2 --skew 0.5 --json
      fedpact simulate mine
      fedpact simulate digits --rule trimmed_mean --param share=0.2
      fedpact simulate digits --rule krum --param byzantine=1 --before norm_clip --before-param bound=median
      fedpact simulate digits --optimiser fedavgm --optimiser-param learning_rate=1 --optimiser-param momentum=0.9
      fedpact simulate digits --hostile nan
      fedpact simulate digits --rounds 3 --store kubo+http://127.0.0.1:5001
      fedpact simulate digits --rule median --hostile alie --hostile-silos 3
    """
    started = time.monotonic()
    # Only now: these bring numpy and pydantic. Whoever trains has the most to import, and begins.
    from fedpact_simulation import training

    with closing(training.start(threads, threads if silos is None else silos)) as started_training:
        from fedpact.errors import FedpactError, Interrupted
        from fedpact.store.opening import open_store
        from fedpact.workdir import audit_directory

        from fedpact_simulation import chain, report
        from fedpact_simulation.federation import Simulation
        from fedpact_simulation.setup import Workdir, prepare

        setup = prepare(
            task,
            silos=silos,
            rounds=rounds,
            seed=seed,
            skew=skew,
            ledger=ledger,
            charter=charter,
            rule=rule,
            parameters=param or (),
            before=before,
            before_parameters=before_param or (),
            optimiser=optimiser,
            optimiser_parameters=optimiser_param or (),
            hostile_kind=hostile,
            hostile_silos=hostile_silos,
            threads=threads,
        )
        school: training.Training = started_training
        if setup.project is not None:
            school = training.ProjectTraining(school, setup.silos)
        school.assign(setup.assignment)
        chain.load(ledger)
        initial = setup.start_from(school.initial())
        blocks = open_store(store, sync=False) if store else None
        directory = Workdir(workdir, RUNS / Path(task).resolve().name)
        done = 0
        try:
            with report.live(setup) as progress:
                simulation = Simulation(setup, school, initial, directory.path, progress, blocks=blocks)
                try:
                    simulation.run()
                finally:
                    done = len(simulation.reports)
            with closing(open_store(store, writable=False)) if store else nullcontext() as written:
                audited = audit_directory(directory.path, threads=threads, blocks=written)
            found = replace(audited, finished=True)
            answer = report.result(simulation, found, time.monotonic() - started)
            report.write(directory.path, answer)
        except Interrupted as error:
            left = f"{directory.path} can be audited up to there" if done else "nothing is left"
            raise Interrupted(error.exit_code - 128, f"interrupted after round {done}; {left}") from None
        finally:
            directory.sweep()
        if as_json:
            sys.stdout.write(json.dumps(answer) + "\n")
        elif simulation.reports:
            _show(simulation, found, directory.path, store or [])
    if not simulation.reports:
        raise FedpactError(f"no model was published: {simulation.ended}; {simulation.cancelled[-1]}")
    raise typer.Exit(found.audit.exit_code)


def _show(simulation: Simulation, found: Audited, directory: Path, stores: list[str]) -> None:
    """The run as a person reads it."""
    from fedpact.cli.audit import show, verdict
    from fedpact.settings import shown_url
    from rich.console import Console

    from fedpact_simulation import report

    console = Console()
    where = "".join(f" --store {shown_url(each) if '://' in each else each}" for each in stores)
    report.show(simulation, console)
    if found.audit.exit_code:
        show(found)
    lines = [f"ended: {simulation.ended}", f"model: {simulation.reports[-1].model}", verdict(found)]
    if found.is_record:
        lines.append(f"check it yourself: fedpact audit {directory}{where} --head 0x{found.audit.head.hex()}")
    else:
        lines.append(f"files: {directory}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
