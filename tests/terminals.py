"""What a page tells its reader to type into several terminals, typed into several processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

SECONDS = 240.0


class Terminals(contextlib.ExitStack):
    """A page's terminals: blocks of `sh` whose first line is `# terminal N`, and perhaps more words.

    Everything that they start ends with this.

    Args:
        text: the page, or a part of it.
        directory: where each terminal begins; their output is kept there.
        programs: where `python` and `fedpact` are.
    """

    def __init__(self, text: str, directory: Path, programs: Path = Path(sys.executable).parent) -> None:
        super().__init__()
        self.enter_context(ports())
        found = re.findall(r"^```sh\n# (terminal \d[^:\n]*)[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        assert len({name for name, _ in found}) == len(found)
        self._blocks: Mapping[str, str] = dict(found)
        self._directory = directory
        self._path = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def open(self, name: str) -> subprocess.Popen[bytes]:
        """Types a block into a new terminal."""
        with (self._directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ["/bin/bash", "-e", "-c", self._blocks[name]],
                cwd=self._directory,
                env={**os.environ, "PATH": self._path, "COLUMNS": "80"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.callback(end, process)
        return process

    def shown(self, name: str) -> str:
        """What a terminal shows."""
        return (self._directory / f"{name}.log").read_text("utf-8")

    def ended(self, name: str, process: subprocess.Popen[bytes]) -> str:
        """Waits for a terminal that ends by itself, and well; returns what it shows."""
        assert process.wait(SECONDS) == 0, self.shown(name)
        return self.shown(name)

    def done(self, name: str) -> str:
        """Types a block into a new terminal and waits for its end; returns what it shows."""
        return self.ended(name, self.open(name))


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def ports() -> Iterator[None]:
    """The ports that pages name, for one test at a time: tests run side by side."""
    with (Path(tempfile.gettempdir()) / f"fedpact-ports-{os.getuid()}").open("w") as file:
        until = time.monotonic() + 3 * SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < until, "another test has the ports for too long"
            time.sleep(0.2)  # Another test runs; bounded above.
        yield


def listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until something that a terminal started listens."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "it ended before it listened"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)  # Another process starts; bounded above.
    raise AssertionError(f"nothing listens on port {port}")
