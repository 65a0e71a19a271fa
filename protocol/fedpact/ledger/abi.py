"""Between the contract's ABI and the typed facts: calls, events, errors.

All of the contract's values are static words, and each class lists its fields in the order of the ABI; so a value is
its flat list of words, and the artifact's ABI says the type of each. Decoding is strict: a word that its type cannot
hold is refused. It is done by hand, all words of an event at once: 100,000 events are read in a second that way, and in
ten by eth-abi.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import operator
import re
import struct
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

_Reader = Callable[[Sequence[Any]], Any]
"""Makes a value from the words of the event or error that it is a part of: a number or bytes each, as `_Word` says."""
_Writer = Callable[[Any], Sequence[Any]]
"""The words of a value, in the same way."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """One function, event or error: its selector or topic, the types of its words, its class, how to read one from its
    words, and how to write these."""

    tag: bytes
    types: tuple[str, ...]
    indexed: int
    cls: type[Any]
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]


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
        self._shapes: dict[type[Event], _Shape] = {}
        for entry in entries:
            types = tuple(_flat_types(entry.get("inputs", ())))
            if entry["type"] == "constructor":
                self._constructor = types
                continue
            name, tag = entry["name"], keccak(_signature(entry).encode())
            if entry["type"] == "function" and name in ACTIONS:
                self._functions[ACTIONS[name]] = _Shape(tag[:4], types, 0, ACTIONS[name], _unread, _unread)
            elif entry["type"] == "event":
                indexed = sum(each["indexed"] for each in entry["inputs"])
                self._events[tag] = self._shapes[EVENTS[name]] = _shape(tag, types, indexed, EVENTS[name])
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
        return typing.cast(Event, shape.read(words[32:]))

    def words(self, event: Event) -> bytes:
        """The words of an event: its topics and data, one after the other."""
        shape = self._shapes[type(event)]
        return shape.tag + shape.write(event)

    def topics(self, event: Event) -> int:
        """How many of them are topics."""
        return self._shapes[type(event)].indexed + 1

    def event_of(self, words: bytes) -> Event:
        """The event that words stand for. Raises as `event`."""
        shape = self._events.get(words[:32])
        if shape is None:
            raise RecordDamaged("no event of the contract")
        return typing.cast(Event, shape.read(words[32:]))

    def error(self, data: bytes) -> Rejection | None:
        """The typed error that revert data stand for; none where the contract gave none."""
        shape = self._errors.get(data[:4])
        if shape is None:
            return None
        return typing.cast(Rejection, shape.read(data[4:]))


def _shape(tag: bytes, types: tuple[str, ...], indexed: int, cls: type[Any]) -> _Shape:
    words: list[_Word] = []
    make, flatten = _parts(cls, iter(types), words)
    layout = struct.Struct(">" + "".join(f"{each.padding}s{each.kind}" for each in words))
    padding = tuple(bytes(each.padding) for each in words)

    def read(data: bytes) -> Any:
        if len(data) != layout.size:
            raise RecordDamaged(f"{cls.__name__}: expected {layout.size} bytes, found {len(data)}")
        found = layout.unpack(data)
        if found[::2] != padding:
            place = next(place for place, each in enumerate(padding) if found[2 * place] != each)
            raise RecordDamaged(f"{cls.__name__}: {_not(place, types[place], data[32 * place : 32 * place + 32])}")
        try:
            return make(found[1::2])
        except FedpactError as error:
            raise RecordDamaged(f"{cls.__name__}: {error}") from None

    def write(value: Any) -> bytes:
        return layout.pack(*itertools.chain.from_iterable(zip(padding, flatten(value), strict=True)))

    return _Shape(tag, types, indexed, cls, read, write)


def _unread(_: object) -> Any:
    raise TypeError("actions are sent only")


def _not(place: int, kind: str, word: bytes) -> str:
    return f"word {place}: expected {kind}, found 0x{word.hex()}"


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


@dataclasses.dataclass(frozen=True, slots=True)
class _Word:
    """Where the value is in a word.

    Attributes:
        padding: bytes before it, all of them zero.
        kind: what it is, as `struct` writes it.
    """

    padding: int
    kind: str


_NUMBERS = {8: "B", 16: "H", 32: "I", 64: "Q"}
_KIND = re.compile(r"(uint|int|bytes)(\d+)|address|bool")


def _parts(cls: type[Any], types: Iterator[str], words: list[_Word]) -> tuple[_Reader, _Writer]:
    """How to read and write an object whose flat list of words is next. Each of them is added to `words`."""
    hints = typing.get_type_hints(cls)
    readers: list[_Reader] = []
    writers: list[tuple[str, _Writer]] = []
    for name in (field.name for field in dataclasses.fields(cls)):
        if dataclasses.is_dataclass(hints[name]):
            read, write = _parts(hints[name], types, words)
        else:
            word, read, write = _word(len(words), next(types), hints[name])
            words.append(word)
        readers.append(read)
        writers.append((name, write))
    return (
        lambda values: cls(*[part(values) for part in readers]),
        lambda value: [word for name, part in writers for word in part(getattr(value, name))],
    )


def _word(place: int, kind: str, hint: Any) -> tuple[_Word, _Reader, _Writer]:
    """How to read and write one word.

    Args:
        hint: the class's type for it; a hash may be a number in the contract.
    """
    found = _KIND.fullmatch(kind)
    if found is None:
        raise TypeError(f"{kind}: no word of the contract has this type")
    name, size = found[1] or kind, int(found[2] or 0)
    as_it_is = operator.itemgetter(place)
    whole = _Word(0, "32s")

    def signed(values: Sequence[Any]) -> int:
        value = int.from_bytes(values[place], "big", signed=True)
        if not -(1 << size - 1) <= value < 1 << size - 1:
            raise RecordDamaged(_not(place, kind, values[place]))
        return value

    def account(values: Sequence[Any]) -> str:
        return sys.intern("0x" + values[place].hex())  # A few members write most of a ledger.

    def fixed(values: Sequence[Any]) -> bytes:
        if any(values[place][size:]):
            raise RecordDamaged(_not(place, kind, values[place]))
        return values[place][:size]  # type: ignore[no-any-return]  # Bytes, as `whole` says.

    def member(values: Sequence[Any]) -> Any:
        try:
            return members[values[place]]
        except KeyError:
            raise RecordDamaged(f"word {place}: {values[place]} is not a valid {hint.__name__}") from None

    def truth(values: Sequence[Any]) -> bool:
        if values[place] > 1:
            raise RecordDamaged(_not(place, kind, values[place].to_bytes(32, "big")))
        return bool(values[place])

    if name == "address":
        return _Word(12, "20s"), account, lambda value: (bytes.fromhex(value[2:]),)
    if name == "bytes":
        return whole, as_it_is if size == 32 else fixed, _as_it_is
    if name == "bool":
        return _Word(31, "B"), truth, _as_it_is
    if name == "int":
        return whole, signed, lambda value: (value.to_bytes(32, "big", signed=True),)
    if isinstance(hint, type) and issubclass(hint, enum.IntEnum):
        members = {int(each): each for each in hint}
        return _Word(32 - size // 8, _NUMBERS[size]), member, _as_it_is
    if size in _NUMBERS and hint is not Hash:
        return _Word(32 - size // 8, _NUMBERS[size]), as_it_is, _as_it_is
    number = _Word(32 - size // 8, f"{size // 8}s")
    if hint is Hash:
        return number, as_it_is, _as_it_is
    return (
        number,
        lambda values: int.from_bytes(values[place], "big"),
        lambda value: (value.to_bytes(size // 8, "big"),),
    )


def _as_it_is(value: Any) -> tuple[Any]:
    return (value,)
