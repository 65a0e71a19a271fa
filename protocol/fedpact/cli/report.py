"""`fedpact report`."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.bar import rounds_bar
from fedpact.cli.options import (
    ALL_PROCESSORS,
    FEDERATION,
    Head,
    Place,
    Threads,
    check_at_once,
    checking,
    directory_in,
    trusted_head,
    with_settings,
)
from fedpact.errors import InputError, LedgerError, StoreError
from fedpact.settings import Settings, with_rpc

if TYPE_CHECKING:
    from fedpact.audit import Audited
    from fedpact.ledger.record import Record
    from fedpact.report import Report
    from fedpact.report.facts import Measured
    from fedpact.store.blocks import Blocks

_STANDARD_OUTPUT = Path("-")
_FIRST_BYTES = b"<!DOCTYPE html>\n<html"


@with_settings(*FEDERATION)
def report(
    settings: Settings,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page; - for standard output.")],
    place: Place = None,
    head: Head = None,
    no_audit: Annotated[
        bool, typer.Option("--no-audit", help="Derive nothing again; the page says that no audit was made.")
    ] = False,
    threads: Threads = ALL_PROCESSORS,
    jobs: Annotated[int, typer.Option(metavar="N", help="Rounds to audit at once; each takes T threads.")] = 1,
) -> None:
    """Write a page about a federation's record: models, silos, updates left out, cost, heads, and an audit's verdict.

    One HTML file that needs no network and no script, for whoever should read the record and has no fedpact. Of a chain
    it says what the transactions cost; of a directory, what the run measured.

    Exit code 0: it is written, and the audit reproduced everything, or none was wanted. 1: it is written, and
    the audit found a difference, or something that could not be checked. 2: nothing is written, and why.

    \b
    Examples:
      fedpact report fedpact-runs/digits-1 -o report.html
      fedpact report http://127.0.0.1:8545 --contract federation.deployment.json -o report.html
      fedpact report fedpact-runs/digits-1 --no-audit -o - > report.html
    """
    from fedpact.report import page

    with checking(place or "report"):
        check_at_once("threads", threads)
        check_at_once("jobs", jobs)
        directory = directory_in(place)
        trusted = trusted_head(head) or (settings.head if directory is None else None)
        if no_audit and head is not None:
            raise InputError("head: expected without --no-audit, as an audit compares it")
        _check_place(output)
        asked: dict[str, Any] = {"trusted_head": trusted, "threads": threads, "jobs": jobs}
        if directory is not None:
            found = _of_directory(settings, directory, None if no_audit else asked)
        else:
            found = _of_chain(settings if place is None else with_rpc(settings, place), None if no_audit else asked)
        _write(output, page(found).encode())
    raise typer.Exit(0 if found.audited is None or found.audited.audit.exit_code == 0 else 1)


def _of_directory(settings: Settings, directory: Path, asked: dict[str, Any] | None) -> Report:
    from fedpact.cli.connection import stores_of
    from fedpact.report.run import measured
    from fedpact.store.directory import DirectoryBlocks
    from fedpact.workdir import STORE, audit_directory, is_record, read_record

    read = read_record(directory)
    audited = None
    place = str(directory) if directory.is_absolute() else ""
    with stores_of(settings) as named:
        blocks = DirectoryBlocks(directory / STORE) if named is None else named
        if asked is not None:
            with rounds_bar() as bar:
                audited = audit_directory(directory, read=read, progress=bar, blocks=blocks, **asked)
        return _gathered(read, blocks, measured(directory), audited, is_record(read), place)


def _of_chain(settings: Settings, asked: dict[str, Any] | None) -> Report:
    from fedpact.audit import Audited, audit
    from fedpact.cli.chain import read_chain, read_gas
    from fedpact.cli.connection import open_blocks
    from fedpact.report import gas
    from fedpact.report.facts import Measured

    with closing(open_blocks(settings, writable=False)) as blocks:
        read, audited = read_chain(settings), None
        if asked is not None:
            with rounds_bar() as bar:
                audited = Audited(audit(read.identity, read.entries, blocks, progress=bar, **asked), read.identity)
        try:
            cost = read_gas(settings, read)
            spent, elsewhere = gas.by_round(read.entries, cost)
            unknown = len({entry.transaction for entry in read.entries} - cost.keys())
            notes = (
                [f"gas: the node does not know {unknown} of the transactions; they are not counted"] if unknown else []
            )
            known = Measured(gas=spent, elsewhere=elsewhere, notes=notes)
        except LedgerError as error:  # The record stands without it.
            known = Measured(notes=[f"gas: {error}"])
        return _gathered(read, blocks, known, audited, True)


def _gathered(
    read: Record, blocks: Blocks, known: Measured, audited: Audited | None, is_record: bool, place: str = ""
) -> Report:
    from fedpact.cli.audit import verdict
    from fedpact.report import gather

    said = "" if audited is None else verdict(audited).split(": ", 2)[-1]
    return gather(read, blocks, is_record=is_record, measured=known, audited=audited, verdict=said, place=place)


def _check_place(path: Path) -> None:
    """Whether a page can be written there, before hours go into it. What is no page is not written over.

    Raises:
        InputError: it cannot, or there is something else.
    """
    from fedpact.files import check_can_be_made

    if path == _STANDARD_OUTPUT:
        return
    try:
        if path.exists():
            if not path.is_file():
                raise InputError(f"output {path}: expected a file, or none yet; found something that is no file")
            with path.open("rb") as file:
                if file.read(len(_FIRST_BYTES)) != _FIRST_BYTES:
                    raise InputError(f"output {path}: expected an earlier page, or no file; found something else")
        check_can_be_made(path)
    except OSError as error:
        raise InputError(f"output {path}: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    """Writes the page.

    Raises:
        StoreError: it cannot be written.
    """
    from fedpact.files import write_atomically

    if path == _STANDARD_OUTPUT:
        sys.stdout.buffer.write(data)
        return
    try:
        write_atomically(path, data)
    except OSError as error:
        raise StoreError(f"output {path}: cannot be written: {error.strerror}") from error
