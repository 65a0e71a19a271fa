"""Connections that are there in time or not at all, whatever a name stands for."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpcore
import pytest
from fedpact.store.remote.deadline import Deadline, DeadlineBackend

NAME = "host.invalid"
SECONDS = 1.0
"""What a connection may take in these tests."""
Resolve = Callable[[Sequence[str]], None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Has `NAME` stand for addresses."""
    real = socket.getaddrinfo

    def set_to(addresses: Sequence[str]) -> None:
        def getaddrinfo(host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:
            hosts = addresses if host == NAME else [host]
            return [found for each in hosts for found in real(each, port, *arguments, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return set_to


@contextlib.contextmanager
def silent(host: str, port: int = 0) -> Iterator[int]:
    """A port that answers nobody: as many as it takes are waiting to be taken, which they are not."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address[1]


def connect(port: int) -> float:
    """Seconds until `NAME` was connected to."""
    deadline = Deadline()
    began = time.monotonic()
    with deadline.within(SECONDS):
        DeadlineBackend(deadline).connect_tcp(NAME, port).close()
    return time.monotonic() - began


@pytest.mark.parametrize("count", [1, 3, 40])
def test_many_addresses_have_no_more_time_than_one(resolve: Resolve, count: int) -> None:
    """A name of addresses that all are silent is given up when the time is over, not that often."""
    addresses = [f"127.0.0.{2 + place}" for place in range(count)]
    resolve(addresses)
    with contextlib.ExitStack() as stack:
        port = 0
        for address in addresses:
            port = stack.enter_context(silent(address, port))
        began = time.monotonic()
        with pytest.raises(httpcore.ConnectTimeout):
            connect(port)
        assert 0.5 * SECONDS < time.monotonic() - began < 2 * SECONDS


def test_a_silent_address_leaves_time_for_the_next(resolve: Resolve) -> None:
    """Where the first does not answer and the second refuses, the third is reached."""
    resolve(["127.0.0.2", "127.0.0.3", "127.0.0.1"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with silent("127.0.0.2", port):
            assert connect(port) < SECONDS


def test_only_a_few_addresses_are_tried(resolve: Resolve) -> None:
    """The fifth would answer, but nobody gets there."""
    resolve([f"127.0.0.{9 - place}" for place in range(5)])
    with socket.create_server(("127.0.0.5", 0)) as server, pytest.raises(httpcore.ConnectError, match="refused"):
        connect(server.getsockname()[1])


def test_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can end it, but its time is over with that of who asks."""
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(60) and [])
    began = time.monotonic()
    with pytest.raises(httpcore.ConnectTimeout, match="the host's name is not resolved in time"):
        connect(1)
    assert time.monotonic() - began < 2 * SECONDS
    answered.set()


@pytest.mark.parametrize("name", [NAME, "x" * 64, "a..b"])
def test_a_name_that_is_none_cannot_be_reached(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether nobody has it, or nobody could."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    if name == NAME:  # No test asks a resolver.
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(httpcore.ConnectError):
        DeadlineBackend(Deadline()).connect_tcp(name, 1)


def test_a_name_without_addresses_cannot_be_reached(resolve: Resolve) -> None:
    """A resolver that finds nothing and says no error."""
    resolve([])
    with pytest.raises(httpcore.ConnectError, match="no address"):
        connect(1)
