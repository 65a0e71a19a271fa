"""Offers blocks to others, read only: a trustless gateway of IPFS, for `gateway` and for any IPFS client.

    GET|HEAD /ipfs/CID?format=raw     one block
    GET|HEAD /ipfs/CID?format=car     the whole DAG below it, depth first

Nothing is served that was not just hashed: of a damaged block the answer is that it is not here. Names are addresses
only, so there is no path that could lead out of a directory. Nobody can occupy the server by asking or reading slowly:
`connection` ends that, and only so many blocks are in memory at once, each as long as it is on its way, and few of them
for one reader. What is asked for is read in `request`; whether whoever asks may know it is decided in `admission`.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from fedpact.errors import BlockMissing, ContentError, FedpactError, InputError
from fedpact.store.blocks import Blocks, fetch
from fedpact.store.car import car
from fedpact.store.cid import Cid
from fedpact.store.serving.admission import SCHEME, Door, Refusal, account_in
from fedpact.store.serving.connection import PatientConnection
from fedpact.store.serving.request import CAR, RAW, Asked, Refused, read
from fedpact.store.unixfs import below

# The header of a CAR alone, with the root bafkqaaa.
_PROBE_CAR = b"\x19\xa2\x65roots\x81\xd8\x2a\x45\x00\x01\x55\x00\x00\x67version\x01"
_REASON = 300
_PIECE = 1 << 18
_BLOCKS_AT_ONCE = 64
_BLOCKS_OF_ONE = 8  # Of these, for one account, or one address where nobody has to say who he is.
_PIECE_SECONDS = 10.0  # For which a piece may be on its way, while others wait for the room that its block takes.
_READERS = 8
_CONNECTIONS = 4096  # Helia asks for all links of a node at once, each on a connection of its own: 1024.
_STOP_SECONDS = 3
_log = logging.getLogger(__name__)


def application(blocks: Blocks, door: Door | None = None) -> Starlette:
    """The gateway to a store, as an ASGI application.

    Args:
        door: says whose requests are answered; everybody's where there is none.
    """
    return Starlette(routes=[Route("/ipfs/{cid:path}", _Gateway(blocks, door), methods=["GET", "HEAD"])])


class BlockServer:
    """A store behind HTTP. Connections are taken from now on, and answered once it runs.

    Args:
        blocks: what is offered.
        host: the address to listen on.
        port: the port; 0 for any that is free.
        access_log: whether each request is logged, by the logger `uvicorn.access`.
        door: makes what says whose requests are answered, of the URL where this listens; without it everybody's are.

    Attributes:
        url: where it listens.

    Raises:
        InputError: it cannot listen there.
    """

    def __init__(
        self,
        blocks: Blocks,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        access_log: bool = False,
        door: Callable[[str], Door] | None = None,
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=256)
        except (OSError, OverflowError) as error:
            reason = str(getattr(error, "strerror", None) or error).partition(" (while ")[0]
            raise InputError(f"host {host}, port {port}: cannot listen there: {reason}") from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            application(blocks, None if door is None else door(self.url)),
            http=PatientConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=access_log,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=_connections(),
            timeout_keep_alive=5,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        # What goes wrong is logged here; there it would be told again, with a traceback.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Answers until `stop`, SIGINT or SIGTERM, which is passed on to the handler that was there before."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def start(self) -> None:
        """Answers in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="fedpact-store", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends `run`, or what `start` began: answers that are under way have a few seconds to end."""
        self._server.should_exit = True
        if self._thread is None:
            self._socket.close()
        else:
            self._thread.join()


def _connections() -> int:
    """How many connections are taken at most. Each is an open file, as is each block that is read: as many of these as
    the system lets this process have are asked for."""
    try:
        import resource
    except ImportError:  # Of Unix alone.
        return _CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _CONNECTIONS if hard == resource.RLIM_INFINITY else min(2 * _CONNECTIONS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(_CONNECTIONS, max(soft, wanted) // 2)


class _Gateway:
    """Answers requests for the blocks of a store."""

    def __init__(self, blocks: Blocks, door: Door | None) -> None:
        self._blocks, self._door = blocks, door
        self._slots = anyio.Semaphore(_BLOCKS_AT_ONCE)
        self._slots_of: WeakValueDictionary[str, anyio.Semaphore] = WeakValueDictionary()  # By reader, while he asks.
        self._readers = anyio.CapacityLimiter(_READERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        refusal = None if self._door is None else self._door.refusal(request.headers.get("authorization"))
        if refusal is not None:
            await _not_admitted(refusal)(scope, receive, send)
            return
        try:
            asked = read(request)
        except Refused as error:
            await _refusal(error.status, str(error))(scope, receive, send)
            return
        if asked.known_to(request.headers.get("if-none-match", "")):
            await Response(status_code=304, headers=self._headers(asked))(scope, receive, send)
        elif asked.cid is None:
            probe = b"" if asked.form == RAW else _PROBE_CAR
            await Response(probe, headers=self._headers(asked))(scope, receive, send)
        else:
            await self._send(asked, asked.cid, request, send)

    def _headers(self, asked: Asked) -> dict[str, str]:
        return asked.headers(private=self._door is not None)

    async def _send(self, asked: Asked, cid: Cid, request: Request, send: Send) -> None:
        pieces = self._raw(cid) if asked.form == RAW else self._car(asked, cid)
        own = self._slots_of.setdefault(self._reader(request), anyio.Semaphore(_BLOCKS_OF_ONE))
        started = False
        while True:
            async with own, self._slots:
                try:
                    piece = await anyio.to_thread.run_sync(next, pieces, None, limiter=self._readers)
                except FedpactError as error:
                    if not started:
                        await _failure(cid, error)(request.scope, request.receive, send)
                    elif not isinstance(error, BlockMissing):
                        _log.error("%s", error)
                    return  # The answer is left without its end, so that nobody takes it for whole.
                messages: list[Message] = []
                if not started:
                    length = {} if piece is None or asked.form == CAR else {"Content-Length": str(len(piece))}
                    headers = Headers(self._headers(asked) | length).raw
                    messages.append({"type": "http.response.start", "status": 200, "headers": headers})
                    started = True
                last = piece is None or asked.form == RAW or request.method == "HEAD"
                for message in chain(messages, _bodies(b"" if request.method == "HEAD" else piece or b"", last)):
                    with anyio.move_on_after(_PIECE_SECONDS) as patience:
                        await send(message)
                    if patience.cancelled_caught:
                        return  # As above.
            if last or await request.is_disconnected():
                return

    def _reader(self, request: Request) -> str:
        """Who asks. Several accounts may come from one address, that of a proxy."""
        account = None if self._door is None else account_in(request.headers.get("authorization", ""))
        return account or (request.client.host if request.client else "")

    def _raw(self, cid: Cid) -> Iterator[bytes]:
        yield fetch(self._blocks, cid)

    def _car(self, asked: Asked, cid: Cid) -> Iterator[bytes]:
        blocks = below(self._blocks, cid, once=asked.once)
        root = next(blocks)  # Before anything is sent.
        yield from car(cid, chain([root], () if asked.scope == "block" else blocks))


def _bodies(piece: bytes, last: bool) -> Iterator[Message]:
    """A piece in parts, and nothing behind them: who is sent that has been sent the last part, or most of it."""
    for start in range(0, len(piece), _PIECE):
        yield {"type": "http.response.body", "body": piece[start : start + _PIECE], "more_body": True}
    yield {"type": "http.response.body", "body": b"", "more_body": not last}


def _not_admitted(refusal: Refusal) -> Response:
    """The answer to somebody who may not read. The reason is in a header too, as an answer to HEAD has no body."""
    response = _refusal(refusal.status, refusal.why)
    response.headers["Cache-Control"] = "no-store"
    if refusal.status == 401:
        response.headers["WWW-Authenticate"] = f'{SCHEME} error="{refusal.why[:_REASON]}"'
    return response


def _failure(cid: Cid, error: FedpactError) -> Response:
    """The answer where a block could not be read; it says nothing of where blocks are kept."""
    if isinstance(error, BlockMissing):
        return _refusal(404, f"block {error.cid}: not here")
    _log.error("%s", error)
    if isinstance(error, ContentError):
        return _refusal(404, f"block {cid}: not here in one piece")
    return _refusal(500, f"block {cid}: the store does not answer")


def _refusal(status: int, why: str) -> Response:
    return PlainTextResponse(why[:_REASON] + "\n", status, headers={"X-Content-Type-Options": "nosniff"})
