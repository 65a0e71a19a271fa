"""What a silo remembers of its rounds: the little that neither ledger nor store can give back.

One canonical JSON object a line, appended and synced before anything is built on it:

    {"base":"baf…","entry":"trained","round":3,"score":…,"samples":…,"size":…,"update":"baf…"}
    {"block":…,"entry":"sent","gas":…,"round":3,"transaction":"0x…"}
    {"entry":"verified","model":"baf…","round":2,"verdict":"reproduced","detail":""}
    {"entry":"failed","round":3,"why":"trainer: …"}

It proves nothing: what became of an update is on the ledger. Without the file, a silo trains once more and submits the
same.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpact.artifacts import canonical
from fedpact.errors import FedpactError, InputError, InvalidDocument, StoreError
from fedpact.ledger.facts import Update
from fedpact.ledger.port import Receipt
from fedpact.store.cid import Cid

_MAX_TEXT = 1000
_MAX_FILE = 1 << 30


@dataclass(slots=True)
class Remembered:
    """What is remembered of one round.

    Attributes:
        base, update: the model that was trained from, and what came of it.
        transaction: in which the update was submitted.
        gas: what that cost.
        failure: why the last try to train failed; empty where it did not.
        verdict: what this silo found when it derived the round's own model again; empty where it did not.
        detail: what kept it from reproducing the model.
    """

    base: Cid | None = None
    update: Update | None = None
    transaction: str = ""
    gas: int = 0
    failure: str = ""
    verdict: str = ""
    detail: str = ""
    model: Cid | None = field(default=None, repr=False)


class Journal:
    """Remembers, in a file where a path is given.

    Attributes:
        rounds: what is remembered, by the round's number.

    Raises:
        InputError: the file cannot be read, or is none of this kind.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.rounds: dict[int, Remembered] = {}
        self._path = path
        if path is not None:
            self._read(path)

    def update(self, number: int, base: Cid) -> Update | None:
        """The update that was made for a round from a base, if one was."""
        kept = self.rounds.get(number)
        return kept.update if kept is not None and kept.base == base else None

    def verdict(self, number: int, model: Cid) -> str:
        """What was found when a round's model was derived again; empty where it was not."""
        kept = self.rounds.get(number)
        return kept.verdict if kept is not None and kept.model == model else ""

    def trained(self, number: int, base: Cid, update: Update) -> None:
        """An update is stored, and may be submitted.

        Raises:
            StoreError: it cannot be written down; it must not be submitted then. So do the others raise.
        """
        self._append(
            {
                "entry": "trained",
                "round": number,
                "base": str(base),
                "update": str(update.cid),
                "samples": update.samples,
                "score": update.score,
                "size": update.size,
            }
        )

    def sent(self, number: int, receipt: Receipt) -> None:
        """An update is on the ledger."""
        transaction = "0x" + receipt.transaction.hex()
        self._append(
            {
                "entry": "sent",
                "round": number,
                "transaction": transaction,
                "block": receipt.block,
                "gas": receipt.gas or 0,
            }
        )

    def failed(self, number: int, why: str) -> None:
        """Training failed. The same failure again is not written down again."""
        if self.rounds.get(number, Remembered()).failure != why[:_MAX_TEXT]:
            self._append({"entry": "failed", "round": number, "why": why[:_MAX_TEXT]})

    def verified(self, number: int, model: Cid, verdict: str, detail: str) -> None:
        """A round's model was derived again, or was to be."""
        self._append(
            {
                "entry": "verified",
                "round": number,
                "model": str(model),
                "verdict": verdict,
                "detail": detail[:_MAX_TEXT],
            }
        )

    def _append(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            try:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                try:
                    os.write(descriptor, canonical.encode(line) + b"\n")
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise StoreError(f"journal {self._path}: {error.strerror}") from error
        self._take(line)

    def _read(self, path: Path) -> None:
        try:
            if path.exists() and (not path.is_file() or path.stat().st_size > _MAX_FILE):
                raise InputError(f"journal {path}: expected a file of at most {_MAX_FILE} bytes")
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise InputError(f"journal {path}: {error.strerror}") from None
        whole, _, torn = data.rpartition(b"\n")
        for number, line in enumerate(whole.split(b"\n") if whole else (), 1):
            try:
                self._take(canonical.decode(line, "a line"))
            except (FedpactError, KeyError, TypeError, AttributeError) as error:
                raise InputError(f"journal {path}: line {number}: {type(error).__name__}: {error}") from None
        if torn:  # Its process was killed while it wrote: nothing was built on it.
            try:
                os.truncate(path, len(data) - len(torn))
            except OSError as error:
                raise InputError(f"journal {path}: {error.strerror}") from None

    def _take(self, line: dict[str, Any]) -> None:
        kept = self.rounds.setdefault(line["round"], Remembered())
        match line["entry"]:
            case "trained":
                kept.base = Cid.parse(line["base"])
                kept.update = Update(Cid.parse(line["update"]), line["samples"], line["score"], line["size"])
                kept.failure = ""
            case "sent":
                kept.transaction, kept.gas = line["transaction"], line["gas"]
            case "failed":
                kept.failure = line["why"]
            case "verified":
                kept.model = Cid.parse(line["model"])
                kept.verdict, kept.detail = line["verdict"], line["detail"]
            case other:
                raise InvalidDocument(f"entry: expected one that a journal has, found {str(other)[:80]!r}")
