"""`fedpact store gc`, `check`, `repair`, `pin` and `unpin`: what stays in a store, and where everything is."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.options import FEDERATION, WRITING, AsJson, warn, with_settings
from fedpact.errors import InputError
from fedpact.settings import Settings, key_file

if TYPE_CHECKING:
    from fedpact.keeping import Artifact
    from fedpact.ledger.ethereum import EthereumLedger
    from fedpact.ledger.facts import Address as Account
    from fedpact.ledger.port import Follower
    from fedpact.overview import Documents
    from fedpact.presence import Presence
    from fedpact.store.cid import Cid
    from fedpact.upkeep import Tidied

_GRACE = 3600
_AHEAD = 3600  # Seconds that a chain may be ahead of the clock here before it is not believed.

Address = Annotated[str, typer.Argument(metavar="CID", help="The address of a file.")]


@with_settings(*FEDERATION, *WRITING)
def gc(
    settings: Settings,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    grace: Annotated[
        int,
        typer.Option(
            metavar="SECONDS", min=_GRACE, help="Leave what was written since: it may be of what is being written."
        ),
    ] = _GRACE,
    as_json: AsJson = False,
) -> None:
    """Let go of what a federation no longer needs: updates of rounds whose retention is over, as their charter says.

    They are unpinned in the store that is written to. From a directory, blocks are removed then that no pin leads to
    and that the ledger does not need; a node removes by itself what is not pinned, when its owner lets it. What is
    pinned otherwise stays: files that were added by hand, those of other federations, and updates that are in no model,
    but for those of the account here (the setting key_file). Where the ledger cannot be read, nothing is done; where a
    manifest cannot, the updates of its round stay.

    \b
    Examples:
      fedpact store gc --dry-run
      fedpact store gc --config fedpact.toml --json
    """
    from fedpact.cli.connection import open_blocks, open_ledger
    from fedpact.overview import Documents
    from fedpact.store.several import SeveralBlocks
    from fedpact.upkeep import survey_all, tidy

    began = time.time_ns()
    with closing(open_blocks(settings)) as blocks, closing(open_ledger(settings)) as ledger:
        documents = Documents(SeveralBlocks(blocks.stores, writable=False))
        follower, now = _read(settings, ledger, documents)
        found, hidden = survey_all(follower, documents, blocks.pinned(), _own(settings))
        done = tidy(blocks, found, now, began=began, grace=grace, dry_run=dry_run)
    if hidden:
        number, why = next(iter(hidden.items()))
        count = "1 manifest" if len(hidden) == 1 else f"{len(hidden):,} manifests"
        warn(
            f"{count} could not be read, of round {number}: {why}; the updates of the round stay, and what else its "
            "manifest names only where it is pinned"
        )
    if as_json:
        answer = {"dry_run": dry_run, **_as_json(done), "without_manifest": sorted(hidden)}
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        _say(done, dry_run=dry_run)


@with_settings(*FEDERATION)
def check(
    settings: Settings,
    first: Annotated[
        int | None, typer.Option("--from", metavar="R", min=1, help="Nothing that only earlier rounds need.")
    ] = None,
    last: Annotated[int | None, typer.Option("--to", metavar="R", min=1, help="Nothing of later rounds.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Read every block, not one of each artifact.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which store has what: each is asked for every artifact that the ledger names and the federation still needs.

    Of each artifact a block that is drawn at random is read and verified. A store that answers with it is a copy. It is
    a warning where there are fewer than the charter asks for (store.copies). Updates that are not as long as the model
    are not looked for: nothing is derived from them, and they may be of any length.

    Exit code 0: everything has a copy. 1: something has none. 2: something that was given cannot be used.

    \b
    Examples:
      fedpact store check --store store --store gateway+https://coordinator.example
      fedpact store check --from 10 --to 12 --full
    """
    from fedpact.cli.connection import open_blocks, open_ledger
    from fedpact.overview import Documents
    from fedpact.presence import look
    from fedpact.upkeep import survey

    with closing(open_blocks(settings, writable=False)) as blocks, closing(open_ledger(settings)) as ledger:
        documents = Documents(blocks)
        follower, now = _read(settings, ledger, documents)
        found = survey(follower, documents, first=first or 0, last=last)
        names = [each.name for each in blocks.stores]
        wanted = [each for each in found if each.limit and each.is_needed(now)]
        places = look(blocks.stores, wanted, full=full)
    gone = [each for each in places if each.artifact.derived_from and not each.copies]
    few = [each for each in places if each.copies < each.artifact.copies]
    if as_json:
        answer = {"ok": not gone, "stores": names, "without_copy": len(gone), "too_few": len(few)}
        sys.stdout.write(json.dumps({**answer, "artifacts": [_place_as_json(each) for each in places]}) + "\n")
    else:
        _show(names, places)
        total = "1 artifact is needed" if len(places) == 1 else f"{len(places):,} artifacts are needed"
        typer.echo(f"check: {total}; {len(gone):,} without a copy")
    if few:
        warn(f"{len(few):,} with fewer copies that answer than the charter asks for (store.copies)")
    raise typer.Exit(1 if gone else 0)


@with_settings(*FEDERATION, *WRITING)
def repair(settings: Settings, as_json: AsJson = False) -> None:
    """Get back what a federation needs and the store that is written to has lost: from the other stores.

    What no store has is derived again, where that is possible: models, manifests and states of optimisers, from the
    updates of their round. Each counts only where its address comes out. All of it is pinned. Exit code 1: something
    could not be brought back.

    \b
    Example:
      fedpact store repair --store store --store gateway+https://coordinator.example
    """
    from fedpact.cli.audit import printable
    from fedpact.cli.connection import open_blocks, open_ledger
    from fedpact.overview import Documents
    from fedpact.repair import repair as bring_back
    from fedpact.store.several import SeveralBlocks
    from fedpact.upkeep import survey

    with closing(open_blocks(settings)) as blocks, closing(open_ledger(settings)) as ledger:
        documents = Documents(SeveralBlocks(blocks.stores, writable=False))  # What it reads is not kept yet.
        follower, now = _read(settings, ledger, documents)
        needed = (each for each in survey(follower, documents) if each.limit and each.is_needed(now))
        wanted = [each for each in needed if each.derived_from]  # What was left out is in no model.
        done = bring_back(follower.view, wanted, blocks)
    if as_json:
        answer = {
            "ok": not done.lost,
            "whole": done.whole,
            "fetched": [_facts(each, each.size) for each in done.fetched],
            "derived": [_facts(each, each.size) for each in done.derived],
            "lost": [{**_facts(each, each.size), "why": why} for each, why in done.lost],
        }
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        for how, artifacts in (("fetched", done.fetched), ("derived again", done.derived)):
            for each in artifacts:
                typer.echo(f"{how}: {_named(each)}")
        for each, why in done.lost:
            typer.echo(printable(f"- lost: {_named(each)}: {why[:200]}"))
        counts = f"{done.whole:,} were whole, {len(done.fetched):,} fetched, {len(done.derived):,} derived again"
        typer.echo(f"repair: {counts}, {len(done.lost):,} lost")
    raise typer.Exit(1 if done.lost else 0)


@with_settings(*WRITING)
def pin(settings: Settings, address: Address) -> None:
    """Keep a file, until it is unpinned. What is missing of it is taken from the other stores.

    \b
    Example:
      fedpact store pin bafybei… --store store --store gateway+https://silo.example
    """
    from fedpact.cli.connection import open_blocks

    with closing(open_blocks(settings)) as blocks:
        blocks.pin(_parse(address))


@with_settings(*WRITING)
def unpin(settings: Settings, address: Address) -> None:
    """Do not insist on a file any longer. It goes with the next `gc`, unless the federation needs it.

    \b
    Example:
      fedpact store unpin bafybei…
    """
    from fedpact.cli.connection import open_blocks

    with closing(open_blocks(settings)) as blocks:
        blocks.unpin(_parse(address))


def _read(settings: Settings, ledger: EthereumLedger, documents: Documents) -> tuple[Follower, int]:
    """A follower that has read the ledger, and a time that has surely passed.

    Raises:
        LedgerError: the ledger cannot be read whole.
    """
    from fedpact.cli.connection import open_follower

    now = min(ledger.passed(), int(time.time()) + _AHEAD)  # What is removed cannot be brought back.
    follower = open_follower(ledger)
    view = follower.refresh()
    charter = documents.charter(view.charter if view.open_round is None else view.open_round.charter)
    if settings.confirmations is None and charter is not None and charter.ledger.confirmations:
        ledger.confirm_after(charter.ledger.confirmations)
        follower.refresh()
    return follower, now


def _own(settings: Settings) -> Account | None:
    """The account of the settings' key, which no password is asked for; none where it does not say."""
    from fedpact.keys import KEY, read_key, stated_address
    from fedpact.ledger.facts import address

    try:
        file = key_file(settings, os.environ)
        if file is not None:
            return stated_address(file)
        return address(read_key(os.environ[KEY], f"variable {KEY}").address) if os.environ.get(KEY) else None
    except InputError as error:
        warn(f"{error}; updates of its account that are in no model stay pinned")
        return None


def _parse(text: str) -> Cid:
    from fedpact.errors import InvalidCid
    from fedpact.store.cid import Cid

    try:
        return Cid.parse(text)
    except InvalidCid as error:
        raise InputError(str(error)) from None


def _named(each: Artifact) -> str:
    """An artifact in words."""
    silo = "" if each.silo is None else f", silo {each.silo}"
    return f"{each.kind}, round {each.round}{silo}, {each.cid}"


def _facts(each: Artifact, size: int | None) -> dict[str, Any]:
    return {"kind": each.kind.value, "round": each.round, "silo": each.silo, "cid": str(each.cid), "size": size}


def _as_json(done: Tidied) -> dict[str, Any]:
    return {
        "unpinned": [_facts(each, each.size) for each in done.unpinned],
        "needed": done.needed,
        "unknown": sorted(map(str, done.unknown)),
        "removed": {
            name: {"blocks": each.blocks, "bytes": each.size, "too_new": each.young}
            for name, each in done.collected.items()
        },
        "left_to_the_node": done.left,
    }


def _say(done: Tidied, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    for each in done.unpinned:
        size = "" if each.size is None else f", {each.size:,} bytes"
        typer.echo(f"{would}unpinned: {_named(each)}{size}")
    for name, removed in done.collected.items():
        young = f"; {removed.young:,} more are too new" if removed.young else ""
        typer.echo(f"{would}removed: {removed.blocks:,} blocks, {removed.size:,} bytes from {name}{young}")
    for name in done.left:
        typer.echo(f"{name}: its node removes by itself what is not pinned (ipfs repo gc)")
    typer.echo(
        f"gc: {len(done.unpinned):,} {would}unpinned; pinned as before: {done.needed:,} that the federation needs, "
        f"{len(done.unknown):,} others"
    )


def _place_as_json(each: Presence) -> dict[str, Any]:
    return {
        **_facts(each.artifact, each.size),
        "copies": each.copies,
        "wanted": each.artifact.copies,
        "derived_from": each.artifact.derived_from,
        "answers": [answer.state.value for answer in each.answers],
    }


def _show(names: list[str], places: list[Presence]) -> None:
    """A table, then what is wrong."""
    from fedpact.cli.audit import printable, short
    from fedpact.cli.rounds import table
    from fedpact.presence import State

    for number, name in enumerate(names, 1):
        typer.echo(printable(f"store {number}: {name}"))
    rows = []
    for each in places:
        artifact, where = each.artifact, [str(n) for n, a in enumerate(each.answers, 1) if a.state is State.WHOLE]
        rows.append(
            (
                artifact.kind.value,
                str(artifact.round or "-"),
                str(artifact.silo or "-"),
                "-" if each.size is None else f"{each.size:,}",
                short(str(artifact.cid)),
                f"{each.copies}/{artifact.copies}",
                " ".join(where) or "-",
            )
        )
    table(("kind", "round", "silo", "bytes", "address", "copies", "in stores"), rows)
    for each in places:
        wrong = [f"store {n}: {a.detail}" for n, a in enumerate(each.answers, 1) if a.state is not State.WHOLE]
        damaged = any(answer.state is State.DAMAGED for answer in each.answers)
        if not each.copies or damaged:
            excluded = "" if each.artifact.derived_from else " (nothing is derived from it)"
            typer.echo(printable(f"- {_named(each.artifact)}{excluded}: {'; '.join(wrong)}"))
