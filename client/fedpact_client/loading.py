"""A trainer by its name: `module:factory`, from this environment or the working directory (a simulation's: its folder).

The factory is called with the path of the silo's own configuration file, or none where there is none, and returns a
`Trainer`. Only the silo's owner names it: no charter does.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedpact.errors import FedpactError, InputError
from fedpact.suggestion import did_you_mean

from fedpact_client.blame import in_words
from fedpact_client.told import Told, Watched
from fedpact_client.trainer import Config, Trainer

_EXTRAS = {"torch": '; pip install "fedpact[torch]" installs it'}


def load_trainer(name: str, file: Path | None, config: Config, directory: Path | None = None) -> Trainer:
    """Makes the trainer.

    Args:
        name: `module:factory`.
        file: the silo's own configuration.
        config: the charter's section `trainer`.
        directory: where the module may be besides this environment; none for the working directory.

    Raises:
        InputError: there is no such factory, or it fails.
    """
    module_name, _, factory_name = name.partition(":")
    here = str(Path.cwd() if directory is None else directory.absolute())
    if here not in sys.path:
        sys.path.insert(0, here)
    with _naming(name):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            place = "the working directory" if directory is None else directory
            near = _EXTRAS.get(error.name or "") or _module_like(error.name or "", Path(here))
            raise InputError(
                f"trainer {name}: no module {error.name!r}, neither installed nor in {place}{near}"
            ) from None
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        made_there = [each for each in vars(module) if callable(getattr(module, each)) and not each.startswith("_")]
        near = did_you_mean(factory_name, made_there)
        found = f"no {factory_name}{near}" if factory is None else f"{factory_name}, which is none"
        raise InputError(f"trainer {name}: expected a factory in module {module_name}, found {found}")
    told = Told(config)
    with _naming(name):
        try:
            inspect.signature(factory).bind(file, told)
        except TypeError:
            found = f"{factory_name}{inspect.signature(factory)}"
            raise InputError(f"trainer {name}: expected {factory_name}(file, config), found {found}") from None
        except ValueError:
            pass  # One that does not say what it takes.
        trainer: Trainer = factory(file, told)
    for method in ("fit", "evaluate"):
        if not callable(getattr(trainer, method, None)):
            raise InputError(f"trainer {name}: expected an object with fit and evaluate, found one without {method}")
    return Watched(name, trainer, told)


def _module_like(name: str, directory: Path) -> str:
    """A module that may have been meant: of the package that the name begins with, or of a directory."""
    package, dot, _ = name.rpartition(".")
    places = getattr(sys.modules.get(package), "__path__", [str(directory)] if not dot else [])
    return did_you_mean(name, [f"{package}{dot}{each.name}" for each in pkgutil.iter_modules(places)])


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Whatever an owner's code raises is one line that names it, be it that it would end the process."""
    try:
        yield
    except FedpactError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"trainer {name}: {in_words(error)}") from error
