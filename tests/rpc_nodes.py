"""An IPFS node's RPC in the test's own process, honest unless a test says otherwise; `test_stores` runs the same tests
on it and on real nodes. It looks for nothing elsewhere."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fedpact.errors import ContentError
from fedpact.store import Cid, Codec
from fedpact.store.remote.http import Place
from fedpact.store.remote.kubo import KuboBlocks
from fedpact.store.remote.node_http import HttpNode
from fedpact.store.unixfs import links
from gateways import Gateway, respond

Options = dict[str, str]
Fault = Callable[[BaseHTTPRequestHandler, Options], None]
"""What is done instead of what a command should do."""


class RpcNode:
    """A node with nothing in it.

    Attributes:
        blocks: what it has; tests may change it.
        pins: the roots that it keeps.
        faults: by command, what it does instead.
        asked: the commands so far.
        headers: of the last request.
        connections: the port at the other end, of each request.
        url: where it is.

    Args:
        check: whether it hashes what it takes; js-ipfs does not.
    """

    def __init__(self, *, check: bool = True) -> None:
        self._check = check
        self.blocks: dict[Cid, bytes] = {}
        self.pins: set[Cid] = set()
        self.faults: dict[str, Fault] = {}
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        self.connections: list[int] = []
        self._server = Gateway(self._answer)
        self.url = self._server.url

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> RpcNode:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, to: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(to.path)
        command = parts.path.partition("/api/v0/")[2]
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.asked.append(command)
        self.connections.append(to.client_address[1])
        self.headers = {name.lower(): value for name, value in to.headers.items()}
        if to.command != "POST":
            respond(to, status=405)
        elif command in self.faults:
            self.faults[command](to, options)
        else:
            self.do(command, to, options)

    def do(self, command: str, to: BaseHTTPRequestHandler, options: Options) -> None:
        """What an honest node does."""
        if command == "dag/import":
            answer(to, *self._take(body(to), options))
            return
        cid = Cid.parse(options["arg"]) if "arg" in options else None
        if command == "version":
            answer(to, {"Version": "0.0.0"})
        elif command == "pin/ls":
            answer(to, *({"Cid": str(each), "Type": "recursive"} for each in sorted(self.pins, key=str)))
        elif cid is None:
            respond(to, b"404 page not found", status=404, content_type="text/plain")
        elif command == "pin/rm":
            refused = cid not in self.pins
            self.pins.discard(cid)
            refuse(to, "not pinned or pinned indirectly") if refused else answer(to, {"Pins": [str(cid)]})
        elif cid not in self.blocks:
            refuse(to, f"block was not found locally (offline): ipld: could not find {cid}")
        elif command == "block/get":
            respond(to, self.blocks[cid], content_type="application/octet-stream")
        elif command == "cat":
            start = int(options.get("offset", 0))
            with contextlib.suppress(ContentError, KeyError):
                whole = b"".join(self.blocks[each] for each in self._below(cid) if each.codec is Codec.RAW)
                respond(to, whole[start : start + int(options["length"])], content_type="text/plain")
        elif command == "block/stat":
            answer(to, {"Key": str(cid), "Size": len(self.blocks[cid])})
        else:
            missing = [each for each in self._below(cid) if each not in self.blocks]
            if missing:
                refuse(to, f"block was not found locally (offline): ipld: could not find {missing[0]}")
            else:
                self.pins.add(cid)
                answer(to, {"Pins": [str(cid)]})

    def _take(self, form: bytes, options: Options) -> Iterator[dict[str, Any]]:
        count = 0
        for cid, data in read_car(read_form(form)):
            if self._check:
                cid.verify(data)
            self.blocks[cid] = data
            count += 1
        if options.get("stats") == "true":
            yield {"Stats": {"BlockCount": count, "BlockBytesCount": 0}}

    def _below(self, cid: Cid) -> Iterator[Cid]:
        yield cid
        if cid.codec is Codec.DAG_PB and cid in self.blocks:
            with contextlib.suppress(ContentError):
                for each in links(self, cid):
                    yield from self._below(each)

    def get(self, cid: Cid) -> bytes:
        return self.blocks[cid]


class SentBlocks(KuboBlocks):
    """A store on a node that keeps nothing back: each block is sent before `put` returns.

    Args:
        end: called when it is closed.
    """

    def __init__(self, url: str, end: Callable[[], None] = lambda: None) -> None:
        place = Place.read(url)
        assert place is not None
        super().__init__(HttpNode(place), seconds=1.0)
        self._end = end

    gather = KuboBlocks.put

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        self.gather(cid, data)
        self._send(0)

    def close(self) -> None:
        super().close()
        self._end()


class GatheringBlocks(SentBlocks):
    """A store on a node as it is."""

    put = KuboBlocks.put


def answer(to: BaseHTTPRequestHandler, *lines: dict[str, Any], error: str = "") -> None:
    """Lines of JSON, chunked as nodes send them, with an error in the trailers where one is given."""
    to.send_response(200)
    for name, value in {"Content-Type": "application/json", "Trailer": "X-Stream-Error"}.items():
        to.send_header(name, value)
    to.send_header("Transfer-Encoding", "chunked")
    to.end_headers()
    for line in lines:
        text = json.dumps(line).encode() + b"\n"
        to.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
    trailer = f"X-Stream-Error: {error}\r\n" if error else ""
    to.wfile.write(b"0\r\n" + trailer.encode() + b"\r\n")


def refuse(to: BaseHTTPRequestHandler, message: str, *, status: int = 500) -> None:
    """An error, as nodes answer it."""
    text = json.dumps({"Message": message, "Code": 0, "Type": "error"}).encode()
    respond(to, text, status=status, content_type="application/json")


def body(to: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, chunked or not."""
    if "chunked" not in to.headers.get("Transfer-Encoding", ""):
        return to.rfile.read(int(to.headers.get("Content-Length", "0")))
    data = bytearray()
    while length := int(to.rfile.readline().strip(), 16):
        data += to.rfile.read(length)
        to.rfile.readline()
    to.rfile.readline()
    return bytes(data)


def read_form(form: bytes) -> bytes:
    """The one file in a multipart body."""
    head, _, rest = form.partition(b"\r\n\r\n")
    boundary, _, fields = head.partition(b"\r\n")
    assert re.search(rb'name="file"; filename="[^"]*"', fields), fields
    data, end, _ = rest.rpartition(b"\r\n" + boundary + b"--")
    assert end, "the form does not end"
    return data


def read_car(data: bytes) -> Iterator[tuple[Cid, bytes]]:
    """The blocks of a CAR."""
    length, position = _varint(data, 0)
    head = data[position : position + length]
    assert head.startswith(b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00\x01"), head
    assert head.endswith(b"\x67version\x01"), head
    position += length
    while position < len(data):
        length, position = _varint(data, position)
        cid = Cid.from_bytes(data[position : position + 36])
        block = data[position + 36 : position + length]
        yield cid, block
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
