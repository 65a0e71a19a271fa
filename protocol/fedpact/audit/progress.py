"""What an auditor reproduced so far, in a file of its own: an audit that was cut off goes on where it was.

    {"format":"fedpact-audit-progress/1"}
    {"asserted":[],"included":10,"place":"…","present":[],"rejected":[],"round":1}
    …

A line is one round that was reproduced; nothing else is kept. `place` is a hash over everything that the verdict
depends on, so a line counts for the very same round of the very same record only, and for the version that wrote it.
Lines are added at the end and synced; one that was cut off does not count. The file is the auditor's word to itself:
whoever can write to it can have rounds left out, so it has no place in a directory that somebody else handed over.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from fedpact.artifacts import canonical
from fedpact.artifacts.mistakes import first_mistake
from fedpact.audit.findings import RoundAudit
from fedpact.errors import InputError, InvalidDocument, StoreError
from fedpact.files import check_can_be_made
from fedpact.ledger.facts import Identity
from fedpact.ledger.view import Round
from fedpact.version import fedpact_version

FORMAT = "fedpact-audit-progress/1"
_FIRST = canonical.encode({"format": FORMAT}) + b"\n"
_MAX_LINE = 1 << 20
"""Bytes of a line at most: the indexes of 65,535 members, twice, are fewer."""
_MAX_FILE = 1 << 30

_Index = Annotated[int, Field(ge=1, le=0xFFFF)]
_Indexes = Annotated[list[_Index], FailFast()]


class _Line(BaseModel):
    # `_line` finds additional fields: to list them all would cost a hundred times a hostile line's size.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    round: Annotated[int, Field(ge=1)]
    place: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    included: Annotated[int, Field(ge=0, le=0xFFFF)]
    rejected: _Indexes
    asserted: _Indexes
    present: _Indexes

    def encode(self) -> bytes:
        """The line's bytes, without its end."""
        return canonical.encode(self.model_dump())


def place(identity: Identity, current: Round) -> str:
    """A hash over everything that the verdict on a round depends on, but for the bytes in the store."""
    submissions = hashlib.sha256()
    for each in current.submissions:
        update = each.update
        fields = [each.index, each.member, str(update.cid), update.samples, update.score, update.size]
        submissions.update(canonical.encode(fields) + b"\n")
    facts = {
        "fedpact": fedpact_version(),
        "chain_id": identity.chain_id,
        "contract": identity.contract,
        "round": current.number,
        "charter": str(current.charter),
        "base": str(current.base),
        "quorum": current.terms.quorum,
        "transcript": current.transcript.hex(),
        "submissions": submissions.hexdigest(),
        "head": current.head.hex(),
        "model": str(current.model),
        "manifest": str(current.manifest),
    }
    return hashlib.sha256(canonical.encode(facts)).hexdigest()


class ProgressFile:
    """Keeps what an audit reproduced. Two audits cannot have one file at once.

    Args:
        path: the file; it is made when the first round is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def recall(self, identity: Identity, rounds: Collection[Round]) -> dict[int, RoundAudit]:
        """Those of these rounds that were reproduced before, by number.

        Raises:
            InputError: the file cannot be used: it cannot be read or written, it is something else, it is in use.
        """
        try:
            if not self._exists():
                check_can_be_made(self.path)
                return {}
            descriptor = self._descriptor = self._open(os.O_RDWR)
            wanted = {place(identity, each): each for each in rounds}
            return dict(self._recall(descriptor, wanted))
        except OSError as error:
            raise InputError(f"{self}: {error.strerror}") from None

    def remember(self, identity: Identity, current: Round, found: RoundAudit) -> None:
        """Keeps that a round was reproduced.

        Raises:
            StoreError: it cannot be kept.
        """
        line = _Line(
            round=current.number,
            place=place(identity, current),
            included=found.included,
            rejected=found.rejected,
            asserted=found.asserted,
            present=found.present,
        )
        data = line.encode() + b"\n"
        try:
            if self._descriptor is None:
                self._descriptor = self._open(os.O_RDWR | os.O_CREAT | os.O_EXCL)
                data = _FIRST + data
            with open(self._descriptor, "ab", closefd=False) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"{self}: cannot be written: {error.strerror}") from error
        except InputError as error:
            raise StoreError(str(error)) from None

    def close(self) -> None:
        """Lets other audits have the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _exists(self) -> bool:
        try:
            self.path.stat()
        except FileNotFoundError:
            return False
        return True

    def _open(self, flags: int) -> int:
        """Opens the file for this audit alone. Without O_NONBLOCK a pipe in its place would be waited for."""
        descriptor = os.open(self.path, flags | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InputError(f"{self}: expected a file that an audit left, found something that is no file")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(f"{self}: another audit is writing to it") from None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _recall(self, descriptor: int, wanted: Mapping[str, Round]) -> Iterator[tuple[int, RoundAudit]]:
        for line in self._lines(descriptor):
            current = wanted.get(line.place)
            if current is not None and current.model is not None and current.number == line.round:
                found = RoundAudit(current.number, current.model, line.included, line.rejected, line.asserted)
                found.present, found.remembered = line.present, True
                named = line.included + len(line.rejected) + len(line.asserted)
                found.not_selected = max(0, len(current.submissions) - named)  # Each submission is one of them.
                yield current.number, found

    def _lines(self, descriptor: int) -> Iterator[_Line]:
        """Every whole line. What was cut off at the end is taken away, so that the next line starts a line."""
        size = os.fstat(descriptor).st_size
        if size > _MAX_FILE:
            raise InputError(f"{self}: expected at most {_MAX_FILE} bytes, found {size}")
        with open(descriptor, "rb", closefd=False) as file:
            first = file.readline(_MAX_LINE)
            whole = len(first)
            if first != _FIRST and not (_FIRST.startswith(first) and whole == size):
                raise InputError(f"{self}: expected a file that an audit left, in format {FORMAT}; found another")
            if first != _FIRST:  # Empty, or cut off within its first line.
                os.truncate(descriptor, 0)
                os.write(descriptor, _FIRST)
                return
            for number, line in enumerate(iter(functools.partial(file.readline, _MAX_LINE), b""), 2):
                if not line.endswith(b"\n") and whole + len(line) == size:
                    os.truncate(descriptor, whole)
                    return
                whole += len(line)
                yield self._line(number, line)

    def _line(self, number: int, line: bytes) -> _Line:
        where = f"{self}: line {number}"
        data = line.removesuffix(b"\n")
        try:
            found = _Line.model_validate(canonical.decode(data, where))
        except InvalidDocument as error:
            raise InputError(str(error)) from None
        except ValidationError as error:
            raise InputError(f"{where}: {first_mistake(error)}") from None
        if found.encode() != data:
            raise InputError(f"{where}: it has fields that no such line has")
        return found

    def __str__(self) -> str:
        return f"resume {self.path}"
