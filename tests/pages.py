"""Pages about federations for tests, and what a page must be for whoever reads it, however."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from chains import MEMBERS
from fedpact.artifacts.manifest import Line, Manifest
from fedpact.audit import Audited, audit
from fedpact.cli.audit import verdict
from fedpact.ledger.actions import Attest
from fedpact.ledger.facts import RoundNumber
from fedpact.ledger.port import Cursor
from fedpact.ledger.record import Record
from fedpact.report import Report, gather
from fedpact.report.facts import Measured
from fedpact.report.gas import Gas
from fedpact.store.cid import Cid
from histories import History

HOSTILE = "</style></title><script>alert(1)</script><img src=x onerror='alert(2)'>\"'&\u202ekcatta\x00"
"""What somebody may put into any text that is his to choose."""

_VOID = {"br", "input", "link", "meta"}
_STRUCTURE = (
    "html head title style body header nav main section footer h1 h2 h3 p a ul li dl div dt dd span b code label"
)
_FIGURES = "time details summary figure figcaption table caption thead tbody tr th td svg desc path circle rect text"
_KNOWN = {*_VOID, *_STRUCTURE.split(), *_FIGURES.split()}


class Page(HTMLParser):
    """A page as a browser would read it. Whatever is not well formed fails.

    Attributes:
        tags: every element with its attributes, in order.
        text: all that is said, in order.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._said: list[str] = []
        self._open: list[str] = []
        assert html.startswith('<!DOCTYPE html>\n<html lang="en-GB"><head><meta charset="utf-8">')
        self.feed(html)
        self.close()
        assert self._open == []
        self.text = "".join(self._said)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, attrs)
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self._said.append(data)

    def all(self, name: str) -> list[dict[str, str]]:
        """The attributes of all elements of a name."""
        return [attributes for tag, attributes in self.tags if tag == name]


def read(html: str) -> Page:
    """Reads a page, and checks what holds of every one."""
    page = Page(html)
    assert {name for name, _ in page.tags} <= _KNOWN
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert max(ids.values()) == 1
    for name, attributes in page.tags:
        assert not [each for each in attributes if each.startswith("on") or each in ("style", "src", "srcset")]
        for each in [*attributes.get("aria-labelledby", "").split(), attributes.get("for", "report")]:
            assert each in ids
        target = attributes.get("href", "#report")
        assert target.removeprefix("#") in ids if name == "a" else target.startswith(("#", "data:image/svg+xml,"))
    assert not re.search(r"@import|url\(", html)
    policy = next(each["content"] for each in page.all("meta") if each.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    levels = [int(name[1]) for name, _ in page.tags if name in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    tables = len(page.all("table"))
    assert tables == len(page.all("caption"))
    assert all(each.get("scope") in ("col", "row") for each in page.all("th"))
    charts = [each for each in page.all("svg") if each.get("role") == "img"]
    assert [each["role"] for each in page.all("svg") if "aria-hidden" not in each] == ["img"] * len(charts)
    assert len(page.all("desc")) == len(charts)
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    return page


def full_history(directory: Path) -> History:
    """A federation to which everything happened: exclusions, a selection, a cancelled round, a rewind, attestations."""
    history = History(directory, selection={"name": "random", "count": 2}, name="everything")
    history.publish(1.0, 2.0, 3.0)
    history.publish(1.5, math.nan, 2.5, 3.5)
    history.cancel()
    history.publish(1.0, 1.0, b"no weights")
    history.rewind(4)
    history.publish(5.0, 2.0)
    history.submit(history.open(), 3.0)
    history.ledger.send(MEMBERS[0], Attest(RoundNumber(1), True, Cid.of(b"one report")))
    history.ledger.send(MEMBERS[1], Attest(RoundNumber(4), False, Cid.of(b"another report")))
    return history


def hostile_history(directory: Path) -> History:
    """One whose every text is somebody's attempt, and whose second model does not follow."""

    def forge(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
        lines = [_spoilt(line) for line in manifest.submissions]
        return history.view.genesis, manifest.model_copy(update={"submissions": lines, "rule": HOSTILE})

    named = HOSTILE.replace("\x00", "")
    history = History(directory, name=named, score=named, trainer={"name": named, named: named})
    history.publish(1.0, 2.0)
    history.publish(1.0, 2.0, forge=forge)
    return history


def _spoilt(line: Line) -> Line:
    changes = {"decision": "excluded", "reason": "malformed", "detail": HOSTILE, "weight": 10**30}
    return line.model_copy(update=changes)


def report_of(history: History, *, audited: bool = True, blocks: Any = None, **measured: Any) -> Report:
    """The facts of a history, audited or not."""
    entries = tuple(history.ledger.read(Cursor()).entries)
    identity, blocks = history.ledger.identity, blocks or history.blocks
    found = Audited(audit(identity, entries, blocks), identity) if audited else None
    said = "" if found is None else verdict(found).split(": ", 2)[-1]
    known = Measured(**measured)
    record = Record(identity, "test", entries)
    return gather(record, blocks, is_record=True, measured=known, audited=found, verdict=said)


METRICS = {number: {"accuracy": 0.5 + number / 20, "loss": 1 / number} for number in range(1, 7)}
GAS = {number: Gas(90_000 if number == 1 else 0, 40_000 * number, 70_000) for number in range(1, 7)}
