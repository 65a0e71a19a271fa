"""The port to what a store has to keep: roots whose DAGs are not collected as long as they are pinned.

What a federation needs, and until when, is in `fedpact.keeping`; how a directory collects the rest, in `collecting`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from fedpact.errors import BlockMissing
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid, Codec
from fedpact.store.unixfs import addresses


@runtime_checkable
class Pins(Protocol):
    """Somewhere that keeps what is pinned, and may lose what is not."""

    def pin(self, root: Cid) -> None:
        """Keeps the DAG below a root from being collected, from now on. Doing so twice is harmless, and cheap.

        Raises:
            BlockMissing, BlockMismatch: not all of the DAG is here.
            InvalidDag: a node is none of ours.
            StoreError: the store cannot do it.
        """
        ...

    def unpin(self, root: Cid) -> None:
        """Lets the DAG below a root be collected, as far as no other pin leads there. Harmless where none was pinned.

        Raises:
            StoreError: the store cannot do it.
        """
        ...

    def pinned(self) -> frozenset[Cid]:
        """All roots that are pinned.

        Raises:
            StoreError: the store cannot say.
        """
        ...


def hold(blocks: Blocks, *roots: Cid) -> None:
    """Pins roots where the store can pin; one that cannot loses nothing.

    Raises:
        StoreError, ContentError: as `Pins.pin`.
    """
    if isinstance(blocks, Pins):
        for root in dict.fromkeys(roots):
            blocks.pin(root)


def check_whole(blocks: Blocks, root: Cid, name: str) -> list[Cid]:
    """Asks whether all of a DAG is in a store: inner nodes are verified, leaves have to be there.

    Args:
        name: what the store is called.

    Returns:
        The addresses of all its blocks.

    Raises:
        BlockMissing, BlockMismatch, InvalidDag, StoreError: as `Pins.pin`.
    """
    found = []
    for cid in addresses(blocks, root):
        if cid.codec is Codec.RAW and not blocks.has(cid):
            raise BlockMissing(str(cid), name)
        found.append(cid)
    return found
