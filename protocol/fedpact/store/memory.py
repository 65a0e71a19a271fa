"""Blocks in memory, for tests and dry runs."""

from __future__ import annotations

from fedpact.errors import BlockMissing
from fedpact.store.blocks import MAX_BLOCK
from fedpact.store.cid import Cid
from fedpact.store.pins import check_whole


class MemoryBlocks:
    """Keeps blocks in a dictionary. Nothing is collected, pinned or not."""

    def __init__(self) -> None:
        self._blocks: dict[Cid, bytes] = {}
        self._pins: set[Cid] = set()

    def get(self, cid: Cid) -> bytes:
        try:
            return self._blocks[cid][: MAX_BLOCK + 1]
        except KeyError:
            raise BlockMissing(str(cid), "memory") from None

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        self._blocks[cid] = bytes(data)

    def has(self, cid: Cid) -> bool:
        return cid in self._blocks

    def pin(self, root: Cid) -> None:
        check_whole(self, root, "memory")
        self._pins.add(root)

    def unpin(self, root: Cid) -> None:
        self._pins.discard(root)

    def pinned(self) -> frozenset[Cid]:
        return frozenset(self._pins)
