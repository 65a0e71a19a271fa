"""Endpoints for tests: real HTTP servers of JSON-RPC that behave as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Request", Any], None]


class Request(BaseHTTPRequestHandler):
    """One request; `server.behave` answers it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        try:
            self.server.behave(self, asked)  # type: ignore[attr-defined]
        except OSError:
            self.close_connection = True  # The client has gone, as some tests want it to.

    def give(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """An endpoint that behaves as it is told.

    Attributes:
        asked: every request's body.
    """

    daemon_threads = True

    def __init__(self, behave: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.behave, self.asked = behave, []  # type: ignore[var-annotated]
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v3/SECRET"

    def methods(self, name: str) -> int:
        """How often a method was asked for."""
        return sum(isinstance(asked, dict) and asked["method"] == name for asked in self.asked)
