"""Tables, addresses and times as all parts of the page show them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from fedpact.report.markup import Markup, join, tag

MOST_ROWS = 1000
"""Rows of a table of rounds, or of whatever else a record has many of."""
NOTHING = "\N{EN DASH}"
"""Stands where there is nothing to say."""
_TAIL = 6


def table(key: str, caption: object, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """A table that scrolls by itself where it is too wide. The first cell of each row names the row.

    Args:
        key: what its ids begin with.
        columns: their names; behind `#` those of numbers, which are aligned as such.
    """
    kinds = ["n" if name.startswith("#") else None for name in columns]
    head = tag(
        "tr",
        *(
            tag("th", name.removeprefix("#"), scope="col", class_=kind)
            for name, kind in zip(columns, kinds, strict=True)
        ),
    )
    body = []
    for first, *others in rows:
        cells = [tag("td", cell, class_=kind) for cell, kind in zip(others, kinds[1:], strict=True)]
        body.append(tag("tr", tag("th", first, scope="row", class_=kinds[0]), *cells))
    inner = tag("table", tag("caption", caption, id=f"{key}-caption"), tag("thead", head), tag("tbody", *body))
    return tag("div", inner, class_="scroll", role="group", aria_labelledby=f"{key}-caption", tabindex="0")


def last_rows(key: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """A table of the last rows, and how many there are."""
    shown = rows[-MOST_ROWS:]
    return join(table(key, caption, columns, shown), cut(len(rows), len(shown), "rows"))


def cut(there: int, shown: int, what: str, *, first: bool = False) -> Markup:
    """Says what is not shown; nothing where everything is."""
    if there <= shown:
        return Markup()
    return tag("p", f"Shown are the {'first' if first else 'last'} {shown:,} of {there:,} {what}.", class_="note")


def badge(words: str, kind: str) -> Markup:
    """A word that says how something ended.

    Args:
        kind: ok, bad, warn or rest; the words say it, too.
    """
    return tag("span", words, class_=f"badge {kind}")


def folded(summary: object, *content: object, key: str | None = None) -> Markup:
    """What is shown when it is asked for."""
    return tag("details", tag("summary", summary), *content, id=key)


def address(value: object) -> Markup:
    """An address or a hash in full, of which the eye sees the start and the end; whoever selects it has all of it."""
    shown = NOTHING if value is None else "0x" + value.hex() if isinstance(value, bytes) else str(value)
    if len(shown) <= 3 * _TAIL:
        return tag("code", shown)
    return tag("code", tag("span", shown[:-_TAIL]), tag("b", shown[-_TAIL:]), class_="cid")


def pairs(lines: Iterable[tuple[object, object]], kind: str | None = None) -> Markup:
    """Terms and what belongs to them."""
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", words)) for term, words in lines), class_=kind)


def time(seconds: int | None) -> Markup:
    """A moment, in UTC."""
    if seconds is None:
        return join(NOTHING)
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError):  # A chain may say any number of 40 bits.
        return join(f"{seconds} s")
    return tag("time", moment.strftime("%Y-%m-%d %H:%M:%SZ"), datetime=moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


def decimal(value: float | None) -> str:
    """A score."""
    return NOTHING if value is None else f"{value:.4f}"


def percent(share: float) -> str:
    """A share."""
    return f"{100 * share:.1f} %"


def count(number: int, what: str) -> str:
    """So many of something."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def spans(numbers: Sequence[int]) -> str:
    """Rounds as people say them: `1 to 4, 6`. Of very many stretches the first are named and the others counted."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    words = [f"{each[0]} to {each[-1]}" if len(each) > 1 else str(each[0]) for each in found]
    more = len(words) - 12
    return ", ".join(words[:12]) + (f" and {more} more" if more > 0 else "")
