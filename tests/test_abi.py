"""Events and errors read and written by hand: what eth-abi says, and strictly."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from fedpact.errors import RecordDamaged
from fedpact.ledger.abi import Abi, _flatten_all, _Shape
from fedpact.ledger.artifact import federation
from hypothesis import given, settings
from hypothesis import strategies as st

ABI = Abi(federation().abi)
SHAPES = [*ABI._events.values(), *ABI._errors.values()]


def _word(kind: str) -> st.SearchStrategy[bytes]:
    """Words of a type, words at the edges of types, and any others."""
    numbers = st.integers(0, 2**16) | st.sampled_from(
        [0, 1, 0x55, 0x70, *(2**bits - 1 for bits in (8, 32, 64, 160, 256))]
    )
    small = numbers.map(lambda number: number.to_bytes(32, "big"))
    negative = st.integers(1, 2**63).map(lambda number: (2**256 - number).to_bytes(32, "big"))
    address = st.binary(min_size=20, max_size=20).map(lambda raw: bytes(12) + raw)
    anything = st.binary(min_size=32, max_size=32)
    fitting = {"address": address, "bytes32": anything}.get(kind, small)
    return fitting | (negative if kind.startswith("int") else fitting) | small | anything


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.cls.__name__)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_is_read_is_what_eth_abi_reads(shape: _Shape, data: st.DataObject) -> None:
    """Where it refuses, so do we; and we refuse what the contract cannot have written, too."""
    words = b"".join(data.draw(_word(kind)) for kind in shape.types)
    try:
        expected: Any = decode(shape.types, words)
    except DecodingError:
        expected = None
    try:
        found = shape.read(words)
    except RecordDamaged:
        # A codec or a phase that there is not.
        assert expected is None or "uint8" in shape.types
        return
    values = [getattr(found, name) for name in found.__dataclass_fields__]
    assert tuple(_flatten_all(values, shape.types)) == expected
    assert shape.write(found) == words


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.cls.__name__)
def test_no_word_may_be_missing_and_none_too_many(shape: _Shape) -> None:
    """Nor a part of one."""
    for size in (len(shape.types) * 32 - 32, len(shape.types) * 32 + 1):
        with pytest.raises(RecordDamaged, match=f"{shape.cls.__name__}: expected"):
            shape.read(bytes(max(size, 1)))
