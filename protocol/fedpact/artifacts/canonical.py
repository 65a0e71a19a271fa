"""Canonical JSON: one value, one sequence of bytes, one address.

Sorted keys, no spaces, UTF-8; objects, lists, strings and integers only. A decimal is a string.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from fedpact.errors import InvalidDocument

MAX_DEPTH = 32
"""How deep lists and objects may lie in one another."""
# A string without an end is taken to the end all the same: to try again from each quote in it would take for ever.
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)

_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_STRUCTURE = bytes(each for each in range(256) if each not in b'[]{}"\\')

_Trail = tuple["_Trail | None", str]
"""Where a value is, from the inside out. A path is put together for an error only: a hostile document has long ones."""


def encode(value: object) -> bytes:
    """The bytes of a value.

    Raises:
        InvalidDocument: it holds something other than objects with text keys, lists, text and integers.
    """
    return _encode(value, "document")


def decode(data: bytes, name: str) -> Any:
    """The value that bytes stand for.

    Args:
        name: what to call the document in an error.

    Raises:
        InvalidDocument: they are not the canonical bytes of a value.
    """
    value = parse(data, name)
    if _encode(value, name) != data:
        raise InvalidDocument(f"{name}: not canonical JSON (sorted keys, no spaces, each key once)")
    return value


def shown(text: str) -> str:
    """Text from a document as an error's one line may carry it: cut, and quoted where not all of it is printable."""
    cut = text[:200]
    return cut if cut.isprintable() else repr(cut)


def _encode(value: object, name: str) -> bytes:
    try:
        _check(value, (None, name), 0)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidDocument(f"{name}: text that is not Unicode") from None
    except ValueError:
        raise InvalidDocument(f"{name}: a number of too many digits") from None


def parse(data: bytes, name: str, *, unique: bool = False) -> Any:
    """The value of any JSON, canonical or not.

    Its depth is counted first: Python's parser recurses, and what keeps it from overflowing the stack is a limit that
    libraries raise (web3 does, to 100,000), so that a file of brackets would end the process.

    Args:
        unique: whether an object with a key that comes twice is refused, too.

    Raises:
        InvalidDocument: it is no JSON, or nested deeper than any document of ours.
    """
    if not _is_plainly_shallow(data):
        depth = 0
        for token in _NESTING.finditer(data):
            first = token.group()[0]
            depth += (first in b"[{") - (first in b"]}")
            if depth > MAX_DEPTH:
                raise InvalidDocument(f"{name}: nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(data.decode(), object_pairs_hook=functools.partial(_once, name) if unique else None)
    except ValueError:
        raise InvalidDocument(f"{name}: not JSON") from None


def _is_plainly_shallow(data: bytes) -> bool:
    """Whether no list or object can lie too deep; False where it takes a closer look to know.

    A hundred megabytes are done in a moment: what is left of text without brackets and escapes is two quotes, what is
    left of an empty list two brackets, and each pass takes away what is innermost.
    """
    left = data.translate(_ONE_KIND, _NO_STRUCTURE).replace(b'""', b"")
    for _ in range(MAX_DEPTH):
        if not left:
            break
        left = left.replace(b"[]", b"")
    return not left


def _once(name: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, each in pairs:
        if key in value:
            raise InvalidDocument(f"{name}: the key {shown(key[:80])} comes twice")
        value[key] = each
    return value


def _check(value: object, trail: _Trail, depth: int) -> None:
    match value:
        case str():
            return
        case int() if not isinstance(value, bool):
            return
        case list() | dict() if depth == MAX_DEPTH:
            raise InvalidDocument(f"{_path(trail)}: nested deeper than {MAX_DEPTH}")
        case list():
            for index, each in enumerate(value):
                _check(each, (trail, f"[{index}]"), depth + 1)
        case dict():
            for key, each in value.items():
                if not isinstance(key, str):
                    raise InvalidDocument(f"{_path(trail)}: a key that is no text: {key!r}")
                _check(each, (trail, key), depth + 1)
        case _:
            found = type(value).__name__
            raise InvalidDocument(f"{_path(trail)}: expected an object, list, text or integer, found {found}")


def _path(trail: _Trail | None) -> str:
    steps: list[str] = []
    while trail is not None:
        trail, step = trail
        steps.append(step if trail is None else step[:80])
    document, *inner = reversed(steps)
    return document + shown("".join(f".{step}" for step in inner)).replace(".[", "[")
