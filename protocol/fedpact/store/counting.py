"""How much a store moved, for metrics."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from fedpact.store.blocks import Blocks, Settling, Streaming, is_distant, keep
from fedpact.store.cid import Cid


@dataclass(frozen=True, slots=True)
class Moved:
    """What went out of a store and into it since it was opened: bytes, and blocks that came or went one by one."""

    blocks_read: int = 0
    bytes_read: int = 0
    blocks_written: int = 0
    bytes_written: int = 0


class CountedBlocks:
    """Another store, counted.

    Args:
        blocks: the store.
        name: what it is called where its numbers are shown; holds no secret.
    """

    def __init__(self, blocks: Blocks, name: str) -> None:
        self.blocks, self.name = blocks, name
        self._moved = Moved()
        self._lock = threading.Lock()

    @property
    def moved(self) -> Moved:
        """What was moved so far."""
        return self._moved

    @property
    def distant(self) -> bool:
        """Whether the store is."""
        return is_distant(self.blocks)

    def get(self, cid: Cid) -> bytes:
        data = self.blocks.get(cid)
        with self._lock:
            old = self._moved
            self._moved = Moved(old.blocks_read + 1, old.bytes_read + len(data), old.blocks_written, old.bytes_written)
        return data

    def stream(self, root: Cid, start: int, length: int) -> Generator[bytes, Any, None] | None:
        pieces = self.blocks.stream(root, start, length) if isinstance(self.blocks, Streaming) else None
        return None if pieces is None else self._counted(pieces)

    def _counted(self, pieces: Generator[bytes, Any, None]) -> Generator[bytes, Any, None]:
        with closing(pieces):
            for piece in pieces:
                with self._lock:
                    self._moved = replace(self._moved, bytes_read=self._moved.bytes_read + len(piece))
                yield piece

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        self.blocks.put(cid, data)
        self._count_written(data)

    def keep(self, cid: Cid, data: bytes | bytearray) -> bool:
        written = keep(self.blocks, cid, data)
        if written:
            self._count_written(data)
        return written

    def settle(self, root: Cid) -> None:
        if isinstance(self.blocks, Settling):
            self.blocks.settle(root)

    def has(self, cid: Cid) -> bool:
        return self.blocks.has(cid)

    def close(self) -> None:
        """Closes the store, if it can be closed."""
        getattr(self.blocks, "close", lambda: None)()  # Not every store has something to close.

    def _count_written(self, data: bytes | bytearray) -> None:
        with self._lock:
            old = self._moved
            self._moved = Moved(old.blocks_read, old.bytes_read, old.blocks_written + 1, old.bytes_written + len(data))
