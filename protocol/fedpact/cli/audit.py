"""`fedpact audit`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fedpact.audit import Audit


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
    from fedpact.errors import FedpactError, InputError
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
    if as_json:
        sys.stdout.write(json.dumps(summary(found.audit, record=found.is_record)) + "\n")
    else:
        show(found.audit, record=found.is_record)
    raise typer.Exit(found.audit.exit_code)


def summary(found: Audit, *, record: bool) -> dict[str, Any]:
    """An audit as a program reads it."""
    return {
        "rounds": len(found.rounds),
        "reproduced": found.reproduced,
        "ok": found.exit_code == 0,
        "verdict": found.verdict.value,
        "record": record,
        "head": "0x" + found.head.hex(),
        "anchored": found.anchored,
        "attested": found.attested,
        "disputed": found.disputed,
        "asserted": {str(each.number): each.asserted for each in found.rounds if each.asserted},
        "findings": [
            {"round": each.round, "what": each.what, "ledger": each.ledger, "derived": each.derived}
            for each in found.all_findings
        ],
        "unchecked": found.unchecked
        + [f"round {each.number}: {each.unchecked}" for each in found.rounds if each.unchecked],
    }


def show(found: Audit, *, record: bool) -> None:
    """An audit as a person reads it."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(box=None, header_style="bold")
    for name in ("round", "included", "excluded", "asserted", "model", "verdict"):
        table.add_column(name, justify="left" if name in ("model", "verdict") else "right", no_wrap=True)
    for each in found.rounds:
        counts = (each.number, each.included, len(each.rejected), len(each.asserted))
        table.add_row(*map(str, counts), short(str(each.model)), each.verdict.value)
    console.print(table)
    for line in (*map(str, found.all_findings), *summary(found, record=record)["unchecked"]):
        console.print(f"- {line}", markup=False, highlight=False, soft_wrap=True)
    console.print(verdict(found, record=record), markup=False, highlight=False, soft_wrap=True)
    console.print(f"head: 0x{found.head.hex()}", markup=False, highlight=False, soft_wrap=True)


def verdict(found: Audit, *, record: bool) -> str:
    """The answer in one sentence."""
    of_all = f"{found.reproduced} of {len(found.rounds)} models reproduced bit for bit"
    outcome = {0: "ok", 1: "DIFFERS", 2: "NOT CHECKED"}[found.exit_code]
    if not record:
        basis = "no record: a dry run within one process"
    elif found.anchored:
        basis = "the record ends with the trusted head"
    else:
        basis = "the record is consistent in itself; --head would anchor it to a head that you trust"
    asserted = sum(len(each.asserted) for each in found.rounds)
    word = f"; {asserted} updates left out on the coordinator's word alone" if asserted else ""
    disputed = f"; members dispute {found.disputed} models" if found.disputed else ""
    return f"audit: {outcome}: {of_all}{word}{disputed}; {basis}"


def short(cid: str) -> str:
    """An address as it fits a table: its start and its end."""
    return f"{cid[:10]}…{cid[-6:]}"
