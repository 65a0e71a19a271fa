"""Canonical JSON: one value, one sequence of bytes, one address.

Sorted keys, no spaces, UTF-8; objects, lists, strings and integers only. A decimal is a string.
"""

from __future__ import annotations

import json
from typing import Any

from fedpact.errors import InvalidDocument


def encode(value: object) -> bytes:
    """The bytes of a value.

    Raises:
        InvalidDocument: it holds something other than objects with text keys, lists, text and integers.
    """
    _check(value, "document")
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidDocument("document: text that is not Unicode") from None


def decode(data: bytes, name: str) -> Any:
    """The value that bytes stand for.

    Args:
        name: what to call the document in an error.

    Raises:
        InvalidDocument: they are not the canonical bytes of a value.
    """
    try:
        value = json.loads(data.decode())
        if encode(value) == data:
            return value
    except (ValueError, RecursionError):
        raise InvalidDocument(f"{name}: not JSON") from None
    raise InvalidDocument(f"{name}: not canonical JSON (sorted keys, no spaces, each key once)")


def _check(value: object, name: str) -> None:
    match value:
        case str():
            return
        case int() if not isinstance(value, bool):
            return
        case list():
            for index, each in enumerate(value):
                _check(each, f"{name}[{index}]")
        case dict():
            for key, each in value.items():
                if not isinstance(key, str):
                    raise InvalidDocument(f"{name}: a key that is no text: {key!r}")
                _check(each, f"{name}.{key}")
        case _:
            raise InvalidDocument(f"{name}: expected an object, list, text or integer, found {type(value).__name__}")
