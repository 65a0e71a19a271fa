"""Between the contract's ABI and the typed facts: calls, events, errors.

All of the contract's values are static words, and each class lists its fields in the order of the ABI; so a value is
its flat list of words, and the artifact's ABI says the type of each. Decoding is strict: a word that its type cannot
hold is refused.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from fedpact.errors import RecordDamaged
from fedpact.ledger.actions import ACTIONS, Action
from fedpact.ledger.events import EVENTS, Event
from fedpact.ledger.facts import Hash
from fedpact.ledger.rejections import REJECTIONS, Rejection
from fedpact.store.cid import Cid


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """One function, event or error: its selector or topic, the types of its words, and its class."""

    tag: bytes
    types: tuple[str, ...]
    indexed: int
    cls: type[Any]


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
                self._functions[ACTIONS[name]] = _Shape(tag[:4], types, 0, ACTIONS[name])
            elif entry["type"] == "event":
                indexed = sum(each["indexed"] for each in entry["inputs"])
                self._events[tag] = _Shape(tag, types, indexed, EVENTS[name])
            elif entry["type"] == "error":
                self._errors[tag[:4]] = _Shape(tag[:4], types, 0, REJECTIONS[name])

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
        shape = self._events.get(bytes(topics[0])) if topics else None
        if shape is None or len(topics) != shape.indexed + 1:
            raise RecordDamaged("a log that is no event of the contract")
        return typing.cast(Event, _read(shape, b"".join(bytes(topic) for topic in topics[1:]) + data))

    def error(self, data: bytes) -> Rejection | None:
        """The typed error that revert data stand for; none where the contract gave none."""
        shape = self._errors.get(data[:4])
        if shape is None:
            return None
        return typing.cast(Rejection, _read(shape, data[4:]))


def _read(shape: _Shape, words: bytes) -> Any:
    try:
        values = decode(shape.types, words)
        if len(words) != 32 * len(shape.types):
            raise RecordDamaged(f"{shape.cls.__name__}: expected {32 * len(shape.types)} bytes, found {len(words)}")
        return _build(shape.cls, iter(zip(values, shape.types, strict=True)))
    except DecodingError as error:
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


def _build(cls: type[Any], leaves: Iterator[tuple[Any, str]]) -> Any:
    values: list[Any] = []
    for hint in _hints(cls):  # type: ignore[arg-type]  # A class is hashable; mypy doubts it for type[Any].
        if hint is Cid:
            (digest, _), (codec, _) = next(leaves), next(leaves)
            values.append(Cid(digest, codec))
        elif dataclasses.is_dataclass(hint):
            values.append(_build(hint, leaves))  # type: ignore[arg-type]  # A hint that is a dataclass is its class.
        else:
            leaf, kind = next(leaves)
            if hint is Hash and isinstance(leaf, int):
                leaf = Hash(leaf.to_bytes(int(kind.removeprefix("uint")) // 8, "big"))
            values.append(hint(leaf) if isinstance(hint, type) and issubclass(hint, enum.IntEnum) else leaf)
    return cls(*values)


@functools.cache
def _hints(cls: type[Any]) -> tuple[Any, ...]:
    hints = typing.get_type_hints(cls)
    return tuple(hints[field.name] for field in dataclasses.fields(cls))
