"""`fedpact model`: the models that rounds published."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.options import READING, AsJson, with_settings
from fedpact.cli.rounds import the_round
from fedpact.errors import FedpactError, InputError, InvalidWeights, StoreError
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
@with_settings(*READING, "store")
def get(
    settings: Settings,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The safetensors file to write.")],
    number: _Number = None,
    tensor: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tensor, in a file of its own.")] = None,
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
    from fedpact.cli.connection import open_blocks
    from fedpact.files import check_can_be_made
    from fedpact.store.download import download

    published = _published(settings, number)
    with closing(open_blocks(settings, writable=False)) as blocks:
        file, layout = _open(published, blocks)

        def check(index: int, leaf: bytes) -> None:
            if not leaf.startswith(layout.header_in(index)):
                raise InvalidWeights(f"model {file.root}: header: not that of the charter's tensors")

        kept, written = 0, file.size
        try:
            check_can_be_made(output)
            if tensor is None:
                kept = download(file, output, check)
            else:
                written = _write_tensor(file, layout, tensor, output, check)
        except OSError as error:
            raise StoreError(f"{output}: cannot be written: {error.strerror}") from None
        read = {name: each.bytes_read for name, each in blocks.moved.items()}
    answer = {**published.summary(), "output": str(output), "bytes": written, "kept": kept, "read": read}
    if as_json:
        sys.stdout.write(json.dumps(answer) + "\n")
        return
    published.say()
    typer.echo(f"output: {output}, {written:,} bytes" + (f", {kept:,} of them from before" if kept else ""))


@model_group.command()
@with_settings(*READING, "store")
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


def _write_tensor(file: File, layout: Layout, name: str, output: Path, check: Callable[[int, bytes], None]) -> int:
    """Writes one tensor of a model as a file of its own; returns its bytes.

    Raises:
        InputError: the model has no such tensor.
    """
    from fedpact.artifacts.weights import Layout
    from fedpact.files import replacing
    from fedpact.store.unixfs import LEAF

    found = next((each for each in layout.tensors if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in layout.tensors)
        raise InputError(f"tensor {name[:80]!r}: expected one of the model's ({known[:200]}), found none")
    own, (start, stop) = Layout([found]), layout.place(found)
    # What the file's header says of the tensor's place must be true: the blocks with it are read, too.
    head = [file.leaf(index) for index in range(-(-len(layout.header) // LEAF))]
    for index, leaf in enumerate(head):
        check(index, leaf)
    first = b"".join(head)
    with replacing(output) as written:
        written.write(own.header)
        written.write(first[start:stop])
        for piece in file.pieces(max(start, len(first)), stop):
            written.write(piece)
    return own.size


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
    from fedpact.store.unixfs import open_file, read_small

    layout = charters.decode(read_small(blocks, published.round.charter, charters.MAX_BYTES)).layout()
    return open_file(blocks, published.model, layout.size), layout
