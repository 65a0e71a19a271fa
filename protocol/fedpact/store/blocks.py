"""The port to everything that keeps blocks, and the one place where a block is believed.

An adapter (`memory`, `directory`) keeps bytes under addresses and may withhold or alter them; `fetch` is how the rest
of the package reads, and it returns nothing that it has not bounded and hashed. Files and their DAGs are in `unixfs`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, Protocol, runtime_checkable

from fedpact.errors import BlockMismatch, BlockMissing
from fedpact.store.cid import Cid

MAX_BLOCK = 2 << 20
"""Bytes that a block has at most (2 MiB, as in Kubo 0.40 and later)."""


class Blocks(Protocol):
    """Somewhere that keeps blocks. Adapters are safe to use from several threads."""

    def get(self, cid: Cid) -> bytes:
        """The bytes kept under an address, unverified, at most `MAX_BLOCK` + 1 of them.

        Raises:
            BlockMissing: there are none.
            StoreError: the store cannot answer.
        """
        ...

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        """Keeps bytes under their address, as a whole or not at all. Doing so twice is harmless.

        Raises:
            StoreError: the store cannot keep them (full, not writable, …).
        """
        ...

    def has(self, cid: Cid) -> bool:
        """Whether something is kept under an address.

        Raises:
            StoreError: the store cannot answer.
        """
        ...


@runtime_checkable
class Choosing(Protocol):
    """Somewhere that has to check blocks itself, as it looks elsewhere for one that is wrong."""

    def fetch(self, cid: Cid) -> bytes:
        """What `fetch` gives, checked by `check`."""
        ...


@runtime_checkable
class Distant(Protocol):
    """Something that says whether its blocks take long to come."""

    @property
    def distant(self) -> bool:
        """Whether they do, or some of them may."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """Somewhere that knows better than `keep` what has to be written."""

    def keep(self, cid: Cid, data: bytes | bytearray) -> bool:
        """What `keep` does."""
        ...


@runtime_checkable
class Settling(Protocol):
    """Somewhere that does not have for good what was put before it is told what that was."""

    def settle(self, root: Cid) -> None:
        """Returns once everything that was put so far is kept for good, and the DAG under a root is whole.

        Raises:
            StoreError: it is not.
        """
        ...


@runtime_checkable
class Streaming(Protocol):
    """Somewhere that gives a file's bytes in one answer, which costs it less than block after block."""

    def stream(self, root: Cid, start: int, length: int) -> Generator[bytes, Any, None] | None:
        """The bytes of a file from a place on, unverified, in pieces of any length, as they come; they may end early.

        Returns:
            To be closed by whoever reads it. None where it is better to ask for blocks.

        Raises, between any two pieces:
            StoreError: there will be no more.
        """
        ...


class Discard:
    """A store that keeps nothing: where the addresses of what is derived are needed, not the bytes."""

    def get(self, cid: Cid) -> bytes:
        raise BlockMissing(str(cid), "nothing")

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        pass

    def has(self, cid: Cid) -> bool:
        return False


def is_distant(what: object) -> bool:
    """Whether blocks of a store, or of a file in one, have a long way: then several are asked for at once."""
    return isinstance(what, Distant) and what.distant


def fetch(blocks: Blocks, cid: Cid) -> bytes:
    """The bytes that an address stands for.

    Raises:
        BlockMissing: the store has none.
        BlockMismatch: the store has others.
    """
    return blocks.fetch(cid) if isinstance(blocks, Choosing) else check(cid, blocks.get(cid))


def check(cid: Cid, data: bytes) -> bytes:
    """The bytes, if they are those that an address stands for.

    Raises:
        BlockMismatch: they are others.
    """
    if len(data) > MAX_BLOCK:
        raise BlockMismatch(str(cid), f"something else: it has more than {MAX_BLOCK} bytes")
    cid.verify(data)
    return data


def keep(blocks: Blocks, cid: Cid, data: bytes | bytearray) -> bool:
    """Stores a block, unless the store holds it already and intact.

    Args:
        cid: the address of the bytes, just computed from them.

    Returns:
        Whether it was written.

    Raises:
        StoreError: the store cannot keep it.
    """
    if isinstance(blocks, Keeping):
        return blocks.keep(cid, data)
    if blocks.has(cid):
        # What is there is compared, not hashed: the bytes at hand are the right ones.
        with contextlib.suppress(BlockMissing):  # It has just gone.
            if blocks.get(cid) == data:
                return False
    blocks.put(cid, data)
    return True
