"""A trainer by its name: `module:factory`, from this environment or the working directory.

The factory is called with the path of the silo's own configuration file, or none where there is none, and returns a
`Trainer`. Only the silo's owner names it: no charter does.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from fedpact.errors import FedpactError, InputError

from fedpact_client.trainer import Config, Trainer


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
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"trainer {name}: no module {error.name!r}, neither installed nor in the working directory"
        ) from None
    except AttributeError:
        raise InputError(f"trainer {name}: module {module_name} has no {factory_name}") from None
    except Exception as error:
        raise InputError(f"trainer {name}: {type(error).__name__}: {error}") from error
    try:
        trainer: Trainer = factory(file, config)
    except FedpactError:
        raise
    except Exception as error:
        raise InputError(f"trainer {name}: {type(error).__name__}: {error}") from error
    for method in ("fit", "evaluate"):
        if not callable(getattr(trainer, method, None)):
            raise InputError(f"trainer {name}: expected an object with fit and evaluate, found one without {method}")
    return trainer
