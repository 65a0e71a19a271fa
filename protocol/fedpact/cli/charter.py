"""`fedpact charter`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpact.cli.options import AsJson
from fedpact.errors import CharterError

if TYPE_CHECKING:
    from fedpact.artifacts.charter_check import Mistake

charter_group = typer.Typer(help="Charters: the rules that all agree to.", no_args_is_help=True, rich_markup_mode=None)
_MOST_LINES = 100


@charter_group.callback()
def _charter() -> None:
    pass


@charter_group.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A charter as TOML.")], as_json: AsJson = False
) -> None:
    """Explain a charter back in words, or name every mistake in it with its line.

    Exit code 0: it is a charter, and everything it names is installed here. 2: it is not, and why.

    \b
    Example:
      fedpact charter check charter.toml
    """
    from fedpact.artifacts.charter_check import check as checked
    from fedpact.artifacts.charter_words import describe
    from fedpact.cli.audit import printable
    from fedpact.store.unixfs import address

    charter, mistakes = checked(file)
    if charter is None or mistakes:
        _refuse(file, mistakes, as_json=as_json)
        return
    cid, lines = address(charter.encode()), describe(charter)
    if as_json:
        answer = {"ok": True, "cid": str(cid), "words": dict(lines), "charter": charter.model_dump(exclude_none=True)}
        sys.stdout.write(json.dumps(answer) + "\n")
        return
    width = max(len(name) for name, _ in lines) + 1
    for name, words in lines:
        typer.echo(printable(f"{name + ':':{width}} {words}"))
    typer.echo(f"{'cid:':{width}} {cid}")


def _refuse(file: Path, mistakes: list[Mistake], *, as_json: bool) -> None:
    from fedpact.cli.audit import printable

    if as_json:
        found = [{"line": each.line, "reason": each.reason} for each in mistakes]
        sys.stdout.write(json.dumps({"ok": False, "mistakes": found}) + "\n")
    else:
        for each in mistakes[:_MOST_LINES]:
            typer.echo(printable(f"{file}{'' if each.line is None else f', line {each.line}'}: {each.reason}"))
    more = f"; the first {_MOST_LINES} are above" if len(mistakes) > _MOST_LINES and not as_json else ""
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    raise CharterError(f"charter {file}: {count}{more}")
