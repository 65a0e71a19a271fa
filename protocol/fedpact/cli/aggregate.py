"""`fedpact aggregate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.options import ALL_PROCESSORS, AsJson, check_at_once
from fedpact.errors import InputError
from fedpact.settings import PROCESSORS

if TYPE_CHECKING:
    from fedpact.offline import Decision

_MAX_SAMPLES = 1 << 40  # As charters have it.
_DTYPES = "U64, I64, F64, F32, U32, I32, BF16, F16, U16, I16, I8, U8"
"""Names of `fedpact.artifacts.dtypes.DTYPES`, which brings numpy."""


def aggregate(
    updates: Annotated[
        list[Path], typer.Argument(metavar="UPDATE", help=f"Files of weights: safetensors of {_DTYPES}.")
    ],
    rule: Annotated[str, typer.Option(metavar="NAME", help="How they become a model; fedpact rules lists them.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="Where to put the model.")],
    param: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="What the rule has to be told: share=0.1, count=1.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="NAME", help="What is done to the updates first: norm_clip, with a base.")
    ] = None,
    before_param: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="What that has to be told: bound=median, bound=10.")
    ] = None,
    samples: Annotated[
        str | None, typer.Option(metavar="N1,N2,…", help="Training samples of each update; otherwise 1 each.")
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The model that the updates were made from, if the rule needs it."),
    ] = None,
    threads: Annotated[
        int, typer.Option(metavar="T", help="Blocks to work on at once.", show_default=PROCESSORS)
    ] = ALL_PROCESSORS,
    as_json: AsJson = False,
) -> None:
    """Make a model of files that did not come from a ledger, by any rule.

    All must have the same tensors: those of the base, or of the first that can be read. An update that cannot be used
    is excluded, and named with the reason; the others make the model. What a file says in __metadata__ is not carried
    over.

    Exit code 0: the model is written. 1: too few are left for the rule, or the model cannot be written. 2: something
    that was given cannot be used.

    \b
    Examples:
      fedpact aggregate --rule fedavg --samples 120,80 a.safetensors b.safetensors -o model.safetensors
      fedpact aggregate --rule trimmed_mean --param share=0.2 updates/*.safetensors -o model.safetensors
      fedpact aggregate --rule fedavg --before norm_clip --before-param bound=10 --base b.st u1.st u2.st -o m.st
    """
    from fedpact.cli.audit import printable
    from fedpact.offline import TooFew, aggregate_files
    from fedpact.rules import BEFORE_REGISTRY, REGISTRY
    from fedpact.rules.parameters import from_words

    check_at_once("threads", threads)
    counted = _samples(samples, len(updates))
    offer = REGISTRY.installed(rule)
    parameters = from_words(param or (), decimals=offer.implementation.decimals)
    chosen, first = offer.make(parameters), None
    if before is not None:
        clipping = BEFORE_REGISTRY.installed(before)
        told = from_words(before_param or (), option="before-param", decimals=None)
        chosen, first = clipping.make(told).before(chosen), clipping.named() | {"parameters": told}
    elif before_param:
        raise InputError(f"before-param {before_param[0]}: expected something that has it (--before), found none")
    answer: dict[str, Any] = {
        "rule": {"code": None} | offer.named() | {"parameters": parameters},
        "before": first,
        "base": None if base is None else str(base),
    }
    failed: TooFew | None = None
    try:
        made = aggregate_files(chosen, updates, counted, output, base=base, threads=threads)
        decisions = made.decisions
        answer |= {"model": str(made.model), "output": str(output), "bytes": made.size}
    except TooFew as error:
        failed, decisions = error, error.decisions
        answer |= {"model": None, "output": None, "bytes": 0}
    answer["updates"] = [_summary(each, made=failed is None) for each in decisions]
    if as_json:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        lines = [_in_words(each, made=failed is None) for each in decisions]
        if failed is None:
            lines += [f"model: {answer['model']}", f"output: {output}, {answer['bytes']:,} bytes"]
        used = sum(each.fault is None for each in decisions) if failed is None else 0
        lines.append(f"{used} of {len(decisions)} updates used")
        typer.echo("\n".join(map(printable, lines)))
    if failed is not None:
        raise failed


def _samples(text: str | None, updates: int) -> Sequence[int]:
    """A number for each update."""
    if text is None:
        return [1] * updates
    numbers = [int(each) if each.isascii() and each.isdigit() and len(each) < 15 else 0 for each in text.split(",")]
    if not all(1 <= each <= _MAX_SAMPLES for each in numbers):
        raise InputError(f"samples: expected numbers from 1 to {_MAX_SAMPLES} with commas, found {text[:80]!r}")
    if len(numbers) != updates:
        raise InputError(f"samples: expected {updates} numbers, one for each update, found {len(numbers)}")
    return numbers


def _summary(each: Decision, *, made: bool) -> dict[str, Any]:
    """A decision as a program reads it; as a manifest says it."""
    return {
        "file": str(each.path),
        "samples": each.samples,
        "decision": _decision(each, made),
        "weight": each.weight,
        "reason": "" if each.fault is None else each.fault.reason,
        "detail": "" if each.fault is None else each.fault.detail,
    }


def _in_words(each: Decision, *, made: bool) -> str:
    """A decision as a person reads it."""
    said = f"{each.path}: {_decision(each, made)}"
    if each.fault is not None:
        return f"{said} ({each.fault.reason}): {each.fault.detail}"
    return f"{said}, samples {each.samples}, weight {each.weight}" if made else said


def _decision(each: Decision, made: bool) -> str:
    if each.fault is not None:
        return "excluded"
    return "included" if made else "usable"
