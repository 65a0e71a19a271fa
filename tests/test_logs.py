"""What a service says: one line a message, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import threading
import warnings

import pytest
from fedpact.ledger.endpoints import connect
from fedpact.service import logs
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("logging_as_before")


def said(kind: str, level: str = "info") -> io.StringIO:
    """Where everything that is said goes."""
    stream = io.StringIO()
    logs.configure(kind, level, stream)
    return stream


def test_a_line_for_a_person() -> None:
    """The time in UTC, the level where it is more than information."""
    stream = said("text")
    logging.getLogger("fedpact.x").info("round %d: opened", 3)
    logging.getLogger("fedpact_client.x").warning("low")
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ round 3: opened", first)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ warning: low", second)


@given(st.text())
def test_a_message_is_one_line_of_what_can_be_printed(text: str) -> None:
    """Nothing that a terminal would obey, and nothing that looks like another message."""
    record = logging.LogRecord("fedpact", logging.INFO, "", 0, "%s", (text,), None)
    line = logs.TextLines().format(record)
    assert line.isprintable()
    assert json.loads(logs.JsonLines().format(record))["message"] == line.partition(" ")[2]


def test_an_object_for_a_program() -> None:
    """With the error that came with the message."""
    stream = said("json")
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("fedpact_coordinator.x").exception("went wrong")
    found = json.loads(stream.getvalue())
    assert found.pop("time") > 0
    assert found == {"level": "error", "logger": "fedpact_coordinator.x", "message": "went wrong: ValueError: a b"}


@pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_least_that_is_said(level: str, expected: int) -> None:
    """As it was asked for; of other packages nothing below a warning."""
    stream = said("text", level)
    for log in (logging.getLogger("fedpact.x").debug, logging.getLogger("fedpact.x").info):
        log("ours")
    logging.getLogger("fedpact.x").warning("ours")
    logging.getLogger("fedpact.x").error("ours")
    logging.getLogger("urllib3").info("theirs")
    assert stream.getvalue().count("ours") == expected
    assert "theirs" not in stream.getvalue()


def test_a_warning_of_another_package_is_a_message() -> None:
    """A trainer's library may warn: that is one line of the same form."""
    stream = said("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)  # What catches warnings above has put aside what `configure` did.
        warnings.warn("not converged", RuntimeWarning, stacklevel=1)
    (line,) = stream.getvalue().splitlines()
    assert "RuntimeWarning: not converged" in json.loads(line)["message"]


def test_a_url_is_not_said_where_a_node_sends_headers_that_are_none(caplog: pytest.LogCaptureFixture) -> None:
    """What asks it would, with the key in it; to a service's stream, and to a command's terminal."""
    stream = said("text", "debug")
    logging.getLogger().addHandler(caplog.handler)

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            asked = b""
            while not asked.endswith(b"}"):
                asked += connection.recv(1 << 16)
            body = b'{"jsonrpc":"2.0","id":0,"result":"0x7"}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nthis is no header\r\nX: y\r\n\r\n" + body)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, args=[listening], daemon=True).start()
        web3 = connect(f"http://127.0.0.1:{listening.getsockname()[1]}/v3/SECRET")
        assert web3.eth.chain_id == 7
        web3.provider.close()  # type: ignore[attr-defined]
    assert "SECRET" not in stream.getvalue() + caplog.text
    assert "Failed to parse headers" not in stream.getvalue() + caplog.text
