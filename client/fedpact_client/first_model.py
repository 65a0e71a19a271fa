"""What a federation's founder needs of a trainer: the charter's section `model`, and the first model.

A trainer that can say them has `initial_weights()`, arrays by name, and, where a dtype does not follow from the arrays
(bfloat16 comes as float32), `layout()`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from fedpact.artifacts.charter import MAX_BYTES
from fedpact.artifacts.weights import Layout, Weights
from fedpact.errors import CharterError, InputError, StoreError
from fedpact.files import write_atomically
from fedpact.toml_lines import said_of

from fedpact_client.trainer import Config

GENESIS = "genesis.safetensors"
"""The first model's file, beside the charter."""
_SECTION = re.compile(r"^\[model\][^\n]*\n(?:(?!\[)[^\n]*\n)*", re.MULTILINE)
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def first_model(trainer: object) -> tuple[Layout, Weights] | None:
    """What a trainer starts from; none where it does not say."""
    initial = getattr(trainer, "initial_weights", None)
    if initial is None:
        return None
    weights: Weights = initial()
    layout: Callable[[], Layout] | None = getattr(trainer, "layout", None)
    return Layout.of(weights) if layout is None else layout(), weights


def model_section(layout: Layout) -> str:
    """A charter's section `model`, as people write it."""
    lines = ["[model]"]
    for each in layout.tensors:
        name = each.name if _BARE.fullmatch(each.name) else json.dumps(each.name)
        lines.append(f'{name} = {{ dtype = "{each.dtype}", shape = {list(each.shape)} }}')
    return "\n".join(lines) + "\n"


def main(factory: Callable[[Path | None, Config], object], charter: Path, file: Path | None = None) -> NoReturn:
    """What `python my_model.py` of a project does: `write_first_model`, and prints the section. As of any command of
    fedpact, what cannot be is one line, and an exit code."""
    from fedpact import cli

    def work() -> int:
        print(write_first_model(factory, charter, file))  # noqa: T201  # That is what it is for.
        return 0

    cli.main(work)


def write_first_model(factory: Callable[[Path | None, Config], object], charter: Path, file: Path | None = None) -> str:
    """Writes what a trainer learns into a charter's section `model`, and its first model beside it, as `GENESIS`.

    To be called again whenever the model has changed, until a federation is founded with it.

    Args:
        factory: makes the trainer, as for `fedpact silo run --trainer`.
        charter: as TOML; all but its section `model` stays as it is, to the letter.
        file: what the factory is handed besides the charter's section `trainer`.

    Returns:
        The section.

    Raises:
        InputError: the charter cannot be read or has no such section, or the trainer does not say what it starts from.
        StoreError: a file cannot be written.
    """
    text, known = _read(charter)
    found = first_model(factory(file, known.get("trainer", {})))
    if found is None:
        raise InputError("trainer: expected the method initial_weights, which gives the first model, found none")
    layout, weights = found
    section = model_section(layout)
    changed, count = _SECTION.subn(lambda _: section + "\n", text)
    try:
        right = count == 1 and tomllib.loads(changed) == {**known, **tomllib.loads(section)}
    except ValueError:
        right = False
    if not right:
        raise CharterError(f"charter {charter}: expected one section [model] whose lines are tensors, found another")
    try:
        write_atomically(charter.with_name(GENESIS), layout.encode(weights))
        write_atomically(charter, changed.encode())
    except OSError as error:
        raise StoreError(f"{charter.parent}: {error.strerror}") from error
    return section


def _read(charter: Path) -> tuple[str, dict[str, Any]]:
    try:
        with charter.open("rb") as file:
            text = file.read(MAX_BYTES).decode()
        return text, tomllib.loads(text)
    except OSError as error:
        raise CharterError(f"charter {charter}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CharterError(f"charter {charter}: {said_of(error)}") from None
