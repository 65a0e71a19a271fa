"""What a trainer is told, and what of it no code ever reads: most often a slip in a name.

A trainer of one's own may read whatever its charter says, so only after it has trained once is it known what it left.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from fedpact.artifacts.canonical import shown
from fedpact.artifacts.weights import Weights
from fedpact.suggestion import did_you_mean

from fedpact_client.trainer import Config, Fit, Trainer

logger = logging.getLogger(__name__)

_OURS = ("name", "round")
"""`name` is for simulations of built-in tasks, `round` is added by the silo."""


class Told(dict[str, Any]):
    """A section `trainer` that knows what was read of it. Who takes all of it at once has read all of it.

    Attributes:
        read: names that were asked for and are there.
        missed: those that are not.
    """

    def __init__(self, section: Config) -> None:
        super().__init__(section)
        self.read: set[str] = set()
        self.missed: set[str] = set()

    def __contains__(self, name: object) -> bool:
        there = super().__contains__(name)
        (self.read if there else self.missed).add(str(name))
        return there

    def __getitem__(self, name: str) -> Any:
        _ = name in self  # Which notes that it was asked for.
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return super().__getitem__(name) if name in self else default

    def __iter__(self) -> Iterator[str]:  # Names alone are not read yet; and copies are made by way of `keys`.
        return super().__iter__()

    def keys(self) -> KeysView[str]:  # type: ignore[override]  # Views of any mapping.
        return KeysView(self._all())

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        return ValuesView(self._all())

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        return ItemsView(self._all())

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def _all(self) -> Mapping[str, Any]:
        names = list(self)
        self.read.update(names)
        return {name: super(Told, self).__getitem__(name) for name in names}


class Watched:
    """A trainer that was told something; after it has trained, what it did not read is a warning.

    Args:
        name: how the silo's owner names it.
        told: what its factory was given.
    """

    def __init__(self, name: str, trainer: Trainer, told: Told) -> None:
        self._name, self._trainer, self._told = name, trainer, told

    def fit(self, weights: Weights, config: Config) -> Fit:
        """As `Trainer.fit`."""
        told = Told(config)
        fit = self._trainer.fit(weights, told)
        for name in sorted({*self._told, *told} - self._told.read - told.read - {*_OURS}):
            near = did_you_mean(name, sorted(self._told.missed | told.missed))
            _warn(f"trainer {self._name}: it reads no {shown(name)}, which the charter's [trainer] says{near}")
        return fit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)


@functools.cache
def _warn(said: str) -> None:
    """Once, however many silos and rounds a process has."""
    logger.warning("%s", said)
