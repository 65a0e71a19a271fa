"""HTTP servers for tests that give whatever a test says: gateways that lie, dawdle or talk nonsense."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fedpact.errors import BlockMissing
from fedpact.store import Blocks, Cid
from fedpact.store.remote.gateway import GatewayBlocks

Answer = Callable[[BaseHTTPRequestHandler], None]
"""Writes the answer to one request."""


class Gateway:
    """A server on a port of its own.

    Args:
        answer: gives each answer.
        tls: where it is to speak HTTPS, with which certificate.

    Attributes:
        url: where it is.
        asked: the request lines so far.
    """

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked.append(self.requestline)
                answer(self)

            do_HEAD = do_POST = do_GET  # noqa: N815  # As the standard library calls it.

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # The client went away, as it should from such a server.

        self.asked = asked
        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def respond(
    to: BaseHTTPRequestHandler,
    body: bytes = b"",
    *,
    status: int = 200,
    length: int | None = None,
    **headers: str,
) -> None:
    """An answer whose length may not be that of its body."""
    to.send_response(status)
    for name, value in ({"content_type": "application/vnd.ipld.raw"} | headers).items():
        to.send_header(name.replace("_", "-"), value)
    to.send_header("Content-Length", str(len(body) if length is None else length))
    to.end_headers()
    if to.command != "HEAD":
        to.wfile.write(body)


class ServedBlocks:
    """A store that is written to directly, and read through a gateway that passes on whatever it finds there."""

    def __init__(self, inner: Blocks) -> None:
        self._inner = inner
        self._server = Gateway(self._answer)
        self._gateway = GatewayBlocks(self._server.url)

    def _answer(self, to: BaseHTTPRequestHandler) -> None:
        try:
            cid = Cid.parse(to.path.removeprefix("/ipfs/").removesuffix("?format=raw"))
            respond(to, self._inner.get(cid))
        except BlockMissing:
            respond(to, b"not here", status=404)

    def get(self, cid: Cid) -> bytes:
        return self._gateway.get(cid)

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        self._inner.put(cid, data)

    def has(self, cid: Cid) -> bool:
        return self._gateway.has(cid)

    def close(self) -> None:
        self._gateway.close()
        self._server.close()
