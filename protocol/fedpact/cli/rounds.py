"""`fedpact rounds` and `fedpact round`."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.options import READING, STORES, AsJson, with_settings
from fedpact.errors import InputError
from fedpact.settings import Settings

if TYPE_CHECKING:
    from fedpact.ledger.view import Round, View


@with_settings(*READING, *STORES)
def rounds(settings: Settings, as_json: AsJson = False) -> None:
    """List all rounds of a federation.

    The mean score is what the members say, weighted by the samples that they say; it needs the charter in the store.

    \b
    Example:
      fedpact rounds --rpc http://127.0.0.1:8545 --contract federation.deployment.json
    """
    from fedpact import overview
    from fedpact.cli.connection import open_blocks, open_follower, open_ledger

    with closing(open_ledger(settings)) as ledger, closing(open_blocks(settings, writable=False)) as blocks:
        follower = open_follower(ledger)
        view = follower.refresh()
        found = overview.rounds(view, follower.entries, overview.Documents(blocks))
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    rows = [
        (
            str(each["round"]),
            status(each),
            _short(each["base"]),
            f"{each['submissions']}/{each['expected']}",
            _short(each["model"]),
            each["mean_score"] or "-",
            utc(each["opened"]),
            utc(each["ended"]),
        )
        for each in found
    ]
    table(("round", "status", "base", "submitted", "model", "score", "opened", "ended"), rows)
    if any(each["submissions"] and not each["mean_score"] for each in found):
        typer.echo("note: scores need the charter, which is in none of the stores here (--store)")


@with_settings(*READING, *STORES)
def one_round(
    settings: Settings,
    number: Annotated[int, typer.Argument(metavar="N", help="The number of the round.", min=1)],
    as_json: AsJson = False,
) -> None:
    """Show one round in full: terms, every submission and what was decided about it, attestations.

    What was decided is in the manifest, out of the store.

    \b
    Example:
      fedpact round 3 --rpc http://127.0.0.1:8545 --contract federation.deployment.json
    """
    from fedpact import overview
    from fedpact.cli.connection import open_blocks, open_follower, open_ledger

    with closing(open_ledger(settings)) as ledger, closing(open_blocks(settings, writable=False)) as blocks:
        follower = open_follower(ledger)
        view = follower.refresh()
        found = overview.one_round(view, the_round(view, number), follower.entries, overview.Documents(blocks))
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        _show(found)


def the_round(view: View, number: int) -> Round:
    """A round by its number.

    Raises:
        InputError: there is none.
    """
    if number not in view.rounds:
        found = f"1 to {view.number}" if view.number else "no round so far"
        raise InputError(f"round {number}: expected one that was opened, found {found}; fedpact rounds lists them")
    return view.rounds[number]


def status(found: dict[str, Any]) -> str:
    """How a round stands or ended; a model that a rewind disowned is named so."""
    return "disowned" if found["status"] == "published" and not found["stands"] else str(found["status"])


def _show(found: dict[str, Any]) -> None:
    """A round as a person reads it."""
    from fedpact.cli.audit import printable

    terms = found["terms"]
    phases = [("register", "register_by"), ("commit", "commit_by"), ("submit", "submit_by"), ("publish", "publish_by")]
    deadlines = [f"{name} by {utc(terms[key])}" for name, key in phases if terms[key]]
    lines = [
        f"round: {found['round']}, {status(found)}",
        f"opened: {utc(found['opened'])}, by {found['opener']}",
        f"ended: {utc(found['ended'])}" + (f", published by {found['published_by']}" if found["published_by"] else ""),
        f"terms: {', '.join(deadlines)}; quorum {terms['quorum']}",
        f"charter: {found['charter']}",
        f"base: {found['base']}",
        f"submissions: {len(found['submissions'])} of {found['expected']}",
        f"model: {found['model'] or '-'}",
        f"manifest: {found['manifest'] or '-'}" + (f", rule {found['rule']}" if found["rule"] else ""),
        f"mean score: {found['mean_score'] or '-'}",
        f"head: {found['head']}",
    ]
    for line in lines:
        typer.echo(printable(line))
    rows = [
        (
            str(each["index"]),
            each["member"],
            f"{each['samples']:,}",
            each["score"],
            _short(each["update"]),
            _decision(each),
        )
        for each in found["submissions"]
    ]
    table(("member", "account", "samples", "score", "update", "decision"), rows)
    for each in found["attestations"]:
        outcome = "reproduced" if each["reproduced"] else "NOT REPRODUCED"
        typer.echo(f"attested: {outcome} by {each['member']}, report {each['report']}")
    for each in found["unread"]:
        typer.echo(printable(f"note: not read: {each}"))


def _decision(each: dict[str, Any]) -> str:
    if each["decision"] is None:
        return "-"
    if each["decision"] == "included":
        return f"included, weight {each['weight']:,}"
    reason = f" ({each['reason']})" if each["reason"] else ""
    detail = f": {each['detail']}" if each["detail"] else ""
    return f"{each['decision'].replace('_', ' ')}{reason}{detail}"


def _short(cid: str | None) -> str:
    from fedpact.cli.audit import short

    return "-" if cid is None else short(cid)


def utc(seconds: int | None) -> str:
    """A time of the ledger as people read it."""
    if seconds is None:
        return "-"
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # A chain may say any number of 40 bits.
        return f"{seconds} s"


_LEFT = (
    *("status", "account", "update", "decision", "base", "model", "opened", "ended", "kind", "address", "in stores"),
    *("time", "who", "previous", "hash", "what"),
)


def table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as what is in them: what reads them further need not fear a line that was broken."""
    from fedpact.cli.audit import printable

    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (names, *rows):
        cells = [
            f"{cell:<{width}}" if name in _LEFT else f"{cell:>{width}}"
            for name, cell, width in zip(names, row, widths, strict=True)
        ]
        typer.echo(printable("  ".join(cells).rstrip()))
