"""What a silo remembers of its rounds: the little that neither ledger nor store can give back.

One canonical JSON object a line, appended and synced before anything is built on it. What a killed process or a full
disk left of a line is cut off before the next one is written; until then it is passed over, as whoever only reads must
not write into the file of a silo that runs.

    {"base":"baf…","entry":"trained","round":3,"score":…,"samples":…,"size":…,"update":"baf…"}
    {"block":…,"entry":"sent","gas":…,"round":3,"transaction":"0x…"}
    {"entry":"verified","model":"baf…","round":2,"verdict":"reproduced","detail":""}
    {"entry":"failed","round":3,"why":"trainer: …"}

It proves nothing: what became of an update is on the ledger. Without the file, a silo trains once more and submits the
same.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from fedpact.artifacts import canonical
from fedpact.artifacts.mistakes import first_mistake
from fedpact.errors import FedpactError, InputError, StoreError
from fedpact.ledger.facts import Update
from fedpact.ledger.port import Receipt
from fedpact.store.cid import Cid
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

_MAX_TEXT = 1000
_MAX_FILE = 1 << 30
_Text = Annotated[str, Field(max_length=_MAX_TEXT)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    round: Annotated[int, Field(ge=1)]


class _Trained(_Line):
    entry: Literal["trained"] = "trained"
    base: _Text
    update: _Text
    samples: int
    score: int
    size: int


class _Sent(_Line):
    entry: Literal["sent"] = "sent"
    transaction: _Text
    block: int
    gas: int


class _Failed(_Line):
    entry: Literal["failed"] = "failed"
    why: _Text


class _Verified(_Line):
    entry: Literal["verified"] = "verified"
    model: _Text
    verdict: _Text
    detail: _Text


_Entry = _Trained | _Sent | _Failed | _Verified
_LINE: TypeAdapter[_Entry] = TypeAdapter(Annotated[_Entry, Field(discriminator="entry")])


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
        self._whole = 0  # Bytes of the file up to the end of its last whole line.
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
            _Trained(
                round=number,
                base=str(base),
                update=str(update.cid),
                samples=update.samples,
                score=update.score,
                size=update.size,
            )
        )

    def sent(self, number: int, receipt: Receipt) -> None:
        """An update is on the ledger."""
        transaction = "0x" + receipt.transaction.hex()
        self._append(_Sent(round=number, transaction=transaction, block=receipt.block, gas=receipt.gas or 0))

    def failed(self, number: int, why: str) -> None:
        """A round was tried in vain. The same failure again is not written down again."""
        if self.rounds.get(number, Remembered()).failure != why[:_MAX_TEXT]:
            self._append(_Failed(round=number, why=why[:_MAX_TEXT]))

    def verified(self, number: int, model: Cid, verdict: str, detail: str) -> None:
        """A round's model was derived again, or was to be."""
        self._append(_Verified(round=number, model=str(model), verdict=verdict, detail=detail[:_MAX_TEXT]))

    def _append(self, line: _Entry) -> None:
        if self._path is not None:
            data = canonical.encode(line.model_dump()) + b"\n"
            try:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                try:
                    if os.fstat(descriptor).st_size < self._whole:
                        self._whole = 0  # Somebody took the file away: what is remembered is in memory all the same.
                    os.ftruncate(descriptor, self._whole)
                    if os.pwrite(descriptor, data, self._whole) != len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise StoreError(f"journal {self._path}: {error.strerror}") from error
            self._whole += len(data)
        self._take(line)

    def _read(self, path: Path) -> None:
        try:
            if path.exists() and (not path.is_file() or path.stat().st_size > _MAX_FILE):
                raise InputError(f"journal {path}: expected a file of at most {_MAX_FILE} bytes, found something else")
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise InputError(f"journal {path}: {error.strerror}") from None
        self._whole = data.rfind(b"\n") + 1  # What follows was never finished: nothing was built on it.
        for number, line in enumerate(data[: self._whole].split(b"\n")[:-1], 1):
            try:
                self._take(_LINE.validate_python(canonical.decode(line, "a line")))
            except ValidationError as error:
                raise InputError(f"journal {path}: line {number}: {first_mistake(error)}") from None
            except FedpactError as error:
                raise InputError(f"journal {path}: line {number}: {error}") from None

    def _take(self, line: _Entry) -> None:
        kept = self.rounds.setdefault(line.round, Remembered())
        match line:
            case _Trained():
                kept.base, kept.failure = Cid.parse(line.base), ""
                kept.update = Update(Cid.parse(line.update), line.samples, line.score, line.size)
            case _Sent():
                kept.transaction, kept.gas, kept.failure = line.transaction, line.gas, ""
            case _Failed():
                kept.failure = line.why
            case _Verified():
                kept.model, kept.verdict, kept.detail = Cid.parse(line.model), line.verdict, line.detail
