"""On which line of a TOML file each value stands, so that a mistake in it can be found.

`tomllib` reads the file, but forgets the lines. This goes over the same text once more and is only right for what
`tomllib` accepted.
"""

from __future__ import annotations

import contextlib
import re
import tomllib

Place = tuple[str | int, ...]
"""A value: the keys that lead to it; in lists its number, from 0."""

_MAX_SAID = 200
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\r\n)?")
_SPACES = re.compile(r"[ \t]*")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_KEY = re.compile(r'[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_PLAIN = re.compile(r"[^,\]}#\n\r]+")


def key_lines(text: str) -> dict[Place, int]:
    """The line, from 1, of every key, table and item of a list in a TOML text that `tomllib` can read."""
    scan = _Scan(text)
    with contextlib.suppress(RecursionError):  # Nested about as deeply as `tomllib` can read: what comes first will do.
        scan.lines()
    return scan.found


def line_of(lines: dict[Place, int], place: Place) -> int | None:
    """The line of a value; of what is nearest around it where it is not there; none where nothing is."""
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return None


def said_of(error: Exception) -> str:
    """What is wrong with a text that is no TOML, in a line, with the mistake that people make most."""
    return str(error)[:_MAX_SAID].replace("Invalid value", "Invalid value; text is written in quotes")


class _Scan:
    """One pass over a text."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._line, self._counted = 1, 0
        self.found: dict[Place, int] = {}
        self._tables: dict[Place, int] = {}  # Lists of tables, and how many each has so far.

    def lines(self) -> None:
        table: Place = ()
        self._skip()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip()

    def _header(self) -> Place:
        many = self._text.startswith("[[", self._at)
        line = self._here()
        self._at += 2 if many else 1
        place: Place = ()
        for key in self._keys():
            place = self._latest((*place, key))
        self._match(_SPACES)
        self._at += 2 if many else 1
        if many:
            place = place[:-1] if isinstance(place[-1], int) else place
            self.found.setdefault(place, line)
            self._tables[place] = self._tables.get(place, -1) + 1
            place = (*place, self._tables[place])
        self._note(place, line)
        return place

    def _latest(self, place: Place) -> Place:
        """A list of tables stands for its last table."""
        return (*place, self._tables[place]) if place in self._tables else place

    def _pair(self, table: Place) -> None:
        line = self._here()
        place: Place = (*table, *self._keys())
        self._note(place, line)
        self._match(_SPACES)
        self._at += 1  # The sign of equality.
        self._match(_SPACES)
        self._value(place)

    def _value(self, place: Place) -> None:
        opening = self._text[self._at]
        if opening == "[":
            self._items(place, "]")
        elif opening == "{":
            self._items(place, "}")
        elif opening in "\"'":
            self._match(_STRING)
        else:
            self._match(_PLAIN)

    def _items(self, place: Place, closing: str) -> None:
        self._at += 1
        self._skip()
        number = 0
        while self._text[self._at] != closing:
            if closing == "}":
                self._pair(place)
            else:
                self._note((*place, number), self._here())
                self._value((*place, number))
            number += 1
            self._skip()
            if self._text[self._at] == ",":
                self._at += 1
                self._skip()
        self._at += 1

    def _keys(self) -> list[str]:
        self._match(_SPACES)
        keys = [self._key()]
        while self._match(_DOT):
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        text = self._match(_KEY)
        if text[:1] in ('"', "'"):
            return str(tomllib.loads(f"key = {text}")["key"])
        return text

    def _note(self, place: Place, line: int) -> None:
        """Remembers where a value stands, and the tables around it where nothing named them before."""
        for length in range(1, len(place) + 1):
            self.found.setdefault(place[:length], line)

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _skip(self) -> None:
        while self._match(_BLANK):
            pass

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
