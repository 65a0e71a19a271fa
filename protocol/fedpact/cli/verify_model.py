"""`fedpact verify-model`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.options import (
    FEDERATION,
    AsJson,
    Head,
    NotChecked,
    Place,
    checking,
    directory_in,
    trusted_head,
    with_settings,
)
from fedpact.errors import InputError
from fedpact.settings import Settings, with_rpc

if TYPE_CHECKING:
    from fedpact.audit.origin import Origin
    from fedpact.store.cid import Cid

_MOST_LINES = 20


@with_settings(*FEDERATION)
def verify_model(
    settings: Settings,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model that somebody handed you.")],
    place: Place = None,
    head: Head = None,
    as_json: AsJson = False,
) -> None:
    """Say which round published a model file, by its address and the record in DIR, or of the contract.

    Nothing is derived: whether the round's updates make this model is what `fedpact audit` answers.

    Exit code 0: a round published this very file, and no rewind disowned it. 1: none did, or it was disowned. 2: it
    could not be checked, and why.

    \b
    Examples:
      fedpact verify-model model.safetensors fedpact-runs/digits-1 --head 0x5f…
      fedpact verify-model model.safetensors http://127.0.0.1:8545 --contract federation.deployment.json
    """
    from fedpact.audit.origin import origin
    from fedpact.cli.chain import read_chain
    from fedpact.workdir import address_of, is_record, read_record

    with checking(file):
        directory = directory_in(place)
        trusted = trusted_head(head) or (settings.head if directory is None else None)
        if directory is not None:
            read = read_record(directory)
        else:
            read = read_chain(settings if place is None else with_rpc(settings, place))
        try:
            cid = address_of(file)
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}") from None
        found = origin(read.identity, read.entries, cid)
        if trusted is not None and found.head != trusted:
            raise NotChecked(f"head: expected 0x{trusted.hex()} (trusted), found 0x{found.head.hex()}")
    if as_json:
        answer = _summary(cid, found) | {"record": is_record(read), "anchored": trusted is not None}
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        _show(
            cid,
            found,
            "" if directory is None else f" {directory}",
            is_record=is_record(read),
            anchored=trusted is not None,
        )
    raise typer.Exit(0 if found.stands else 1)


def _summary(cid: Cid, found: Origin) -> dict[str, Any]:
    """The answer as a program reads it."""
    return {
        "ok": found.stands,
        "model": str(cid),
        "published": [
            {
                "round": each.round,
                "disowned": each.disowned and {"base_of": each.disowned.round, "before": each.disowned.before},
            }
            for each in found.publications
        ],
        "genesis": found.genesis,
        "submitted": [{"round": each.round, "index": each.index, "member": each.member} for each in found.submissions],
        "head": "0x" + found.head.hex(),
    }


def _show(cid: Cid, found: Origin, directory: str, *, is_record: bool, anchored: bool) -> None:
    """The answer as a person reads it."""
    from fedpact.cli.audit import printable

    lines = [str(each) for each in found.publications]
    if found.genesis:
        lines.append("the genesis: the model that the federation started from, which no round published")
    lines += map(str, found.submissions)
    more = len(lines) - _MOST_LINES
    shown = [f"- {line}" for line in lines[:_MOST_LINES]] + ([f"- and {more} more"] if more > 0 else [])
    standing = [each.round for each in found.publications if each.disowned is None]
    if standing:
        outcome = f"ok: published in round {standing[-1]}"
    elif found.publications:
        outcome = "DISOWNED: published, and taken back by a rewind"
    else:
        outcome = "NOT PUBLISHED: no round published this file"
    parts = [outcome]
    if not is_record:
        parts.append("no record: a dry run within one process")
    elif anchored:
        parts.append("the record ends with the trusted head")
    else:
        parts.append("the record is consistent in itself; --head would anchor it to a head that you trust")
    if standing:
        parts.append(f"to derive it: fedpact audit{directory} --from {standing[-1]} --to {standing[-1]}")
    for line in (f"model: {cid}", *shown, f"verify-model: {'; '.join(parts)}", f"head: 0x{found.head.hex()}"):
        typer.echo(printable(line))
