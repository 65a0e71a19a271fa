"""Offers blocks to others, read only: a trustless gateway of IPFS, for `gateway` and for any IPFS client.

    GET|HEAD /ipfs/CID?format=raw     one block
    GET|HEAD /ipfs/CID?format=car     the whole DAG below it, depth first

Nothing is served that was not just hashed: of a damaged block the answer is that it is not here. Names are addresses
only, so there is no path that could lead out of a directory. Nobody can occupy the server by asking or reading slowly:
`connection` ends that, and only so many blocks are in memory at once.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fedpact.errors import BlockMissing, ContentError, FedpactError, InputError, InvalidCid
from fedpact.store.blocks import Blocks, fetch
from fedpact.store.car import car
from fedpact.store.cid import Cid
from fedpact.store.connection import PatientConnection
from fedpact.store.unixfs import below

RAW = "application/vnd.ipld.raw"
CAR = "application/vnd.ipld.car"
_FORMATS = {"raw": RAW, "car": CAR}
_FOREVER = "public, max-age=29030400, immutable"
_PIECE = 1 << 18
_BLOCKS_AT_ONCE = 64
_READERS = 8
_CONNECTIONS = 1024
_STOP_SECONDS = 3
_log = logging.getLogger(__name__)


def application(blocks: Blocks) -> Starlette:
    """The gateway to a store, as an ASGI application."""
    return Starlette(routes=[Route("/ipfs/{cid:path}", _Gateway(blocks), methods=["GET", "HEAD"])])


class BlockServer:
    """A store behind HTTP. Connections are taken from now on, and answered once it runs.

    Args:
        blocks: what is offered.
        host: the address to listen on.
        port: the port; 0 for any that is free.
        access_log: whether each request is logged, by the logger `uvicorn.access`.

    Raises:
        InputError: it cannot listen there.
    """

    def __init__(self, blocks: Blocks, *, host: str = "127.0.0.1", port: int = 0, access_log: bool = False) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=256)
        except (OSError, OverflowError) as error:
            reason = str(getattr(error, "strerror", None) or error).partition(" (while ")[0]
            raise InputError(f"host {host}, port {port}: cannot listen there: {reason}") from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            application(blocks),
            http=PatientConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=access_log,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
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


class _Gateway:
    """Answers requests for the blocks of a store."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._slots = anyio.Semaphore(_BLOCKS_AT_ONCE)
        self._readers = anyio.CapacityLimiter(_READERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            asked = _read(request)
        except _Refused as error:
            await _refusal(error.status, str(error))(scope, receive, send)
            return
        if asked.etag in [each.strip() for each in request.headers.get("if-none-match", "").split(",")]:
            await Response(status_code=304, headers=asked.headers)(scope, receive, send)
            return
        await self._send(asked, request, send)

    async def _send(self, asked: _Asked, request: Request, send: Send) -> None:
        pieces = self._raw(asked) if asked.form == RAW else self._car(asked)
        started = False
        while True:
            async with self._slots:
                try:
                    piece = await anyio.to_thread.run_sync(next, pieces, None, limiter=self._readers)
                except FedpactError as error:
                    if not started:
                        await _failure(asked.cid, error)(request.scope, request.receive, send)
                    elif not isinstance(error, BlockMissing):
                        _log.error("%s", error)
                    return  # The answer is left without its end, so that nobody takes it for whole.
                if not started:
                    length = {} if piece is None or asked.form == CAR else {"Content-Length": str(len(piece))}
                    await send({"type": "http.response.start", "status": 200, "headers": _raw_headers(asked, length)})
                    started = True
                if piece is None or request.method == "HEAD":
                    break
                for start in range(0, len(piece), _PIECE):
                    part = piece[start : start + _PIECE]
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            if await request.is_disconnected():
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _raw(self, asked: _Asked) -> Iterator[bytes]:
        yield fetch(self._blocks, asked.cid)

    def _car(self, asked: _Asked) -> Iterator[bytes]:
        blocks = below(self._blocks, asked.cid, once=asked.once)
        root = next(blocks)  # Before anything is sent.
        yield from car(asked.cid, chain([root], () if asked.root_only else blocks))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request asks for.

    Attributes:
        form: the media type.
        once: whether a block that repeats is left out of a CAR.
        root_only: whether a CAR is to hold the root alone.
    """

    cid: Cid
    form: str
    once: bool = False
    root_only: bool = False

    @property
    def etag(self) -> str:
        if self.form == RAW:
            return f'"{self.cid}.raw"'
        return f'W/"{self.cid}.car.{"block" if self.root_only else "all"}.{"n" if self.once else "y"}"'

    @property
    def headers(self) -> dict[str, str]:
        raw = self.form == RAW
        return {
            "Content-Type": RAW if raw else f"{CAR}; version=1; order=dfs; dups={'n' if self.once else 'y'}",
            "Content-Disposition": f'attachment; filename="{self.cid}.{"bin" if raw else "car"}"',
            "Accept-Ranges": "none",
            "Cache-Control": _FOREVER,
            "Etag": self.etag,
            "Vary": "Accept",
            "X-Content-Type-Options": "nosniff",
            "X-Ipfs-Path": f"/ipfs/{self.cid}",
        }


class _Refused(Exception):
    """A request that is answered with a status other than 200."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def _read(request: Request) -> _Asked:
    """What a request asks for.

    Raises:
        _Refused: nothing that is offered.
    """
    try:
        cid = Cid.parse(request.path_params["cid"])
    except InvalidCid as error:
        raise _Refused(400, str(error)) from None
    query = request.query_params
    form, parameters = _accepted(request.headers.get("accept", ""))
    if "format" in query:  # It wins over the header.
        parameters = parameters if form == _FORMATS.get(query["format"]) else {}
        form = _FORMATS.get(query["format"], "")
    parameters |= {name.removeprefix("car-"): value for name, value in query.items() if name.startswith("car-")}
    if form == RAW:
        return _Asked(cid, form)
    scope = query.get("dag-scope", "all")
    if scope not in ("all", "entity", "block") or "entity-bytes" in query:
        raise _Refused(400, "expected dag-scope=all, entity or block, and no entity-bytes")
    asked = [parameters.get("version", "1"), parameters.get("order", "dfs"), parameters.get("dups", "y")]
    offered = [("1",), ("dfs", "unk"), ("y", "n")]
    if form != CAR or any(each not in known for each, known in zip(asked, offered, strict=True)):
        expected = f"?format=raw or ?format=car, or Accept: {RAW} or {CAR}; version=1; order=dfs; dups=y"
        raise _Refused(406, f"expected {expected}")
    return _Asked(cid, form, once=asked[2] == "n", root_only=scope == "block")


def _accepted(header: str) -> tuple[str, dict[str, str]]:
    """The first media type in an Accept header that is offered, and its parameters; nothing where none is."""
    for each in header.split(","):
        name, *rest = (part.strip().lower() for part in each.split(";"))
        if name in _FORMATS.values():
            return name, dict(part.split("=", 1) for part in rest if "=" in part)
    return "", {}


def _failure(cid: Cid, error: FedpactError) -> Response:
    """The answer where a block could not be read; it says nothing of where blocks are kept."""
    if isinstance(error, BlockMissing):
        return _refusal(404, f"block {error.cid}: not here")
    _log.error("%s", error)
    if isinstance(error, ContentError):
        return _refusal(404, f"block {cid}: not here in one piece")
    return _refusal(500, f"block {cid}: the store does not answer")


def _refusal(status: int, why: str) -> Response:
    return PlainTextResponse(why[:300] + "\n", status, headers={"X-Content-Type-Options": "nosniff"})


def _raw_headers(asked: _Asked, more: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in (asked.headers | more).items()]
