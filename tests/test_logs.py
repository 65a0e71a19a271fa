"""What a service says: one line a message, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings

import pytest
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
