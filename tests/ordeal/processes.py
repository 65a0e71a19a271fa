"""Processes that can be killed at any moment, and that end with this one, however that ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, cast

HOST = "127.0.0.1"
_STOP_SECONDS = 15.0
_LAST_BYTES = 4000
# Starts a program, and ends everything that it started when our end of the pipe closes.
_UNTIL_WE_END = 'exec 3<&0; (cat >/dev/null; kill -KILL 0) <&3 3<&- & exec "$@" </dev/null 3<&-'


class Child:
    """A program that is started again and again.

    Args:
        log: gets what it says, of all its lives.

    Attributes:
        name: what it is called in events.
        lives: how often it was started.
        started: when it was last started (monotonic seconds).
        wanted: whether it is to be started again when it was killed.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], directory: Path, log: Path, variables: Mapping[str, str]
    ) -> None:
        self.name = name
        self.command = [str(each) for each in command]
        self.lives = 0
        self.started = 0.0
        self.wanted = True
        self._directory, self._log = directory, log
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("FEDPACT_")}
        self._environment |= variables
        self._process: subprocess.Popen[bytes] | None = None
        self._was_killed = False
        # A proxy's thread may kill what the main thread is about to start.
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Its number; 0 where it does not run."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts it, unless it runs."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._forget()
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _UNTIL_WE_END, "sh", *self.command],
                    cwd=self._directory,
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._was_killed = False
            self.started = time.monotonic()
            self.lives += 1

    def kill(self) -> bool:
        """Kills it at once, as kill -9 does; whether it ran."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return False
            self._was_killed = True
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            return True

    def stop(self, patience: float = _STOP_SECONDS) -> int | None:
        """Asks it to end, and waits; returns its exit code, none where it had to be killed."""
        with self._lock:
            process = self._process
            if process is None:
                return None
            if process.poll() is None:
                process.terminate()
            try:
                return process.wait(patience)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None
            finally:
                self._was_killed = True
                self._forget()

    def ended(self) -> int | None:
        """The exit code of a life that ended by itself; none while it runs, or where it was killed."""
        with self._lock:
            if self._process is None or self._was_killed:
                return None
            return self._process.poll()

    @property
    def is_dead(self) -> bool:
        """Whether it was killed and not started again."""
        with self._lock:
            return self._process is not None and self._was_killed

    def said(self) -> str:
        """The end of what it said."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_BYTES))
            return log.read().decode(errors="replace").strip()

    def _forget(self) -> None:
        if self._process is not None:
            cast(IO[bytes], self._process.stdin).close()
            self._process = None


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
