"""A ledger as a file, for whoever audits it elsewhere: one JSON object a line.

    {"chain_id":…,"contract":"0x…","format":"fedpact-ledger/1","kind":"eth-tester"}
    {"block":1,"entry":0,"event":"Founded","fields":{…},"position":0,"time":…,"transaction":"0x…"}
    …
    {"entries":254}

The last line says how many entries there are, so that a file that was cut off is noticed. The file proves nothing by
itself: an audit checks that the contract could have written it, and a head from a source that the auditor trusts
anchors it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpact.artifacts import canonical
from fedpact.errors import FedpactError, InvalidDocument, RecordDamaged, RecordInconsistent
from fedpact.files import write_atomically
from fedpact.ledger.events import EVENTS, Entry, Event
from fedpact.ledger.facts import Address, Hash, Identity, RoundNumber, address, in_range
from fedpact.store.cid import Cid

FORMAT = "fedpact-ledger/1"
DRY_RUN = "memory"
"""The kind of a record that is none: a dry run within one process."""
CHAIN = "chain"
"""The kind of a record that was read from a contract on its chain."""
_MAX_LINE = 1 << 16
_COUNTS = ("index", "expected")


@dataclass(frozen=True, slots=True)
class Record:
    """The entries of one federation.

    Attributes:
        kind: what kept them, in words.
    """

    identity: Identity
    kind: str
    entries: tuple[Entry, ...]


def write(path: Path, record: Record) -> None:
    """Writes a record as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    head = {
        "format": FORMAT,
        "kind": record.kind,
        "chain_id": record.identity.chain_id,
        "contract": record.identity.contract,
    }
    lines: list[dict[str, Any]] = [head]
    lines += [written(number, entry) for number, entry in enumerate(record.entries)]
    lines.append({"entries": len(record.entries)})
    write_atomically(path, b"".join(canonical.encode(line) + b"\n" for line in lines))


def read(path: Path) -> Record:
    """Reads a record.

    Raises:
        RecordDamaged: the file cannot be read, or a line is not what it should be.
        RecordInconsistent: entries are missing, repeated or out of order.
    """
    parsed = list(_lines(path))
    identity, kind = _first(path, parsed[:1])
    if "entries" not in parsed[-1]:
        raise RecordInconsistent(f"{path}: the last line, which says how many entries there are, is missing")
    entries = []
    for number, value in enumerate(parsed[1:-1]):
        try:
            entries.append(entry_of(value))
            found = _get(value, "entry", int)
        except RecordDamaged as error:
            raise RecordDamaged(f"{path}: line {number + 2}: {error}") from None
        if found != number:
            raise RecordInconsistent(f"{path}: line {number + 2}: expected entry {number}, found entry {found}")
    if parsed[-1]["entries"] != len(entries):
        raise RecordInconsistent(f"{path}: expected {parsed[-1]['entries']} entries, found {len(entries)}")
    check_order(path, entries)
    return Record(identity, kind, tuple(entries))


def written(number: int, entry: Entry) -> dict[str, Any]:
    """An entry as its line says it.

    Args:
        number: its place among the entries, from 0.
    """
    return {
        "entry": number,
        "block": entry.block,
        "time": entry.time,
        "transaction": "0x" + entry.transaction.hex(),
        "position": entry.position,
        "event": type(entry.event).__name__,
        "fields": _plain(entry.event),
    }


def entry_of(value: dict[str, Any]) -> Entry:
    """The entry that a line says.

    Raises:
        RecordDamaged: it says none.
    """
    try:
        return _entry(value)
    except (FedpactError, ValueError, TypeError) as error:
        raise RecordDamaged(str(error)) from None


def check_order(path: Path, entries: Sequence[Entry]) -> None:
    """Checks that blocks, positions and times of entries can follow one another.

    Raises:
        RecordInconsistent: they cannot.
    """
    for number in range(1, len(entries)):
        before, after = entries[number - 1], entries[number]
        forward = (after.block, after.position) > (before.block, before.position)
        # Some chains make several blocks in a second; one block has one time.
        if not forward or after.time < before.time or (after.block == before.block and after.time != before.time):
            raise RecordInconsistent(
                f"{path}: entry {number}: block, position and time do not follow entry {number - 1}"
            )


def read_identity(path: Path) -> Identity:
    """Which federation a record is of, by its first line: there may be no more that can be used.

    Raises:
        RecordDamaged: the file cannot be read, or has another first line.
    """
    return _first(path, list(itertools.islice(_lines(path), 1)))[0]


def _first(path: Path, lines: Sequence[dict[str, Any]]) -> tuple[Identity, str]:
    """What the first line says: which federation, and what kept the record."""
    if not lines or lines[0].get("format") != FORMAT:
        raise RecordDamaged(f"{path}: line 1: expected the first line of a record in format {FORMAT}")
    try:
        identity = Identity(_get(lines[0], "chain_id", int), address(_get(lines[0], "contract", str)))
        return identity, _get(lines[0], "kind", str)
    except FedpactError as error:
        raise RecordDamaged(f"{path}: line 1: {error}") from None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """One after the other: of a file that is no record, however long, no more is read than its first line."""
    try:
        if not path.is_file():
            raise RecordDamaged(f"{path}: not a file")
        with path.open("rb") as file:
            for number, line in enumerate(iter(functools.partial(file.readline, _MAX_LINE), b""), 1):
                yield _parse(path, number, line)
    except OSError as error:
        raise RecordDamaged(f"{path}: {error.strerror}") from None


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = canonical.decode(line.removesuffix(b"\n"), f"{path}: line {number}")
    except InvalidDocument as error:
        raise RecordDamaged(str(error)) from None
    if not isinstance(value, dict):
        raise RecordDamaged(f"{path}: line {number}: expected an object")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Cid):
        return str(value)
    if isinstance(value, bool):
        return int(value)
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def _entry(value: dict[str, Any]) -> Entry:
    cls = EVENTS.get(_get(value, "event", str))
    if cls is None:
        raise RecordDamaged(f"event: no event of the contract has the name {str(value['event'])[:80]!r}")
    return Entry(
        _count(value, "block"),
        _count(value, "time"),
        _hash(_get(value, "transaction", str), 32),
        _count(value, "position"),
        typing.cast(Event, _build(cls, _get(value, "fields", dict))),
    )


def _build(cls: type[Any], value: dict[str, Any]) -> Any:
    hints = _hints(cls)  # type: ignore[arg-type]  # A class is hashable; mypy doubts it for type[Any].
    if set(value) != set(hints):
        raise RecordDamaged(f"{cls.__name__}: expected the fields {', '.join(hints)}, found {', '.join(value)[:200]}")
    return cls(**{name: _leaf(name, hint, value) for name, hint in hints.items()})


def _leaf(name: str, hint: Any, value: dict[str, Any]) -> Any:
    if hint is Cid:
        return Cid.parse(_get(value, name, str))
    if hint is Address:
        return address(_get(value, name, str))
    if hint is Hash:
        return _hash(_get(value, name, str), 28 if name == "transcript" else 32)
    if hint is bool:
        return bool(_get(value, name, int))
    if dataclasses.is_dataclass(hint):
        return _build(hint, _get(value, name, dict))  # type: ignore[arg-type]  # A hint that is a dataclass is its class.
    if hint in (int, RoundNumber):
        number = _get(value, name, int)
        if hint is RoundNumber or name in _COUNTS:  # Terms, updates and limits check themselves.
            in_range(name, number, 32)
        return number
    raise TypeError(f"{name}: no field of an event has the type {hint}")


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _get(value: dict[str, Any], name: str, kind: type[Any]) -> Any:
    found = value.get(name)
    if not isinstance(found, kind):
        raise RecordDamaged(f"{name}: expected {kind.__name__}, found {json.dumps(found)[:80]}")
    return found


def _count(value: dict[str, Any], name: str) -> int:
    number: int = _get(value, name, int)
    in_range(name, number, 64)
    return number


def _hash(text: str, length: int) -> Hash:
    raw = bytes.fromhex(text.removeprefix("0x"))
    if len(raw) != length or "0x" + raw.hex() != text:
        raise RecordDamaged(f"expected 0x and {2 * length} hexadecimal digits, found {text[:80]!r}")
    return Hash(raw)
