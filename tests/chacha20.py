"""The ChaCha20 keystream, many blocks at a time: Kubo's tests make their files of it.

Checked against RFC 8439 in `test_unixfs`; numpy does the arithmetic, so that the tests need no cryptographic package.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
"""Bytes of one block of the keystream."""

_CONSTANTS = np.frombuffer(b"expand 32-byte k", "<u4")
_QUARTER_ROUNDS = (
    # The columns, then the diagonals, of the 4 x 4 state.
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)


def key_of(seed: str) -> bytes:
    """The key that Kubo's tests derive from a seed."""
    return hashlib.sha256(seed.encode()).digest()


def keystream(key: bytes, first: int, count: int) -> bytes:
    """Blocks `first` to `first + count` of the keystream of a key, with a nonce of zeros."""
    start = np.empty((16, count), np.uint32)
    start[:] = np.concatenate((_CONSTANTS, np.frombuffer(key, "<u4"), np.zeros(4, "<u4")))[:, None]
    start[12] += np.arange(first, first + count, dtype=np.uint32)
    state = start.copy()
    words = list(state)
    spare = np.empty(count, np.uint32)
    for _ in range(10):
        for a, b, c, d in _QUARTER_ROUNDS:
            _add_and_turn(words[a], words[b], words[d], 16, spare)
            _add_and_turn(words[c], words[d], words[b], 12, spare)
            _add_and_turn(words[a], words[b], words[d], 8, spare)
            _add_and_turn(words[c], words[d], words[b], 7, spare)
    state += start
    return state.T.astype("<u4", copy=False).tobytes()


def _add_and_turn(
    total: NDArray[np.uint32],
    addend: NDArray[np.uint32],
    turned: NDArray[np.uint32],
    bits: int,
    spare: NDArray[np.uint32],
) -> None:
    """total += addend; turned = (turned ^ total) <<< bits."""
    np.add(total, addend, total)
    np.bitwise_xor(turned, total, turned)
    np.left_shift(turned, bits, spare)
    np.right_shift(turned, 32 - bits, turned)
    np.bitwise_or(turned, spare, turned)
