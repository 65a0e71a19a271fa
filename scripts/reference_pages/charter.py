"""The page of the charter, from the models that read it and the registries of what it can name."""

from __future__ import annotations

import ast
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedpact.artifacts import charter as charters
from fedpact.artifacts.dtypes import DTYPES
from fedpact.rules import BEFORE, OPTIMISERS, RULES
from fedpact.rules.parameters import BEFORE as BEFORE_SECTION
from fedpact.selection import POLICIES

from reference_pages.documents import fields
from reference_pages.markdown import (
    MADE,
    Undocumented,
    anchor,
    attributes,
    code,
    fenced,
    first_line,
    paragraphs,
    prose,
    sentence,
    table,
)

_INTRODUCTION = """# Charter

The rules of a federation, which all members agree to. People write it as TOML; the ledger keeps the address of its
canonical JSON, so everyone can check that he means the same.
[`fedpact charter check`](commands.md#fedpact-charter-check) explains one back in words, or names every mistake with its
line. [`fedpact deploy`](commands.md#fedpact-deploy) puts it in force, and
[`fedpact federation amend`](commands.md#fedpact-federation-amend) another one.

Decimals are text (`"0.1"`), so that everyone reads the same number: digits, a sign, a point, no exponent, between -10^9
and 10^9. An unknown key is an error. A key whose default is *none* is left out where it does not apply. This is the
charter of the built-in task `digits`:
"""


def page(root: Path) -> str:
    """`docs/reference/charter.md`.

    Raises:
        Undocumented: a key, or something that a key can name, has no words.
    """
    example = root / "simulation/fedpact_simulation/charters/digits.toml"
    sections = _sections()
    plain = [name for name in charters.Charter.model_fields if name not in sections]
    text = f"{MADE}\n{_INTRODUCTION}\n{fenced('toml', example.read_text('utf-8'))}\n## Top level\n\n"
    text += fields(charters.Charter, plain)
    words = attributes(charters.Charter, charters.Charter.model_fields)
    rows = [
        [f"[`[{name}]`](#{anchor(f'[{name}]')})", _presence(name), prose(sentence(words[name]))] for name in sections
    ]
    text += f"\n## Sections\n\n{table('section', '', 'what it is about', rows=rows)}"
    for name, model in sections.items():
        text += f"\n## [{name}]\n\n"
        text += "\n\n".join(prose(each) for each in paragraphs(model)) if model else prose(sentence(words[name]))
        text += f"\n\n{fields(model)}" if model else "\n"
        text += _trainers(root) if name == "trainer" else _MORE.get(name, lambda: "")()
    return text + _together()


def _sections() -> dict[str, Any]:
    """The sections with their models; none of one whose keys are free."""
    found: dict[str, Any] = {}
    for name, field in charters.Charter.model_fields.items():
        kinds = [field.annotation, *typing.get_args(field.annotation)]
        models = [each for each in kinds if isinstance(each, type) and hasattr(each, "model_fields")]
        if models or field.annotation == dict[str, str | int]:
            found[name] = models[0] if models else None
    return found


def _presence(name: str) -> str:
    field = charters.Charter.model_fields[name]
    return "required" if field.is_required() else "may be left out"


def _model() -> str:
    return f"\n`dtype` is one of {', '.join(code(name) for name in sorted(DTYPES))}.\n"


def _named(what: str, known: Mapping[str, Any], page: str = "") -> str:
    """What a name stands for, and what it has to be told."""
    rows = []
    for name, each in known.items():
        takes = "<br>".join(f"`{key}`: {prose(words)}" for key, words in each.takes.items())
        link = f"[`{name}`](../rules.md#{page or name})"
        does = first_line(each)
        rows.append([link, str(each.version), takes or "nothing", code(does) if "_k" in does else prose(does)])
    return f"\n{table(what, 'version', 'parameters', 'what it does', rows=rows)}"


def _trainers(root: Path) -> str:
    """What the trainers that come with fedpact are told: of the module's docstring, as importing it takes long.

    Raises:
        Undocumented: it does not say so.
    """
    source = (root / "client/fedpact_client/scikit_learn.py").read_text("utf-8")
    _, _, told = (ast.get_docstring(ast.parse(source)) or "").partition("The charter's section `trainer`:\n")
    rows = [
        [code(name), prose(sentence(words))] for name, words in re.findall(r"^    (\w+) +(.+)$", told, re.MULTILINE)
    ]
    if not rows:
        raise Undocumented("fedpact_client.scikit_learn: its docstring does not say what the section trainer has")
    return (
        "\nWhat those that come with fedpact are told, in a simulation of a built-in task and as "
        f"`fedpact_client.table:trainer`:\n\n{table('key', 'what it is', rows=rows)}"
        "\nYour own may have other keys: [a trainer of your own](../how-to/your-own-model.md).\n"
    )


def _rules() -> str:
    own = _named("rule", RULES)
    foreign = "[your own rule](../how-to/your-own-rule.md)"
    return f"{own}\nA rule of an installed package is named as `fedpact rules` prints it, with its `code`: {foreign}.\n"


def _selections() -> str:
    rows = [[code(name), prose(sentence(words))] for name, words in POLICIES.items()]
    return f"\n{table('policy', 'selects', rows=rows)}"


_MORE = {
    "model": _model,
    "rule": _rules,
    BEFORE_SECTION: lambda: _named("name", BEFORE, "norm_clip-before-any-rule"),
    "optimiser": lambda: _named("optimiser", OPTIMISERS, "server-optimisers-after-any-rule"),
    "selection": _selections,
}


def _together() -> str:
    """What each check of the whole charter asks for."""
    lines = []
    for sections, check in charters.CHECKS:
        if not check.__doc__:
            raise Undocumented(f"{check.__name__} has no docstring")
        names = ", ".join(code(name) for name in sections)
        lines.append(f"- {names}: {prose(' '.join(check.__doc__.split()))}\n")
    return "\n## What has to go together\n\n" + "".join(lines)
