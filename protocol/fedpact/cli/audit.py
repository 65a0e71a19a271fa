"""`fedpact audit`."""

from __future__ import annotations

import json
import re
import secrets
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.bar import rounds_bar
from fedpact.cli.options import (
    ALL_PROCESSORS,
    FEDERATION,
    AsJson,
    Head,
    Threads,
    check_at_once,
    checking,
    trusted_head,
    with_settings,
)
from fedpact.errors import InputError, Interrupted, InvalidDocument, StoreError
from fedpact.settings import Settings

if TYPE_CHECKING:
    from fedpact.audit import Audited, RoundAudit
    from fedpact.store.cid import Cid


@with_settings(*FEDERATION)
def audit(
    settings: Settings,
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="A directory that a simulation left, or a copy of it; else the contract on its chain."
        ),
    ] = None,
    head: Head = None,
    first: Annotated[
        int | None, typer.Option("--from", metavar="R", help="Derive no round before this one. All else is checked.")
    ] = None,
    last: Annotated[int | None, typer.Option("--to", metavar="R", help="Derive no round after this one.")] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Derive this share of each model's blocks, drawn at random, at least one. What was altered in a share "
            "t of them stays unseen with probability (1 - t)^n for n blocks. A rule that surveys still reads "
            "everything.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Draw the blocks that an earlier --sample drew. It said the seed.")
    ] = None,
    threads: Threads = ALL_PROCESSORS,
    jobs: Annotated[int, typer.Option(metavar="N", help="Rounds to work on at once; each takes T threads.")] = 1,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep here what was reproduced, and do not derive that again. It is believed: a file of your own, not "
            "in DIR, as whoever gave you that could have put one there.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report here, and print its address to attest with.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Derive every published model again, from the ledger and the store alone.

    The ledger is that of DIR, with the artifacts in DIR or in the stores that --store names; or it is that of the
    contract behind --rpc and --contract, with the artifacts in the stores of the settings.

    Exit code 0: every model was reproduced, bit for bit. 1: something differs, and what. 2: something could not be
    checked, and why. With --from, --to and --sample this is said of these rounds, of these blocks, and of the record as
    a whole.

    \b
    Examples:
      fedpact audit fedpact-runs/digits-1 --head 0x5f…
      fedpact audit --rpc http://127.0.0.1:8545 --contract federation.deployment.json --store gateway+http://127.0.0.1:9001
      fedpact audit fedpact-runs/digits-1 --from 10 --to 12
      fedpact audit fedpact-runs/digits-1 --sample 0.05
      fedpact audit fedpact-runs/digits-1 --jobs 2 --resume my-audit.jsonl --report my-report.json
    """
    from fedpact.audit import Scope
    from fedpact.audit.progress import ProgressFile
    from fedpact.audit.report import report as reported
    from fedpact.cli.chain import audit_chain
    from fedpact.cli.connection import stores_of
    from fedpact.store.unixfs import address
    from fedpact.workdir import audit_directory

    done = total = 0

    with checking(directory or "audit"):
        check_at_once("threads", threads)
        check_at_once("jobs", jobs)
        trusted = trusted_head(head) or (settings.head if directory is None else None)
        scope = Scope(1 if first is None else first, last, *_sample(sample, seed))
        _check_files(directory, resume, report)
        memory = None if resume is None else ProgressFile(resume)
        try:
            with rounds_bar(wanted=not as_json) as bar:

                def progress(rounds: int, of: int) -> None:
                    nonlocal done, total
                    done, total = rounds, of
                    bar(rounds, of)

                asked: dict[str, Any] = {
                    "trusted_head": trusted,
                    "scope": scope,
                    "threads": threads,
                    "jobs": jobs,
                    "memory": memory,
                }
                if directory is None:
                    found = audit_chain(settings, progress=progress, **asked)
                else:
                    with stores_of(settings) as blocks:
                        found = audit_directory(directory, progress=progress, blocks=blocks, **asked)
        except Interrupted as error:
            raise Interrupted(error.exit_code - 128, _interrupted(done, total, resume, scope.sample)) from None
        finally:
            if memory is not None:
                memory.close()
    cid: Cid | None = None
    try:
        if report is not None:
            with checking(report):
                data = reported(found.identity, found.audit).encode()
                _write(report, data)
                cid = address(data)
    finally:  # An answer that took hours is given even where the report cannot be written.
        _answer(found, cid, as_json=as_json)
    raise typer.Exit(found.audit.exit_code)


def _sample(share: str | None, seed: int | None) -> tuple[Decimal | None, int]:
    """The share of the blocks to derive, and the seed to draw them with.

    Raises:
        InputError: it is no share, or there is a seed without one.
    """
    if share is None:
        if seed is not None:
            raise InputError("seed: expected with --sample, whose blocks it draws")
        return None, 0
    if not re.fullmatch(r"1|1\.0{1,18}|0?\.[0-9]{1,18}", share) or not Decimal(share):
        raise InputError(f"sample: expected a decimal number above 0, at most 1, found {share[:80]!r}")
    if Decimal(share) == 1:
        return None, 0
    return Decimal(share), secrets.randbits(64) if seed is None else seed


def _answer(found: Audited, report: Cid | None, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(summary(found) | ({} if report is None else {"report": str(report)})) + "\n")
        return
    show(found)
    if report is not None:
        typer.echo(f"report: {report}")


def _interrupted(done: int, total: int, resume: Path | None, sample: str | None) -> str:
    if not total:
        return "interrupted before the first round"
    if sample is not None and resume is None:
        return f"interrupted after {done} of {total} rounds"
    if resume is None:
        return f"interrupted after {done} of {total} rounds; with --resume FILE the next audit would not start anew"
    return f"interrupted after {done} of {total} rounds; what was reproduced is in {resume}: the same command goes on"


def _check_files(directory: Path | None, resume: Path | None, report: Path | None) -> None:
    """Whether the auditor's own files can be what they are to be.

    Raises:
        InputError: one cannot.
    """
    if resume is not None and directory is not None and resume.resolve().is_relative_to(directory.resolve()):
        raise InputError(f"resume {resume}: expected a file outside {directory}, which could have brought one along")
    if report is not None and resume is not None and resume.resolve() == report.resolve():
        raise InputError(f"report {report}: expected another file than that of --resume")
    if report is not None:
        _check_place(report)


def _check_place(path: Path) -> None:
    """Whether a report can be written there. What is no report is not written over.

    Raises:
        InputError: it cannot, or there is something else.
    """
    from fedpact.artifacts import report as reports
    from fedpact.files import check_can_be_made

    try:
        if path.exists():
            if not path.is_file():
                raise InputError(f"report {path}: expected a file, or none yet; found something that is no file")
            with path.open("rb") as file:
                reports.decode(file.read(reports.MAX_BYTES + 1))
        check_can_be_made(path)
    except OSError as error:
        raise InputError(f"report {path}: {error.strerror}") from None
    except InvalidDocument as error:
        raise InputError(f"report {path}: expected an earlier report, or no file; found another: {error}") from None


def _write(path: Path, data: bytes) -> None:
    """Writes the report.

    Raises:
        StoreError: it cannot be written.
    """
    from fedpact.files import write_atomically

    try:
        write_atomically(path, data)
    except OSError as error:
        raise StoreError(f"report {path}: cannot be written: {error.strerror}") from error


def summary(directory: Audited) -> dict[str, Any]:
    """An audit as a program reads it."""
    found = directory.audit
    return {
        "rounds": len(found.published),
        "cancelled": found.cancelled,
        "from": found.scope.first,
        "to": found.scope.last,
        "sample": found.scope.sample,
        "seed": None if found.scope.sample is None else str(found.scope.seed),
        "asked": len(found.rounds),
        "remembered": found.remembered,
        "reproduced": found.reproduced,
        "agreeing": found.agreeing,
        "ok": found.exit_code == 0,
        "verdict": found.verdict.value,
        "record": directory.is_record,
        "head": "0x" + found.head.hex(),
        "anchored": found.anchored,
        "attested": found.attested,
        "disputed": found.disputed,
        "blocks": {
            str(each.number): {"derived": each.derived, "of": each.blocks, "surveyed": each.surveyed}
            for each in found.rounds
        },
        "asserted": {str(each.number): each.asserted for each in found.rounds if each.asserted},
        "findings": [
            {"round": each.round, "what": each.what, "ledger": each.ledger, "derived": each.derived}
            for each in found.all_findings
        ],
        "unchecked": found.all_unchecked,
    }


def show(directory: Audited) -> None:
    """An audit as a person reads it."""
    from rich.console import Console
    from rich.table import Table

    found, console = directory.audit, Console()
    if found.rounds:
        table = Table(box=None, header_style="bold")
        for name in ("round", "included", "excluded", "asserted", "model", "verdict"):
            table.add_column(name, justify="left" if name in ("model", "verdict") else "right", no_wrap=True)
        for each in found.rounds:
            counts = (each.number, _included(each), len(each.rejected), len(each.asserted))
            verdict_shown = "reproduced before" if each.remembered else each.verdict.value
            table.add_row(*map(str, counts), short(str(each.model)), verdict_shown)
        console.print(table)
    here = [
        f"round {each.number}: the update of member {index} was left out as unavailable, and is here"
        for each in found.rounds
        for index in each.present
    ]
    lines = [f"- {line}" for line in (*map(str, found.all_findings), *found.all_unchecked, *here)]
    for line in (*lines, verdict(directory), f"head: 0x{found.head.hex()}"):
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _included(each: RoundAudit) -> str:
    """How many updates the model is made of; of how many, where the charter selected."""
    total = each.included + len(each.rejected) + len(each.asserted) + each.not_selected
    return f"{each.included} of {total}" if each.not_selected else str(each.included)


def verdict(directory: Audited) -> str:
    """The answer in one sentence."""
    found = directory.audit
    parts = [f"{found.reproduced} of {len(found.rounds)} models reproduced bit for bit"]
    if found.scope.sample is not None:
        derived = sum(each.derived for each in found.rounds)
        blocks = sum(each.blocks for each in found.rounds)
        parts = [
            f"a sample of {found.agreeing} of {len(found.rounds)} models agrees bit for bit",
            f"{derived} of {blocks} blocks derived, at least a share of {found.scope.sample} of each",
            f"--seed {found.scope.seed} draws them again",
        ]
        surveyed = sum(each.surveyed for each in found.rounds)
        if surveyed:
            parts.append(f"what the rule surveys was read in full for {surveyed} of them")
    if not found.published and not found.findings:
        cancelled = f"{found.cancelled} round{' was' if found.cancelled == 1 else 's were'} cancelled"
        parts = [f"no round was published, so there is no model to reproduce; {cancelled}"]
    if found.remembered:
        parts.append(f"{found.remembered} of them by an earlier audit, not derived again")
    if not found.scope.is_everything:
        asked, published = len(found.rounds), len(found.published)
        parts.append(f"{found.scope} asked for: {asked} of {published} published rounds, the others were not derived")
    elsewhere = len(found.findings)
    if elsewhere:
        parts.append(f"{elsewhere} other finding{'s' if elsewhere > 1 else ''}")
    asserted = sum(len(each.asserted) for each in found.rounds)
    not_selected = sum(each.not_selected for each in found.rounds)
    if not_selected:
        parts.append(f"submissions that the charter did not select: {not_selected}")
    if asserted:
        parts.append(f"updates left out on the coordinator's word alone: {asserted}")
    if found.disputed:
        parts.append(f"members dispute a model: {found.disputed}")
    if not directory.finished:
        parts.append("the run did not finish")
    if not directory.is_record:
        parts.append("no record: a dry run within one process")
    elif found.anchored:
        parts.append("the record ends with the trusted head")
    elif not elsewhere:
        parts.append("the record is consistent in itself; --head would anchor it to a head that you trust")
    outcome = {0: "ok", 1: "DIFFERS", 2: "NOT CHECKED"}[found.exit_code]
    return f"audit: {outcome}: {'; '.join(parts)}"


def printable(line: str) -> str:
    """A line without what a terminal would obey: it may hold text from a hostile record."""
    return "".join(each if each.isprintable() else "?" for each in line)


def short(cid: str) -> str:
    """An address as it fits a table: its start and its end."""
    return f"{cid[:10]}…{cid[-6:]}"
