"""keccak-256, by the fastest implementation that is installed: a record of 100,000 entries is as many hashes."""

from __future__ import annotations

from eth_hash.main import Keccak256

try:
    from eth_hash.backends.pysha3 import backend  # Comes with py-evm; six times as fast as the other.
except ImportError:  # pragma: no cover
    from eth_hash.auto import keccak
else:
    keccak = Keccak256(backend)

__all__ = ["keccak"]
