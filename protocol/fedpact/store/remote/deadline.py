"""Network connections of httpcore whose every step ends by one moment, so that nobody can hold a caller by trickling.

httpcore bounds each read by itself: a server that sends a byte now and then would never run out of time.
"""

from __future__ import annotations

import contextlib
import socket
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
_READ = 1 << 18
_IN_USE = 1.0
"""Seconds for which a connection counts as one in use. A pool takes an idle one with something to read for closed, and
closes it; but another thread may just have begun to use it, and what can be read be its answer."""
_ADDRESSES = 4
"""That are tried at most, where a name has several."""
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
        end = time.monotonic() + _left(self._deadline, httpcore.ConnectTimeout)
        found = _addresses(host, port, end)[:_ADDRESSES]
        failed: Exception = httpcore.ConnectError("the host has no address")
        for place, address in enumerate(found):
            # An even share, so that one that does not answer leaves time for the others.
            left = (end - time.monotonic()) / (len(found) - place)
            if left > 0:
                try:
                    stream = self._inner.connect_tcp(address, port, left, local_address, socket_options)
                    return _Stream(stream, self._deadline)
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                    failed = error
        raise failed


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner, self._deadline = inner, deadline
        self._last = b""
        self._used = time.monotonic()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        # Each read costs some calls of the system, however much it brings.
        data = self._inner.read(max(max_bytes, _READ), _left(self._deadline, httpcore.ReadTimeout))
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


def _addresses(host: str, port: int, end: float) -> list[str]:
    """The addresses of a host, found by a moment.

    The system's resolver cannot be interrupted. It is left behind in a thread of its own, until it gives up by itself.
    """
    found: list[str] = []
    failed: list[Exception] = []

    def resolve() -> None:
        try:
            known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(each[4][0]) for each in known))
        except (OSError, UnicodeError) as error:  # The latter of a name that no host can have.
            failed.append(error)

    resolver = threading.Thread(target=resolve, name="fedpact-resolver", daemon=True)
    resolver.start()
    resolver.join(max(end - time.monotonic(), 0.0))
    if resolver.is_alive():
        raise httpcore.ConnectTimeout("the host's name is not resolved in time")
    if failed:
        raise httpcore.ConnectError(str(failed[0]))
    return found


def _left(deadline: Deadline, late: Callable[[str], Exception]) -> float:
    left = deadline.left()
    if left <= 0:
        raise late("the deadline has passed")
    return left
