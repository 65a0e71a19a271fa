"""The sections of the page that say what the record holds, each of the facts to markup. Long tables end somewhere, and
say so: a hostile record may be of any length, and nobody reads 100,000 lines. What is folded or cut here is whole in
`fedpact rounds` and `fedpact round`.
"""

from __future__ import annotations

from fedpact.audit import Verdict
from fedpact.ledger.facts import SCORE_UNIT
from fedpact.report.contributions import REASONS
from fedpact.report.facts import Report, RoundFacts
from fedpact.report.markup import Markup, join, tag
from fedpact.report.tables import (
    MOST_ROWS,
    NOTHING,
    address,
    badge,
    count,
    cut,
    folded,
    last_rows,
    pairs,
    percent,
    table,
    time,
)

MOST_SUBMISSIONS = 4000
"""Submissions that are shown one by one, those of the last rounds."""
_MOST_CHARTERS = 20
_KINDS = {"included": "ok", "excluded": "bad", "not_selected": "rest"}


def charter(report: Report) -> Markup:
    """What all agreed to, in words."""
    shown = report.charters[-_MOST_CHARTERS:]
    parts: list[Markup] = []
    for number, each in enumerate(reversed(shown)):
        words = pairs([*each.words, ("address", address(each.cid))], "words")
        if not each.words:
            words = join(words, tag("p", "It could not be read, so nothing is said of it here."))
        since = f"from round {each.since} on"
        parts.append(folded(f"The charter {since}, before the one above", words) if number else words)
        if not number and len(report.charters) > 1:
            parts.insert(0, tag("p", f"Amended {count(len(report.charters) - 1, 'time')}; this one holds {since}."))
    return join(*parts, cut(len(report.charters), len(shown), "charters"))


def rounds(report: Report) -> Markup:
    """Every round, and the last ones submission by submission."""
    if not report.rounds:
        return tag("p", "No round was opened yet.")
    rows = []
    for each in report.rounds:
        used = f"{each.count('included')} of {len(each.submissions)}" if each.rule else str(len(each.submissions))
        found = _found(each)
        rows.append(
            (
                each.number,
                _status(each),
                found,
                used,
                address(each.round.model),
                address(each.round.manifest),
                time(each.times.ended),
            )
        )
    columns = ["#round", "status", "audit", "#updates", "model", "manifest", "ended"]
    shown: list[RoundFacts] = []
    room = MOST_SUBMISSIONS
    for each in reversed(report.rounds[-MOST_ROWS:]):
        if len(each.submissions) > room and shown:
            break
        room -= len(each.submissions)
        shown.append(each)
    shown.reverse()
    return join(
        last_rows("rounds-table", "Rounds, and what they published", columns, rows),
        tag("h3", "Submission by submission"),
        *(_one_round(each) for each in shown),
        cut(len(report.rounds), len(shown), "rounds submission by submission; fedpact round N has each of the others"),
    )


def _one_round(each: RoundFacts) -> Markup:
    """A round in full."""
    current = each.round
    facts: list[tuple[object, object]] = [
        ("opened", join(time(each.times.opened), " by ", address(current.opener))),
        ("ended", time(each.times.ended)),
        ("quorum", f"{current.terms.quorum}; {current.awaited} expected"),
        ("rule", each.rule or NOTHING),
        ("charter", address(current.charter)),
        ("base", address(current.base)),
        ("model", address(current.model)),
        ("manifest", address(current.manifest)),
        ("published by", address(current.published_by)),
        ("transcript", address(current.transcript)),
        ("head", address(current.head)),
    ]
    rows = []
    for one in each.submissions[:MOST_SUBMISSIONS]:
        why = ": ".join(part for part in (REASONS.get(one.reason, one.reason), one.detail) if part)
        share = percent(one.share) if one.decision == "included" else NOTHING
        score = f"{one.score / SCORE_UNIT:.4f}"
        decision = NOTHING if one.decision is None else badge(one.decision.replace("_", " "), _KINDS[one.decision])
        rows.append((one.index, decision, share, f"{one.samples:,}", score, f"{one.size:,}", address(one.update), why))
    columns = ["#silo", "decision", "#weight", "#samples", "#score", "#bytes", "update", "why"]
    summary = join(f"Round {each.number}", tag("span", f"{each.status}, {count(len(each.submissions), 'update')}"))
    submissions = Markup()
    if rows:
        submissions = table(f"round-{each.number}-table", f"Submissions of round {each.number}", columns, rows)
    return folded(summary, pairs(facts, "words"), submissions, key=f"round-{each.number}")


def heads(report: Report) -> Markup:
    """The chain of heads."""
    rows = [
        (
            number,
            each.what,
            address(each.head),
            each.entry.block,
            time(each.entry.time),
            address(each.entry.transaction),
        )
        for number, each in enumerate(report.links)
    ]
    columns = ["#link", "made by", "head", "#block", "time", "transaction"]
    return join(
        tag(
            "p",
            "Each head is a hash over the one before it and over what was published: the last one commits to the whole "
            "record of the rounds. Whoever has it from a source that he trusts can tell this record from any other.",
        ),
        pairs([("last head", tag("code", "0x" + report.head.hex(), class_="whole"))], "words"),
        last_rows("heads-table", "The chain of heads", columns, rows),
    )


def attestations(report: Report) -> Markup:
    """What members say of the models."""
    if not report.attestations:
        return tag("p", "No member has attested to a model on the ledger, or disputed one.")
    silo = {each.address: each.index for each in report.silos}
    rows = [
        (
            each.round,
            silo.get(each.member, NOTHING),
            badge("reproduced", "ok") if each.reproduced else badge("not reproduced", "bad"),
            address(each.report),
            address(each.member),
        )
        for each in report.attestations
    ]
    columns = ["#round", "#silo", "its word", "report", "account"]
    return last_rows("attestations-table", "Attestations, in the order of the ledger", columns, rows)


def _status(each: RoundFacts) -> Markup:
    return badge(each.status, {"published": "ok", "disowned": "bad"}.get(each.status, "rest"))


def _found(each: RoundFacts) -> Markup:
    """What the audit found of a round."""
    if each.audited is None:
        return join(NOTHING)
    verdict = each.audited.verdict
    kind = {Verdict.DIFFERS: "bad", Verdict.UNCHECKED: "warn"}.get(verdict, "ok")
    return badge(verdict.value, kind)
