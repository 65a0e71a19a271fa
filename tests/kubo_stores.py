"""Stores on IPFS nodes that do wrong, for tests: how they are opened, and what such a node does."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest
from fedpact.store import Cid
from fedpact.store.remote import kubo as kubo_module
from fedpact.store.remote import node_http as node_http_module
from fedpact.store.remote.http import Place
from fedpact.store.remote.kubo import KuboBlocks
from fedpact.store.remote.node_http import HttpNode
from rpc_nodes import Fault, Options, body

DATA = b"what a silo trained"
CID = Cid.of(DATA)
SECONDS = 0.3
"""What a node may look for a block in these tests, and have for its answer then."""


@pytest.fixture
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would take minutes takes a moment."""
    monkeypatch.setattr(node_http_module, "_GRACE", SECONDS)
    monkeypatch.setattr(kubo_module, "_IMPORT_SECONDS", SECONDS)


def on(url: str) -> KuboBlocks:
    """The store on a node."""
    place = Place.read(url)
    assert place is not None
    return KuboBlocks(HttpNode(place))


def hasty(url: str) -> KuboBlocks:
    """The same, which does not wait for long."""
    blocks = on(url)
    blocks._seconds = blocks._pin_seconds = SECONDS
    return blocks


def whatever(fault: Callable[[BaseHTTPRequestHandler], None]) -> Fault:
    """The same, whatever was asked, once that was read."""

    def do(to: BaseHTTPRequestHandler, options: Options) -> None:
        body(to)
        fault(to)

    return do


def endless(to: BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
    for _ in range(1 << 14):
        to.wfile.write(b'{"Cid": "x"}' + bytes(1 << 16))
    raise AssertionError("a whole GiB was read")


def endless_lines(to: BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
    for _ in range(1 << 14):
        to.wfile.write(b'{"Stats": {}}' + b"\n" * (1 << 16))
    raise AssertionError("a whole GiB was read")


def silent(to: BaseHTTPRequestHandler) -> None:
    time.sleep(10)  # That is the fault; the client goes away before the end.
