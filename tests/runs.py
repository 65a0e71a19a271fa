"""Finished simulations for tests, and ways to tamper with a copy of one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import forking
from fedpact.artifacts import manifest as manifests
from fedpact.artifacts.manifest import Manifest
from fedpact.ledger import hashes, record
from fedpact.ledger.events import Entry, RoundOpened, RoundPublished
from fedpact.ledger.record import Record
from fedpact.ledger.view import View
from fedpact.store.cid import Cid
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.unixfs import add, read_small

FEDPACT = str(Path(sys.executable).with_name("fedpact"))
ROUNDS = 3


def fedpact(
    *arguments: str | Path,
    cwd: Path | None = None,
    timeout: float = 120,
    variables: Mapping[str, str] | None = None,
    typed: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user would: what it writes to a pipe is buffered, and must get there all the same.

    Args:
        variables: `FEDPACT_*` variables; there are no others of that name.
        typed: what is piped into it.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment = {name: value for name, value in environment.items() if not name.startswith("FEDPACT_")}
    environment |= dict(variables or {})
    told = [*map(str, arguments)]
    if "PYTHONPATH" not in (variables or ()):
        return forking.run(told, cwd=cwd, timeout=timeout, environment=environment, typed=typed)
    # What is there may change how Python starts.
    return subprocess.run(
        [FEDPACT, *told],
        input=typed,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=environment,
        check=False,
    )


def simulate(directory: Path, *arguments: str) -> dict[str, object]:
    """Runs a small simulation; returns its result."""
    options = ("--silos", "3", "--rounds", str(ROUNDS), "--threads", "1", "--workdir", str(directory), "--json")
    done = fedpact("simulate", "diabetes", *options, *arguments)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


class Copy:
    """A copy of a finished run, to be tampered with."""

    def __init__(self, run: Path, directory: Path) -> None:
        shutil.copytree(run, directory)
        self.path = directory
        self.blocks = DirectoryBlocks(directory / "store")
        self.record = record.read(directory / "ledger.jsonl")
        self.view = View(self.record.identity, self.record.entries)

    def file(self, cid: Cid) -> Path:
        """The file of a block."""
        (path,) = self.path.glob(f"store/blocks/*/{cid}")
        return path

    def flip(self, cid: Cid, at: int = -3) -> None:
        """Flips one bit of a stored block."""
        data = bytearray(self.file(cid).read_bytes())
        data[at] ^= 1
        self.file(cid).write_bytes(data)

    def rewrite(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        """Writes the ledger anew with other entries, numbered as if nothing had happened."""
        entries = tuple(change(list(self.record.entries)))
        record.write(self.path / "ledger.jsonl", Record(self.record.identity, self.record.kind, entries))

    def republish(self, number: int, model: Cid, manifest: Cid) -> None:
        """Puts another publication on the ledger, and makes all hashes after it right: a careful forgery."""

        def forge(entries: list[Entry]) -> list[Entry]:
            forged: list[Entry] = []
            view = View(self.record.identity)
            for entry in entries:
                event = entry.event
                if isinstance(event, RoundPublished):
                    current = view.rounds[event.round]
                    if event.round == number:
                        event = replace(event, model=model, manifest=manifest)
                    head = hashes.published_head(
                        view.head, event.round, current.transcript, event.model, event.manifest
                    )
                    event = replace(event, transcript=current.transcript, head=head)
                if isinstance(event, RoundOpened):
                    seed = hashes.first_transcript(
                        view.head,
                        view.last_transcript,
                        event.round,
                        view.charter,
                        view.base,
                        event.coordinator,
                        event.terms,
                        event.expected,
                    )
                    event = replace(event, base=view.base, transcript=seed)
                forged.append(replace(entry, event=event))
                view.fold(forged[-1])
            return forged

        self.rewrite(forge)

    def manifest(self, number: int) -> Manifest:
        """The manifest of a round."""
        cid = self.view.rounds[number].manifest
        assert cid is not None
        return manifests.decode(read_small(self.blocks, cid, manifests.MAX_BYTES))

    def replace_manifest(self, number: int, manifest: Manifest) -> None:
        """Publishes a round with another manifest."""
        model = self.view.rounds[number].model
        assert model is not None
        self.republish(number, model, add(self.blocks, manifest.encode()).root)
