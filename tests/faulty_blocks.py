"""Stores that withhold, alter or refuse blocks, and count what is asked of them: faults that come through the port."""

from __future__ import annotations

import collections

from fedpact.errors import BlockMissing, StoreError, Unreachable
from fedpact.store import Blocks, Cid, MemoryBlocks


class FaultyBlocks:
    """Keeps blocks in another store, and gives back what the test says instead of some of them.

    Attributes:
        missing: addresses that it says it does not have.
        damaged: other bytes that it gives for an address.
        broken: addresses that it fails to read or write.
        silent: addresses for which it gives no answer, as a gateway out of reach.
        read: how often each address was asked for.
        written: the addresses put, in order.
        distant: whether it says that its blocks take long to come.
    """

    def __init__(self, inner: Blocks | None = None) -> None:
        self.inner: Blocks = MemoryBlocks() if inner is None else inner
        self.missing: set[Cid] = set()
        self.damaged: dict[Cid, bytes] = {}
        self.broken: set[Cid] = set()
        self.silent: set[Cid] = set()
        self.read: collections.Counter[Cid] = collections.Counter()
        self.written: list[Cid] = []
        self.distant = False

    def get(self, cid: Cid) -> bytes:
        self.read[cid] += 1
        if cid in self.broken:
            raise StoreError(f"block {cid}: the store is broken")
        if cid in self.silent:
            raise Unreachable(str(cid), "a faulty store cannot be reached")
        if cid in self.missing:
            raise BlockMissing(str(cid), "a faulty store")
        return self.damaged[cid] if cid in self.damaged else self.inner.get(cid)

    def put(self, cid: Cid, data: bytes) -> None:
        if cid in self.broken:
            raise StoreError(f"block {cid}: the store is broken")
        self.written.append(cid)
        self.inner.put(cid, data)

    def has(self, cid: Cid) -> bool:
        return cid not in self.missing and self.inner.has(cid)
