"""Between one service and its node: kills the service at an exact point of a conversation, or loses a transaction."""

from __future__ import annotations

import contextlib
import enum
import http.client
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eth_hash.auto import keccak

from ordeal.processes import HOST

_SEND, _RECEIPT = "eth_sendRawTransaction", "eth_getTransactionReceipt"
_SECONDS = 60.0


class Moment(enum.Enum):
    """A point of a conversation."""

    BEFORE_SENDING = "signed and journalled, not sent"
    AFTER_SENDING = "sent, not answered"
    BEFORE_RECEIPT = "in a block, its receipt not answered"


@dataclass(slots=True, eq=False)
class _Trap:
    moment: Moment
    spring: Callable[[], None]
    skip: int


class Proxy:
    """Passes requests on to a node.

    Args:
        port: the node's.

    Attributes:
        url: for the service.
        sent: transactions that were passed on.
        lost: transactions that were answered for and not passed on.
    """

    def __init__(self, port: int) -> None:
        self.sent = self.lost = 0
        self._port = port
        self._traps: list[_Trap] = []
        self._to_lose = 0
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = _SECONDS
            disable_nagle_algorithm = True  # An answer is two writes: the second would wait for the client's.

            def do_POST(self) -> None:
                # A client that was killed takes no answer.
                with contextlib.suppress(OSError):
                    length = int(self.headers["Content-Length"])
                    body = self.rfile.read(length)
                    answer = proxy._pass(body) if len(body) == length else None
                    if answer is None:
                        self.close_connection = True
                        return
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # As the class above calls it.
                pass

        self._server = _Server((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="proxy")
        self._thread.start()

    def trap(self, moment: Moment, spring: Callable[[], None], *, skip: int = 0) -> Callable[[], None]:
        """Calls `spring` at the next such moment, once, or after so many others; its request is not answered.

        Returns:
            What takes the trap away.
        """
        trap = _Trap(moment, spring, skip)
        with self._lock:
            self._traps.append(trap)
        return lambda: self._disarm(trap)

    def lose_next(self) -> None:
        """Has the next transaction answered for as if the node had taken it, and loses it."""
        with self._lock:
            self._to_lose += 1

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _pass(self, body: bytes) -> bytes | None:
        """The answer to a request; none where there is to be none."""
        found = json.loads(body)
        requests = found if isinstance(found, list) else [found]
        sends = any(each["method"] == _SEND for each in requests)
        if sends and self._springs(Moment.BEFORE_SENDING):
            return None
        if sends and self._loses():
            raw = bytes.fromhex(requests[0]["params"][0].removeprefix("0x"))
            return json.dumps({"jsonrpc": "2.0", "id": requests[0]["id"], "result": "0x" + keccak(raw).hex()}).encode()
        answer = self._forward(body)
        if answer is None:
            return None
        if sends:
            self.sent += 1
            if self._springs(Moment.AFTER_SENDING):
                return None
        asked = {each["id"] for each in requests if each["method"] == _RECEIPT}
        if asked and any(_is_given(each, asked) for each in _answers(answer)) and self._springs(Moment.BEFORE_RECEIPT):
            return None
        return answer

    def _disarm(self, trap: _Trap) -> None:
        with self._lock:
            if trap in self._traps:
                self._traps.remove(trap)

    def _springs(self, moment: Moment) -> bool:
        with self._lock:
            found = next((each for each in self._traps if each.moment is moment), None)
            if found is None:
                return False
            if found.skip:
                found.skip -= 1
                return False
            self._traps.remove(found)
        found.spring()
        return True

    def _loses(self) -> bool:
        with self._lock:
            if not self._to_lose:
                return False
            self._to_lose -= 1
            self.lost += 1
            return True

    def _forward(self, body: bytes) -> bytes | None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=_SECONDS)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return None  # The node is down: nobody answers here either.
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing of clients that were killed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _answers(data: bytes) -> Iterator[dict[str, Any]]:
    found = json.loads(data)
    yield from found if isinstance(found, list) else [found]


def _is_given(answer: dict[str, Any], asked: set[Any]) -> bool:
    return answer.get("id") in asked and answer.get("result") is not None
