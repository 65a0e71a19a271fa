"""Blocks from a trustless HTTP gateway of IPFS: `GET BASE/ipfs/CID?format=raw`, read only.

A gateway may withhold a block or answer with another, which `fetch` sees; what it cannot do is cost more than a
bounded answer and a bounded time. Redirects are not followed, and nothing is decompressed. httpcore, on which httpx
stands, is used as it is: these are what httpx would add, and it takes no deadline for a whole answer.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/
"""

from __future__ import annotations

import io
import random
import re
import threading
import time
from collections.abc import Callable

from fedpact.errors import BlockMissing, InputError, StoreError, Unreachable
from fedpact.store.blocks import MAX_BLOCK
from fedpact.store.cid import Cid
from fedpact.store.remote.deadline import Deadline
from fedpact.store.remote.http import FAILURES, Place, in_words, open_pool, pieces

RAW = "application/vnd.ipld.raw"
"""The media type of a block as it is."""
_TRIES = 3
_FIRST_PAUSE = 0.2
_FIRST_SECONDS = 5.0  # From the question to the end of the answer's head, and what its body may lag behind.
_FLOOR = 100_000  # Bytes of all bodies under way in a second, at least.
_REST_SECONDS = 2.0, 30.0  # As long as it took to find out, within these.
_TEMPORARY = frozenset({429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})
_CHALLENGE = re.compile(r'Fedpact error="([ !#-\[\]-~]{1,300})"')
_ASIDE = 1 << 16  # Of an answer that is no block so much is read, to keep the connection.


class GatewayBlocks:
    """Reads blocks from a gateway.

    Args:
        url: `http://host[:port][/path]` or `https://…`; what follows is asked for below it.
        seconds: that one block may take, with all tries; where several share the line, as many times longer. Leaves of
            1 MiB come in time at 100 kB/s, which is the least for all together.
        connections: that are kept at most; as many blocks are read at once.
        authorization: gives the header of that name, where whoever reads is to say who he is.

    Raises:
        InputError: the URL is not of this form.
    """

    distant = True

    def __init__(
        self, url: str, *, seconds: float = 15.0, connections: int = 64, authorization: Callable[[], str] | None = None
    ) -> None:
        place = Place.read(url)
        if place is None or place.user is not None:
            # A URL may hold a password, so it is not shown.
            raise InputError("gateway: expected http://host:port or https://host, with a path at most; found otherwise")
        self.name = f"gateway {place.origin}"
        self._base = f"{place.origin}{place.path}/ipfs/"
        self._seconds, self._authorization = seconds, authorization
        self._deadline = Deadline()
        self._slots = threading.Semaphore(connections)  # Nobody's time runs while he waits for a connection.
        self._sharing = _Sharing()
        self._unreachable = (0.0, "")  # Until when nobody tries again, and why.
        self._pool = open_pool(self._deadline, connections)

    def get(self, cid: Cid) -> bytes:
        return self._ask("GET", cid)

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        raise StoreError(f"block {cid}: {self.name} can only be read from")

    def has(self, cid: Cid) -> bool:
        try:
            self._ask("HEAD", cid)
        except Unreachable:
            raise
        except BlockMissing:
            return False
        return True

    def close(self) -> None:
        """Closes all connections. The store can be used again."""
        self._pool.close()

    def _ask(self, method: str, cid: Cid) -> bytes:
        """Asks until there is an answer, or time or tries have run out.

        Raises:
            BlockMissing: as `Blocks.get`; `Unreachable` where there is no usable answer.
        """
        with self._slots, self._sharing:
            return self._ask_now(method, cid)

    def _ask_now(self, method: str, cid: Cid) -> bytes:
        until, why = self._unreachable
        if time.monotonic() < until:  # Each of thousands of blocks would wait in vain.
            raise Unreachable(str(cid), f"{self.name}: {why}")
        began = time.monotonic()
        end = began + self._seconds
        for again in range(_TRIES):
            try:
                with self._deadline.within(min(_FIRST_SECONDS, end - time.monotonic())):
                    return self._once(method, cid, began)
            except _Refused as error:
                said, reached = str(error), False  # It holds for all blocks, and for a moment at least.
                break
            except _TemporaryAnswer as error:
                said, reached = str(error), True
            except FAILURES as error:
                said, reached = in_words(error), False
            pause = _FIRST_PAUSE * 4**again * random.uniform(0.5, 1)  # noqa: S311  # To spread load, no secret.
            if again == _TRIES - 1 or time.monotonic() + pause >= end:
                break
            time.sleep(pause)
        if not reached:
            now = time.monotonic()
            least, most = _REST_SECONDS
            self._unreachable = now + min(max(least, now - began), most), said
        raise Unreachable(str(cid), f"{self.name}: {said}")

    def _once(self, method: str, cid: Cid, asked: float) -> bytes:
        """Asks once; a block is read on after the first seconds, as long as bytes come fast enough."""
        headers = [("Accept", RAW), ("Accept-Encoding", "identity"), ("User-Agent", "fedpact")]
        if self._authorization is not None:
            headers.append(("Authorization", self._authorization()))
        url = f"{self._base}{cid}?format=raw"
        # A full pool is waited for no longer than a server.
        extensions = {"timeout": {"pool": self._deadline.left()}}
        with self._pool.stream(method, url, headers=headers, extensions=extensions) as response:
            found = {name.lower(): value for name, value in response.headers}
            if response.status != 200:
                for _ in pieces(response, _ASIDE):
                    pass
                if response.status in _GONE:
                    raise BlockMissing(str(cid), self.name)
                if response.status == 401:
                    raise _Refused(_reason(found.get(b"www-authenticate", b"")))
                if response.status in _TEMPORARY:
                    raise _TemporaryAnswer(f"answers with HTTP status {response.status}")
                raise Unreachable(str(cid), f"{self.name}: answers with HTTP status {response.status}")
            if method == "HEAD":
                return b""
            self._check(cid, "Content-Type", RAW, found.get(b"content-type", b"").partition(b";")[0])
            self._check(cid, "Content-Encoding", "identity", found.get(b"content-encoding", b"identity"))
            data, most = io.BytesIO(), 1  # Unlike a bytearray it gives its bytes without a copy.
            began, before = time.monotonic(), self._sharing.bytes
            self._deadline.end = min(asked + self._seconds, began + _FIRST_SECONDS)
            for piece in pieces(response, MAX_BLOCK + 1):
                data.write(piece)
                most = max(most, self._sharing.requests)
                together = self._sharing.add(len(piece)) - before
                self._deadline.end = min(asked + self._seconds * most, began + _FIRST_SECONDS + together / _FLOOR)
            return data.getvalue()

    def _check(self, cid: Cid, name: str, expected: str, found: bytes) -> None:
        text = found[:80].decode("latin-1").strip().lower()
        if text != expected:
            raise Unreachable(str(cid), f"{self.name}: {name}: expected {expected}, found {text!r}")


class _Sharing:
    """What shares a line: requests under way, and the bytes of all bodies so far. A window of blocks over a slow line
    takes long for each of them, and is no fault of the server as long as all together come fast enough."""

    def __init__(self) -> None:
        self.requests = self.bytes = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> int:
        """Counts bytes that came, and says how many are counted."""
        with self._lock:
            self.bytes += size
            return self.bytes

    def __enter__(self) -> None:
        with self._lock:
            self.requests += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.requests -= 1


class _TemporaryAnswer(Exception):
    """An answer that may be another one soon."""


class _Refused(Exception):
    """An answer that is for others."""


def _reason(challenge: bytes) -> str:
    """Why a server of ours refuses; what another says of that is not shown."""
    found = _CHALLENGE.fullmatch(challenge[:400].decode("latin-1"))
    return f"refuses: {found[1]}" if found else "answers with HTTP status 401"
