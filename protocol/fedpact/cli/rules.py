"""`fedpact rules`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from fedpact.cli.options import AsJson

if TYPE_CHECKING:
    from fedpact.rules import NormClip, Optimiser, Rule
    from fedpact.rules.registry import Offer


def rules(
    as_json: AsJson = False,
) -> None:
    """List the rules that a charter can name here: fedpact's own, and those of installed packages.

    Then what it can name to be done before the rule, and the server optimisers. The code of a package's rule is what a
    charter names it by. To say what a rule takes, its package is loaded.

    \b
    Examples:
      fedpact rules
      fedpact rules --json
    """
    from fedpact.cli.audit import printable
    from fedpact.rules import BEFORE_REGISTRY, OPTIMISER_REGISTRY, REGISTRY

    offers, unusable = REGISTRY.all()
    if as_json:
        answer = {
            "rules": [_summary("rule", each) for each in offers],
            "before": [_summary("before", each) for each in BEFORE_REGISTRY.own()],
            "optimisers": [_summary("optimiser", each) for each in OPTIMISER_REGISTRY.own()],
            "unusable": [{"name": each.name, "origin": each.origin, "reason": each.reason} for each in unusable],
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        return
    for rule in offers:
        _show("", rule)
    for before in BEFORE_REGISTRY.own():
        _show("before: ", before)
    for optimiser in OPTIMISER_REGISTRY.own():
        _show("optimiser: ", optimiser)
    for bad in unusable:
        typer.echo(printable(f"- {bad.reason} ({bad.origin})"))


def _show(kind: str, each: Offer[Rule] | Offer[NormClip] | Offer[Optimiser]) -> None:
    """What a charter can name as a person reads it."""
    from fedpact.cli.audit import printable

    found = each.implementation
    typer.echo(printable(f"{kind}{found.name} {found.version} ({each.origin})"))
    lines = [each.summary]
    if found.takes:
        width = max(map(len, found.takes))
        lines += [f"{name:{width}}  {words}" for name, words in found.takes.items()]
    if each.code is not None:
        lines += [f'code = "{each.code}"', f"of {each.file}"]
    for line in lines:
        typer.echo(printable(f"    {line}"))


def _summary(kind: str, each: Offer[Rule] | Offer[NormClip] | Offer[Optimiser]) -> dict[str, Any]:
    """What a charter can name as a program reads it."""
    return {
        "kind": kind,
        "code": None,
        **each.named(),
        "summary": each.summary,
        "parameters": dict(each.implementation.takes),
        "origin": each.origin,
        "file": None if each.file is None else str(each.file),
    }
