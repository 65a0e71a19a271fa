"""Commands as processes, whose lines are shown as they come, and none of which outlives this one."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from fedpact.errors import FedpactError

FEDPACT = str(Path(sys.executable).with_name("fedpact"))
_READY_SECONDS = 120.0
_STOP_SECONDS = 10.0
_EVERYBODYS = ("FEDPACT_ANVIL",)  # Where the chain's program is.
_TIME = re.compile(r"^\S+Z ")  # The record has them all.
# Runs a program in a group of its own, and kills the group when our end of the pipe closes, however we end.
_UNTIL_WE_END = 'exec 3<&0; (cat >/dev/null; kill -KILL 0) <&3 3<&- >/dev/null 2>&1 & exec "$@" </dev/null 3<&-'


class Service:
    """A `fedpact` command that runs until it ends by itself or is ended.

    Args:
        name: what stands before its lines.
        directory: where it works.
        variables: its environment, besides ours without `FEDPACT_…`.

    Attributes:
        said: the lines that it wrote to standard error, as far as they have come.
    """

    def __init__(self, name: str, *arguments: str, directory: Path, **variables: str) -> None:
        self.name, self.said = name, list[str]()
        self._is_shown = True
        self._answers: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _UNTIL_WE_END, "sh", FEDPACT, *arguments],
            cwd=directory,
            env=environment(**variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        streams = (self._process.stdout, self._take), (self._process.stderr, self._show)
        self._readers = [threading.Thread(target=_each, args=stream, daemon=True) for stream in streams]
        for reader in self._readers:
            reader.start()

    def answer(self) -> str:
        """The next line of its standard output.

        Raises:
            FedpactError: it ended, or nothing came.
        """
        try:
            line = self._answers.get(timeout=_READY_SECONDS)
        except queue.Empty:
            raise FedpactError(f"{self.name}: expected a line within {_READY_SECONDS:.0f} s, found none") from None
        if not line:
            self._process.wait()
            self.ended()
            raise FedpactError(f"{self.name}: ended before it was ready")
        return line

    def ended(self) -> bool:
        """Whether it ended, and well.

        Raises:
            FedpactError: it failed.
        """
        code = self._process.poll()
        if code:
            self._readers[1].join(_STOP_SECONDS)
            last = self.said[-1].removeprefix("fedpact: error: ") if self.said else f"exit code {code}"
            raise FedpactError(f"{self.name}: {last}")
        return code == 0

    def stop(self) -> None:
        """Ends it, and all that it started."""
        self._is_shown = self._process.poll() is not None  # What it says to a signal is of no use to anyone.
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()  # Whatever is left of the group ends now.
        self._process.wait()
        for reader, stream in zip(self._readers, (self._process.stdout, self._process.stderr), strict=True):
            reader.join(_STOP_SECONDS)
            if stream is not None:
                stream.close()

    def _take(self, line: str) -> None:
        self._answers.put(line)

    def _show(self, line: str) -> None:
        said = line.rstrip()
        if said:
            self.said.append(said)
        if said and self._is_shown and " waiting: " not in said:
            with contextlib.suppress(BrokenPipeError):  # Whoever reads us has gone.
                print(f"{self.name:>9}  {_TIME.sub('', said)}", flush=True)


def _each(stream: IO[str], take: Callable[[str], None]) -> None:
    """Hands on every line, and nothing at the end."""
    for line in stream:
        take(line)
    take("")


def run(directory: Path, *arguments: str, **variables: str) -> None:
    """Shows a command and runs it to its end.

    Raises:
        FedpactError: it failed.
    """
    print(f"\n> fedpact {' '.join(arguments)}", flush=True)
    done = subprocess.run(
        [FEDPACT, *arguments],
        cwd=directory,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise FedpactError(last.removeprefix("fedpact: error: "))


def environment(**variables: str) -> dict[str, str]:
    """Ours, without settings that would be everybody's."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("FEDPACT_") or name in _EVERYBODYS}
    return kept | variables
