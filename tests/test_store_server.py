"""The block server: the trustless gateway of IPFS, asked by our own reader and by hand."""

from __future__ import annotations

import http.client
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty_blocks import FaultyBlocks
from fedpact.errors import BlockMissing, InputError, StoreError, Unreachable
from fedpact.store import MAX_BLOCK, Cid, Codec, DirectoryBlocks, MemoryBlocks, fetch, unixfs
from fedpact.store.remote.gateway import GatewayBlocks
from fedpact.store.serving import server as server_module
from fedpact.store.serving.admission import Door
from fedpact.store.serving.connection import PatientConnection
from fedpact.store.serving.server import BlockServer
from fedpact.store.unixfs import LEAF, add, address, open_file

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


# ------------------------------------------------------------------------------------------------------- our own reader


def test_what_is_put_into_a_directory_is_read_through_the_gateway(tmp_path: Path) -> None:
    """A file of several leaves, by eight threads, is the same file; what is not there is missing."""
    data = os.urandom(5 * LEAF + 77)
    directory = DirectoryBlocks(tmp_path, sync=False)
    dag = add(directory, data)
    server = BlockServer(directory)
    server.start()
    gateway = GatewayBlocks(server.url)
    file = open_file(gateway, dag.root, len(data))
    with ThreadPoolExecutor(8) as pool:
        assert b"".join(pool.map(file.leaf, range(len(file.leaves)))) == data
    assert gateway.has(dag.root)
    assert not gateway.has(CID)
    with pytest.raises(BlockMissing):
        gateway.get(CID)
    gateway.close()
    server.stop()


@pytest.mark.parametrize("length", [0, 1, (1 << 18) - 1, 1 << 18, LEAF, MAX_BLOCK])
def test_a_block_of_any_length_is_served(served: Served, length: int) -> None:
    """Blocks from nothing to 2 MiB arrive whole, with their length known beforehand."""
    data = os.urandom(length)
    served.blocks.put(Cid.of(data), data)
    gateway = GatewayBlocks(served.server.url)
    assert fetch(gateway, Cid.of(data)) == data
    gateway.close()
    status, headers, body = served.ask(f"/ipfs/{Cid.of(data)}?format=raw")
    assert (status, headers["content-length"], body) == (200, str(length), data)


@pytest.mark.parametrize("wrong", [b"something else", b"", DATA[:-1], bytes(MAX_BLOCK + 1)], ids=len)
def test_a_damaged_block_is_never_served(served: Served, wrong: bytes) -> None:
    """A block that does not hash to its address is not here, and whoever asks can look elsewhere."""
    served.blocks.put(CID, DATA)
    served.blocks.damaged[CID] = wrong
    status, _, body = served.ask(f"/ipfs/{CID}?format=raw")
    assert status == 404
    assert body == f"block {CID}: not here in one piece\n".encode()
    gateway = GatewayBlocks(served.server.url)
    with pytest.raises(BlockMissing):
        fetch(gateway, CID)
    gateway.close()


def test_a_store_that_fails_says_nothing_of_where_it_is(served: Served) -> None:
    """HTTP 500 and one line without a path."""
    served.blocks.put(CID, DATA)
    served.blocks.broken.add(CID)
    status, _, body = served.ask(f"/ipfs/{CID}?format=raw")
    assert (status, body) == (500, f"block {CID}: the store does not answer\n".encode())
    gateway = GatewayBlocks(served.server.url)
    with pytest.raises(StoreError, match="HTTP status 500") as caught:
        gateway.get(CID)
    assert isinstance(caught.value, Unreachable)
    gateway.close()


# ------------------------------------------------------------------------------------------------- the specification


def test_the_headers_of_a_block(served: Served) -> None:
    """As the specification of trustless gateways names them."""
    served.blocks.put(CID, DATA)
    status, headers, body = served.ask(f"/ipfs/{CID}?format=raw")
    assert (status, body) == (200, DATA)
    assert headers == {
        "content-type": RAW,
        "content-length": str(len(DATA)),
        "content-disposition": f'attachment; filename="{CID}.bin"',
        "accept-ranges": "none",
        "cache-control": "public, max-age=29030400, immutable",
        "etag": f'"{CID}.raw"',
        "vary": "Accept",
        "x-content-type-options": "nosniff",
        "x-ipfs-path": f"/ipfs/{CID}",
    }


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("?format=raw", "*/*", RAW),
        ("", RAW, RAW),
        ("", f"text/html, {RAW};q=0.5", RAW),
        ("?format=raw", CAR, RAW),
        ("?format=car", "*/*", f"{CAR}; version=1; order=dfs; dups=n"),
        ("?format=car", RAW, f"{CAR}; version=1; order=dfs; dups=n"),
        ("", f"{CAR}; version=1; order=unk; dups=y", f"{CAR}; version=1; order=dfs; dups=y"),
        ("", f"{CAR};version=1;order=dfs;dups=y", f"{CAR}; version=1; order=dfs; dups=y"),
        ("?format=car&car-dups=y", "*/*", f"{CAR}; version=1; order=dfs; dups=y"),
        ("?format=car&dag-scope=entity", "*/*", f"{CAR}; version=1; order=dfs; dups=n"),
    ],
)
def test_what_is_asked_for_is_what_comes(served: Served, query: str, accept: str, expected: str) -> None:
    """The form is named in the query, which wins, or in the header."""
    served.blocks.put(CID, DATA)
    status, headers, _ = served.ask(f"/ipfs/{CID}{query}", Accept=accept)
    assert (status, headers.get("content-type")) == (200, expected)


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        (f"/ipfs/{CID}", "*/*", 406),
        (f"/ipfs/{CID}", "text/html", 406),
        (f"/ipfs/{CID}?format=dag-json", RAW, 406),
        (f"/ipfs/{CID}?format=tar", "*/*", 406),
        (f"/ipfs/{CID}", f"{CAR}; version=2", 406),
        (f"/ipfs/{CID}?format=car&car-order=bfs", "*/*", 406),
        (f"/ipfs/{CID}?format=car&dag-scope=everything", "*/*", 400),
        (f"/ipfs/{CID}?format=car&entity-bytes=0:10", "*/*", 400),
        (f"/ipfs/{CID}?format=car&car-dups=x", "*/*", 406),
        ("/ipfs/QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n?format=raw", "*/*", 400),
        (f"/ipfs/{str(CID).upper()}?format=raw", "*/*", 400),
        (f"/ipfs/{CID}/below?format=raw", "*/*", 400),
        ("/ipfs/../../etc/passwd?format=raw", "*/*", 400),
        ("/ipfs/%2e%2e%2f%2e%2e%2fetc%2fpasswd?format=raw", "*/*", 400),
        ("/ipfs/?format=raw", "*/*", 400),
        ("/ipfs/%00?format=raw", "*/*", 400),
        ("/", "*/*", 404),
        ("/blocks/", "*/*", 404),
        (f"/ipns/{CID}?format=raw", "*/*", 404),
        (f"/ipfs/{Cid.of(b'elsewhere')}?format=raw", "*/*", 404),
        (f"/ipfs/{Cid.of(b'elsewhere')}?format=car", "*/*", 404),
        (f"/ipfs/{Cid(CID.digest, Codec.DAG_PB)}?format=raw", "*/*", 404),
    ],
)
def test_what_is_not_offered_is_refused(served: Served, path: str, accept: str, status: int) -> None:
    """400 for what is no address of ours, 406 for other forms, 404 for what is not here; never a block."""
    served.blocks.put(CID, DATA)
    found, headers, body = served.ask(path, Accept=accept)
    assert found == status
    assert DATA not in body
    assert len(body) < 400
    assert headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_written(served: Served, method: str) -> None:
    """Every other method is refused, and no browser is told that it may."""
    status, headers, _ = served.ask(f"/ipfs/{CID}?format=raw", method)
    assert status == 405
    assert not [name for name in headers if name.startswith("access-control")]
    assert served.blocks.written == []


@pytest.mark.parametrize("form", ["raw", "car"])
def test_a_head_has_no_body(served: Served, form: str) -> None:
    """HEAD answers as GET does, without the body."""
    served.blocks.put(CID, DATA)
    status, headers, body = served.ask(f"/ipfs/{CID}?format={form}", "HEAD")
    assert (status, body) == (200, b"")
    expected = served.ask(f"/ipfs/{CID}?format={form}")[1]
    assert {**headers, "transfer-encoding": ""} == {**expected, "transfer-encoding": ""}
    assert served.ask(f"/ipfs/{Cid.of(b'elsewhere')}?format={form}", "HEAD")[0] == 404


FORMS = ["raw", "car", "car&car-dups=y", "car&dag-scope=block", "car&dag-scope=entity"]


@pytest.mark.parametrize("form", FORMS)
def test_what_the_client_has_is_not_sent_again(served: Served, form: str) -> None:
    """Each form has an Etag of its own, by which 304 is answered, however strong the client takes it to be."""
    served.blocks.put(CID, DATA)
    etags = {each: served.ask(f"/ipfs/{CID}?format={each}")[1]["etag"] for each in FORMS}
    assert len(set(etags.values())) == len(FORMS)
    for method in ("GET", "HEAD"):
        for tag in (etags[form], etags[form].removeprefix("W/"), "W/" + etags[form].removeprefix("W/")):
            status, headers, body = served.ask(f"/ipfs/{CID}?format={form}", method, If_None_Match=f'"other", {tag}')
            assert (status, body, headers["etag"]) == (304, b"", etags[form])
    others = ", ".join(etag for each, etag in etags.items() if each != form)
    assert served.ask(f"/ipfs/{CID}?format={form}", If_None_Match=others)[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("form", "body"), [("raw", b""), ("car", b"\x19\xa2\x65roots\x81\xd8\x2a\x45\0\1\x55\0\0\x67version\1")]
)
def test_a_client_can_find_out_that_there_is_a_gateway(served: Served, method: str, form: str, body: bytes) -> None:
    """The address of nothing, which every gateway has; another one like it is none of ours."""
    status, headers, found = served.ask(f"/ipfs/bafkqaaa?format={form}", method)
    assert (status, found) == (200, body if method == "GET" else b"")
    assert headers["content-type"].partition(";")[0] == (RAW if form == "raw" else CAR)
    assert headers["content-length"] == str(len(body))
    assert served.ask(f"/ipfs/bafkqaa?format={form}", method)[0] == 400


def test_who_does_not_say_what_he_accepts_is_asked_to(served: Served) -> None:
    """Nothing is guessed: 400 without a form, where other forms are 406."""
    served.blocks.put(CID, DATA)
    with served.connect() as client:
        client.sendall(f"GET /ipfs/{CID} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")


# ------------------------------------------------------------------------------------------------------------- as a CAR


def read_car(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A CAR read by its specification alone: the root of its header, and its blocks."""

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                return value, at

    length, at = varint(0)
    header = data[at : at + length]
    root = header[-45:-9]
    # DAG-CBOR: a map of two; "roots", a list of one, tag 42 on 37 bytes with a leading zero; "version", 1.
    assert header == b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00" + root + b"\x67version\x01"
    at += length
    blocks = []
    while at < len(data):
        length, at = varint(at)
        blocks.append((data[at : at + 36], data[at + 36 : at + length]))
        at += length
    assert at == len(data)
    return root, blocks


@pytest.mark.parametrize("size", [0, 5, LEAF, 2 * LEAF + 3, 9 * LEAF])
def test_a_car_holds_the_dag_depth_first(served: Served, size: int) -> None:
    """The root first, then what it links to, in order: who reads one block after the other reads the file."""
    data = os.urandom(size)
    dag = add(served.blocks, data)
    status, _, body = served.ask(f"/ipfs/{dag.root}?format=car")
    assert status == 200
    root, blocks = read_car(body)
    assert root == bytes(dag.root)
    inner = [(bytes(cid), node) for cid, node in dag.nodes]
    assert blocks[: len(inner)] == inner
    leaves = blocks[len(inner) :]
    assert b"".join(leaf for _, leaf in leaves) == data
    assert [cid for cid, _ in leaves] == [bytes(cid) for cid in dag.leaves]


def test_the_order_of_a_deep_dag(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two levels of inner nodes each subtree comes whole before the next; what repeats can be left out."""
    monkeypatch.setattr(unixfs, "LINKS", 4)
    data = bytes(4 * LEAF) + b"end"
    dag = add(served.blocks, data)
    leaf, last = dag.leaves[0], dag.leaves[-1]
    left, right, root = (cid for cid, _ in dag.nodes)
    for query, expected in (
        ("&car-dups=y", (root, left, leaf, leaf, leaf, leaf, right, last)),
        ("&car-dups=n", (root, left, leaf, right, last)),
        ("", (root, left, leaf, right, last)),
        ("&dag-scope=entity", (root, left, leaf, right, last)),
        ("&dag-scope=block", (root,)),
    ):
        _, _, body = served.ask(f"/ipfs/{root}?format=car{query}")
        assert [cid for cid, _ in read_car(body)[1]] == [bytes(each) for each in expected]


@pytest.mark.parametrize("fault", ["missing", "damaged", "broken"])
def test_a_car_that_cannot_be_ended_is_cut_off(served: Served, fault: str) -> None:
    """Where a block in the middle is not to be had the answer breaks off: nobody takes it for whole."""
    data = os.urandom(4 * LEAF)
    dag = add(served.blocks, data)
    if fault == "damaged":
        served.blocks.damaged[dag.leaves[2]] = b"other"
    else:
        getattr(served.blocks, fault).add(dag.leaves[2])
    with pytest.raises(http.client.IncompleteRead) as caught:
        served.ask(f"/ipfs/{dag.root}?format=car")
    assert data[2 * LEAF :][:100] not in caught.value.partial
    assert served.ask(f"/ipfs/{dag.leaves[0]}?format=raw")[0] == 200


def test_a_dag_that_is_none_of_ours_ends(served: Served) -> None:
    """A node that links to itself cannot exist; one deeper than any file, or without links, is cut off."""
    cid = Cid.of(b"bottom")
    served.blocks.put(cid, b"bottom")
    for _ in range(8):
        node = b"\x12\x28\x0a\x24" + bytes(cid) + b"\x12\x00"
        cid = Cid.of(node, Codec.DAG_PB)
        served.blocks.put(cid, node)
    with pytest.raises(http.client.IncompleteRead) as caught:
        served.ask(f"/ipfs/{cid}?format=car")
    assert b"bottom" not in caught.value.partial


def repeating(blocks: FaultyBlocks) -> list[Cid]:
    """Four nodes, one below the other, that stand for 1024 ** 4 leaves; from the root down to the leaf."""
    cid = Cid.of(b"leaf")
    blocks.put(cid, b"leaf")
    cids = [cid]
    for _ in range(4):
        node = (b"\x12\x28\x0a\x24" + bytes(cid) + b"\x12\x00") * 1024
        cid = Cid.of(node, Codec.DAG_PB)
        blocks.put(cid, node)
        cids.insert(0, cid)
    return cids


def test_links_that_repeat_are_followed_once(served: Served) -> None:
    """Whoever asks for each block once has them read once, however often they are linked to."""
    cids = repeating(served.blocks)
    _, _, body = served.ask(f"/ipfs/{cids[0]}?format=car&car-dups=n")
    assert [cid for cid, _ in read_car(body)[1]] == [bytes(cid) for cid in cids]
    assert set(served.blocks.read.values()) == {1}


@pytest.mark.parametrize(("dups", "most"), [("y", 3000), ("n", 1500)])
def test_what_one_car_walks_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch, dups: str, most: int) -> None:
    """With more links than any file has the answer breaks off, whether they are sent or only looked at."""
    monkeypatch.setattr(unixfs, "_WALKED", most)
    cids = repeating(served.blocks)
    with pytest.raises(http.client.IncompleteRead):
        served.ask(f"/ipfs/{cids[0]}?format=car&car-dups={dups}")
    assert sum(served.blocks.read.values()) <= most
    assert served.ask(f"/ipfs/{cids[-1]}?format=raw")[2] == b"leaf"


def test_a_client_that_leaves_ends_the_reading(served: Served) -> None:
    """Whoever hangs up in the middle of a CAR has no more blocks read for him."""
    data = os.urandom(64 * LEAF)
    dag = add(served.blocks, data)
    with served.connect() as client:
        client.sendall(f"GET /ipfs/{dag.root}?format=car HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.recv(1000)
    end = time.monotonic() + 10
    before = -1
    while before != sum(served.blocks.read.values()) and time.monotonic() < end:
        before = sum(served.blocks.read.values())
        time.sleep(0.5)  # For the server to notice; bounded above.
    assert before < 60


# ------------------------------------------------------------------------------------------- who is slow, or too many


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


def test_a_port_that_is_taken_is_one_line(served: Served) -> None:
    """Two servers on one port: the second says so."""
    with pytest.raises(InputError, match=f"port {served.port}: cannot listen there: Address already in use"):
        BlockServer(MemoryBlocks(), port=served.port)


def test_a_server_that_never_ran_can_be_stopped() -> None:
    """Its port is free again."""
    server = BlockServer(MemoryBlocks())
    port = int(server.url.rpartition(":")[2])
    server.stop()
    BlockServer(MemoryBlocks(), port=port).stop()


def test_an_address_is_what_the_file_has(served: Served) -> None:
    """The server names files as everybody does."""
    data = os.urandom(3 * LEAF)
    assert add(served.blocks, data).root == address(data)
