"""What a root is that is no file of ours, in words: a directory, or a file that was added in another way.

For a person only. No claim in a node is believed, and nothing that others derive may depend on these words.

Source: https://specs.ipfs.tech/unixfs/
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import islice

from fedpact.errors import ContentError, InvalidDag, StoreError
from fedpact.store.blocks import Blocks, fetch
from fedpact.store.cid import Cid, Codec
from fedpact.store.unixfs import LEAF, LINKS, read_varint

_TYPES = {0: "a raw node", 1: "a directory", 3: "metadata", 4: "a symbolic link", 5: "a directory in shards"}
_FILE = 2
_FIELDS = 3 * LINKS  # That are looked at in a message; a file of ours has two for each link, and a few.
_PROFILE = "expected --profile=unixfs-v1-2025"


@contextlib.contextmanager
def explained(blocks: Blocks, root: Cid) -> Iterator[None]:
    """Says what a root is where it turns out to be no file of ours.

    Raises:
        InvalidDag: the same, with more words.
    """
    try:
        yield
    except InvalidDag as error:
        told = str(error) if str(root) in str(error) else f"{root}: {error}"
        with contextlib.suppress(StoreError, ContentError):
            said = in_words(root, fetch(blocks, root))
            told += f": it is {said}" if said else ""
        raise InvalidDag(told) from None


def in_words(root: Cid, node: bytes) -> str:
    """What a block says that it is, where that is not a file of ours; empty where it seems to be one.

    Raises:
        InvalidDag: it is no node.
    """
    if root.codec is Codec.RAW:
        return ""
    fields = list(islice(_fields(root, node), _FIELDS))
    links = [value for number, value in fields if number == 2]
    if len(links) > LINKS:
        return f"a file added with another profile ({_PROFILE}): it has more than {LINKS} links"
    data = next((value for number, value in fields if number == 1), None)
    if not isinstance(data, bytes):
        return "no node of a file system"
    message = list(islice(_fields(root, data), _FIELDS))
    kind = next((value for number, value in message if number == 1), None)
    if kind != _FILE:
        return _TYPES.get(kind, "of an unknown type") if isinstance(kind, int) else "of no type"
    if not links or any(number == 2 for number, _ in message):
        return f"a file added with another profile ({_PROFILE}): it keeps bytes in its node"
    if not all(isinstance(each, bytes) and each.startswith(b"\x0a\x24\x01") for each in links):
        return f"a file added with another profile ({_PROFILE}): its links are no CIDv1"
    sizes = [value for number, value in message if number == 4 and isinstance(value, int)]
    if len(sizes) > 1 and sizes[0] not in {LEAF * LINKS**level for level in range(4)}:
        return f"a file added with another profile ({_PROFILE}): its first link is to {sizes[0]} bytes, expected {LEAF}"
    return ""


def _fields(root: Cid, message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: numbers, and strings of bytes."""
    position = 0
    while position < len(message):
        tag, position = read_varint(root, message, position)
        value, position = read_varint(root, message, position)
        if tag & 7 == 0:
            yield tag >> 3, value
        elif tag & 7 == 2 and position + value <= len(message):
            yield tag >> 3, message[position : position + value]
            position += value
        else:
            raise InvalidDag(f"{root}: no node")
