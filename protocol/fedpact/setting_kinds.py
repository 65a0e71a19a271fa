"""What a setting may be: each function takes what was given, the directory that paths are relative to, and whether it
is text from a flag or a variable, and returns the value.

Raises, all of them:
    ValueError: what was expected; `NoneOf` where it was one of some words, `Hidden` where what was given is not shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from fedpact.errors import InputError, LedgerError
from fedpact.places import below

GWEI = 10**9
_CID = re.compile(r"b[a-z2-7]{58}")


class NoneOf(ValueError):
    """What was given is none of the words that are known."""

    def __init__(self, expected: str, known: tuple[str, ...]) -> None:
        super().__init__(expected)
        self.known = known


class Hidden(ValueError):
    """What was given may hold a secret, and is not shown."""


def text(expected: str, pattern: str) -> Callable[[object, Path, bool], str]:
    compiled = re.compile(pattern)

    def read(given: object, directory: Path, textual: bool) -> str:
        if not isinstance(given, str) or not compiled.fullmatch(given):
            raise ValueError(expected)
        return given

    return read


def word(*known: str) -> Callable[[object, Path, bool], str]:
    def read(given: object, directory: Path, textual: bool) -> str:
        if not isinstance(given, str) or given not in known:
            raise NoneOf(" or ".join(filter(None, (", ".join(known[:-1]), known[-1]))), known)
        return given

    return read


def number(least: int, most: int) -> Callable[[object, Path, bool], int]:
    def read(given: object, directory: Path, textual: bool) -> int:
        if textual and isinstance(given, str) and re.fullmatch(r"[0-9]{1,30}", given):
            given = int(given)
        if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
            top = most if most < 1 << 60 else f"2^{(most + 1).bit_length() - 1} - 1"
            raise ValueError(f"a whole number from {least} to {top}")
        return given

    return read


def path(given: object, directory: Path, textual: bool) -> Path:
    if not isinstance(given, str | Path) or not str(given) or "\0" in str(given):
        raise ValueError("a path")
    return directory / given


def _several(given: object, textual: bool, expected: str) -> list[str]:
    """One text, several with commas between them where no list can be given, or a list of texts."""
    if isinstance(given, str):
        given = given.split(",") if textual else [given]
    elif isinstance(given, list | tuple) and textual:
        given = [piece for each in given for piece in str(each).split(",")]
    if not isinstance(given, list | tuple) or not given or not all(isinstance(each, str) for each in given):
        raise ValueError(expected)
    return [each.strip() for each in given]


def rpc(given: object, directory: Path, textual: bool) -> tuple[str, ...]:
    expected = "http://… or https://…, URLs of nodes"
    urls = _several(given, textual, expected)
    for url in urls:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise Hidden(expected)
    return tuple(urls)


def store(given: object, directory: Path, textual: bool) -> tuple[str, ...]:
    expected = "directories or URLs of stores"
    places = _several(given, textual, expected)
    if not all(places) or any("\0" in each for each in places):
        raise Hidden(expected)
    try:
        return tuple(below(directory, each) for each in places)
    except InputError:
        raise Hidden(expected) from None


def confirmations(given: object, directory: Path, textual: bool) -> int | str:
    if given in ("safe", "finalized"):
        return str(given)
    try:
        return number(0, 10**6)(given, directory, textual)
    except ValueError as error:
        raise NoneOf(f"{error}, safe or finalized", ("safe", "finalized")) from None


def gwei(given: object, directory: Path, textual: bool) -> int:
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text) or not Decimal(text):
        raise ValueError("gwei as decimal text above 0 with at most 9 decimals, like 30 or 0.5")
    return int(Decimal(text) * GWEI)


def seconds(given: object, directory: Path, textual: bool) -> float:
    text = str(given)
    decimal = re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text)
    if isinstance(given, bool) or decimal is None or not 0.01 <= float(text) <= 3600:
        raise ValueError("seconds, from 0.01 to 3600")
    return float(text)


def share(given: object, directory: Path, textual: bool) -> Decimal | None:
    text = str(given)
    if text == "off":
        return None
    if isinstance(given, bool) or not re.fullmatch(r"1|1\.0{1,18}|0?\.[0-9]{1,18}", text) or not Decimal(text):
        raise ValueError("off, or a decimal number above 0, at most 1")
    return Decimal(text)


def charter(given: object, directory: Path, textual: bool) -> str:
    if isinstance(given, str) and _CID.fullmatch(given):
        return given
    try:
        return str(path(given, directory, textual))
    except ValueError:
        raise ValueError("the CID of a charter or the path of a file") from None


def metrics(given: object, directory: Path, textual: bool) -> tuple[str, int]:
    found = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):)?([0-9]{1,5})", str(given))
    if isinstance(given, bool) or not isinstance(given, str | int) or found is None or int(found[2]) > 0xFFFF:
        raise ValueError("a port, or host:port")
    return (found[1] or "127.0.0.1").strip("[]"), int(found[2])


def head(given: object, directory: Path, textual: bool) -> bytes:
    if not isinstance(given, str) or not re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", given):
        raise ValueError("0x and 64 hexadecimal digits")
    return bytes.fromhex(given.removeprefix("0x"))


def contract(given: object, directory: Path, textual: bool) -> str | Path:
    """An address in lower case, or the path of a record of a deployment."""
    if isinstance(given, str) and given.startswith("0x"):
        from fedpact.ledger.facts import typed_address

        try:
            return typed_address(given)
        except LedgerError as error:
            raise ValueError(str(error).removeprefix("expected ").partition(", found")[0]) from None
    try:
        return path(given, directory, textual)
    except ValueError:
        raise ValueError("an address or the record of a deployment") from None
