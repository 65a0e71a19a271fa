"""Weights as canonical bytes: safetensors, in one layout for the whole federation.

The layout (names, shapes, dtypes) fixes everything but the values: the header, the order of the tensors, the size. So
all updates of a federation start with the same header, and leaf i of every update covers the same elements. The bytes
are those that the `safetensors` library writes for the same tensors.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpact.artifacts.dtypes import DTYPES, Dtype
from fedpact.errors import InvalidWeights
from fedpact.store.unixfs import LEAF, leaf_size
from fedpact.suggestion import did_you_mean

Weights = Mapping[str, NDArray[Any]]
"""Tensors by name, each an array of its dtype's `array`."""

MAX_TENSORS = 10_000
MAX_BYTES = 1 << 44
_NAME = re.compile(r"(?!__)[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,199}")
"""What a tensor can be called. Names that start with two underscores are for safetensors itself: `__metadata__`."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Name, dtype (a key of `DTYPES`) and shape of one tensor.

    Raises:
        InvalidWeights: one of them is not allowed.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidWeights(
                f"tensor {self.name[:80]!r}: expected a name of letters, digits and _ . : / - that "
                "starts with a letter, a digit or one _"
            )
        if self.dtype not in DTYPES:
            raise InvalidWeights(
                f"tensor {self.name}: dtype: expected one of {', '.join(DTYPES)}, found {self.dtype[:80]!r}"
                + did_you_mean(self.dtype, DTYPES)
            )
        if len(self.shape) > 8 or not all(0 < length < 1 << 40 for length in self.shape):
            raise InvalidWeights(
                f"tensor {self.name}: shape: expected at most 8 positive lengths, found {str(self.shape)[:80]}"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


@dataclass(frozen=True, slots=True)
class Run:
    """Elements of one dtype within one leaf: bytes `start` to `stop` of the leaf.

    Attributes:
        first: how many elements of the dtype the file has before them.
    """

    start: int
    stop: int
    dtype: Dtype
    first: int

    def of(self, leaf: bytes | bytearray) -> NDArray[Any]:
        """The elements in a leaf, as they are stored; those of a bytearray can be written."""
        return np.frombuffer(leaf, self.dtype.stored, (self.stop - self.start) // self.dtype.itemsize, self.start)


class Layout:
    """Where everything lies in the file of a set of tensors.

    Args:
        tensors: in any order.

    Attributes:
        tensors: in the order of the file.
        header: the bytes before the first element.
        size: bytes of the whole file.

    Raises:
        InvalidWeights: there are none or too many, two have one name, or they are larger than any store can keep.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        order = list(DTYPES)
        self.tensors = tuple(sorted(tensors, key=lambda tensor: (order.index(tensor.dtype), tensor.name)))
        if not 0 < len(self.tensors) <= MAX_TENSORS:
            raise InvalidWeights(f"tensors: expected 1 to {MAX_TENSORS}, found {len(self.tensors)}")
        if len({tensor.name for tensor in self.tensors}) != len(self.tensors):
            raise InvalidWeights("tensors: two have the same name")
        entries = {}
        offset = 0
        for tensor in self.tensors:
            offsets = [offset, offset := offset + tensor.nbytes]
            entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        if offset > MAX_BYTES:
            raise InvalidWeights(f"tensors: expected at most {MAX_BYTES} bytes, found {offset}")
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self.header = len(text).to_bytes(8, "little") + text
        self.size = len(self.header) + offset

    @classmethod
    def of(cls, weights: Weights) -> Layout:
        """The layout of given tensors. Arrays of float32 are taken for F32, never for BF16."""
        names = {each.array.newbyteorder("="): name for name, each in DTYPES.items() if name != "BF16"}
        return cls(
            Tensor(name, names.get(array.dtype.newbyteorder("="), str(array.dtype)), array.shape)
            for name, array in weights.items()
        )

    def encode(self, weights: Weights) -> bytes:
        """The file of given tensors. Those of a BF16 tensor are rounded, half to even.

        Raises:
            InvalidWeights: names, shapes or dtypes are not those of the layout.
        """
        unknown = sorted(set(weights) - {tensor.name for tensor in self.tensors})
        if unknown:
            raise InvalidWeights(f"tensor {unknown[0]}: the layout has none of this name")
        pieces = [self.header]
        for tensor in self.tensors:
            array = weights.get(tensor.name)
            if array is None:
                raise InvalidWeights(f"tensor {tensor.name}: missing")
            if array.shape != tensor.shape:
                raise InvalidWeights(f"tensor {tensor.name}: shape: expected {tensor.shape}, found {array.shape}")
            dtype = DTYPES[tensor.dtype]
            if array.dtype.newbyteorder("<") != dtype.array:
                raise InvalidWeights(
                    f"tensor {tensor.name}: dtype: expected {dtype.array.name}, found {array.dtype.name}"
                )
            stored = np.empty(array.shape, dtype.stored)
            dtype.encode(array, stored)
            pieces.append(stored.tobytes())
        return b"".join(pieces)

    def decode(self, data: bytes) -> dict[str, NDArray[Any]]:
        """The tensors of a file, read only.

        Raises:
            InvalidWeights: the file has another layout.
        """
        if len(data) != self.size:
            raise InvalidWeights(f"size: expected {self.size} bytes, found {len(data)}")
        if data[: len(self.header)] != self.header:
            raise InvalidWeights("header: names, shapes or dtypes are not those that the charter fixes")
        tensors = {}
        offset = len(self.header)
        for tensor in self.tensors:
            dtype = DTYPES[tensor.dtype]
            stored = np.frombuffer(data, dtype.stored, math.prod(tensor.shape), offset)
            array = dtype.decode(stored) if dtype.name == "BF16" else stored
            array.flags.writeable = False
            tensors[tensor.name] = array.reshape(tensor.shape)
            offset += tensor.nbytes
        return tensors

    def header_in(self, index: int) -> bytes:
        """The part of the header that leaf `index` starts with; empty beyond it."""
        return self.header[index * LEAF : (index + 1) * LEAF]

    def leaf_size(self, index: int) -> int:
        """Bytes of leaf `index`."""
        return leaf_size(self.size, index)

    def runs(self, index: int) -> list[Run]:
        """The elements in leaf `index`, by dtype."""
        first, last = index * LEAF, index * LEAF + self.leaf_size(index)
        return [
            Run(max(start, first) - first, min(stop, last) - first, dtype, max(first - start, 0) // dtype.itemsize)
            for start, stop, dtype in self._spans
            if max(start, first) < min(stop, last)
        ]

    def place(self, tensor: Tensor) -> tuple[int, int]:
        """The bytes of the file that are one of the tensors: from, and to before."""
        before = self.tensors[: self.tensors.index(tensor)]
        start = len(self.header) + sum(each.nbytes for each in before)
        return start, start + tensor.nbytes

    def count(self, dtype: str) -> int:
        """Elements of a dtype (a key of `DTYPES`)."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors if tensor.dtype == dtype)

    def element(self, index: int, offset: int) -> str:
        """Which element lies at byte `offset` of leaf `index`, for a person to read."""
        position = index * LEAF + offset - len(self.header)
        for tensor in self.tensors:
            if 0 <= position < tensor.nbytes:
                flat = position // DTYPES[tensor.dtype].itemsize
                where = ", ".join(str(each) for each in np.unravel_index(flat, tensor.shape)) if tensor.shape else ""
                return f"{tensor.name}[{where}]"
            position -= tensor.nbytes
        return f"byte {offset} of leaf {index}"

    @cached_property
    def _spans(self) -> list[tuple[int, int, Dtype]]:
        """The bytes of the file that hold elements of each dtype."""
        spans = []
        position = len(self.header)
        for name, dtype in DTYPES.items():
            length = self.count(name) * dtype.itemsize
            spans.append((position, position + length, dtype))
            position += length
        return spans
