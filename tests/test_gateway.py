"""Reading from gateways that lie, dawdle, or talk nonsense: bounded, named, and another store is asked."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest
from fedpact.errors import BlockMismatch, BlockMissing, InputError, StoreError, Unreachable
from fedpact.store import MAX_BLOCK, Cid, DirectoryBlocks, MemoryBlocks, fetch
from fedpact.store import several as several_module
from fedpact.store.counting import CountedBlocks
from fedpact.store.remote import gateway as gateway_module
from fedpact.store.remote.gateway import GatewayBlocks
from fedpact.store.several import SeveralBlocks
from gateways import Gateway, respond

DATA = b"what a silo trained"
CID = Cid.of(DATA)
SECONDS = 2.0
"""What a block may take in these tests."""


def endless_body(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.send_header("Content-Type", "application/vnd.ipld.raw")
    to.send_header("Connection", "close")
    to.end_headers()
    sent = 0
    while sent < 1 << 30:
        to.wfile.write(bytes(1 << 16))
        sent += 1 << 16
    raise AssertionError("a whole GiB was read")


def trickle(to: BaseHTTPRequestHandler, text: bytes) -> None:
    for each in text:
        to.wfile.write(bytes([each]))
        to.wfile.flush()
        time.sleep(0.1)  # That is the fault; the client goes away before the end.


def trickling_body(to: BaseHTTPRequestHandler) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ipld.raw\r\nContent-Length: 1000\r\n\r\n"
    to.wfile.write(head)
    trickle(to, bytes(1000))


def trickling_head(to: BaseHTTPRequestHandler) -> None:
    trickle(to, b"HTTP/1.1 200 OK\r\n" + b"X-Padding: 1\r\n" * 100)


def endless_hints(to: BaseHTTPRequestHandler) -> None:
    while True:
        trickle(to, b"HTTP/1.1 100 Continue\r\n\r\n")


BOMB = gzip.compress(bytes(MAX_BLOCK * 4))


def gzip_bomb(to: BaseHTTPRequestHandler) -> None:
    respond(to, BOMB, content_encoding="gzip")


def nonsense(to: BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"\x00\x01\x02 this is no HTTP\r\n\r\n")
    to.close_connection = True


def cut(to: BaseHTTPRequestHandler) -> None:
    respond(to, DATA, length=len(DATA) + 50)
    to.close_connection = True


def page(to: BaseHTTPRequestHandler) -> None:
    respond(to, b"<html>log in</html>", content_type="text/html; charset=utf-8")


FAULTS: dict[str, tuple[Callable[[BaseHTTPRequestHandler], None], type[Exception], str]] = {
    "other bytes": (lambda to: respond(to, b"something else"), BlockMismatch, "its bytes hash to"),
    "no bytes": (lambda to: respond(to, b""), BlockMismatch, "its bytes hash to"),
    "one bit flipped": (lambda to: respond(to, DATA[:-1] + b"e"), BlockMismatch, "its bytes hash to"),
    "one byte too many": (lambda to: respond(to, bytes(MAX_BLOCK + 1)), BlockMismatch, "more than 2097152 bytes"),
    "an endless body": (endless_body, BlockMismatch, "more than 2097152 bytes"),
    "a body that trickles": (trickling_body, Unreachable, "no answer in time"),
    "a head that trickles": (trickling_head, Unreachable, "no answer in time"),
    "hints without end": (endless_hints, Unreachable, "no answer in time"),
    "a gzip bomb": (gzip_bomb, Unreachable, "Content-Encoding: expected identity, found 'gzip'"),
    "a page": (page, Unreachable, "Content-Type: expected application/vnd.ipld.raw, found 'text/html'"),
    "cut in the middle": (cut, Unreachable, "broken off, or not HTTP"),
    "no HTTP": (nonsense, Unreachable, "broken off, or not HTTP"),
    "an error page": (lambda to: respond(to, b"x" * 10**6, status=500), Unreachable, "HTTP status 500"),
    "too many requests": (lambda to: respond(to, status=429), Unreachable, "HTTP status 429"),
    "forbidden": (lambda to: respond(to, status=403), Unreachable, "HTTP status 403"),
    "nothing here": (lambda to: respond(to, b"no", status=404), BlockMissing, "not in gateway http://127.0.0.1"),
    "gone": (lambda to: respond(to, status=410), BlockMissing, "not in gateway http://127.0.0.1"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_named_within_its_bound_and_another_store_is_asked(fault: str, tmp_path: Path) -> None:
    """Whatever a gateway does: one line in bounded time, and a second store gives the block all the same."""
    answer, kind, said = FAULTS[fault]
    with Gateway(answer) as server:
        gateway = GatewayBlocks(server.url, seconds=SECONDS)
        started = time.monotonic()
        with pytest.raises(kind, match=said) as caught:
            fetch(gateway, CID)
        assert type(caught.value) is kind
        assert time.monotonic() - started < 2 * SECONDS + 1
        assert str(CID) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        honest = DirectoryBlocks(tmp_path, sync=False)
        honest.put(CID, DATA)
        several = SeveralBlocks([CountedBlocks(gateway, "first"), CountedBlocks(honest, "second")], writable=False)
        assert fetch(several, CID) == DATA
        several.close()


def test_an_endless_body_is_not_read() -> None:
    """Of an answer without end little more is read than a block may have."""
    written: list[int] = []

    def answer(to: BaseHTTPRequestHandler) -> None:
        to.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ipld.raw\r\nConnection: close\r\n\r\n")
        while True:
            to.wfile.write(bytes(1 << 16))
            written.append(1 << 16)

    with Gateway(answer) as server:
        gateway = GatewayBlocks(server.url)
        assert len(gateway.get(CID)) == MAX_BLOCK + 1
        gateway.close()
    assert sum(written) < MAX_BLOCK + (16 << 20)  # What was on its way in the buffers of both ends.


def test_a_redirect_is_not_followed() -> None:
    """Where a gateway sends us elsewhere, nobody goes."""
    with (
        Gateway(lambda to: respond(to, DATA)) as other,
        Gateway(lambda to: respond(to, status=302, location=other.url + to.path)) as server,
    ):
        gateway = GatewayBlocks(server.url)
        with pytest.raises(StoreError, match="HTTP status 302"):
            gateway.get(CID)
        with pytest.raises(StoreError, match="HTTP status 302"):
            gateway.has(CID)
        gateway.close()
        assert other.asked == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_gateway_that_recovers_is_asked_again(status: int) -> None:
    """An answer that may be another one soon is asked for three times."""

    def answer(to: BaseHTTPRequestHandler) -> None:
        if len(server.asked) < 3:
            respond(to, b"later", status=status)
        else:
            respond(to, DATA)

    with Gateway(answer) as server:
        gateway = GatewayBlocks(server.url)
        assert gateway.get(CID) == DATA
        assert len(server.asked) == 3
        gateway.close()


@pytest.mark.parametrize("fault", ["cut in the middle", "an error page"])
def test_three_times_and_no_more(fault: str) -> None:
    """A gateway that never recovers is given up after the third time."""
    with Gateway(FAULTS[fault][0]) as server:
        gateway = GatewayBlocks(server.url)
        with pytest.raises(StoreError):
            gateway.get(CID)
        assert len(server.asked) == 3
        gateway.close()


@pytest.mark.parametrize("fault", ["nothing here", "forbidden", "a page", "a gzip bomb"])
def test_what_will_not_change_is_asked_once(fault: str) -> None:
    """Where another try would give the same there is none."""
    with Gateway(FAULTS[fault][0]) as server:
        gateway = GatewayBlocks(server.url)
        with pytest.raises(StoreError):
            gateway.get(CID)
        assert len(server.asked) == 1
        gateway.close()


def test_nobody_waits_twice_for_a_gateway_that_is_out_of_reach() -> None:
    """Nothing listens there: that is said within seconds, and for a moment at once; later it is tried again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    gateway = GatewayBlocks(f"http://127.0.0.1:{port}")
    with pytest.raises(StoreError, match=f"gateway http://127.0.0.1:{port}: cannot be reached") as caught:
        gateway.get(CID)
    assert isinstance(caught.value, Unreachable)
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(StoreError, match="cannot be reached"):
            gateway.has(CID)
    assert time.monotonic() - started < 0.5
    gateway.close()


def test_a_gateway_that_is_slow_to_fail_rests_for_as_long() -> None:
    """What took a second to find out is believed for a second at least, so that it is not the price of each block."""
    with Gateway(FAULTS["a head that trickles"][0]) as server:
        gateway = GatewayBlocks(server.url, seconds=2.5)
        with pytest.raises(Unreachable, match="no answer in time"):
            gateway.get(CID)
        asked, began = len(server.asked), time.monotonic()
        with pytest.raises(Unreachable, match="no answer in time"):
            gateway.get(CID)
        assert time.monotonic() - began < 1.0  # Another try would take 2.5.
        assert gateway._unreachable[0] - began > 2.2
        assert len(server.asked) == asked
        gateway.close()


def slow_404(to: BaseHTTPRequestHandler) -> None:
    time.sleep(0.3)  # That is the fault.
    respond(to, b"no", status=404)


def slow_503(to: BaseHTTPRequestHandler) -> None:
    time.sleep(0.1)  # That is the fault, three times.
    respond(to, b"no", status=503)


def slow_lie(to: BaseHTTPRequestHandler) -> None:
    time.sleep(0.3)  # That is the fault.
    respond(to, b"something else")


@pytest.mark.parametrize("answer", [slow_404, slow_503, slow_lie, trickling_head])
def test_who_is_slow_to_give_nothing_is_asked_last(
    answer: Callable[[BaseHTTPRequestHandler], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One slow gateway costs its time once, not for each block; what only it has is asked of it all the same."""
    monkeypatch.setattr(several_module, "_SLOW", 0.2)
    monkeypatch.setattr(gateway_module, "_FIRST_SECONDS", 1.0)
    only, honest = Cid.of(b"only there"), MemoryBlocks()
    pieces = [bytes([each]) for each in range(20)]
    for piece in pieces:
        honest.put(Cid.of(piece), piece)

    def mostly(to: BaseHTTPRequestHandler) -> None:
        if str(only) in to.path:
            respond(to, b"only there")
        else:
            answer(to)

    with Gateway(mostly) as server:
        gateway = GatewayBlocks(server.url, seconds=1.5)
        several = SeveralBlocks([CountedBlocks(gateway, "slow"), CountedBlocks(honest, "fast")], writable=False)
        assert fetch(several, Cid.of(pieces[0])) == pieces[0]
        asked, began = len(server.asked), time.monotonic()
        assert [fetch(several, Cid.of(each)) for each in pieces] == pieces
        assert time.monotonic() - began < 1.0
        assert len(server.asked) == asked
        if answer is not trickling_head:  # Where nothing answered nobody asks at all for a while.
            assert fetch(several, only) == b"only there"
        several.close()


def test_a_rest_grows_ends_and_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds, four, … thirty, whatever many threads say at once; a good block starts it anew."""
    now = 1000.0

    class Slow(MemoryBlocks):
        def get(self, cid: Cid) -> bytes:
            nonlocal now
            asked.append(cid)
            if cid != CID:
                now += 2.1
            return super().get(cid)

    monkeypatch.setattr(several_module, "time", SimpleNamespace(monotonic=lambda: now))
    asked: list[Cid] = []
    slow, honest, other = Slow(), MemoryBlocks(), Cid.of(b"other")
    slow.put(CID, DATA)
    honest.put(other, b"other")
    several = SeveralBlocks([CountedBlocks(slow, "slow"), CountedBlocks(honest, "honest")], writable=False)
    for rest in (2.1, 4, 8, 16, 30, 30):
        asked.clear()
        assert fetch(several, other) == b"other"
        now += rest - 0.1
        assert fetch(several, other) == b"other"
        assert asked == [other]
        now += 0.2
    assert fetch(several, CID) == DATA
    assert fetch(several, other) == b"other"
    now += 2.2
    asked.clear()
    assert fetch(several, other) == b"other"
    assert asked == [other]


def test_a_block_that_comes_fast_enough_may_take_longer_than_the_first_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body has time as long as its bytes come; one that falls behind is given up long before the last moment."""
    monkeypatch.setattr(gateway_module, "_FIRST_SECONDS", 0.5)
    monkeypatch.setattr(gateway_module, "_FLOOR", 1000)
    data, pause = bytes(1200), 0.1

    def answer(to: BaseHTTPRequestHandler) -> None:
        respond(to, length=len(data))
        for start in range(0, len(data), 120):
            time.sleep(pause)  # A slow line; the client bounds it.
            to.wfile.write(data[start : start + 120])
            to.wfile.flush()

    with Gateway(answer) as server:
        gateway = GatewayBlocks(server.url, seconds=10)
        began = time.monotonic()
        assert gateway.get(Cid.of(data)) == data
        assert time.monotonic() - began > 2 * 0.5
        pause, began = 0.4, time.monotonic()
        with pytest.raises(Unreachable, match="no answer in time"):
            gateway.get(Cid.of(data))
        assert time.monotonic() - began < 5.0
        gateway.close()


def test_blocks_that_share_a_slow_line_have_the_time_that_one_would_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight at once over a line that brings one in time take three times as long as one may, and come."""
    monkeypatch.setattr(gateway_module, "_FIRST_SECONDS", 1.0)
    monkeypatch.setattr(gateway_module, "_FLOOR", 8_000)
    seconds, piece = 1.0, 500
    blocks = {Cid.of(data): data for data in (bytes([each]) * 10_000 for each in range(8))}

    def answer(to: BaseHTTPRequestHandler) -> None:
        data = blocks[Cid.parse(to.path.split("/")[-1].partition("?")[0])]
        respond(to, length=len(data))
        for start in range(0, len(data), piece):
            time.sleep(0.15)  # An eighth of a line of 27 kB/s.
            to.wfile.write(data[start : start + piece])
            to.wfile.flush()

    with Gateway(answer) as server:
        gateway = GatewayBlocks(server.url, seconds=seconds)
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda cid: fetch(gateway, cid), blocks)) == list(blocks.values())
        assert time.monotonic() - began > 2 * seconds
        gateway.close()


def test_bodies_that_all_trickle_are_given_up_as_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of requests to a gateway that trickles ends after the first seconds, not after as many times more."""
    monkeypatch.setattr(gateway_module, "_FIRST_SECONDS", 1.0)
    with Gateway(trickling_body) as server:
        gateway = GatewayBlocks(server.url, seconds=SECONDS)
        began = time.monotonic()

        def ask(number: int) -> None:
            with pytest.raises(Unreachable, match="no answer in time"):
                gateway.get(Cid.of(bytes([number])))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
        assert time.monotonic() - began < 2 * SECONDS + 1
        gateway.close()


def test_connections_are_kept_and_shared_by_threads() -> None:
    """Many threads read through few connections, each its own block."""
    pieces = {Cid.of(data): data for data in (bytes([each]) * 70_000 for each in range(40))}
    seen: set[tuple[str, int]] = set()
    lock = threading.Lock()

    def answer(to: BaseHTTPRequestHandler) -> None:
        with lock:
            seen.add(to.client_address)
        respond(to, pieces[Cid.parse(to.path.split("/")[-1].partition("?")[0])])

    with Gateway(answer) as server:
        gateway = GatewayBlocks(server.url, connections=4)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda cid: fetch(gateway, cid), pieces)) == list(pieces.values())
        gateway.close()
    assert len(seen) <= 8


def test_a_full_pool_is_no_fault_of_the_gateway() -> None:
    """Threads that wait for a connection get it in their turn."""

    def answer(to: BaseHTTPRequestHandler) -> None:
        time.sleep(0.05)  # A slow server, for a moment.
        respond(to, DATA)

    with Gateway(answer) as server:
        gateway = GatewayBlocks(server.url, connections=1)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(gateway.get, [CID] * 16)) == {DATA}
        gateway.close()


def test_a_path_is_asked_below_and_never_shown() -> None:
    """A gateway may stand below a path; errors show host and port alone, as a path may hold a secret."""
    with Gateway(lambda to: respond(to, status=404)) as server:
        gateway = GatewayBlocks(server.url + "/secret/")
        with pytest.raises(BlockMissing) as caught:
            gateway.get(CID)
        assert server.asked == [f"GET /secret/ipfs/{CID}?format=raw HTTP/1.1"]
        assert "secret" not in str(caught.value)
        gateway.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "ftp://host",
        "host",
        "http://host:0",
        "http://host:x",
        "http://host:99999",
        "http://user:secret@host",
        "http://host/?secret=1",
        "http://host/#secret",
        "http://[::1",
        "",
    ],
)
def test_what_is_no_gateway_is_refused(url: str) -> None:
    """One line, which does not show the URL."""
    with pytest.raises(InputError, match="gateway: expected") as caught:
        GatewayBlocks(url)
    assert "secret" not in str(caught.value)


def test_a_gateway_can_only_be_read_from() -> None:
    """Writing is refused before anything is sent."""
    gateway = GatewayBlocks("http://127.0.0.1:9")
    with pytest.raises(StoreError, match="can only be read from"):
        gateway.put(CID, DATA)


# ---------------------------------------------------------------------------------------------------------------- HTTPS


@pytest.mark.nodes
def test_https_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that is trusted is read through; one that is not is out of reach, and says why."""
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", "key.pem", "-out", "certificate.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *names]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with Gateway(lambda to: respond(to, DATA), context) as server:
        stranger = GatewayBlocks(server.url)
        with pytest.raises(StoreError, match=r"cannot be reached .*certificate verify failed"):
            stranger.get(CID)
        stranger.close()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        friend = GatewayBlocks(server.url)
        assert fetch(friend, CID) == DATA
        friend.close()
    with Gateway(trickling_body, context) as server:
        slow = GatewayBlocks(server.url, seconds=SECONDS)
        with pytest.raises(StoreError, match="no answer in time"):
            slow.get(CID)
        slow.close()
