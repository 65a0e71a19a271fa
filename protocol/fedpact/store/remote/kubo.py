"""Blocks on an IPFS node, through its RPC: Kubo, and every node that speaks the same.

The node only keeps blocks: the DAG is built here, a CAR of some blocks at a time is handed over, and what comes back is
checked by `fetch`, as from anywhere. Blocks that were put are on their way until `settle` has sent the last of them,
pinned the whole and read one back; a process that dies before that has put nothing. A node looks for what it does not
have at other nodes: that is how models travel between organisations.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

from fedpact.errors import BlockMissing, ContentError, InvalidCid, StoreError
from fedpact.store.blocks import MAX_BLOCK, Discard, fetch
from fedpact.store.cid import Cid
from fedpact.store.remote.node import Answer, NodeRefused, NodeRpc, NodeSilent, in_short
from fedpact.store.unixfs import links

_GATHERED = 16 << 20  # Bytes that are sent at once, and kept in memory until then.
_LOCAL_SECONDS = 1.0  # That a node may take to say whether it has a block itself.
_IMPORT_SECONDS = 60.0  # That it may take for what it was sent, beside the sending.
_REST_SECONDS = 10.0
_STREAM_SECONDS = 3.0  # That a whole file may be behind what it should be.
_BLOCKS_SECONDS = 60.0
_ABSENT = re.compile(r"not found|could not find|deadline exceeded|timed? ?out|was unwanted", re.IGNORECASE)
_NOT_PINNED = re.compile(r"not pinned|pinned indirectly", re.IGNORECASE)
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_LENGTH = 60  # More than our addresses have.
_log = logging.getLogger(__name__)


class KuboBlocks:
    """Keeps blocks on a node.

    Args:
        node: the adapter to its RPC.
        seconds: that the node may look for one block at others.
        pin_seconds: that it may take to pin a DAG, of which it may have to fetch all.
    """

    distant = True

    def __init__(self, node: NodeRpc, *, seconds: float = 15.0, pin_seconds: float = 300.0) -> None:
        self.name = node.name
        self._node, self._seconds, self._pin_seconds = node, seconds, pin_seconds
        self._pending: dict[Cid, bytes] = {}
        self._gathered = 0
        self._blocks_until = 0.0  # Until when it is asked for nothing but blocks.
        self._silent_until = 0.0  # Until when nobody waits for the node again just because much has come together.
        self._lock = threading.Lock()
        self._sending = threading.Lock()

    def get(self, cid: Cid) -> bytes:
        data = self._pending.get(cid)
        if data is not None:
            return data[: MAX_BLOCK + 1]
        try:
            return self._node.block_get(cid, self._seconds)
        except NodeRefused as error:
            if _ABSENT.search(str(error)):
                raise BlockMissing(str(cid), self.name) from None
            raise StoreError(f"block {cid}: {self.name}: {error}") from None
        except NodeSilent as error:
            raise StoreError(f"block {cid}: {self.name}: {error}") from None

    def stream(self, root: Cid, start: int, length: int) -> Generator[bytes, Any, None] | None:
        """As `Streaming.stream`; not while blocks are on their way, as it may need these, and not for a while after an
        answer that was slow or failed: a node that has to look for a file is better asked for many blocks at once."""
        if self._pending or time.monotonic() < self._blocks_until:
            return None
        return self._stream(root, start, length)

    def _stream(self, root: Cid, start: int, length: int) -> Generator[bytes, Any, None]:
        try:
            with closing(self._node.cat(root, start, length, min(_STREAM_SECONDS, self._seconds))) as pieces:
                yield from pieces
        except (NodeRefused, NodeSilent) as error:
            self._blocks_until = time.monotonic() + _BLOCKS_SECONDS
            said = f"{root}: {self.name}: {error}"
            _log.info("%s; it is asked for single blocks", said)
            raise StoreError(said) from None

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        """As `Blocks.put`. The block is on its way then; `settle` says when it has arrived."""
        with self._lock:
            self._gathered += len(data) - len(self._pending.pop(cid, b""))
            self._pending[cid] = bytes(data)
        if self._gathered >= _GATHERED:
            try:
                if time.monotonic() < self._silent_until:
                    raise StoreError(f"block {cid}: {self.name} does not take blocks, as was found a moment ago")
                self._send(_GATHERED)
            except StoreError:
                self._drop(cid)  # Memory does not grow with what nobody takes.
                raise

    def keep(self, cid: Cid, data: bytes | bytearray) -> bool:
        """As `fedpact.store.keep`. To ask the node first would take longer than to send; it passes over what it has."""
        self.put(cid, data)
        return True

    def has(self, cid: Cid) -> bool:
        """As `Blocks.has`: whether the node itself has it. Not every node can say so without asking others, for a
        second at most."""
        if cid in self._pending:
            return True
        try:
            self._node.block_stat(cid, _LOCAL_SECONDS)
        except NodeRefused as error:
            if _ABSENT.search(str(error)):
                return False
            raise StoreError(f"block {cid}: {self.name}: {error}") from None
        except NodeSilent as error:
            raise StoreError(f"block {cid}: {self.name}: {error}") from None
        return True

    def settle(self, root: Cid) -> None:
        """As `Settling.settle`: sends what is on its way, pins the whole, and reads one block of it back.

        Raises:
            StoreError: the node did not take it, or does not have all of it.
        """
        self._send(0)
        self._pin(root, offline=True)
        at_home, cid = _AtHome(self._node, self._seconds), root
        try:
            while below := links(at_home, cid):
                cid = random.choice(below)  # noqa: S311  # No secret.
            fetch(at_home, cid)
        except (NodeRefused, NodeSilent, ContentError) as error:
            raise StoreError(f"{root}: {self.name} pinned it, but does not give block {cid} back: {error}") from None

    def pin(self, root: Cid) -> None:
        """As `Pins.pin`: what the node does not have of a DAG it fetches from others.

        Raises:
            BlockMissing: it has not found all of it.
            StoreError: it did not do so.
        """
        self._send(0)
        self._pin(root)

    def unpin(self, root: Cid) -> None:
        """Lets the node drop a DAG. One that is not pinned is none.

        Raises:
            StoreError: the node did not do so.
        """
        try:
            self._node.pin_rm(root, self._seconds)
        except (NodeRefused, NodeSilent) as error:
            if isinstance(error, NodeSilent) or not _NOT_PINNED.search(str(error)):
                raise StoreError(f"{root}: {self.name} did not unpin it: {error}") from None

    def pinned(self) -> frozenset[Cid]:
        """The roots of all DAGs that the node keeps for good, as far as their addresses are of our kind.

        Raises:
            StoreError: the node does not say.
        """
        try:
            found = self._node.pin_ls(self._pin_seconds)
        except (NodeRefused, NodeSilent) as error:
            raise StoreError(f"{self.name} did not list its pins: {error}") from None
        return frozenset(cid for cid in map(_ours, found) if cid is not None)

    def close(self) -> None:
        """Sends what is on its way, as far as the node takes it, and closes all connections."""
        try:
            self._send(0)
        except StoreError as error:
            _log.warning("put, but not sent: %s", error)
        self._node.close()

    def _send(self, least: int) -> None:
        """Hands over what was put, one thread at a time; what the node did not take is still on its way.

        Args:
            least: bytes that must have been gathered, as another thread may have been first; 0 for what there is.
        """
        with self._sending:
            with self._lock:
                batch = list(self._pending.items()) if self._gathered >= least else []
            if not batch:
                return
            try:
                _check_import(self._node.dag_import(batch, _IMPORT_SECONDS), len(batch))
            except (NodeRefused, NodeSilent) as error:
                self._silent_until = time.monotonic() + _REST_SECONDS
                count = f"{len(batch)} blocks" if len(batch) > 1 else f"block {batch[0][0]}"
                raise StoreError(f"{self.name} did not take {count}: {error}") from None
            self._silent_until = 0.0
            for cid, data in batch:
                self._drop(cid, data)

    def _drop(self, cid: Cid, data: bytes | None = None) -> None:
        """Forgets a block that was on its way, unless it is another one than that given."""
        with self._lock:
            found = self._pending.get(cid)
            if found is not None and (data is None or found is data):
                self._gathered -= len(found)
                del self._pending[cid]

    def _pin(self, root: Cid, *, offline: bool = False) -> None:
        try:
            found = self._node.pin_add(root, self._pin_seconds, offline=offline)
            if root not in map(_ours, found):  # As an import: a status of 200 means little.
                raise NodeSilent(f"it names {in_short(ascii(found[:1])) if found else 'nothing'} as pinned")
        except (NodeRefused, NodeSilent) as error:
            if not offline and isinstance(error, NodeRefused) and _ABSENT.search(str(error)):
                raise BlockMissing(str(root), f"{self.name}, or not all that is below it ({error})") from None
            raise StoreError(f"{root}: {self.name} did not pin it: {error}") from None


class _AtHome(Discard):
    """What a node has itself, read only."""

    def __init__(self, node: NodeRpc, seconds: float) -> None:
        self._node, self._seconds = node, seconds

    def get(self, cid: Cid) -> bytes:
        return self._node.block_get(cid, self._seconds, offline=True)


def _check_import(answers: list[Answer], sent: int) -> None:
    """Looks through what a node says of an import: a status of 200 means little.

    Raises:
        NodeRefused: it did not take everything.
    """
    for answer in answers:
        root, stats = answer.get("Root"), answer.get("Stats")
        if isinstance(root, dict) and root.get("PinErrorMsg"):
            raise NodeRefused(in_short(root["PinErrorMsg"]))
        if isinstance(stats, dict) and stats.get("BlockCount") != sent:
            raise NodeRefused(f"it counts {in_short(stats.get('BlockCount'))} of {sent} blocks")


def _ours(text: str) -> Cid | None:
    """The address in a list of pins, in base32, or in base58 as js-ipfs writes it; none where it is of another kind."""
    try:
        if not text.startswith("z"):
            return Cid.parse(text)
        number = 0
        for each in text[1:_BASE58_LENGTH]:
            number = 58 * number + _BASE58.index(each)
        return Cid.from_bytes(number.to_bytes(36, "big"))
    except (InvalidCid, ValueError, OverflowError):
        return None
