"""`fedpact model`: the models that rounds published."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.options import READING, STORES, AsJson, with_settings
from fedpact.cli.rounds import the_round
from fedpact.errors import FedpactError, StoreError
from fedpact.settings import Settings

if TYPE_CHECKING:
    from fedpact.artifacts.weights import Layout
    from fedpact.ledger.view import Round, View
    from fedpact.store.blocks import Blocks
    from fedpact.store.cid import Cid
    from fedpact.store.unixfs import File

model_group = typer.Typer(help="The models that rounds published.", no_args_is_help=True, rich_markup_mode=None)
_Number = Annotated[
    int | None,
    typer.Option("--round", metavar="N", help="The round that published it; else the last that stands.", min=1),
]


@model_group.command()
@with_settings(*READING, *STORES)
def get(
    settings: Settings,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The safetensors file to write.")],
    number: _Number = None,
    name: Annotated[
        str | None, typer.Option("--tensor", metavar="NAME", help="Only this tensor, in a file of its own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a published model to a file, every block of it verified.

    A whole model goes on where an earlier try was cut off: what that left beside FILE, as .FILE.partial, is hashed, and
    only the rest is fetched. For a tensor only its blocks are read, and those with the header. Whether a model follows
    from the members' updates is what `fedpact audit` answers.

    \b
    Examples:
      fedpact model get -o model.safetensors
      fedpact model get --round 3 --tensor encoder.weight -o weight.safetensors
    """
    from fedpact.artifacts.slices import check_header, tensor_file, tensor_named
    from fedpact.artifacts.weights import Layout
    from fedpact.cli.connection import open_blocks
    from fedpact.files import replacing
    from fedpact.store.download import download

    published = _published(settings, number)
    with closing(open_blocks(settings, writable=False)) as blocks:
        file, layout = _open(published, blocks)
        kept, size = 0, file.size
        try:
            if name is None:
                kept = download(file, output, lambda index, leaf: check_header(file, layout, index, leaf))
            else:
                tensor = tensor_named(layout, name)
                size = Layout([tensor]).size
                with replacing(output) as written, closing(tensor_file(file, layout, tensor)) as pieces:
                    for piece in pieces:
                        written.write(piece)
        except OSError as error:
            raise StoreError(f"{output}: cannot be written: {error.strerror}") from None
        read = {name: each.bytes_read for name, each in blocks.moved.items()}
    answer = {**published.summary(), "output": str(output), "bytes": size, "kept": kept, "read": read}
    if as_json:
        sys.stdout.write(json.dumps(answer) + "\n")
        return
    published.say()
    typer.echo(f"output: {output}, {size:,} bytes" + (f", {kept:,} of them from before" if kept else ""))


@model_group.command()
@with_settings(*READING, *STORES)
def show(settings: Settings, number: _Number = None, as_json: AsJson = False) -> None:
    """Show what a published model is: its round, its address, its tensors.

    \b
    Example:
      fedpact model show --round 3
    """
    from fedpact.cli.connection import open_blocks

    published = _published(settings, number)
    with closing(open_blocks(settings, writable=False)) as blocks:
        file, layout = _open(published, blocks)
    answer = {
        **published.summary(),
        "bytes": file.size,
        "tensors": [
            {"name": each.name, "dtype": each.dtype, "shape": list(each.shape), "bytes": each.nbytes}
            for each in layout.tensors
        ],
    }
    if as_json:
        sys.stdout.write(json.dumps(answer) + "\n")
        return
    published.say()
    typer.echo(f"bytes: {file.size:,}")
    for each in layout.tensors:
        typer.echo(f"tensor: {each.name}, {each.dtype} {list(each.shape)}, {each.nbytes:,} bytes")


@dataclass(frozen=True, slots=True)
class _Published:
    """A published model.

    Attributes:
        round: the round that published it.
        model: its address.
        stands: whether the next round builds on it; a rewind disowns those that it goes back behind.
    """

    round: Round
    model: Cid
    stands: bool

    def summary(self) -> dict[str, Any]:
        """As a program reads it."""
        return {"round": self.round.number, "model": str(self.model), "stands": self.stands}

    def say(self) -> None:
        """As a person reads it."""
        typer.echo(f"round: {self.round.number}{'' if self.stands else ', disowned by a rewind'}")
        typer.echo(f"model: {self.model}")


def _published(settings: Settings, number: int | None) -> _Published:
    from fedpact.cli.connection import open_follower, open_ledger

    with closing(open_ledger(settings)) as ledger:
        return _choose(open_follower(ledger).refresh(), number)


def _choose(view: View, number: int | None) -> _Published:
    """The round whose model is wanted.

    Raises:
        FedpactError: it published none.
    """
    from fedpact.overview import standing

    stand = standing(view)
    if number is None:
        if not stand:
            raise FedpactError("model: no round has published one that stands; the first model is the genesis")
        number = stand[0].number
    found = the_round(view, number)
    if found.model is None:
        raise FedpactError(f"round {number}: expected a published model, found that the round is {found.status.value}")
    return _Published(found, found.model, any(each.number == number for each in stand))


def _open(published: _Published, blocks: Blocks) -> tuple[File, Layout]:
    """The file of a model, and its layout by the charter of its round.

    Raises:
        FedpactError: the store lacks the charter or a block, or has others.
    """
    from fedpact.artifacts import charter as charters
    from fedpact.store.unixfs import open_file

    layout = charters.fetch(blocks, published.round.charter).layout()
    return open_file(blocks, published.model, layout.size), layout
