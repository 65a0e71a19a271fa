"""One HTTP request and its whole answer, bounded in time and in bytes.

The timeouts of `requests` start again with every byte that comes, so a server that lets one trickle out now and then
holds its client for ever. Here a deadline stands above every read of a socket, of the headers too.
"""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError

# Its warnings show URLs whole, and a URL may hold a key: of headers that are none, for one.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

_PIECE = 1 << 16
_CONNECTIONS = 128  # Threads that one process may ask with at once without opening connections anew.


class Failed(Exception):
    """No whole answer came.

    Attributes:
        unsent: whether it is certain that the server has not seen the request.
    """

    def __init__(self, why: str, *, unsent: bool = False) -> None:
        super().__init__(why)
        self.unsent = unsent


class TooLarge(Exception):
    """The answer has more bytes than it may have."""


class _Packed(HTTPError):
    """The answer is packed, which nobody asked for: a few bytes could stand for any number."""


class Exchange:
    """Sends requests to one server. Threads may share one.

    Args:
        url: where to.
        connect: seconds until a connection must stand.
    """

    def __init__(self, url: str, *, connect: float) -> None:
        self._url, self._connect = url, connect
        self._session = requests.Session()
        self._session.headers.update(
            {"Content-Type": "application/json", "User-Agent": "fedpact", "Accept-Encoding": "identity"}
        )
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(pool_maxsize=_CONNECTIONS)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def post(self, body: bytes, seconds: float, max_bytes: int) -> tuple[int, str, bytes]:
        """Sends a body; returns the status, what the server says of when to come again, and the answer.

        Args:
            seconds: until the whole answer must be there.
            max_bytes: what it may have at most.

        Raises:
            Failed: it is not there, or it is packed.
            TooLarge: it has too many bytes.
        """
        end = _thread.end = time.monotonic() + seconds
        try:
            with self._session.post(
                self._url,
                data=body,
                timeout=(min(self._connect, seconds), seconds),
                stream=True,
                allow_redirects=False,
            ) as response:
                if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
                    raise _Packed
                data = bytearray()
                while piece := response.raw.read(_PIECE, decode_content=False):
                    data += piece
                    if len(data) > max_bytes:
                        raise TooLarge
                return response.status_code, response.headers.get("Retry-After", ""), bytes(data)
        except (requests.RequestException, HTTPError, OSError) as error:
            cause = error.args[0] if error.args else None
            unsent = isinstance(error, requests.ConnectTimeout) or isinstance(
                getattr(cause, "reason", None), NewConnectionError
            )
            packed = isinstance(error, _Packed)
            why = "no connection" if unsent else "a packed answer" if packed else "no whole answer"
            late = f" within {seconds:.3g} seconds" if time.monotonic() >= end - 0.01 else ""
            raise Failed(f"{why}{late} ({type(error).__name__})", unsent=unsent) from None
        finally:
            del _thread.end

    def close(self) -> None:
        """Closes its connections."""
        self._session.close()


_thread = threading.local()  # `end`: when the request that this thread waits for must be over.


class _TimedReader(io.RawIOBase):
    """What a server sends, as long as there is time."""

    def __init__(self, plain: socket.socket) -> None:
        self._plain = plain
        self._raw: Any = plain.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = getattr(_thread, "end", 0.0) - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self._plain.settimeout(left)
        return self._raw.readinto(buffer)  # type: ignore[no-any-return]  # A raw file's.

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """A socket whose readers keep to the deadline of the thread that reads."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def makefile(self, mode: str, *_: Any, **__: Any) -> io.BufferedReader:
        """As a socket's; http.client asks for readers only."""
        return io.BufferedReader(_TimedReader(self._plain))


class _TimedHttp(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock: Any = _TimedSocket(self.sock)


class _TimedHttps(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock: Any = _TimedSocket(self.sock)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _TimedHttp


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _TimedHttps


class _Adapter(HTTPAdapter):
    """Makes connections that keep to a deadline, through a proxy too."""

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **named)
        manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return manager
