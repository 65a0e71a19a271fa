"""What a store has itself."""

from __future__ import annotations

from fedpact.errors import BlockMissing, StoreError
from fedpact.store.blocks import Blocks, is_distant
from fedpact.store.cid import Cid


class Here:
    """A store, read only, that is asked whether it has a block before it is asked for it: a node would search its
    network for what it lacks.

    Args:
        blocks: the store.
        name: what it is called in an error; holds no secret.
    """

    def __init__(self, blocks: Blocks, name: str) -> None:
        self._blocks, self._name = blocks, name

    @property
    def distant(self) -> bool:
        """Whether the store is."""
        return is_distant(self._blocks)

    def get(self, cid: Cid) -> bytes:
        if not self._blocks.has(cid):
            raise BlockMissing(str(cid), self._name)
        return self._blocks.get(cid)

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        raise StoreError(f"block {cid}: {self._name} is only looked into")

    def has(self, cid: Cid) -> bool:
        return self._blocks.has(cid)
