"""Reads what is said of a rule, an optimiser or what is done before a rule; every mistake is named."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fractions import Fraction
from typing import ClassVar, Self

from fedpact.artifacts.canonical import shown
from fedpact.errors import CharterError, InputError
from fedpact.rules.rule import Parameters
from fedpact.suggestion import did_you_mean

RULE = "rule"
OPTIMISER = "optimiser"
BEFORE = "before"
"""The charter's sections on the rule, on the server optimiser, and on what is done to the updates before the rule."""

LEARNING_RATE = "what the step is multiplied with, a decimal greater than 0"
"""What every server optimiser is told."""

_EXPONENT = re.compile(r"[-+]?[0-9.]{1,40}[eE][-+]?[0-9]{1,40}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,30})?")


def only(rule: str, parameters: Parameters, *names: str, section: str = RULE) -> None:
    """Checks that there are no parameters but these.

    Args:
        rule: the name of the rule, or of the optimiser.
        section: the charter's section that has them.

    Raises:
        CharterError: there is another.
    """
    for name in parameters:
        if name not in names:
            known = f"has the parameters {', '.join(names)}" if names else "has no parameters"
            raise CharterError(f"{section}.parameters.{shown(name)}: {rule} {known}{did_you_mean(name, names)}")


def all_of(rule: str, parameters: Parameters, *names: str, section: str = RULE) -> None:
    """Checks that there are these parameters and no others. Arguments as for `only`.

    Raises:
        CharterError: there is another, or several are missing; of one alone, its reader says what it should be.
    """
    only(rule, parameters, *names, section=section)
    missing = [name for name in names if name not in parameters]
    if len(missing) > 1:
        expected = f"{rule} has the parameters {', '.join(names)}"
        raise CharterError(f"{section}.parameters: {expected}; missing: {', '.join(missing)}")


def from_words(given: Sequence[str], *, option: str = "param", decimals: Collection[str] | None = ()) -> Parameters:
    """Parameters as a command line has them, each KEY=VALUE: digits are a whole number, everything else is text.

    Args:
        option: the command line's option, for errors.
        decimals: the keys of which digits are text, too; none for all keys.

    Raises:
        InputError: one is not of this form, or a key comes twice.
    """
    parameters: dict[str, str | int] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name or name in parameters:
            raise InputError(f"{option}: expected KEY=VALUE, each key once, found {each!r}")
        digits = value.isascii() and value.isdigit() and len(value) < 10
        parameters[name] = int(value) if digits and decimals is not None and name not in decimals else value
    return parameters


class WithoutParameters:
    """What rules have in common that need not be told anything, and have an answer for any number of updates."""

    name: ClassVar[str]

    @classmethod
    def of(cls, parameters: Parameters) -> Self:
        only(cls.name, parameters)
        return cls()

    @property
    def fewest(self) -> int:
        return 1


def whole(parameters: Parameters, name: str, least: int, most: int) -> int:
    """A whole number.

    Raises:
        CharterError: it is missing, or is none within these bounds.
    """
    value = parameters.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise CharterError(
            f"rule.parameters.{name}: expected a whole number from {least} to {most}, found {_found(value)}"
        )
    return value


def decimal(parameters: Parameters, name: str, *, below: Fraction) -> Fraction:
    """A decimal as text, from 0 to less than `below`, exactly.

    Raises:
        CharterError: it is missing, or is none within these bounds.
    """
    value = _decimal(parameters, name)
    if value is None or value >= below:
        raise _unexpected(RULE, parameters, name, f"a decimal number below {float(below)}")
    return value


def positive(parameters: Parameters, name: str, *, section: str = RULE, otherwise: str = "") -> Fraction:
    """A decimal as text, greater than 0 and below 10^9, exactly.

    Args:
        otherwise: what the parameter may be besides; it goes into the error.

    Raises:
        CharterError: it is missing, or is none within these bounds.
    """
    value = _decimal(parameters, name)
    if value is None or value == 0:
        expected = "a decimal number greater than 0 and below 10^9"
        raise _unexpected(section, parameters, name, f"{otherwise} or {expected}" if otherwise else expected)
    return value


def decay(parameters: Parameters, name: str) -> Fraction:
    """A decimal of an optimiser as text, from 0 to less than 1, exactly.

    Raises:
        CharterError: it is missing, or is none within these bounds.
    """
    value = _decimal(parameters, name)
    if value is None or value >= 1:
        raise _unexpected(OPTIMISER, parameters, name, "a decimal number from 0 to less than 1")
    return value


def _decimal(parameters: Parameters, name: str) -> Fraction | None:
    value = parameters.get(name)
    return Fraction(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else None


def _unexpected(section: str, parameters: Parameters, name: str, expected: str) -> CharterError:
    value = parameters.get(name)
    where = f"{section}.parameters.{name}"
    return CharterError(f"{where}: expected {expected} as text{_hint(value)}, found {_found(value)}")


def _hint(value: str | int | None) -> str:
    """How else to write a number that has an exponent."""
    return ", like 0.1, without an exponent" if isinstance(value, str) and _EXPONENT.fullmatch(value) else ""


def _found(value: str | int | None) -> str:
    return "nothing" if value is None else repr(value)[:80]
