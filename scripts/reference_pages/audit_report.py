"""The page of an audit's report, from the models that read it."""

from __future__ import annotations

from fedpact.artifacts.report import AskedSection, FindingSection, Report, RoundSection

from reference_pages.documents import fields
from reference_pages.markdown import MADE, first_line, prose

_INTRODUCTION = """# Audit report

What [`fedpact audit --report FILE`](commands.md#fedpact-audit) writes: what was asked, and what was found of each
round. It names no time and no machine, so the same audit gives the same bytes. Its address is printed; put it into the
store, and `attest(round, reproduced, report)` of [the contract](../contract.md#attest) points to it. A report is its
author's word.

It is canonical JSON: keys sorted, no spaces, UTF-8, text and whole numbers only. A field that is none is left out.
`fedpact.artifacts.report.decode` reads others' reports.
"""


def page() -> str:
    """`docs/reference/audit-report.md`.

    Raises:
        Undocumented: a field has no words.
    """
    text = f"{MADE}\n{_INTRODUCTION}\n## The document\n\n{fields(Report, defaults=False)}"
    for heading, model in (("What was asked", AskedSection), ("A round", RoundSection), ("A finding", FindingSection)):
        text += f"\n## {heading}\n\n{prose(first_line(model))}\n\n{fields(model, defaults=False)}"
    return text
