"""The block server: clients that are slow, silent, or too many."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from faulty_blocks import FaultyBlocks
from fedpact.store import Cid
from fedpact.store.serving import server as server_module
from fedpact.store.serving.admission import Door
from fedpact.store.serving.connection import PatientConnection
from fedpact.store.unixfs import LEAF, add
from served import CID, DATA, Served, served

__all__ = ["served"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are cut after half a second to a whole one."""
    monkeypatch.setattr(PatientConnection, "patience", 0.5)


def read_until_cut(client: socket.socket) -> int:
    """Reads until the server has closed the connection, in whatever way; returns how many bytes came."""
    read = 0
    try:
        while piece := client.recv(1 << 20):
            read += len(piece)
    except ConnectionResetError:
        pass
    return read


@pytest.mark.parametrize(
    "text",
    [b"", b"GET /ipfs/", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nsome"],
    ids=["nothing", "half a request", "half a body"],
)
def test_a_client_that_says_nothing_more_is_cut_off(impatient: None, served: Served, text: bytes) -> None:
    """A request that does not come to its end does not keep a connection."""
    with served.connect() as client:
        client.sendall(text)
        started = time.monotonic()
        read_until_cut(client)
        assert time.monotonic() - started < 8


def test_a_client_that_trickles_is_cut_off(impatient: None, served: Served) -> None:
    """A byte now and then is no progress."""
    with served.connect() as client:
        for _ in range(160):
            try:
                client.sendall(b"G")
            except ConnectionError:
                return
            time.sleep(0.05)  # That is the fault; bounded above.
    pytest.fail("the connection is still open")


def test_a_client_that_does_not_read_is_cut_off(impatient: None, served: Served) -> None:
    """An answer that nobody takes does not stay in memory."""
    data = os.urandom(64 * LEAF)
    dag = add(served.blocks, data)
    with served.connect() as client:
        client.sendall(f"GET /ipfs/{dag.root}?format=car HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(3)  # That is the fault: to read nothing.
        assert read_until_cut(client) < len(data)
    assert sum(served.blocks.read.values()) < 64


def test_a_client_that_reads_slowly_gets_all(impatient: None, served: Served) -> None:
    """Slow, but going on, is no reason to cut off."""
    data = os.urandom(20 * LEAF)
    dag = add(served.blocks, data)
    with served.connect() as client:
        client.sendall(f"GET /ipfs/{dag.root}?format=car HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        read = 0
        while piece := client.recv(1 << 18):
            read += len(piece)
            time.sleep(0.02)  # Slow, for two seconds and more.
        assert read > len(data)


class Stuck:
    """Clients that ask for a file and read nothing of it. A context, which says that nobody reads before it goes on.

    Args:
        count: how many.
        host: from which address.
        token: what each says of who he is.
    """

    def __init__(self, served: Served, count: int, *, host: str = "127.0.0.1", token: str = "") -> None:
        root = add(served.blocks, os.urandom(16 * LEAF)).root
        self.clients = [socket.socket() for _ in range(count)]
        said = f"Authorization: {token}\r\n" if token else ""
        for client in self.clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(20)
            client.bind((host, 0))
            client.connect((served.host, served.port))
            client.sendall(f"GET /ipfs/{root}?format=car HTTP/1.1\r\nHost: x\r\n{said}\r\n".encode())
        self._reads = served.blocks.read

    def __enter__(self) -> Stuck:
        end, before = time.monotonic() + 20, -1
        while before != self._reads.total() and time.monotonic() < end:
            before = self._reads.total()
            time.sleep(0.3)  # Until no block is read for them any more; bounded above.
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()


class AnyDoor(Door):
    """Lets everybody in."""

    def __init__(self) -> None:
        pass

    def refusal(self, token: str | None) -> None:
        return None


def token(account: str) -> str:
    """What is shown by an account, as far as a door that does not look at the signature can see."""
    return f'Fedpact address=0x{account * 40}, expires=1, origin="http://x", signature=0x{"0" * 130}'


def test_room_is_taken_back_from_who_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are answered before the connections of those are cut, which are left without their answers' end."""
    monkeypatch.setattr(server_module, "_PIECE_SECONDS", 1.0)
    monkeypatch.setattr(server_module, "_BLOCKS_AT_ONCE", 4)
    served = Served(FaultyBlocks())
    served.blocks.put(CID, DATA)
    with Stuck(served, 4) as stuck:
        began = time.monotonic()
        assert served.ask(f"/ipfs/{CID}?format=raw")[2] == DATA
        assert time.monotonic() - began < 10 < PatientConnection.patience
        time.sleep(2.0)  # Twice what a piece may take: on a busy machine they did not all begin at once.
        for client in stuck.clients:
            assert read_until_cut(client) < 16 * LEAF
    served.server.stop()


@pytest.mark.parametrize("by", ["address", "account"])
def test_one_reader_does_not_take_the_room_of_all(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Of a reader's requests some wait, those of others do not; members are told apart behind one address."""
    monkeypatch.setattr(server_module, "_BLOCKS_AT_ONCE", 9)
    monkeypatch.setattr(server_module, "_PIECE_SECONDS", 60.0)
    served = Served(FaultyBlocks(), None if by == "address" else lambda _: AnyDoor())
    served.blocks.put(CID, DATA)
    host, said = ("127.0.0.2", "") if by == "address" else ("127.0.0.1", token("1"))
    with Stuck(served, 20, host=host, token=said):
        began = time.monotonic()
        assert served.ask(f"/ipfs/{CID}?format=raw", Authorization=token("2"))[2] == DATA
        assert time.monotonic() - began < 5
    served.server.stop()


def test_a_head_of_any_size_is_bounded(served: Served) -> None:
    """A request whose head does not end is refused."""
    with served.connect() as client:
        answer = b""
        try:
            client.sendall(b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 100_000)
            answer = client.recv(1000)
        except ConnectionError:
            return  # Cut off while still talking: as good.
        assert answer.startswith(b"HTTP/1.1 400")


def test_many_clients_at_once(served: Served) -> None:
    """A hundred connections are all answered."""
    data = os.urandom(LEAF)
    served.blocks.put(Cid.of(data), data)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: served.ask(f"/ipfs/{Cid.of(data)}?format=raw"), range(100)))
    assert all(answer[2] == data for answer in answers)


def test_a_client_that_asks_for_all_links_of_a_node_at_once(served: Served) -> None:
    """A thousand connections and more, all asked on before one is read: Helia is such a client."""
    served.blocks.put(CID, DATA)
    clients = [served.connect() for _ in range(1100)]
    for client in clients:
        client.sendall(f"GET /ipfs/{CID}?format=raw HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    for client in clients:
        answer = b""
        while piece := client.recv(10_000):
            answer += piece
        client.close()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(DATA)
