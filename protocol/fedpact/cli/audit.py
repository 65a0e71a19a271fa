"""`fedpact audit`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.errors import FedpactError, InputError

if TYPE_CHECKING:
    from fedpact.audit import Audit
    from fedpact.workdir import DirectoryAudit


class NotChecked(FedpactError):
    """An audit that could not be carried out."""

    exit_code = 2


def audit(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A directory that a simulation left, or a copy of it.")
    ],
    head: Annotated[
        str | None, typer.Option(metavar="H", help="A head that you trust; the record must end with it.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Blocks to work on at once.")] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Derive every published model again, from the ledger and the store alone.

    Exit code 0: every model was reproduced, bit for bit. 1: something differs, and what. 2: something could not be
    checked, and why.

    \b
    Example:
      fedpact audit fedpact-runs/digits-1 --head 0x5f…
    """
    from fedpact.ledger.facts import Hash
    from fedpact.workdir import audit_directory

    try:
        if threads < 1:
            raise InputError(f"threads: expected 1 or more, found {threads}")
        trusted = None
        if head is not None:
            digits = head.removeprefix("0x")
            if len(digits) != 64 or not set(digits.lower()) <= set("0123456789abcdef"):
                raise InputError(f"head: expected 0x and 64 hexadecimal digits, found {head[:80]!r}")
            trusted = Hash(bytes.fromhex(digits))
        found = audit_directory(directory, trusted_head=trusted, threads=threads)
    except FedpactError as error:
        # Whatever keeps an audit from its answer is "could not be checked", never "differs".
        error.exit_code = max(2, error.exit_code)
        raise
    except (Exception, MemoryError) as error:
        raise NotChecked(f"{directory}: the audit itself failed: {type(error).__name__}: {error}") from error
    if as_json:
        sys.stdout.write(json.dumps(summary(found)) + "\n")
    else:
        show(found)
    raise typer.Exit(found.audit.exit_code)


def summary(directory: DirectoryAudit) -> dict[str, Any]:
    """An audit as a program reads it."""
    found = directory.audit
    return {
        "rounds": len(found.rounds),
        "reproduced": found.reproduced,
        "ok": found.exit_code == 0,
        "verdict": found.verdict.value,
        "record": directory.is_record,
        "head": "0x" + found.head.hex(),
        "anchored": found.anchored,
        "attested": found.attested,
        "disputed": found.disputed,
        "asserted": {str(each.number): each.asserted for each in found.rounds if each.asserted},
        "findings": [
            {"round": each.round, "what": each.what, "ledger": each.ledger, "derived": each.derived}
            for each in found.all_findings
        ],
        "unchecked": _unchecked(found),
    }


def show(directory: DirectoryAudit) -> None:
    """An audit as a person reads it."""
    from rich.console import Console
    from rich.table import Table

    found, console = directory.audit, Console()
    if found.rounds:
        table = Table(box=None, header_style="bold")
        for name in ("round", "included", "excluded", "asserted", "model", "verdict"):
            table.add_column(name, justify="left" if name in ("model", "verdict") else "right", no_wrap=True)
        for each in found.rounds:
            counts = (each.number, each.included, len(each.rejected), len(each.asserted))
            table.add_row(*map(str, counts), short(str(each.model)), each.verdict.value)
        console.print(table)
    here = [
        f"round {each.number}: the update of member {index} was left out as unavailable, and is here"
        for each in found.rounds
        for index in each.present
    ]
    lines = [f"- {line}" for line in (*map(str, found.all_findings), *_unchecked(found), *here)]
    for line in (*lines, verdict(directory), f"head: 0x{found.head.hex()}"):
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def verdict(directory: DirectoryAudit) -> str:
    """The answer in one sentence."""
    found = directory.audit
    parts = [f"{found.reproduced} of {len(found.rounds)} models reproduced bit for bit"]
    elsewhere = len(found.findings)
    if elsewhere:
        parts.append(f"{elsewhere} other finding{'s' if elsewhere > 1 else ''}")
    asserted = sum(len(each.asserted) for each in found.rounds)
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


def _unchecked(found: Audit) -> list[str]:
    return found.unchecked + [f"round {each.number}: {each.unchecked}" for each in found.rounds if each.unchecked]


def short(cid: str) -> str:
    """An address as it fits a table: its start and its end."""
    return f"{cid[:10]}…{cid[-6:]}"
