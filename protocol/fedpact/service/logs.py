"""What a service says while it runs: a line for a person, or a JSON object for a program."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO


class TextLines(logging.Formatter):
    """`2026-11-21T10:00:00Z warning: round 3: …`: one line a message, without what a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(record.created))} {level}{_one_line(record)}"


class JsonLines(logging.Formatter):
    """One object a message: `time` (seconds since the epoch), `level`, `logger`, `message`."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": round(record.created, 3),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": _one_line(record),
            }
        )


def configure(kind: str, level: str, stream: TextIO | None = None) -> None:
    """Sends all messages of this process to standard error, or to a stream.

    Args:
        kind: `text` or `json`.
        level: the least that is said: `debug`, `info`, `warning` or `error`. Of other packages nothing below a warning.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if kind == "json" else TextLines())
    logging.captureWarnings(True)  # Those of other packages would be lines without form.
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("fedpact", "fedpact_coordinator", "fedpact_client"):
        logging.getLogger(name).setLevel(level.upper())


def _one_line(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        text = f"{text}: {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
    return "".join(each if each.isprintable() else " " for each in " ".join(text.split()))
