"""The page as a whole: what it is about, the audit's verdict, and the sections in their order.

One file that needs nothing else: no script, no font, no image, and a policy that forbids to load any.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from fedpact.audit import Audited, Verdict
from fedpact.report import contributions, sections
from fedpact.report.facts import Report
from fedpact.report.markup import Markup, join, tag
from fedpact.report.tables import address, count, pairs, time
from fedpact.version import fedpact_version

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' "
    "rx='4' fill='%230b6b62'/%3E%3Cpath d='M4 8.5l3 3 5-6' fill='none' stroke='white' stroke-width='2'/%3E%3C/svg%3E"
)
_SECTIONS = (
    ("charter", "The charter", sections.charter),
    ("learning", "Learning", contributions.learning),
    ("silos", "Silos", contributions.silos),
    ("left-out", "Updates left out", contributions.left_out),
    ("cost", "Gas and bytes", contributions.cost),
    ("rounds", "Rounds", sections.rounds),
    ("heads", "The chain of heads", sections.heads),
    ("attestations", "Attestations", sections.attestations),
)
_MOST_LINES = 200


def page(report: Report) -> str:
    """A report as an HTML document. The same report gives the same document."""
    name = report.charter.name or "A federation without a readable charter"
    parts = [("verdict", "The audit", verdict(report)), *((key, title, make(report)) for key, title, make in _SECTIONS)]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("meta", name_="referrer", content="no-referrer"),
        tag("title", f"{name}: a federation's record"),
        tag("link", rel="icon", href=Markup(_ICON)),
        tag("style", _style()),
    )
    full = tag("input", type="checkbox", id="full"), tag("label", "Show addresses in full", for_="full")
    contents = tag("ul", *(tag("li", tag("a", title, href=f"#{key}")) for key, title, _ in parts))
    body = tag(
        "body",
        tag("a", "Skip to the report", href="#report", class_="skip"),
        _top(report, name),
        tag("nav", contents, tag("p", *full, class_="full"), aria_label="Contents"),
        tag("main", *(_section(*part) for part in parts), id="report"),
        _foot(report),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en-GB')}\n"


def _style() -> Markup:
    """The style sheet, which is ours: a style element takes no escapes."""
    return Markup((resources.files("fedpact.report") / "style.css").read_text("utf-8"))


def _section(key: str, title: str, content: Markup) -> Markup:
    return tag("section", tag("h2", title, id=key), content, aria_labelledby=key)


def _top(report: Report, name: str) -> Markup:
    """What this is about, and the figures that people ask for first."""
    identity, published, last = report.identity, report.published, report.last
    updates = sum(len(each.submissions) for each in published)
    used = sum(each.count("included") for each in published)
    figures: list[tuple[str, str]] = [
        ("models published", f"{len(published):,}"),
        ("silos", f"{len(report.silos):,}"),
        ("updates in a model", f"{used:,} of {updates:,}"),
    ]
    if published:
        measured = published[-1].measured.get(report.charter.score)
        score = published[-1].score if measured is None else measured
        if score is not None:
            figures.insert(0, (f"last {report.charter.score}", f"{score:.4f}"))
    paid = [each.gas.total for each in report.rounds if each.gas is not None]
    if paid:
        figures.append(("gas a round", f"{round(sum(paid) / len(paid)):,}"))
    return tag(
        "header",
        tag("p", "fedpact · the record of a federation", class_="kicker"),
        tag("h1", name),
        pairs(figures, "figures-at-once"),
        pairs(
            [
                ("chain", str(identity.chain_id) if report.is_record else "none: a dry run within one process"),
                ("contract", address(identity.contract)),
                ("owner", address(report.owner)),
                ("coordinators", join(*(tag("span", address(each), " ") for each in report.coordinators[:20]))),
                ("first model", address(report.genesis)),
                ("up to", join(f"block {last.block:,}, ", time(last.time))),
            ],
            "words",
        ),
    )


def verdict(report: Report) -> Markup:
    """What an audit says of all this, or that there was none."""
    if report.audited is None:
        kind, title = "rest", "No audit was made"
        words = (
            "Nothing on this page was derived again: it says what the ledger says, and what manifests say that the "
            "coordinator decided. fedpact audit checks it."
        )
    else:
        kind, title = _outcome(report.audited)
        words = report.verdict
    return join(
        tag("div", tag("p", title, class_="outcome"), tag("p", words), class_=f"verdict {kind}"),
        _listed("What was found", report.findings),
        _listed("What could not be read", report.unread),
    )


def _listed(title: str, lines: Sequence[str]) -> Markup:
    """Lines under a heading; nothing where there are none."""
    if not lines:
        return Markup()
    more = len(lines) - _MOST_LINES
    shown = [*lines[:_MOST_LINES], *([f"and {more:,} more"] if more > 0 else [])]
    return join(tag("h3", title), tag("ul", *(tag("li", line) for line in shown), class_="lines"))


def _outcome(audited: Audited) -> tuple[str, str]:
    """How an audit ended, in few words."""
    found = audited.audit
    if found.verdict is Verdict.DIFFERS:
        return "bad", "Something differs"
    if found.verdict is Verdict.UNCHECKED:
        return "warn", "Not everything could be checked"
    if not found.published:
        return "rest", "There is no model to derive yet"
    return "ok", f"{count(found.reproduced, 'model')} derived again, bit for bit"


def _foot(report: Report) -> Markup:
    head = tag("code", f"fedpact audit DIR --head 0x{report.head.hex()}", class_="whole")
    return tag(
        "footer",
        tag("p", "Check it yourself, from the record and the store alone: ", head),
        tag(
            "p",
            "Addresses are shortened to the eye only: selecting one selects all of it. ",
            f"Kept by {report.kind}; made by fedpact {fedpact_version()}, without a script, and without a network.",
        ),
    )
