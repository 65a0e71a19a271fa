"""An IPFS node's RPC over httpcore: every answer bounded in time and bytes, no redirects, nothing decompressed."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import httpcore

from fedpact.store.blocks import MAX_BLOCK
from fedpact.store.car import car
from fedpact.store.cid import Cid
from fedpact.store.remote.deadline import LAST_BYTES, Deadline
from fedpact.store.remote.http import FAILURES, Place, in_words, open_pool, pieces
from fedpact.store.remote.node import (
    MAX_PINS_BYTES,
    STREAM_FLOOR,
    Answer,
    NodeRefused,
    NodeSilent,
    in_short,
    read_line,
    read_pin,
    read_pinned,
)

_TRIES = 2  # The first may find a connection that the node was just closing.
_GRACE = 3.0  # Seconds that a node has for its answer after those that it was told to look for something.
_FLOOR = 25_000  # Bytes of a block that come in a second, at least: some requests share the line.
_SENT_FLOOR = 100_000  # Bytes that go in a second, at least.
_MAX_ANSWER = 1 << 20
_MAX_LINE = 1 << 16
# The trailers of a chunked answer, which stand behind its last, empty chunk; there may be none. Each has a colon, so
# that no bytes of a block before that chunk can be taken for one.
_TRAILERS = re.compile(rb"\r\n0+[ \t]*\r\n((?:[^\r\n:]+:[^\r\n]*\r\n)*)\r\n\Z")
_ERROR = re.compile(rb"^x-stream-error:[ \t]*(.*?)\r$", re.IGNORECASE | re.MULTILINE)


class HttpNode:
    """A node behind HTTP. Threads may share it.

    Args:
        place: where its RPC is, without `/api/v0`.
        connections: that are kept at most; as many requests are under way at once.
    """

    def __init__(self, place: Place, *, connections: int = 64) -> None:
        self.name = f"node {place.origin}"
        self._base = f"{place.origin}{place.path}/api/v0/"
        self._headers = [("Accept-Encoding", "identity"), ("User-Agent", "fedpact"), *place.authorization]
        self._deadline = Deadline()
        self._slots = threading.Semaphore(connections)  # Nobody's time runs while he waits for a connection.
        self._pool = open_pool(self._deadline, connections)

    def block_get(self, cid: Cid, seconds: float, *, offline: bool = False) -> bytes:
        data: list[bytes] = []

        def take(response: httpcore.Response) -> bool:
            data.clear()
            began, size = time.monotonic(), 0
            for piece in pieces(response, MAX_BLOCK + 1):
                data.append(piece)
                size += len(piece)
                self._deadline.end = began + _GRACE + size / _FLOOR
            return size <= MAX_BLOCK

        try:
            # Without a timeout for the node: js-ipfs keeps every block in memory until that has passed. Nodes stop
            # looking when the connection closes.
            self._ask("block/get", {"arg": cid, "offline": "true" if offline else "false"}, seconds, take)
        except _Late:
            if data:
                raise
            self._lines("version", {}, _GRACE)  # Is it that the node is silent, or that it has not found anything?
            raise NodeRefused("block not found in time") from None
        return b"".join(data)

    def cat(self, root: Cid, start: int, length: int, seconds: float) -> Generator[bytes, Any, None]:
        options = {"arg": root, "offset": start, "length": length}
        left = most = seconds
        try:
            with self._slots, contextlib.ExitStack() as stack:
                with self._deadline.within(left, step=left):
                    # One byte more than there may be: who asks for it learns that the answer is over.
                    coming = pieces(stack.enter_context(self._answer("cat", options)), length + 1)
                while True:
                    began = time.monotonic()
                    with self._deadline.within(left, step=left):
                        piece = next(coming, b"")
                    if not piece:
                        return
                    # Whoever reads may take his time; only the node's own counts.
                    left = min(most, left - (time.monotonic() - began) + len(piece) / STREAM_FLOOR)
                    yield piece
        except FAILURES as error:
            raise NodeSilent(in_words(error)) from None

    def block_stat(self, cid: Cid, seconds: float) -> None:
        self._lines("block/stat", {"arg": cid} | _where(seconds, True), seconds)

    def dag_import(self, blocks: Sequence[tuple[Cid, bytes]], seconds: float) -> list[Answer]:
        options = {"pin-roots": "false", "stats": "true", "timeout": f"{seconds:.3f}s"}
        sending = sum(len(data) for _, data in blocks) / _SENT_FLOOR
        return self._lines("dag/import", options, seconds, _Form(blocks), sending=sending)

    def pin_add(self, root: Cid, seconds: float, *, offline: bool = False) -> list[str]:
        options = {"arg": root, "recursive": "true"} | _where(seconds, offline)
        return [each for line in self._lines("pin/add", options, seconds, of=read_pinned) for each in line]

    def pin_rm(self, root: Cid, seconds: float) -> None:
        self._lines("pin/rm", {"arg": root, "recursive": "true"} | _where(seconds, True), seconds)

    def pin_ls(self, seconds: float) -> list[str]:
        options = {"type": "recursive", "stream": "true", "timeout": f"{seconds:.3f}s"}
        return self._lines("pin/ls", options, seconds, limit=MAX_PINS_BYTES, of=read_pin)

    def close(self) -> None:
        """Closes all connections. The node can be asked again."""
        self._pool.close()

    def _lines(
        self,
        command: str,
        options: dict[str, Any],
        seconds: float,
        form: _Form | None = None,
        *,
        sending: float = 0.0,
        limit: int = _MAX_ANSWER,
        of: Callable[[Answer], Any] = lambda line: line,
    ) -> list[Any]:
        """An answer of JSON objects, one a line.

        Args:
            sending: seconds that it may take longer, as long as something moves.
            limit: bytes that it may have at most.
            of: what is kept of each.
        """
        found: list[Any] = []

        def take(response: httpcore.Response) -> bool:
            found.clear()
            rest, size = b"", 0
            for piece in pieces(response, limit + 1):
                size += len(piece)
                *lines, rest = (rest + piece).split(b"\n")
                if size > limit or len(rest) > _MAX_LINE:
                    raise NodeSilent(f"{command}: answers with more than expected")
                found.extend(of(read_line(line)) for line in lines if line.strip())
            if rest.strip():
                found.append(of(read_line(rest)))
            return True

        self._ask(command, options, seconds, take, form, sending)
        return found

    def _ask(
        self,
        command: str,
        options: dict[str, Any],
        seconds: float,
        take: Callable[[httpcore.Response], bool],
        form: _Form | None = None,
        sending: float = 0.0,
    ) -> None:
        """Asks, and once more where the connection breaks.

        Args:
            take: takes the answer in; whether that was all of it.

        Raises:
            NodeRefused, NodeSilent: as all of `NodeRpc`.
        """
        for again in range(_TRIES):
            try:
                with self._slots, self._deadline.within(seconds + sending + _GRACE, step=seconds + _GRACE):
                    self._once(command, options, take, form)
                return
            except httpcore.TimeoutException as error:
                raise _Late(in_words(error)) from None
            except FAILURES as error:
                if again == _TRIES - 1:
                    raise NodeSilent(in_words(error)) from None

    def _once(
        self, command: str, options: dict[str, Any], take: Callable[[httpcore.Response], bool], form: _Form | None
    ) -> None:
        with self._answer(command, options, form) as response:
            if take(response) and "chunked" in _header(response, b"transfer-encoding"):
                last = response.extensions["network_stream"].get_extra_info(LAST_BYTES)
                trailers = _TRAILERS.search(last or b"")
                if trailers is None:  # They may say that the node failed.
                    raise NodeSilent("answers with longer trailers than expected")
                if error := _ERROR.search(trailers[1]):
                    raise NodeRefused(in_short(error[1].decode("utf-8", "replace")))

    @contextlib.contextmanager
    def _answer(self, command: str, options: dict[str, Any], form: _Form | None = None) -> Iterator[httpcore.Response]:
        """An answer whose head says that nothing is wrong so far.

        Raises:
            NodeRefused, NodeSilent: it says otherwise.
        """
        url = self._base + command + "?" + "&".join(f"{name}={value}" for name, value in options.items())
        headers = self._headers + ([("Content-Length", "0")] if form is None else form.headers)
        content: Any = form  # Iterated anew for each try; httpcore asks for no more.
        with self._pool.stream("POST", url, headers=headers, content=content) as response:
            if response.status != 200:
                body = b"".join(pieces(response, _MAX_LINE))
                with contextlib.suppress(NodeSilent):  # It is of a proxy, maybe.
                    read_line(body)
                raise NodeSilent(f"answers with HTTP status {response.status}")
            encoding = _header(response, b"content-encoding") or "identity"
            if encoding != "identity":
                raise NodeSilent(f"Content-Encoding: expected identity, found {encoding!r}")
            yield response


class _Late(NodeSilent):
    """The time for an answer has passed."""


class _Form:
    """A CAR in a multipart body, made as it is sent, as often as it is sent."""

    def __init__(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        self._blocks = blocks
        self._boundary = os.urandom(16).hex()
        self.headers = [("Content-Type", f"multipart/form-data; boundary={self._boundary}")]

    def __iter__(self) -> Iterator[bytes]:
        name = 'Content-Disposition: form-data; name="file"; filename="blocks.car"'
        yield f"--{self._boundary}\r\n{name}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        # A header has to name a root; which does not matter, as nothing is pinned by it.
        yield from car(self._blocks[0][0], self._blocks)
        yield f"\r\n--{self._boundary}--\r\n".encode()


def _header(response: httpcore.Response, name: bytes) -> str:
    """What a header says, in small letters; nothing where there is none."""
    found = next((value for each, value in response.headers if each.lower() == name), b"")
    return found[:80].decode("latin-1").strip().lower()


def _where(seconds: float, offline: bool) -> dict[str, str]:
    return {"timeout": f"{seconds:.3f}s", "offline": "true" if offline else "false"}
