"""One tensor of a file of weights, without the rest: what is read are its leaves, and those with the header.

The header is read because the tensor's place follows from it: of a file with another header these bytes would be
something else.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from fedpact.artifacts.weights import Layout, Tensor
from fedpact.errors import InputError, InvalidWeights
from fedpact.store.unixfs import LEAF, File
from fedpact.suggestion import did_you_mean


def check_header(file: File, layout: Layout, index: int, leaf: bytes) -> None:
    """Checks that a leaf begins with what it should have of the header.

    Raises:
        InvalidWeights: it does not.
    """
    if not leaf.startswith(layout.header_in(index)):
        raise InvalidWeights(f"model {file.root}: header: not that of the charter's tensors")


def tensor_named(layout: Layout, name: str) -> Tensor:
    """A tensor of a layout.

    Raises:
        InputError: there is none of this name.
    """
    for each in layout.tensors:
        if each.name == name:
            return each
    known = [each.name for each in layout.tensors]
    near = did_you_mean(name, known)
    raise InputError(f"tensor: expected one of the model's ({', '.join(known)[:200]}), found {name[:80]!r}{near}")


def tensor_file(file: File, layout: Layout, tensor: Tensor) -> Generator[bytes, Any, None]:
    """The pieces of a safetensors file with one tensor of another file.

    Args:
        file: a file of weights.
        layout: what it should hold.
        tensor: one of the layout's.

    Raises:
        InvalidWeights: its header is another; and as `File.leaf`.
    """
    start, stop = layout.place(tensor)
    head = bytearray()
    for index in range(-(-len(layout.header) // LEAF)):
        leaf = file.leaf(index)
        check_header(file, layout, index, leaf)
        head += leaf
    yield Layout([tensor]).header
    yield bytes(head[start:stop])
    yield from file.pieces(max(start, len(head)), stop)
