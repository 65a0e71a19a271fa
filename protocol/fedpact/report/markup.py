"""Elements of a page. Whatever is no `Markup` is text, and all text goes through `text`: names, reasons and details
come from strangers.
"""

from __future__ import annotations

import html

MOST_CHARACTERS = 1000
"""Of one text."""
_VOID = ("br", "input", "link", "meta")


class Markup(str):
    """What is markup already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """A text as a page shows it and nothing more: cut, without control or direction characters, escaped."""
    if isinstance(value, Markup):
        return value
    shown = str(value)
    if len(shown) > MOST_CHARACTERS:
        shown = shown[: MOST_CHARACTERS - 1] + "…"
    if not shown.isprintable():
        shown = "".join(each if each.isprintable() else "?" for each in shown)
    return Markup(html.escape(shown))


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element.

    Args:
        attributes: by name, where `_` stands for `-` and a `_` at the end for nothing. One that is None is left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(*content)}</{name}>")


def join(*content: object) -> Markup:
    """One after the other."""
    return Markup("".join(map(text, content)))
