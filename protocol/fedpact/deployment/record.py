"""The record of a deployment: a file of canonical JSON.

It is written before the transaction is sent, with the signed transaction in it (to send that twice is to send it once),
and again after each receipt.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpact.artifacts import canonical
from fedpact.artifacts.mistakes import first_mistake
from fedpact.errors import InputError, InvalidDocument
from fedpact.files import write_atomically
from fedpact.ledger.keccak import keccak

_MAX_RECORD = 1 << 24

_AddressText = Annotated[str, Field(pattern="^0x[0-9a-f]{40}$")]
_HashText = Annotated[str, Field(pattern="^0x[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]


class _Deployment(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["fedpact-deployment/1"] = "fedpact-deployment/1"
    chain_id: _Count
    deployer: _AddressText
    owner: _AddressText
    charter: str
    genesis: str
    compiler: Annotated[str, Field(pattern="^[0-9.]{1,20}$")]
    code_sha256: str
    transaction: _HashText


class Sent(_Deployment):
    """A deployment whose receipt is not known yet.

    Attributes:
        signed: the transaction as it is sent.
    """

    signed: Annotated[str, Field(pattern="^0x([0-9a-f]{2})+$")]


class Deployed(_Deployment):
    """A federation on a chain.

    Attributes:
        gas: what the deployment took.
        gas_price: wei that each unit of it cost.
        head: the first head.
        members: those that were admitted here, in order.
        coordinators: those that were appointed here, in order.
    """

    contract: _AddressText
    block: _Count
    gas: _Count
    gas_price: _Count
    head: _HashText
    members: list[_AddressText] = []
    coordinators: list[_AddressText] = []


class RecordFile:
    """Where the record of a deployment is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._aside: Path | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs away from this directory meanwhile.

        Raises:
            InputError: another run is under way, or there is no such directory.
        """
        try:
            directory = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise InputError(f"{self}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise InputError(f"{self}: another run is under way in this directory") from None
        finally:
            os.close(directory)

    def read(self) -> Sent | Deployed | None:
        """The record; none where there is no file.

        Raises:
            InputError: the file cannot be read, or is no record.
        """
        if self.path.is_symlink() and not self.path.exists():
            raise InputError(f"{self}: expected a file, found a link that leads nowhere")
        try:
            if self.path.stat().st_size > _MAX_RECORD:
                raise InputError(f"{self}: expected at most {_MAX_RECORD} bytes")
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{self}: {error.strerror}") from None
        try:
            value = canonical.decode(data.removesuffix(b"\n"), str(self))
            kind = Sent if isinstance(value, dict) and "signed" in value else Deployed
            found = kind.model_validate(value)
        except InvalidDocument as error:
            raise InputError(str(error)) from None
        except ValidationError as error:
            raise InputError(f"{self}: {first_mistake(error)}") from None
        if isinstance(found, Sent) and text(keccak(bytes.fromhex(found.signed[2:]))) != found.transaction:
            raise InputError(f"{self}: transaction: its signed bytes have another hash than {found.transaction}")
        return found

    def write(self, record: Sent | Deployed) -> None:
        """Writes the record.

        Raises:
            InputError: it cannot be written; what was there is still there.
        """
        try:
            write_atomically(self.path, canonical.encode(record.model_dump()) + b"\n")
        except OSError as error:
            raise InputError(f"{self}: cannot be written: {error.strerror}") from None

    def begin(self, sent: Sent) -> None:
        """Writes the first record of a deployment; one that is there already becomes FILE.1, FILE.2, …

        Raises:
            InputError: it cannot be written; what was there is still there.
        """
        try:
            if self.path.exists():
                number = 1
                while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
                    number += 1
                self.path.rename(aside)
                self._aside = aside
        except OSError as error:
            raise InputError(f"{self}: cannot be kept as another file: {error.strerror}") from None
        try:
            self.write(sent)
        except InputError:
            self.undo()
            raise

    def undo(self) -> None:
        """Takes `begin` back."""
        self.path.unlink(missing_ok=True)
        if self._aside is not None:
            self._aside.rename(self.path)

    def __str__(self) -> str:
        return f"record {self.path}"


def text(data: bytes) -> str:
    """Bytes as the record has them."""
    return "0x" + data.hex()
