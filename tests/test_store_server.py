"""The block server: the trustless gateway of IPFS, asked by our own reader and by hand."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fedpact.errors import BlockMissing, InputError, StoreError, Unreachable
from fedpact.store import MAX_BLOCK, Cid, Codec, DirectoryBlocks, MemoryBlocks, fetch
from fedpact.store.remote.gateway import GatewayBlocks
from fedpact.store.serving.server import BlockServer
from fedpact.store.unixfs import LEAF, add, address, open_file
from served import CAR, CID, DATA, RAW, Served, served

__all__ = ["served"]

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
