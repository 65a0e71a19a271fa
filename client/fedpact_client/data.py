"""What a silo learns from: samples as arrays, and a table of them in a CSV file of numbers with a line of names.

A table has a file that describes it (TOML):

    data = "ward-3.csv"       # relative to this file
    target = "outcome"        # the column to learn; all others are features, in the order of the file
    classes = 10              # targets are 0 to 9; 0, or left out, for numbers
    held_out = 5              # every so many-th sample is held out, to score models on (default 5)
    scale = 16                # features are divided by this (default 1): constants that all silos agreed on
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fedpact.artifacts.mistakes import read_toml
from fedpact.errors import InputError
from fedpact.suggestion import did_you_mean, unreadable
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True, slots=True)
class Data:
    """Samples to learn from and samples held out.

    Attributes:
        features, held_out_features: shape (samples, features), float64.
        targets, held_out_targets: shape (samples,): classes as int64 from 0, or numbers as float64.
    """

    features: NDArray[np.float64]
    targets: NDArray[Any]
    held_out_features: NDArray[np.float64]
    held_out_targets: NDArray[Any]


class Table(BaseModel):
    """What a file says of its table.

    Attributes:
        data: the CSV file: numbers, under a line of names; relative to this file.
        target: the column to learn. All others are features, in the order of the file.
        classes: how many classes the target has, from 0 on; 0 where it is a number.
        held_out: every so many-th sample is held out, to score models on.
        scale: features are divided by this: a constant that all silos agreed on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    data: str
    target: str
    classes: Annotated[int, Field(ge=0, le=10**6)] = 0
    held_out: Annotated[int, Field(ge=2, le=10**6)] = 5
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


def read_table(file: Path | None) -> tuple[Data, int]:
    """Reads the table that a file describes.

    Args:
        file: what a trainer's factory was handed (`--trainer-config`).

    Returns:
        The samples, and the number of classes: 0 where targets are numbers.

    Raises:
        InputError: the file, or the table that it names, cannot be used.
    """
    if file is None:
        raise InputError("trainer_config: expected a file that names the table, found none")
    settings = read_toml(file, Table)
    return _read(file, settings), settings.classes


def _read(file: Path, settings: Table) -> Data:
    path = file.parent / settings.data
    try:
        with path.open(encoding="utf-8") as lines:
            names = [name.strip().strip('"') for name in lines.readline().split(",")]
            if settings.target not in names:
                shown = ", ".join(names)
                shown = shown if len(shown) < 200 else f"{shown[:200]}…"
                near = did_you_mean(settings.target, names)
                found = f"{settings.target!r} in {file.name}{near}"
                raise InputError(f"{path}: target: expected one of the columns {shown}, found {found}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of a file without samples, which is refused below.
                table = np.loadtxt(lines, delimiter=",", dtype=np.float64, ndmin=2)
    except OSError as error:
        raise InputError(f"{path}: {unreadable(path, error)} ({file.name} names it)") from None
    except ValueError as error:
        told = " ".join(str(error).split())[:200]
        what = "classes are numbers from 0 on" if settings.classes else "what is missing has to be filled in"
        said = f"{path}: expected numbers with commas between them: {told} (below the header; {what})"
        raise InputError(said) from None
    if table.shape[0] < settings.held_out or table.shape[1] != len(names) or len(names) < 2:
        raise InputError(
            f"{path}: expected {len(names)} numbers in each of at least {settings.held_out} lines, "
            f"found {table.shape[0]} lines of {table.shape[1]}"
        )
    lost = np.argwhere(~np.isfinite(table))
    if len(lost):
        line, place = lost[0]
        found = f"found {table[line, place]}"
        raise InputError(f"{path}: sample {line + 1}: {names[place][:80]}: expected a finite number, {found}")
    column = names.index(settings.target)
    features = np.delete(table, column, axis=1) / settings.scale
    targets = _targets(path, table[:, column], settings)
    held_out = np.arange(len(targets)) % settings.held_out == 0
    return Data(features[~held_out], targets[~held_out], features[held_out], targets[held_out])


def _targets(path: Path, column: NDArray[np.float64], settings: Table) -> NDArray[Any]:
    if not settings.classes:
        return column
    whole = column.astype(np.int64)
    wrong = (whole != column) | (whole < 0) | (whole >= settings.classes)
    if wrong.any():
        expected = f"expected classes from 0 to {settings.classes - 1}"
        raise InputError(f"{path}: {settings.target}: {expected}, found {column[wrong][0]:g}")
    return whole
