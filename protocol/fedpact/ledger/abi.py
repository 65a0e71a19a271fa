"""Between the contract's ABI and the typed facts: calls, events, errors.

All of the contract's values are static words, and each class lists its fields in the order of the ABI; so a value is
its flat list of words, and the artifact's ABI says the type of each. Decoding is strict: a word that its type cannot
hold is refused. It is done by hand, since 100,000 events are read in a second or two that way, and in ten by eth-abi.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eth_abi.abi import encode

from fedpact.errors import FedpactError, RecordDamaged
from fedpact.ledger.actions import ACTIONS, Action
from fedpact.ledger.events import EVENTS, Event
from fedpact.ledger.facts import Hash
from fedpact.ledger.keccak import keccak
from fedpact.ledger.rejections import REJECTIONS, Rejection
from fedpact.store.cid import Cid

_Reader = Callable[[bytes], Any]
"""Reads a value from the words of the event or error that it is a part of."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """One function, event or error: its selector or topic, the types of its words, its class, and how to read one."""

    tag: bytes
    types: tuple[str, ...]
    indexed: int
    cls: type[Any]
    read: _Reader


class Abi:
    """Encodes and decodes for one ABI.

    Args:
        entries: the ABI as the compiler gives it.
    """

    def __init__(self, entries: Sequence[dict[str, Any]]) -> None:
        self._functions: dict[type[Action], _Shape] = {}
        self._events: dict[bytes, _Shape] = {}
        self._errors: dict[bytes, _Shape] = {}
        self._constructor: tuple[str, ...] = ()
        for entry in entries:
            types = tuple(_flat_types(entry.get("inputs", ())))
            if entry["type"] == "constructor":
                self._constructor = types
                continue
            name, tag = entry["name"], keccak(_signature(entry).encode())
            if entry["type"] == "function" and name in ACTIONS:
                self._functions[ACTIONS[name]] = _Shape(tag[:4], types, 0, ACTIONS[name], _unread)
            elif entry["type"] == "event":
                indexed = sum(each["indexed"] for each in entry["inputs"])
                self._events[tag] = _shape(tag, types, indexed, EVENTS[name])
            elif entry["type"] == "error":
                self._errors[tag[:4]] = _shape(tag[:4], types, 0, REJECTIONS[name])

    def construction(self, *arguments: object) -> bytes:
        """The words that follow the creation code."""
        return encode(self._constructor, _flatten_all(arguments, self._constructor))

    def call(self, action: Action) -> bytes:
        """The data of the transaction that asks for an action."""
        shape = self._functions[type(action)]
        values = [getattr(action, field.name) for field in dataclasses.fields(action)]
        return shape.tag + encode(shape.types, _flatten_all(values, shape.types))

    def event(self, topics: Sequence[bytes], data: bytes) -> Event:
        """The event that a log stands for.

        Raises:
            RecordDamaged: the contract cannot have logged it.
        """
        return self.logged(len(topics), b"".join([bytes(topic) for topic in topics]) + data)

    def logged(self, topics: int, words: bytes) -> Event:
        """As `event`, of a log whose topics and data are one after the other.

        Args:
            topics: how many of the words are topics.
        """
        shape = self._events.get(words[:32]) if topics else None
        if shape is None or topics != shape.indexed + 1:
            raise RecordDamaged("a log that is no event of the contract")
        return typing.cast(Event, _read(shape, words[32:]))

    def error(self, data: bytes) -> Rejection | None:
        """The typed error that revert data stand for; none where the contract gave none."""
        shape = self._errors.get(data[:4])
        if shape is None:
            return None
        return typing.cast(Rejection, _read(shape, data[4:]))


def _shape(tag: bytes, types: tuple[str, ...], indexed: int, cls: type[Any]) -> _Shape:
    return _Shape(tag, types, indexed, cls, _reader(cls, enumerate(types)))


def _unread(_: bytes) -> Any:
    raise TypeError("actions are written only")


def _read(shape: _Shape, words: bytes) -> Any:
    if len(words) != 32 * len(shape.types):
        raise RecordDamaged(f"{shape.cls.__name__}: expected {32 * len(shape.types)} bytes, found {len(words)}")
    try:
        return shape.read(words)
    except FedpactError as error:
        raise RecordDamaged(f"{shape.cls.__name__}: {error}") from None


def _signature(entry: dict[str, Any]) -> str:
    return f"{entry['name']}{_tuple(entry['inputs'])}"


def _tuple(inputs: Sequence[dict[str, Any]]) -> str:
    return (
        "(" + ",".join(_tuple(each["components"]) if each["type"] == "tuple" else each["type"] for each in inputs) + ")"
    )


def _flat_types(inputs: Sequence[dict[str, Any]]) -> Iterator[str]:
    for each in inputs:
        if each["type"] == "tuple":
            yield from _flat_types(each["components"])
        else:
            yield each["type"]


def _flatten_all(values: Sequence[object], types: Sequence[str]) -> list[object]:
    flat = [leaf for value in values for leaf in _flatten(value)]
    # A transcript is 28 bytes here and a uint224 there.
    return [
        int.from_bytes(leaf, "big") if kind.startswith("uint") and isinstance(leaf, bytes) else leaf
        for leaf, kind in zip(flat, types, strict=True)
    ]


def _flatten(value: object) -> Iterator[object]:
    if isinstance(value, Cid):
        yield value.digest
        yield int(value.codec)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _flatten(getattr(value, field.name))
    else:
        yield value


def _reader(cls: type[Any], types: Iterator[tuple[int, str]]) -> _Reader:
    """How to read an object whose flat list of words is next."""
    hints = typing.get_type_hints(cls)
    parts: list[_Reader] = []
    for hint in (hints[field.name] for field in dataclasses.fields(cls)):
        if dataclasses.is_dataclass(hint):
            parts.append(_reader(hint, types))  # type: ignore[arg-type]  # A hint that is a dataclass is its class.
        else:
            parts.append(_word(*next(types), hint))
    return lambda words: cls(*[part(words) for part in parts])


_KIND = re.compile(r"(uint|int|bytes)(\d+)|address|bool")


def _word(place: int, kind: str, hint: Any) -> _Reader:
    """How to read one word.

    Args:
        hint: the class's type for it; a hash may be a number in the contract.
    """
    start, stop = 32 * place, 32 * place + 32
    found = _KIND.fullmatch(kind)
    if found is None:
        raise TypeError(f"{kind}: no word of the contract has this type")
    name, size = found[1] or kind, int(found[2] or 0)
    bits = {"uint": size, "int": size, "address": 160, "bool": 1, "bytes": 8 * size}[name]
    least = -(1 << bits - 1) if name == "int" else 0
    most = least + (1 << bits)
    is_enum = isinstance(hint, type) and issubclass(hint, enum.IntEnum)

    def number(words: bytes) -> int:
        value = int.from_bytes(words[start:stop], "big", signed=least < 0)
        if not least <= value < most:
            raise RecordDamaged(f"word {place}: expected {kind}, found 0x{words[start:stop].hex()}")
        return value

    def account(words: bytes) -> str:
        number(words)
        return sys.intern("0x" + words[start + 12 : stop].hex())  # A few members write most of a ledger.

    def fixed(words: bytes) -> bytes:
        if any(words[start + size : stop]):
            raise RecordDamaged(f"word {place}: expected {kind}, found 0x{words[start:stop].hex()}")
        return words[start : start + size]

    def member(words: bytes) -> Any:
        try:
            return hint(number(words))
        except ValueError as error:
            raise RecordDamaged(f"word {place}: {error}") from None

    if name == "address":
        return account
    if name == "bytes":
        return fixed
    if name == "bool":
        return lambda words: bool(number(words))
    if hint is Hash:
        return lambda words: number(words).to_bytes(size // 8, "big")
    return member if is_enum else number
