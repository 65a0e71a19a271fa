"""A directory with a store and the record of a federation, on which the commands of `fedpact store` are run."""

from __future__ import annotations

import io
import json
import os
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fedpact.cli import connection
from fedpact.cli.application import application
from fedpact.errors import FedpactError
from fedpact.keeping import DAY
from fedpact.store import Cid
from histories import History

MOMENTUM = {"name": "fedavgm", "parameters": {"learning_rate": "1", "momentum": "0.9"}}


@dataclass
class Done:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


class Place:
    """A directory with a store, and a federation whose record the commands read."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path, self._patch = path, patch
        self.history: History

    def found(self, **charter: Any) -> History:
        """A federation."""
        self.history = History(self.path, **charter)
        ledger = self.history.ledger
        ledger.close = lambda: None  # type: ignore[attr-defined]  # As that of a contract has one.
        self._patch.setattr(connection, "open_ledger", lambda settings: ledger)
        return self.history

    def run(self, *arguments: str) -> Done:
        """A command, as a user would run it in the directory."""
        out, err = io.StringIO(), io.StringIO()
        with chdir(self.path), redirect_stdout(out), redirect_stderr(err):
            try:
                code = application()(["store", *arguments], prog_name="fedpact", standalone_mode=False)
            except FedpactError as error:
                code = error.exit_code
                err.write(f"{error}\n")
        return Done(code or 0, out.getvalue(), err.getvalue())

    def age(self, seconds: float = 7200) -> None:
        """Makes everything in the store older: two hours, and what is pinned a week besides."""
        for file in self.path.glob("store/blocks/*/*"):
            os.utime(file, (file.stat().st_mtime - seconds,) * 2)
        for file in self.path.glob("store/pins/*"):
            os.utime(file, (file.stat().st_mtime - seconds - 7 * DAY,) * 2)

    def files(self) -> dict[Path, tuple[int, int]]:
        """All that is in the directory, with its time."""
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in self.path.rglob("*")}

    def blocks(self) -> set[str]:
        """The names of the blocks in the store."""
        return {file.name for file in self.path.glob("store/blocks/*/*")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty directory. The chain of a history is in another century: its time is believed here."""
    for name in [name for name in os.environ if name.startswith("FEDPACT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("fedpact.cli.upkeep._AHEAD", 10**12)
    return Place(tmp_path, monkeypatch)


def three_rounds(place: Place, **charter: Any) -> History:
    """Three rounds of two updates each, a day after one another; retention is a day. All is pinned as services do."""
    history = place.found(store={"retention_days": 1}, **charter)
    for number in range(3):
        history.ledger.advance(history.ledger.now() + DAY)
        history.publish(1.0 + 3 * number, 2.0 + 3 * number)
    for file in place.path.glob("store/blocks/*/*"):
        history.blocks.pin(Cid.parse(file.name))
    history.blocks.close()
    place.age()
    return history
