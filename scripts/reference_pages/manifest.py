"""The page of the manifest, from the models that read it."""

from __future__ import annotations

from fedpact.artifacts.manifest import DECISIONS, REASONS, Line, Manifest, OptimiserState

from reference_pages.documents import fields
from reference_pages.markdown import MADE, code, first_line, prose, sentence, table

_INTRODUCTION = """# Manifest

How one round's updates became its model. The coordinator stores it beside the model, and `publish` names its address on
the ledger. It is derived, not written: everyone who derives the round again gets the same bytes.
[`fedpact round N`](commands.md#fedpact-round) shows what is in it, [`fedpact audit`](commands.md#fedpact-audit)
compares it.

It is canonical JSON: keys sorted, no spaces, UTF-8, text and whole numbers only. A field that is none is left out. An
*address* is a CID as `fedpact store cid` prints it.
"""

_LINKS = {"decision": "a [decision](#decisions)", "reason": "a [reason](#reasons)"}


def page() -> str:
    """`docs/reference/manifest.md`.

    Raises:
        Undocumented: a field has no words.
    """
    text = f"{MADE}\n{_INTRODUCTION}\n## The document\n\n{fields(Manifest, defaults=False)}"
    text += f"\n## A submission\n\n{fields(Line, defaults=False, links=_LINKS)}"
    text += "\n### Decisions\n\n" + _words("decision", DECISIONS)
    text += (
        "\n### Reasons\n\nWhy an update is excluded. *Proved* reasons follow from the ledger and the bytes, so an "
        "audit\nfinds the same; an *asserted* one is the coordinator's word alone, and an audit lists it apart.\n\n"
        + _words("reason", REASONS)
    )
    return (
        text + f"\n## The optimiser\n\n{prose(first_line(OptimiserState))}\n\n{fields(OptimiserState, defaults=False)}"
    )


def _words(column: str, meanings: dict[str, str]) -> str:
    rows = [[code(f'"{name}"'), prose(sentence(words))] for name, words in meanings.items()]
    return table(column, "when", rows=rows)
