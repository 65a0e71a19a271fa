"""Markdown, and words that docstrings and helps have."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

MADE = "<!-- Made by `make reference` from the code. Edit the words there, not here. -->\n"

_CODE = re.compile(
    r"--[a-z][a-z-]+"  # Options,
    r"|\bFEDPACT_[A-Z_]+"  # variables,
    r"|\bfedpact (?:(?:audit|deploy|new|rounds|rules|simulate)\b|(?:federation|key|store) \w+)"  # commands,
    r"(?: DIR| FILE)?"
    r"|(?<![\w/-])(?:[\w-]+/)*(?:[\w-]+\.)+(?:toml|json|md)\b"  # files,
    r"|\b[a-z0-9]*_[a-z0-9_]*\b(?:\.[a-z_]+)?|__\w+__"  # names in the code,
    r"|\b[a-z]+\+http[^\s,;)]*|\bhttps?://[^\s,;)]+"  # URLs.
)


class Undocumented(Exception):
    """Something has no words in the code."""


def prose(text: str) -> str:
    """Words as they stand in a docstring or a help, with what is typed or looked up in a font of its own."""
    pieces = " ".join(text.split()).split("`")
    for place in range(0, len(pieces), 2):  # The others are in backticks already.
        escaped = pieces[place].replace("<", "&lt;").replace("*", r"\*")
        pieces[place] = _CODE.sub(lambda found: f"`{found[0]}`", escaped)
    return "`".join(pieces)


def sentence(text: str) -> str:
    """Words as a sentence of their own."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "…")) else ".")


def code(text: object) -> str:
    """What is typed, or stands in a document."""
    return f"`{text}`"


def table(*columns: str, rows: Iterable[Sequence[str]]) -> str:
    """A table; bars within a cell stay in it."""
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def fenced(language: str, text: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def anchor(heading: str) -> str:
    """Where a link to a heading leads, as GitHub makes it."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def first_line(thing: object) -> str:
    """The first sentence of a docstring.

    Raises:
        Undocumented: there is none.
    """
    return paragraphs(thing)[0]


def paragraphs(thing: object) -> list[str]:
    """A docstring's paragraphs before its first section.

    Raises:
        Undocumented: there is none.
    """
    text = inspect.getdoc(thing)
    if not text:
        raise Undocumented(f"{getattr(thing, '__qualname__', thing)} has no docstring")
    found = []
    for each in text.split("\n\n"):
        if re.match(r"(?:Attributes|Args|Returns|Raises|Source):", each):
            break
        found.append(" ".join(each.split()))
    return found


def attributes(thing: object, names: Iterable[str]) -> dict[str, str]:
    """What a docstring says of each attribute.

    Raises:
        Undocumented: it says nothing of one of `names`.
    """
    text = inspect.getdoc(thing) or ""
    section = re.search(r"^Attributes:\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE)
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", section[1].rstrip() if section else ""):
        name, _, words = entry.strip().partition(": ")
        found[name] = " ".join(words.split())
    missing = [name for name in names if not found.get(name)]
    if missing:
        raise Undocumented(
            f"{getattr(thing, '__qualname__', thing)}: no words under Attributes on {', '.join(missing)}"
        )
    return found
