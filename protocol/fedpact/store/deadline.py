"""Network connections of httpcore whose every step ends by one moment, so that nobody can hold a caller by trickling.

httpcore bounds each read by itself: a server that sends a byte now and then would never run out of time.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpcore

LAST_BYTES = "last bytes"
"""What a stream is asked for to say what was read of it last: trailers, which httpcore keeps to itself."""
_TAIL = 1024
_WRITTEN = 1 << 16
_IN_USE = 1.0
"""Seconds for which a connection counts as one in use. A pool takes an idle one with something to read for closed, and
closes it; but another thread may just have begun to use it, and what can be read be its answer."""
_STEP_SECONDS = 10.0
"""How long a single step may take, whatever time is left."""


class Deadline(threading.local):
    """The moment by which what this thread does has to be over; none unless one is set."""

    end: float | None = None
    step: float = _STEP_SECONDS

    @contextlib.contextmanager
    def within(self, seconds: float, *, step: float = _STEP_SECONDS) -> Iterator[None]:
        """What is done inside is over after so many seconds, or ends with a timeout.

        Args:
            step: seconds that a single step may take.
        """
        self.end, self.step = time.monotonic() + seconds, step
        try:
            yield
        finally:
            self.end, self.step = None, _STEP_SECONDS

    def left(self) -> float:
        """Seconds that are left, at most those of a single step."""
        return self.step if self.end is None else min(self.step, self.end - time.monotonic())


class DeadlineBackend(httpcore.NetworkBackend):
    """Makes connections that keep to a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left, local_address, socket_options), self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner, self._deadline = inner, deadline
        self._last = b""
        self._used = time.monotonic()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))
        self._used = time.monotonic()
        self._last = data[-_TAIL:] if len(data) >= _TAIL else (self._last + data)[-_TAIL:]
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # A slow reader gets a new timeout with each bit that it takes, so a large buffer goes in pieces.
        self._used = time.monotonic()
        for start in range(0, len(buffer), _WRITTEN):
            left = _left(self._deadline, httpcore.WriteTimeout)
            self._inner.write(buffer[start : start + _WRITTEN], left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        if info == LAST_BYTES:
            return self._last
        if info == "is_readable" and time.monotonic() - self._used < _IN_USE:
            return False
        return self._inner.get_extra_info(info)


def _left(deadline: Deadline, late: Callable[[str], Exception]) -> float:
    left = deadline.left()
    if left <= 0:
        raise late("the deadline has passed")
    return left
