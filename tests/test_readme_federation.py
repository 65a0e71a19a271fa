"""The README's federation of real processes, run as it stands: every block is what is typed into one terminal."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from test_readme import README, matches

_SECTION = README.partition("## Run a real federation")[2].partition("\n## ")[0]
_BLOCKS = re.findall(r"^```sh\n# (terminal \d[^:\n]*)[^\n]*\n(.*?)^```", _SECTION, re.DOTALL | re.MULTILINE)
_SECONDS = 240.0


@contextmanager
def _terminal(name: str, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """What is typed into a terminal, with everything that it starts; its output is in a file."""
    (commands,) = [commands for found, commands in _BLOCKS if found == name]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/bash", "-e", "-c", commands],
            cwd=directory,
            env={**os.environ, "PATH": path, "COLUMNS": "80"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listens(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "it ended before it listened"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)  # Another process starts; bounded above.
    raise AssertionError(f"nothing listens on port {port}")


def _shown(directory: Path, name: str) -> str:
    return (directory / f"{name}.log").read_text("utf-8")


def test_the_federation_of_the_readme(tmp_path: Path) -> None:
    """Three processes train five rounds, a stranger derives all of it again, and everybody ends with exit code 0."""
    with contextlib.ExitStack() as stack:

        def opened(name: str) -> subprocess.Popen[bytes]:
            return stack.enter_context(_terminal(name, tmp_path))

        def done(name: str) -> str:
            process = opened(name)
            assert process.wait(_SECONDS) == 0, _shown(tmp_path, name)
            return _shown(tmp_path, name)

        chain = opened("terminal 1")
        _listens(8545, chain)
        assert "contract: 0x" in done("terminal 2")
        stores = opened("terminal 3")
        for port in (9000, 9001, 9002):
            _listens(port, stores)
        services = [opened(f"terminal {number}") for number in (4, 5, 6)]
        for number, process in enumerate(services, 4):
            assert process.wait(_SECONDS) == 0, _shown(tmp_path, f"terminal {number}")
            assert "over: 5 rounds, as the charter says" in _shown(tmp_path, f"terminal {number}")
        printed = done("terminal 2 again")
    (promised,) = re.findall(r"^```text\n(.*?)^```", _SECTION, re.DOTALL | re.MULTILINE)
    assert matches(printed.splitlines(), ["…", *promised.splitlines(), "…"]), printed
