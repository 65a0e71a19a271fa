"""A block server over a store that can fail, and ways to ask it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator

import pytest
from faulty_blocks import FaultyBlocks
from fedpact.store import Cid
from fedpact.store.serving.admission import Door
from fedpact.store.serving.server import BlockServer

RAW, CAR = "application/vnd.ipld.raw", "application/vnd.ipld.car"
DATA = b"what a silo trained"
CID = Cid.of(DATA)
Answer = tuple[int, dict[str, str], bytes]


class Served:
    """A server over a store that can fail, and ways to ask it."""

    def __init__(self, blocks: FaultyBlocks, door: Callable[[str], Door] | None = None) -> None:
        self.blocks = blocks
        self.server = BlockServer(blocks, door=door)
        self.server.start()
        self.host, self.port = "127.0.0.1", int(self.server.url.rpartition(":")[2])

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): each for name, each in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): each for name, each in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=20)


@pytest.fixture
def served() -> Iterator[Served]:
    """A server over an empty store in memory."""
    served = Served(FaultyBlocks())
    yield served
    served.server.stop()
