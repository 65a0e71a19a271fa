"""Several stores as one: read in order, written to the first, or to all that can be written to.

A block that is missing, wrong or out of reach in one store is taken from the next, so one that withholds or lies costs
time and nothing else; one that took long to give nothing is asked last for a while, so that this is not the price of
each block. That needs each block to be checked here: `fedpact.store.fetch` leaves it to this one.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from fedpact.errors import BlockMismatch, BlockMissing, StoreError, Unreachable
from fedpact.store.blocks import check, is_distant, keep
from fedpact.store.cid import Cid
from fedpact.store.counting import CountedBlocks, Moved
from fedpact.store.pins import Pins
from fedpact.store.transfer import at_once, in_order
from fedpact.store.unixfs import addresses

_SLOW = 2.0  # Seconds after which an answer without the block earns its store a rest.
_REST_SECONDS = 2.0, 30.0  # At first and at most; twice as long each time, and no less than the answer took.
_log = logging.getLogger(__name__)


class SeveralBlocks:
    """Reads from several stores, writes to the first of them, or to more.

    Args:
        stores: in the order in which they are asked, each under a name without secrets.
        writable: whether anything is written.
        copies: the places of the stores that are written to beside the first. All of them must take a block: who
            counts on copies is not to find out later that there are none.
    """

    def __init__(
        self,
        stores: Sequence[CountedBlocks],
        *,
        writable: bool = True,
        copies: Sequence[int] = (),
    ) -> None:
        self._stores = tuple(stores)
        self._written = tuple(self._stores[place] for place in (0, *copies)) if writable else ()
        self._writable = writable
        self._silent: set[str] = set()  # Names of stores that gave no answer when they were last asked.
        self._asked_last = [0.0] * len(self._stores)  # Until when each store is asked after those that do not rest.
        self._rest = [_REST_SECONDS[0]] * len(self._stores)  # How long its next rest is.

    @property
    def moved(self) -> Mapping[str, Moved]:
        """What each store moved so far, by its name."""
        return {each.name: each.moved for each in self._stores}

    @property
    def stores(self) -> tuple[CountedBlocks, ...]:
        """All of them, in the order in which they are asked."""
        return self._stores

    @property
    def written(self) -> tuple[CountedBlocks, ...]:
        """Those that are written to."""
        return self._written

    @property
    def distant(self) -> bool:
        """Whether any of them is, as any may be asked in the end."""
        return any(is_distant(each) for each in self._stores)

    def get(self, cid: Cid) -> bytes:
        """As `Blocks.get`: the right bytes, where any store has them, otherwise what the first has instead.

        Raises:
            BlockMissing, StoreError: as `fetch`.
        """
        try:
            return self._stores[0].get(cid) if len(self._stores) == 1 else self._first_right(cid)
        except BlockMismatch:  # Nobody holds wrong bytes while others are asked, so they are read again.
            for store in self._stores:
                with contextlib.suppress(StoreError):
                    return store.get(cid)
            raise

    def fetch(self, cid: Cid) -> bytes:
        """As `fedpact.store.fetch`, which calls this: the bytes that the address stands for, where any store has them.

        Otherwise it is, in this order: an error where a store of one's own failed; `Unreachable` where somebody else's
        gave no answer, as that one may have had them; `BlockMismatch` where a store had wrong bytes; missing.
        """
        return check(cid, self._stores[0].get(cid)) if len(self._stores) == 1 else self._first_right(cid)

    def _first_right(self, cid: Cid) -> bytes:
        wrong: BlockMismatch | None = None
        failed: list[str] = []
        silent: Unreachable | None = None
        began = time.monotonic()
        for place in self._order(began):
            store = self._stores[place]
            try:
                with self._timed(place):
                    data = check(cid, store.get(cid))
            except Unreachable as error:
                self._note(store.name, str(error))
                silent = silent or error.with_traceback(None)
                continue
            except BlockMissing:
                self._note(store.name)
                continue
            except StoreError as error:
                failed.append(str(error))
                continue
            except BlockMismatch as error:
                self._note(store.name)
                _log.warning("%s: %s", store.name, error)
                wrong = wrong or error.with_traceback(None)  # A trace would hold the bytes while others are asked.
                continue
            self._note(store.name)
            if place and self._writable:
                self._keep(cid, data)
            return data
        if failed:
            raise StoreError(failed[0] if len(failed) == 1 else f"block {cid}: no store has it: {'; '.join(failed)}")
        if silent is not None:
            raise silent
        if wrong is not None:
            raise wrong
        raise BlockMissing(str(cid), ", ".join(each.name for each in self._stores))

    def stream(self, root: Cid, start: int, length: int) -> Generator[bytes, Any, None] | None:
        """As `Streaming.stream`, of the store that is asked first, which may have what another would have to send."""
        return self._stores[self._order(time.monotonic())[0]].stream(root, start, length)

    def _order(self, now: float) -> list[int]:
        """The places of the stores as they are asked: those that rest are last."""
        return sorted(range(len(self._stores)), key=lambda place: self._asked_last[place] > now)

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        for store in self._to_write(f"block {cid}"):
            store.put(cid, data)

    def keep(self, cid: Cid, data: bytes | bytearray) -> bool:
        """As `fedpact.store.keep`, in each store that is written to."""
        written = [keep(store, cid, data) for store in self._to_write(f"block {cid}")]
        return any(written)

    def settle(self, root: Cid) -> None:
        """As `Settling.settle`, in each store that is written to."""
        for store in self._to_write(str(root)):
            store.settle(root)

    def _to_write(self, what: str) -> Sequence[CountedBlocks]:
        if not self._written:
            raise StoreError(f"{what}: these stores were opened to be read from")
        return self._written

    def has(self, cid: Cid) -> bool:
        """Whether the first store keeps something under an address; where none is written to, whether any does.

        A block is written unless it is there: that another keeps it, for how long nobody knows, is no reason not to.
        """
        silent: StoreError | None = None
        for store in self._stores[:1] if self._writable else self._stores:
            try:
                if store.has(cid):
                    return True
            except StoreError as error:
                silent = error
        if silent is not None:
            raise silent
        return False

    def pin(self, root: Cid) -> None:
        """As `Pins.pin`, in every store that is written to; what it does not find is taken from the others."""
        self._to_write(f"pin {root}")
        for store, pins in self._pinning():
            try:
                pins.pin(root)
            except (BlockMissing, BlockMismatch):
                if len(self._stores) == 1:
                    raise
                cids = list(addresses(self, root))
                with contextlib.closing(in_order(self.fetch, cids, at_once(self))) as blocks:
                    for cid, data in zip(cids, blocks, strict=True):
                        keep(store, cid, data)
                pins.pin(root)

    def unpin(self, root: Cid) -> None:
        """As `Pins.unpin`, in every store that is written to."""
        for _, pins in self._pinning():
            pins.unpin(root)

    def pinned(self) -> frozenset[Cid]:
        """The roots that any store which is written to has pinned."""
        return frozenset().union(*(pins.pinned() for _, pins in self._pinning()))

    def _pinning(self) -> Iterator[tuple[CountedBlocks, Pins]]:
        """The stores that are written to and can pin."""
        for store in self._written:
            if isinstance(store.blocks, Pins):
                yield store, store.blocks

    def close(self) -> None:
        """Closes all stores."""
        for store in self._stores:
            store.close()

    @contextlib.contextmanager
    def _timed(self, place: int) -> Iterator[None]:
        """Has a store rest that was slow to fail inside; one that gave a block rests for less the next time."""
        asked = time.monotonic()
        least, most = _REST_SECONDS
        try:
            yield
        except (StoreError, BlockMismatch):
            now = time.monotonic()
            if now - asked > _SLOW:
                until = now + min(max(self._rest[place], now - asked), most)
                if asked >= self._asked_last[place]:  # Threads that waited for it together count once.
                    self._rest[place] = min(2 * self._rest[place], most)
                self._asked_last[place] = max(self._asked_last[place], until)
            raise
        self._rest[place] = least

    def _note(self, name: str, trouble: str = "") -> None:
        """Says when a store becomes silent, and when it answers again; not for each of thousands of blocks."""
        if trouble and name not in self._silent:
            self._silent.add(name)
            _log.warning("%s; what only it has is missing until it answers", trouble)
        elif not trouble and name in self._silent:
            self._silent.discard(name)
            _log.info("%s: answers again", name)

    def _keep(self, cid: Cid, data: bytes) -> None:
        """Keeps what was read elsewhere. Where that fails, the reading has not."""
        try:
            self._stores[0].put(cid, data)
        except StoreError as error:
            _log.warning("read, but not kept: %s", error)
