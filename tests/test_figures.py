"""Figures and health over HTTP: true, at once, and undisturbed by whoever asks badly."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from chains import COORDINATOR
from fedpact.errors import InputError, LedgerError
from fedpact.service.figures import Figures

SECONDS = 5.0
"""Within which any answer must be there: less than a connection may do nothing for."""


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    """Asks for a path."""
    shown = f"[{host}]" if ":" in host else host
    try:
        with urllib.request.urlopen(f"http://{shown}:{port}{path}", timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def figures() -> Figures:
    """Those of a coordinator."""
    return Figures("coordinator", COORDINATOR)


@pytest.fixture
def port(figures: Figures) -> Iterator[int]:
    """Where they are offered."""
    with figures.served("127.0.0.1", 0) as port:
        yield port


def values(text: str) -> dict[str, float]:
    """The figures of an answer; those of one account."""
    labels = f'{{account="{COORDINATOR}",role="coordinator"}}'
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name.removesuffix(labels): float(value) for name, value in lines}


def test_figures_are_those_that_were_set_last(figures: Figures, port: int) -> None:
    """In the format of Prometheus, with role and account."""
    figures.spent(68_100, 10**15, 3 * 10**18)
    figures.moved(10, 20)
    figures.moved(11, 22)
    figures.exclude("not_finite")
    figures.exclude("not_finite")
    status, text = get(port, "/metrics")
    found = values(text)
    assert status == 200
    assert (found["fedpact_gas_used"], found["fedpact_spent_ether"], found["fedpact_balance_ether"]) == (68100, 1e-3, 3)
    assert (found["fedpact_store_read_bytes"], found["fedpact_store_written_bytes"]) == (11, 22)
    labels = f'account="{COORDINATOR}",reason="not_finite",role="coordinator"'
    assert found[f"fedpact_excluded_total{{{labels}}}"] == 2
    assert found["fedpact_failures_total"] == 0


def test_health_follows_the_last_step(figures: Figures, port: int) -> None:
    """503 with what went wrong, until something went well."""
    assert get(port, "/health") == (200, "ok\n")
    figures.failed(LedgerError("rpc: größer"))
    assert get(port, "/health") == (503, "rpc: größer\n")
    assert values(get(port, "/metrics")[1])["fedpact_failures_total"] == 1
    figures.went_well()
    assert get(port, "/health") == (200, "ok\n")


@pytest.mark.parametrize("path", ["/", "/metrics/x", "/../etc/passwd", "/health/"])
def test_there_is_nothing_else(port: int, path: str) -> None:
    """And it is said what there is."""
    assert get(port, path) == (404, "see /metrics and /health\n")


def test_a_port_that_is_taken_is_one_line(figures: Figures, port: int) -> None:
    """Before anything else is begun."""
    found = f"^metrics 127.0.0.1:{port}: Address already in use$"
    with pytest.raises(InputError, match=found), figures.served("127.0.0.1", port):
        pass


@pytest.mark.parametrize(("host", "port"), [("203.0.113.7", 0), ("not a host", 0), ("127.0.0.1", 70_000)])
def test_an_address_that_cannot_be_listened_at_is_one_line(figures: Figures, host: str, port: int) -> None:
    """Of another machine, none, or beyond the last port."""
    with pytest.raises(InputError, match=f"^metrics {host}:{port}: ") as caught, figures.served(host, port):
        pass
    assert len(str(caught.value).splitlines()) == 1


def test_the_new_loopback_is_one_as_well(figures: Figures) -> None:
    """An address of IPv6."""
    with figures.served("::1", 0) as port:
        assert get(port, "/health", "::1") == (200, "ok\n")


def test_whoever_asks_nothing_keeps_nobody_waiting(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Connections that say nothing, half of something or nonsense, or that are torn off; and no word is said of it."""
    with contextlib.ExitStack() as stack:
        for said in (b"", b"GET /health HT", b"\x00\xff\r\n\r\n", b"GET /metrics HTTP/1.1\r\n" * 3):
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", port), SECONDS))
            opened.sendall(said)
        for said in (b"", b"GET /health HTTP/1.0\r\n\r\n", b"GET /metrics"):
            torn = socket.create_connection(("127.0.0.1", port), SECONDS)
            torn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            torn.sendall(said)
            torn.close()
        for _ in range(3):
            assert get(port, "/health") == (200, "ok\n")
    assert capfd.readouterr().err == ""


def test_what_was_not_asked_for_is_refused(port: int) -> None:
    """A request line without end is answered with an error, and read no further."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(connection), contextlib.suppress(ConnectionError):
        connection.request("GET", "/" + "x" * 70_000)
        assert connection.getresponse().status == 414
    assert get(port, "/health") == (200, "ok\n")
