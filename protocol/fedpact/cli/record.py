"""`fedpact record`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.options import READING, Place, directory_in, with_settings
from fedpact.errors import InputError, RecordDamaged, RecordInconsistent, StoreError
from fedpact.settings import Settings, with_rpc

if TYPE_CHECKING:
    from fedpact.chronicle import Step
    from fedpact.ledger.facts import Hash
    from fedpact.ledger.record import Record


@with_settings(*READING, "confirmations")
def record(
    settings: Settings,
    place: Place = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, with all addresses in full, nothing else.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Keep the record in this file and print none of it. As ledger.jsonl in a directory, beside store/ "
            "with the artifacts, it is audited when the chain is gone.",
        ),
    ] = None,
) -> None:
    """Print every entry of the ledger in order: who did what when, and what each hash builds on.

    A head is a hash over the whole record of the rounds; within a round a transcript is one over its submissions. Each
    is made of the one in the column before it: whoever knows the last knows that nothing before it was changed.

    Exit code 1: an entry cannot follow the ones before it; those of a directory are printed.

    \b
    Examples:
      fedpact record fedpact-runs/digits-1
      fedpact record http://127.0.0.1:8545 --contract federation.deployment.json --json
      fedpact record -o kept/ledger.jsonl && fedpact audit kept --store store
    """
    from fedpact.chronicle import chronicle
    from fedpact.cli.audit import short
    from fedpact.cli.rounds import table
    from fedpact.workdir import is_record

    read = _read(settings, place)
    if output is not None:
        _keep(read, output, as_json)
        return
    rows: list[tuple[str, ...]] = []
    try:
        for step in chronicle(read.identity, read.entries, str if as_json else lambda cid: short(str(cid))):
            if as_json:
                sys.stdout.write(json.dumps(_as_object(step)) + "\n")
            else:
                rows.append(_as_row(step))
    finally:  # Where an entry cannot be, those before it are of use all the same.
        if not as_json:
            table(("entry", "block", "time", "round", "who", "previous", "hash", "what"), rows)
    if not (as_json or is_record(read)):
        typer.echo("note: no record: a dry run within one process")


def _read(settings: Settings, place: str | None) -> Record:
    from fedpact.cli.chain import read_chain
    from fedpact.workdir import read_record

    directory = directory_in(place)
    if directory is not None:
        return read_record(directory)
    return read_chain(settings if place is None else with_rpc(settings, place))


def _keep(read: Record, path: Path, as_json: bool) -> None:
    """Writes the record into a file, if it holds. A node that withholds the last entries takes none from the file.

    Raises:
        InputError: there is something else than an earlier state of this record, or it is to be printed, too.
        RecordInconsistent: an entry cannot follow the ones before it.
        StoreError: it cannot be written.
    """
    from fedpact.ledger import record as records
    from fedpact.ledger.view import View

    if as_json:
        raise InputError("output: expected without --json, which prints the record")
    View(read.identity, read.entries)
    try:
        if path.exists():
            before = records.read(path)
            if (before.identity, before.entries) != (read.identity, read.entries[: len(before.entries)]):
                raise InputError(f"output {path}: expected an earlier state of this record, found another record")
        records.write(path, read)
    except (RecordDamaged, RecordInconsistent) as error:
        raise InputError(f"output {path}: expected an earlier state of this record, or no file: {error}") from None
    except OSError as error:
        raise StoreError(f"output {path}: cannot be written: {error.strerror}") from error
    typer.echo(f"{path}: {len(read.entries)} entries")


def _as_object(step: Step) -> dict[str, Any]:
    from fedpact.ledger.record import written

    return {
        **written(step.index, step.entry),
        "round": step.round,
        "who": step.who,
        "account": step.account,
        "what": step.what,
        "previous": _hexadecimal(step.previous),
        "hash": _hexadecimal(step.hash),
    }


def _as_row(step: Step) -> tuple[str, ...]:
    from fedpact.cli.rounds import utc

    return (
        str(step.index),
        str(step.entry.block),
        utc(step.entry.time),
        "-" if step.round is None else str(step.round),
        f"{step.who} {step.account[:6]}…{step.account[-4:]}",
        _short(step.previous),
        _short(step.hash),
        step.what,
    )


def _hexadecimal(value: Hash | None) -> str | None:
    return None if value is None else "0x" + value.hex()


def _short(value: Hash | None) -> str:
    return "-" if value is None else f"0x{value.hex()[:6]}…{value.hex()[-4:]}"
