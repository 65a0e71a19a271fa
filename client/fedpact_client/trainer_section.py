"""What the charter's section `trainer` tells, read so that every mistake in it is one line."""

from __future__ import annotations

from difflib import SequenceMatcher

import numpy as np
from fedpact.artifacts.canonical import shown
from fedpact.errors import CharterError

from fedpact_client.trainer import Config

_SHORT = 5
"""Letters of a name that another one is like by chance: `seed` and `speed`."""


def given(config: Config, name: str, default: str | int | None = None) -> str | int | None:
    """What the section says of a setting. Arguments as for `whole`.

    Raises:
        CharterError: it does not, but has that name with a slip in it, which nobody would ever read.
    """
    if name not in config:
        for other in config:
            if _is_slip(other, name):
                raise CharterError(f"trainer.{shown(other)}: expected {name}, or both where both are meant")
    return config.get(name, default)


def _is_slip(found: str, name: str) -> bool:
    """Whether one is the other but for capitals, underscores and an s at the end; of long names, but for a letter."""
    one, other = (each.lower().replace("_", "").replace("-", "") for each in (found, name))
    if one.removesuffix("s") == other.removesuffix("s"):
        return True
    if len(name) <= _SHORT or abs(len(one) - len(other)) > 1:
        return False
    changes = SequenceMatcher(None, one, other).get_opcodes()
    letters = "".join(one[a:b] + other[c:d] for kind, a, b, c, d in changes if kind != "equal")
    return letters.isalpha() and len(letters) <= 2  # One there and one here, be it in another place.


def whole(config: Config, name: str, default: int | None = None) -> int:
    """A whole number: a seed from 0, anything else from 1.

    Args:
        default: what it is where the section does not say; none where it has to.

    Raises:
        CharterError: it is none.
    """
    value = given(config, name, default)
    least = 0 if name == "seed" else 1
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**31:
        raise CharterError(f"trainer.{name}: expected a whole number from {least}, found {_found(value)}")
    return value


def positive(config: Config, name: str) -> float:
    """A positive decimal, written as text.

    Raises:
        CharterError: it is none.
    """
    number = _number(given(config, name))
    if number is None or number == 0:
        raise CharterError(f"trainer.{name}: expected a positive decimal as text, found {_found(config.get(name))}")
    return number


def decimal(config: Config, name: str, default: str) -> float:
    """A decimal from 0, written as text. Arguments as for `whole`.

    Raises:
        CharterError: it is none.
    """
    number = _number(given(config, name, default))
    if number is None:
        raise CharterError(f"trainer.{name}: expected a decimal from 0 as text, found {_found(config.get(name))}")
    return number


def _found(value: object) -> str:
    return "nothing" if value is None else repr(value)[:80]


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, str) else -1.0
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None


def seed_of(*numbers: int) -> int:
    """One seed of 32 bits for each sequence of numbers: the charter's seed, the round, the epoch."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
