"""Blocks in a row: CARv1, as IPFS nodes hand whole DAGs over. Written only; nothing here reads one.

Source: https://ipld.io/specs/transport/car/carv1/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fedpact.store.cid import Cid
from fedpact.store.unixfs import varint


def car(root: Cid, blocks: Iterable[tuple[Cid, bytes]]) -> Iterator[bytes]:
    """The pieces of a CAR: its header, then one for each block.

    Args:
        root: the address that the header names.
        blocks: in the order in which they are to stand.
    """
    # DAG-CBOR: {"roots": [root], "version": 1}; an address is tag 42 on bytes with a leading zero.
    header = b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00" + bytes(root) + b"\x67version\x01"
    yield varint(len(header)) + header
    for cid, data in blocks:
        yield varint(len(bytes(cid)) + len(data)) + bytes(cid) + data
