"""What was signed, kept from before a node sees it until no reorganisation can undo it.

One file per transaction in a directory, `ACCOUNT-NONCE.json`, in canonical JSON: whoever writes one waits for nobody.
When its receipt was given to its sender, the file's name gets the hash of the block, `ACCOUNT-NONCE-BLOCK.json`: that
costs no more than a renaming, and if the name is lost with the power, the receipt is given once more. Signed
transactions are public, so nothing here is secret. Without a directory everything is in memory only.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpact.artifacts import canonical
from fedpact.artifacts.mistakes import first_mistake
from fedpact.errors import InputError, InvalidDocument
from fedpact.files import write_atomically
from fedpact.ledger.facts import Address, Hash
from fedpact.ledger.fees import Offer
from fedpact.ledger.keccak import keccak
from fedpact.ledger.transactions import Call, Variant

_MAX_FILE = 1 << 22
_NAME = re.compile(r"0x[0-9a-f]{40}-[0-9]+(?:-([0-9a-f]{64}))?\.json")
_Count = Annotated[int, Field(ge=0)]
_HashText = Annotated[str, Field(pattern="^0x[0-9a-f]{64}$")]
_AddressText = Annotated[str, Field(pattern="^0x[0-9a-f]{40}$")]
_Bytes = Annotated[str, Field(pattern="^0x([0-9a-f]{2})*$")]


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction: all its variants have one nonce, so that at most one of them is ever carried out.

    Attributes:
        signed_at: seconds since the epoch, for people.
        variants: in the order of their fees.
        block: number of the block in which this process last saw it; 0 for none.
        delivered: hash of the block whose receipt was given to whoever sent it; empty while none was.
    """

    account: Address
    nonce: int
    call: Call
    signed_at: int
    variants: tuple[Variant, ...]
    block: int = 0
    delivered: bytes = b""

    @property
    def newest(self) -> Variant:
        """The variant that offers most."""
        return self.variants[-1]


class _OfferFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    hash: _HashText
    raw: _Bytes
    max_fee: _Count
    tip: _Count


class _EntryFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["fedpact-sent/1"] = "fedpact-sent/1"
    chain_id: _Count
    account: _AddressText
    nonce: _Count
    to: _AddressText
    data: _Bytes
    gas: _Count
    signed_at: _Count
    variants: Annotated[list[_OfferFile], Field(min_length=1)]


class Journal:
    """What was signed and may still matter.

    Args:
        directory: is made where it is missing; none keeps everything in memory.
        chain_id: of the chain that the transactions are for.
    """

    def __init__(self, directory: Path | None, chain_id: int) -> None:
        self._directory = directory
        self._chain_id = chain_id
        if directory is not None:
            with _writing(directory):
                directory.mkdir(parents=True, exist_ok=True)

    def read(self, account: Address) -> Iterator[Entry]:
        """What an earlier process kept of an account, in the order of the nonces.

        Raises:
            InputError: a file cannot be read, is no entry, or is of another chain.
        """
        if self._directory is None:
            return
        for partial in self._directory.glob(f".{account}-*.partial"):  # Of a process that was killed while writing.
            partial.unlink(missing_ok=True)
        paths = self._directory.glob(f"{account}-*.json")
        yield from sorted((self._read(path, account) for path in paths), key=lambda entry: entry.nonce)

    def write(self, entry: Entry) -> None:
        """Keeps an entry, in place of what was known of its transaction. It is on the disk when this returns.

        Raises:
            InputError: it cannot be written.
        """
        if self._directory is None:
            return
        facts = _EntryFile(
            chain_id=self._chain_id,
            account=entry.account,
            nonce=entry.nonce,
            to=entry.call.to,
            data=_text(entry.call.data),
            gas=entry.call.gas,
            signed_at=entry.signed_at,
            variants=[
                _OfferFile(hash=_text(each.hash), raw=_text(each.raw), max_fee=each.offer.max_fee, tip=each.offer.tip)
                for each in entry.variants
            ],
        )
        with _writing(self._directory):
            write_atomically(self._directory / _name(entry), canonical.encode(facts.model_dump()) + b"\n")
            _sync(self._directory)  # Else the file's new name could be lost with the power.

    def deliver(self, entry: Entry, block: int, block_hash: bytes) -> Entry:
        """Notes that the receipt in a block was given to the sender of a transaction; returns the entry as it is now.

        Raises:
            InputError: it cannot be written.
        """
        delivered = replace(entry, block=block, delivered=block_hash)
        if self._directory is not None:
            with _writing(self._directory):
                (self._directory / _name(entry)).replace(self._directory / _name(delivered))
        return delivered

    def remove(self, entry: Entry) -> None:
        """Forgets an entry.

        Raises:
            InputError: its file cannot be removed.
        """
        if self._directory is not None:
            with _writing(self._directory):
                (self._directory / _name(entry)).unlink(missing_ok=True)

    def _read(self, path: Path, account: Address) -> Entry:
        name = f"journal {path}"
        try:
            if path.stat().st_size > _MAX_FILE:
                raise InputError(f"{name}: expected at most {_MAX_FILE} bytes")
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{name}: {error.strerror}") from None
        try:
            facts = _EntryFile.model_validate(canonical.decode(data.removesuffix(b"\n"), name))
        except InvalidDocument as error:
            raise InputError(str(error)) from None
        except ValidationError as error:
            raise InputError(f"{name}: {first_mistake(error)}") from None
        variants = tuple(
            Variant(Hash(_bytes(each.hash)), _bytes(each.raw), Offer(each.max_fee, each.tip)) for each in facts.variants
        )
        call = Call(Address(facts.to), _bytes(facts.data), facts.gas)
        delivered = _bytes(f"0x{named[1]}") if (named := _NAME.fullmatch(path.name)) and named[1] else b""
        entry = Entry(Address(facts.account), facts.nonce, call, facts.signed_at, variants, delivered=delivered)
        if facts.chain_id != self._chain_id:
            raise InputError(f"{name}: expected a transaction of chain {self._chain_id}, found one of {facts.chain_id}")
        if entry.account != account or _name(entry) != path.name:
            raise InputError(f"{name}: expected the transaction in its name, found {entry.account}-{entry.nonce}")
        for variant in variants:
            if keccak(variant.raw) != variant.hash:
                raise InputError(f"{name}: expected bytes whose hash is {_text(variant.hash)}, found other bytes")
        return entry


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"journal {directory}: cannot be written: {error.strerror}") from None


def _name(entry: Entry) -> str:
    return "-".join([entry.account, str(entry.nonce), *filter(None, [entry.delivered.hex()])]) + ".json"


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _text(data: bytes) -> str:
    return "0x" + data.hex()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
