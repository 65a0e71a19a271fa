"""What every store behind HTTP has in common: where it is, connections that end in time, and failures in words."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import httpcore

from fedpact.store.remote.deadline import Deadline, DeadlineBackend

FAILURES = (OSError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)
"""What httpcore raises where no whole answer came."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is.

    Attributes:
        origin: scheme, host and port; holds no secret.
        path: below which it is asked, without a slash at its end.
        host, port: whom to connect to; no port where the scheme's own is meant.
        user: name and password, where there are any.
    """

    origin: str
    path: str
    host: str
    port: int | None
    user: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def read(cls, url: str) -> Place | None:
        """The place that a URL with `http` or `https` names; none where it names none, or more than a place."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
            return None
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        user = None
        if parts.username or parts.password:
            user = unquote(parts.username or ""), unquote(parts.password or "")
        origin = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
        return cls(origin, parts.path.rstrip("/"), parts.hostname, port, user)

    @property
    def authorization(self) -> list[tuple[str, str]]:
        """The header that names the user; none where there is none."""
        if self.user is None:
            return []
        return [("Authorization", "Basic " + base64.b64encode(":".join(self.user).encode()).decode())]


def open_pool(deadline: Deadline, connections: int) -> httpcore.ConnectionPool:
    """Connections that keep to a deadline, and are kept themselves."""
    return httpcore.ConnectionPool(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=4.0,  # Less than servers wait, so that few are closed just as they are used.
        network_backend=DeadlineBackend(deadline),
    )


def pieces(response: httpcore.Response, limit: int) -> Iterator[bytes]:
    """The first bytes of an answer, as they come."""
    for piece in response.iter_stream():
        yield piece[:limit]
        limit -= len(piece)
        if limit <= 0:
            break


def in_words(error: Exception) -> str:
    """What went wrong on the way."""
    kinds: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
        (httpcore.PoolTimeout, "too many blocks are being read at once"),
        (httpcore.TimeoutException, "no answer in time"),
        (httpcore.ConnectError, "cannot be reached"),
        (httpcore.ProtocolError, "the answer is broken off, or not HTTP"),
    )
    said = next((words for kind, words in kinds if isinstance(error, kind)), "the connection broke")
    detail = " ".join(str(error).split())[:120]
    return f"{said} ({detail})" if detail else said
