"""A project in a folder, as it is deployed: the same charter, first model and settings, read for a dry run.

    DIR/charter.toml
    DIR/genesis.safetensors     the first model; zeros where there is none
    DIR/NAME/fedpact.toml       a silo's settings, of which `trainer` makes it one

Modules of trainers are found in DIR, from where `fedpact silo run --config NAME/fedpact.toml` runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpact.artifacts.weights import Layout
from fedpact.deployment.plan import ZEROS, read_genesis
from fedpact.errors import InputError
from fedpact.settings import FILE, load
from fedpact_client.first_model import GENESIS
from numpy.typing import NDArray

CHARTER = "charter.toml"


@dataclass(frozen=True, slots=True)
class Learner:
    """What a silo of a project trains with.

    Attributes:
        name: its folder.
        trainer: `module:factory`.
        file: what the factory is handed; none where its settings name nothing.
    """

    name: str
    trainer: str
    file: str | None


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a charter and silos.

    Attributes:
        silos: in the order of their names, numbers in them by size.
    """

    directory: Path
    silos: tuple[Learner, ...]

    @property
    def charter(self) -> Path:
        """Its charter's file."""
        return self.directory / CHARTER

    def genesis(self, layout: Layout) -> dict[str, NDArray[Any]]:
        """The first model.

        Raises:
            InputError: it cannot be read, or is another than the charter's.
        """
        name = GENESIS if (self.directory / GENESIS).exists() else ZEROS
        try:
            return layout.decode(read_genesis(self.directory, name, layout))
        except InputError as error:
            raise InputError(f"first model: {error}") from None


def read_project(directory: Path) -> Project:
    """Reads a folder that holds a project.

    Raises:
        InputError: it holds none, or a silo's settings cannot be used.
    """
    if not (directory / CHARTER).is_file():
        raise InputError(f"{directory}: expected a project, as fedpact new makes one, found no {CHARTER} in it")
    silos = []
    for file in sorted(directory.glob(f"*/{FILE}"), key=lambda each: _by_number(each.parent.name)):
        settings = load({}, {}, file)  # Neither flags nor variables: they would be of one silo.
        if settings.trainer is not None:
            handed = None if settings.trainer_config is None else str(settings.trainer_config.absolute())
            silos.append(Learner(file.parent.name, settings.trainer, handed))
    if not silos:
        raise InputError(f"{directory}: expected silos, folders whose {FILE} names a trainer, found none")
    return Project(directory.absolute(), tuple(silos))


def _by_number(name: str) -> list[tuple[int, str]]:
    """`silo-2` comes before `silo-10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]
