"""The page of all errors, from the classes in the code."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpact import errors
from fedpact.errors import FedpactError, Interrupted
from fedpact.ledger.rejections import REJECTIONS

from reference_pages.markdown import MADE, Undocumented, code, first_line, prose, table

_PACKAGES = (
    "protocol/fedpact",
    "client/fedpact_client",
    "coordinator/fedpact_coordinator",
    "simulation/fedpact_simulation",
)
_INTRODUCTION = """# Errors

A command that fails prints one line, `fedpact: error: …`, on standard error and ends with the exit code of the error.
The line names the thing, what was expected, what was found, and often what to do next. Names that are unknown
(commands, options, settings, variables, keys of a charter, rules, tensors, …) come with the known one that is most like
them. What came from a node, a file or somebody else is cut to some 200 characters, and of a URL only scheme, host and
port are shown.

A service tries again what may pass (a node that is away, an empty account) and says so in its log; what no second try
mends ends it with the same line. In Python, all are subclasses of `fedpact.errors.FedpactError`, and `error.exit_code`
is the code.
"""
_REFUSALS = """## When the contract refuses

`ContractRejected` has a subclass for each error of [the contract](../contract.md#errors), with the error's fields as
attributes (`fedpact.ledger.rejections`). A refused transaction changes nothing.
"""


@dataclass(frozen=True, slots=True)
class _Class:
    name: str
    parent: str
    module: str
    words: str
    exit_code: int | None
    advice: str | None


def page(root: Path) -> str:
    """`docs/reference/errors.md`.

    Raises:
        Undocumented: a class has no docstring, or is not in the drawing of `fedpact.errors`.
    """
    found = _classes(root)
    rows = [
        [
            f"{'&emsp;' * depth}`{each.name}`",
            str(_exit_code(each, found)),
            prose(each.words),
            prose(_advice(each, found)),
        ]
        for depth, each in _tree(found)
    ]
    text = f"{MADE}\n{_INTRODUCTION}\n## The tree\n\n"
    text += table("error", "exit code", "what happened", "what to do", rows=rows)
    text += f"\n`Interrupted` ends with 128 and the signal's number. {prose(first_line(Interrupted))}\n"
    refusals = [[code(name), _sentence(each.sentence), prose(each.advice)] for name, each in REJECTIONS.items()]
    return f"{text}\n{_REFUSALS}\n{table('error', 'what the line says', 'what to do', rows=refusals)}"


def _classes(root: Path) -> dict[str, _Class]:
    """All classes of the tree by name, found in the sources: to import them all would bring everything."""
    classes: dict[str, _Class] = {}
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            module = ".".join(path.relative_to((root / package).parent).with_suffix("").parts).removesuffix(".__init__")
            if module == "fedpact.ledger.rejections" or "templates" in path.parts:
                continue
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef) and node.bases and isinstance(node.bases[0], ast.Name):
                    words = (ast.get_docstring(node) or "").split("\n\nAttributes:")[0]
                    classes.setdefault(
                        node.name,
                        _Class(
                            node.name,
                            node.bases[0].id,
                            module,
                            words,
                            _constant(node, "exit_code"),
                            _constant(node, "advice"),
                        ),
                    )
    found = {FedpactError.__name__: _Class("FedpactError", "", "fedpact.errors", FedpactError.__doc__ or "", 1, "")}
    while more := {name: each for name, each in classes.items() if each.parent in found and name not in found}:
        found |= more
    drawing = errors.__doc__ or ""
    for each in found.values():
        if not each.words:
            raise Undocumented(f"{each.module}.{each.name} has no docstring")
        if f" {each.name} " not in drawing:
            raise Undocumented(f"{each.module}.{each.name} is not in the drawing of fedpact.errors")
    return dict(sorted(found.items(), key=lambda named: drawing.index(f" {named[0]} ")))


def _constant(node: ast.ClassDef, name: str) -> Any:
    """What a class says of itself; none where it leaves it to its parent."""
    for each in node.body:
        named = isinstance(each, ast.Assign) and [target.id for target in each.targets if isinstance(target, ast.Name)]
        if named == [name]:
            return ast.literal_eval(each.value)
    return None


def _exit_code(each: _Class, found: dict[str, _Class]) -> int:
    return each.exit_code if each.exit_code is not None else _exit_code(found[each.parent], found)


def _advice(each: _Class, found: dict[str, _Class]) -> str:
    return each.advice if each.advice is not None else _advice(found[each.parent], found)


def _tree(found: dict[str, _Class], parent: str = "", depth: int = 0) -> list[tuple[int, _Class]]:
    """Depth first, in the order of the drawing."""
    rows = []
    for each in found.values():
        if each.parent == parent:
            rows += [(depth, each), *_tree(found, each.name, depth + 1)]
    return rows


def _sentence(text: str) -> str:
    return re.sub(r"\{(\w+)\}", r"*\1*", text)
