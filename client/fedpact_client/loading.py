"""A trainer by its name: `module:factory`, from this environment or the working directory.

The factory is called with the path of the silo's own configuration file, or none where there is none, and returns a
`Trainer`. Only the silo's owner names it: no charter does.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedpact.errors import FedpactError, InputError

from fedpact_client.trainer import Config, Trainer

_MAX_SAID = 200


def load_trainer(name: str, file: Path | None, config: Config) -> Trainer:
    """Makes the trainer.

    Args:
        name: `module:factory`.
        file: the silo's own configuration.
        config: the charter's section `trainer`.

    Raises:
        InputError: there is no such factory, or it fails.
    """
    module_name, _, factory_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with _naming(name):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = f"no module {error.name!r}, neither installed nor in the working directory"
            raise InputError(f"trainer {name}: {missing}") from None
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        found = f"no {factory_name}" if factory is None else f"{factory_name}, which is none"
        raise InputError(f"trainer {name}: expected a factory in module {module_name}, found {found}")
    with _naming(name):
        trainer: Trainer = factory(file, config)
    for method in ("fit", "evaluate"):
        if not callable(getattr(trainer, method, None)):
            raise InputError(f"trainer {name}: expected an object with fit and evaluate, found one without {method}")
    return trainer


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Whatever an owner's code raises is one line that names it, be it that it would end the process."""
    try:
        yield
    except FedpactError:
        raise
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())[:_MAX_SAID]
        raise InputError(f"trainer {name}: {type(error).__name__}: {said}") from error
