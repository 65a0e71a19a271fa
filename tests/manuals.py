"""Pages that say what to type, typed as they stand: each fenced block in its order, and what its commands print.

    ```console
    $ fedpact key show owner.json         a command; a line that starts with `> ` goes on with the one before it
    0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    ```

A command must end well. What is below it is what it prints, on both channels, where `…` on a line of its own stands
for any lines, within a line for any text. Numbers with a comma or a point, addresses, hashes, CIDs and times may be
others: a later command that repeats one gets the one that was printed.

A block whose first line is `# terminal 2: the owner` is typed into that terminal, which has a directory and variables
of its own. A last `…` there says that the command runs on. A later block of that terminal waits for its end, or begins
with `^C`, which is typed then; lines before its first command are all that was printed until the end. A block of `sh`
is as one of `console` with commands only. A block of another language after a line that ends with "`NAME`:" is saved in
that file.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from terminals import SECONDS, end, ports

_FENCE = re.compile(r"(?:`([\w./-]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TERMINAL = re.compile(r"# (terminal \d)\b")
_ANVIL = "FEDPACT_ANVIL"  # Where anvil is: the one thing that a reader may have set up before.
_MARK = "(done 2f6d)"
_VARIES = (
    # Each kind by a name, as whole words, the longest first.
    ("CID", r"\bbaf[a-z2-7]{7}…[a-z2-7]{6}\b|\bbaf[a-z2-7]{56}\b"),
    ("HASH", r"\b0x[0-9a-f]{64}\b"),
    ("ADDRESS", r"\b0x[0-9a-fA-F]{40}\b"),
    ("TIME", r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?|\b\d\d:\d\d:\d\d\b"),
    ("NUMBER", r"\d[\d,]*\.\d+|\d+,\d[\d,]*"),
)
_VARIABLE = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _VARIES))


@dataclass(slots=True)
class Command:
    """What is typed, and what it prints. Nothing is typed where it only goes on."""

    typed: str
    promised: list[str] = field(default_factory=list)

    @property
    def runs_on(self) -> bool:
        """Whether its end is not waited for."""
        return self.promised[-1:] == ["…"]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: commands for a terminal, or a file.

    Attributes:
        terminal: its name; empty for the one that all blocks without a name share.
        file: where it is saved, relative to the page's directory; empty where it is commands.
    """

    language: str
    text: str
    terminal: str = ""
    file: str = ""

    def commands(self) -> list[Command]:
        """What is typed, in order."""
        lines = self.text.splitlines()
        if self.terminal:
            del lines[0]
        if self.language == "sh":
            return [Command("set -e\n" + "\n".join(lines) + "\nset +e")]
        found = [Command("")]
        for line in lines:
            if line.startswith("$ "):
                found.append(Command(line[2:]))
            elif line.startswith("> ") and not found[-1].promised:
                found[-1].typed += "\n" + line[2:]
            else:
                found[-1].promised.append(line.strip())
        return [each for each in found if each.typed or each.promised]


def blocks(text: str) -> list[Block]:
    """The blocks of a page that are typed or saved."""
    found = []
    for file, language, inner in _FENCE.findall(text):
        terminal = _TERMINAL.match(inner)
        if language in ("console", "sh"):
            found.append(Block(language, inner, "" if terminal is None else terminal[1]))
        elif file:
            found.append(Block(language, inner, file=file))
    return found


def matches(printed: list[str], promised: list[str]) -> bool:
    """Whether the lines are the promised ones."""
    return match(printed, promised) is not None


def match(printed: list[str], promised: list[str]) -> dict[str, str] | None:
    """What stands for what on the page, where the lines are the promised ones; none where they are others."""
    if not promised:
        return None if printed else {}
    if promised[0].strip() == "…":
        for start in range(len(printed) + 1):
            found = match(printed[start:], promised[1:])
            if found is not None:
                return found
        return None
    if not printed:
        return None
    first = _match_line(printed[0], promised[0])
    rest = None if first is None else match(printed[1:], promised[1:])
    return None if rest is None or first is None else first | rest


def _match_line(printed: str, promised: str) -> dict[str, str] | None:
    shaped = [_VARIABLE.sub(_kind, " ".join(line.split())) for line in (printed, promised)]
    pattern = ".*".join(re.escape(each) for each in shaped[1].split("…"))
    if not re.fullmatch(pattern, shaped[0]):
        return None
    if "…" in shaped[1]:
        return {}
    pairs = zip(_VARIABLE.finditer(promised), _VARIABLE.finditer(printed), strict=True)
    return {said[0]: found[0] for said, found in pairs if said.lastgroup != "NUMBER"}


def _kind(found: re.Match[str]) -> str:
    return str(found.lastgroup)


class Reader(contextlib.ExitStack):
    """Somebody who does what pages say. All that runs ends with this.

    Args:
        directory: where every terminal begins, and files are saved.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self._terminals: dict[str, _Shell] = {}
        self._found: dict[str, str] = {}
        self._has_ports = False

    def read(self, text: str) -> list[str]:
        """Types a page, or a part of it; returns what each command printed."""
        printed: list[str] = []
        if "fedpact devnet" in text and not self._has_ports:  # Nothing else has a port of its own.
            self._has_ports = True
            self.enter_context(ports())
        for block in blocks(text):
            if block.file:
                path = self.directory / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, "utf-8")
                continue
            if block.terminal not in self._terminals:
                self._terminals[block.terminal] = self.enter_context(_shell(self.directory))
            shell = self._terminals[block.terminal]
            printed += [self._type(shell, block, command) for command in block.commands()]
        return printed

    def _type(self, shell: _Shell, block: Block, command: Command) -> str:
        if command.promised[:1] == ["^C"]:
            shell.interrupt()
            del command.promised[0]
        if command.typed:
            shell.wait()
            shell.type(_replaced(command.typed, self._found))
        runs_on = bool(block.terminal) and command.runs_on
        seen = shell.wait() if not runs_on else shell.wait(lambda lines: matches(lines, command.promised))
        if block.language != "sh":
            found = match(seen, command.promised)
            assert found is not None, "\n".join([f"$ {command.typed}", "prints", *seen, "promised", *command.promised])
            self._found |= found
        return "\n".join(seen)


def _replaced(typed: str, found: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda each: found.get(each[0], each[0]), typed)


class _Shell:
    """A shell that is told one command after another, as by a person."""

    def __init__(self, process: subprocess.Popen[bytes], shown: Path) -> None:
        self._process = process
        self._shown = shown
        self._typed = ""
        self._from = 0  # Bytes that commands before printed.
        self._busy = self._interrupted = False

    def type(self, command: str) -> None:
        """Types a command."""
        assert self._process.stdin is not None
        self._busy, self._interrupted, self._typed = True, False, command
        self._process.stdin.write(f"{{ {command}\n}} < /dev/null; printf '%s %d\\n' '{_MARK}' $?\n".encode())
        self._process.stdin.flush()

    def wait(self, enough: Callable[[list[str]], bool] = lambda _: False) -> list[str]:
        """Waits for the end of what was typed, or until what it has printed is enough; returns all of that."""
        until = time.monotonic() + SECONDS
        while self._busy:
            data = self._shown.read_bytes()[self._from :].decode("utf-8", "replace")
            ended = re.search(rf"{re.escape(_MARK)} (\d+)\n", data)
            lines = (data if ended is None else data[: ended.start()]).splitlines()
            if enough(lines):
                return lines
            if ended is not None:
                self._from += len(data[: ended.end()].encode())
                self._busy = False
                expected = ("0", "130") if self._interrupted else ("0",)
                assert ended[1] in expected, "\n".join([f"$ {self._typed}", *lines, f"exit code {ended[1]}"])
                return lines
            assert self._process.poll() is None, "\n".join([f"$ {self._typed}", *lines, "the shell ended"])
            assert time.monotonic() < until, "\n".join([f"$ {self._typed}", *lines, "it did not end"])
            time.sleep(0.05)  # Other processes work; bounded above.
        return []

    def interrupt(self) -> None:
        """Types Ctrl-C: what runs gets it, the shell goes on."""
        assert self._busy, "nothing runs that could be interrupted"
        self._interrupted = True
        until = time.monotonic() + SECONDS
        while True:
            command = ["pgrep", "-P", str(self._process.pid)]
            children = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
            if children:
                break
            assert time.monotonic() < until, f"$ {self._typed}\nis no process"
            time.sleep(0.05)  # The shell starts it; bounded above.
        for child in children:
            os.kill(int(child), signal.SIGINT)


@contextlib.contextmanager
def _shell(directory: Path) -> Iterator[_Shell]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("FEDPACT_") or name == _ANVIL}
    shown = directory.parent / f"{directory.name}.{time.monotonic_ns()}.shown"
    with shown.open("wb") as file:
        process = subprocess.Popen(
            ["/bin/bash"],
            cwd=directory,
            env={**variables, "PATH": path, "COLUMNS": "80"},
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with process:
        try:
            yield _Shell(process, shown)
        finally:
            end(process)
