"""docs/trust-model.md names a test for what it says is caught; each is there. Its links are held by test_manuals.py."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/trust-model.md").read_text("utf-8")


def test_every_test_that_it_names_is_there() -> None:
    """File by file, by name."""
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    for file, name in named:
        functions = {each.name for each in ast.parse((ROOT / file).read_text("utf-8")).body if hasattr(each, "name")}
        assert name in functions, f"{file}::{name}"


def test_whatever_is_caught_has_a_proof_or_is_said_not_to_be() -> None:
    """A line of a table names a test, a page or a source that shows it, or says in bold what nothing catches."""
    for line in re.findall(r"^\| (?!it can|he can|---)(.*) \|$", PAGE, re.MULTILINE):
        assert "tests/" in line or "**" in line or "](" in line, line
