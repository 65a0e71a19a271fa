"""Bytes under their own hash: addresses, blocks, files.

`cid` is the address, `blocks` the port and the one verified read, `unixfs` files as DAGs; `memory` and `directory` are
stores, `remote` has those behind HTTP, `several` makes one of them, `opening` finds them by URL, `serving` offers one
to others, `pins` says what has to stay and `collecting` removes the rest. What the bytes mean (weights, charters,
manifests) is the matter of `fedpact.artifacts`.
"""

from fedpact.store.blocks import MAX_BLOCK, Blocks, fetch, keep
from fedpact.store.cid import Cid, Codec
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.memory import MemoryBlocks

__all__ = ["MAX_BLOCK", "Blocks", "Cid", "Codec", "DirectoryBlocks", "MemoryBlocks", "fetch", "keep"]
