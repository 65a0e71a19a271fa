"""`fedpact store`: files in stores, and a store offered to others."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.options import READING, STORES, WRITING, AsJson, warn, with_settings
from fedpact.cli.upkeep import Address, check, gc, pin, repair, unpin
from fedpact.errors import InputError, Interrupted, StoreError
from fedpact.settings import Settings

if TYPE_CHECKING:
    from fedpact.store.serving.admission import Door
    from fedpact.store.several import SeveralBlocks
    from fedpact.store.unixfs import File

_LIMIT = 1 << 36  # 64 GiB.

store = typer.Typer(help="Put files into stores, get them out, offer a store to others.")
for command in (check, gc, repair, pin, unpin):
    store.command()(command)

Size = Annotated[
    int | None, typer.Option(metavar="BYTES", help="How long the file must be, where you know; at most 64 GiB if not.")
]


@store.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@store.command()
@with_settings("store", *READING, "log_format", "log_level")
def serve(
    settings: Settings,
    place: Annotated[
        str | None, typer.Argument(metavar="PLACE", help="The store; else the first of the settings.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Listen here; 0.0.0.0 for everyone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="The port; 0 for any that is free.")] = 8181,
    members: Annotated[
        bool, typer.Option("--members", help="Answer members, coordinators and the owner alone; needs a ledger.")
    ] = False,
    public_url: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="What others ask it by, where that is not where it listens.")
    ] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="Log each request.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when ready, nothing else.")] = False,
) -> None:
    """Offer a store's blocks to others, read only, until you stop it: a directory's, or what an IPFS node has itself.

    It is a trustless gateway of IPFS: whoever knows the address of a block gets it, whole or not at all, and checks it
    himself. There is no list of what is here. With --members a request counts that the key of an account signed which
    the ledger knows; it names this server as others ask it, so that must be said where it is not where it listens.

    \b
    Examples:
      fedpact store serve store --host 0.0.0.0 --port 8181
      curl http://127.0.0.1:8181/ipfs/bafkrei…?format=raw
      fedpact store serve store --host 0.0.0.0 --members --public-url https://silo.example
      fedpact store get bafkrei… -o file --store member+https://silo.example
    """
    import logging

    from fedpact.places import directory_of
    from fedpact.service import logs
    from fedpact.store.here import Here
    from fedpact.store.opening import open_store
    from fedpact.store.serving.server import BlockServer

    place = settings.need("store")[0] if place is None else place
    directory = directory_of(place)
    if directory is not None and not directory.exists():
        warn(f"{directory}: nothing there yet; whoever stores the first block makes it")
    elif directory is not None and not directory.is_dir():
        raise InputError(f"{directory}: expected a directory with blocks, found something else")
    with (
        _door(settings, members, host, public_url or []) as door,
        closing(open_store([place], writable=False)) as store,
    ):
        name = store.stores[0].name
        server = BlockServer(Here(store, name), host=host, port=port, access_log=access_log, door=door)
        stores = [f"{'member' if members else 'gateway'}+{url}" for url in public_url or [server.url]]
        try:
            if as_json:
                typer.echo(json.dumps({"url": server.url, "store": stores[0]}))
            else:
                typer.echo(f"serving {name} at {server.url}{', to members only' if members else ''}")
                typer.echo(f"others read it with --store {' or '.join(stores)}")
            sys.stdout.flush()
            logs.configure(settings.log_format, settings.log_level)
            if access_log:
                logging.getLogger("uvicorn.access").setLevel(logging.INFO)
            server.run()
        except Interrupted:
            pass  # That is how it ends.


@contextmanager
def _door(
    settings: Settings, members: bool, host: str, public_urls: list[str]
) -> Iterator[Callable[[str], Door] | None]:
    """What says whose requests are answered, of the URL where the server listens; nothing where everybody's are.

    Raises:
        InputError: a URL is none, or nobody said what others ask the server by.
        LedgerError: the ledger cannot be read.
    """
    if not (members or public_urls):
        yield None
        return
    from fedpact.store.serving.admission import Door, origin_of

    origins = [origin_of(url) for url in public_urls]
    if not members:
        yield None
        return
    if not origins and host in ("0.0.0.0", "::", ""):  # noqa: S104  # Nothing is bound here.
        raise InputError("members: expected --public-url URL, what others ask this server by, as a token names it")
    from fedpact.cli.connection import open_follower, open_ledger
    from fedpact.ledger.roll import Roll

    with closing(open_ledger(settings)) as ledger:
        roll = Roll(open_follower(ledger))
        roll.start()
        try:
            yield lambda url: Door(ledger.identity, origins or [origin_of(url)], roll)
        finally:
            roll.stop()


@store.command()
def cid(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Any file.")],
    as_json: AsJson = False,
) -> None:
    """Print the address of a file. Nothing is stored.

    \b
    Example:
      fedpact store cid model.safetensors
    """
    from fedpact.workdir import address_of

    with _file(file):
        found = address_of(file)
    _answer(str(found), {"cid": str(found), "size": file.stat().st_size}, as_json=as_json)


@store.command()
@with_settings(*WRITING)
def add(
    settings: Settings,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Any file.")],
    as_json: AsJson = False,
) -> None:
    """Put a file into a store and pin it; print its address.

    \b
    Examples:
      fedpact store add model.safetensors
      fedpact store add model.safetensors --store kubo+http://127.0.0.1:5001
    """
    from fedpact.store.disk_file import leaves_of
    from fedpact.store.unixfs import add_file

    with _opened(settings, writable=True) as blocks, _file(file), leaves_of(file) as (leaf, size):
        dag = add_file(blocks, leaf, size)
        blocks.pin(dag.root)
    _answer(str(dag.root), {"cid": str(dag.root), "size": size}, as_json=as_json)


@store.command()
@with_settings(*STORES)
def get(
    settings: Settings,
    address: Address,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to; replaced if it is there.")],
    size: Size = None,
    part: Annotated[
        str | None,
        typer.Option(
            "--range", metavar="A:B", help="Only the bytes from A to before B; from 0, or to the end, if left out."
        ),
    ] = None,
    block: Annotated[
        int | None, typer.Option(metavar="I", min=0, help="Only block I, of 1 MiB; the first is 0.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a file to the disk, each block verified. What other stores had is not kept in the first.

    A whole file goes on where an earlier try was cut off: what that left beside FILE, as .FILE.partial, is hashed, and
    only the rest is fetched. Of a part no other blocks are read.

    \b
    Examples:
      fedpact store get bafybei… -o model.safetensors --store store --store gateway+https://silo.example
      fedpact store get bafybei… -o header --range 0:1000
    """
    from fedpact.files import check_can_be_made, replacing
    from fedpact.store.download import download

    with _file(output):
        check_can_be_made(output)
    with _opened(settings, writable=False) as blocks:
        file = _find(blocks, address, size)
        span = _span(file, part, block)
        kept = 0
        with _file(output):
            if span is None:
                kept = download(file, output)
            else:
                with replacing(output) as target, closing(file.pieces(*span)) as pieces:
                    for piece in pieces:
                        target.write(piece)
        moved = {name: each.bytes_read for name, each in blocks.moved.items()}
    start, stop = span or (0, file.size)
    told = f"{output}: {stop - start} bytes" + (f", {kept} of them from before" if kept else "")
    facts = {"cid": str(file.root), "size": file.size, "file": str(output), "start": start, "stop": stop}
    _answer(told, {**facts, "kept": kept, "read": moved}, as_json=as_json)


@store.command()
@with_settings(*STORES)
def stat(settings: Settings, address: Address, size: Size = None, as_json: AsJson = False) -> None:
    """Say how long a file is and of how many blocks it consists. Its last block is read, the others are not.

    \b
    Example:
      fedpact store stat bafybei… --store gateway+https://silo.example
    """
    from fedpact.store.unixfs import build

    with _opened(settings, writable=False) as blocks:
        file = _find(blocks, address, size)
    leaves, nodes = len(file.leaves), len(build(file.leaves, file.size).nodes)
    told = f"{file.size} bytes in {leaves} {'leaf' if leaves == 1 else 'leaves'}, {nodes} inner nodes above"
    _answer(told, {"cid": str(file.root), "size": file.size, "leaves": leaves, "nodes": nodes}, as_json=as_json)


def _find(blocks: SeveralBlocks, address: str, size: int | None) -> File:
    """The file at an address.

    Raises:
        InputError: the address or the size is none.
        FedpactError: as `find_file` and `open_file`.
    """
    from fedpact.errors import InvalidCid
    from fedpact.store.cid import Cid
    from fedpact.store.foreign import explained
    from fedpact.store.unixfs import find_file, open_file

    try:
        root = Cid.parse(address)
    except InvalidCid as error:
        raise InputError(str(error)) from None
    if size is not None and not 0 <= size <= _LIMIT:
        raise InputError(f"size: expected 0 to {_LIMIT} bytes, found {size}")
    with explained(blocks, root):
        return find_file(blocks, root, _LIMIT) if size is None else open_file(blocks, root, size)


def _span(file: File, part: str | None, block: int | None) -> tuple[int, int] | None:
    """The bytes that are wanted; none where all are.

    Raises:
        InputError: the file has no such bytes, or both options were given.
    """
    from fedpact.store.unixfs import LEAF, leaf_size

    if block is not None:
        if part is not None:
            raise InputError("range, block: expected one of them, found both")
        if block >= len(file.leaves):
            raise InputError(f"block: expected 0 to {len(file.leaves) - 1}, found {block}")
        return block * LEAF, block * LEAF + leaf_size(file.size, block)
    if part is None:
        return None
    found = re.fullmatch(r"([0-9]{0,20}):([0-9]{0,20})", part)
    start, stop = (int(found[1] or 0), int(found[2] or file.size)) if found else (1, 0)
    if not start <= stop <= file.size:
        raise InputError(f"range: expected A:B with A up to B up to {file.size}, found {part[:80]!r}")
    return start, stop


@contextmanager
def _opened(settings: Settings, *, writable: bool) -> Iterator[SeveralBlocks]:
    from fedpact.cli.connection import open_blocks

    with closing(open_blocks(settings, writable=writable)) as blocks:
        yield blocks


@contextmanager
def _file(path: Path) -> Iterator[None]:
    """What a disk says about a file, in a line.

    Raises:
        StoreError: it cannot be read or written.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None


def _answer(told: str, facts: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(facts) if as_json else told)
