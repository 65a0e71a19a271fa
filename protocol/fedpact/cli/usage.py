"""What is wrong with a command line, in our words: those of typer, and of the click under it, differ with the version.

Their errors are told apart by their names and attributes, as they come from whichever library typer stands on.
"""

from __future__ import annotations

import re
from typing import Any

from fedpact.suggestion import did_you_mean

_LONGEST = 80
_NUMBERS = {"int": "a whole number", "integer": "a whole number", "float": "a number"}


def asks_for_help(error: Exception) -> bool:
    """Whether a group of commands was named alone, which is answered with its help."""
    return type(error).__name__ == "NoArgsIsHelpError"


def in_words(error: Any) -> str:
    """One line: the command, what of it, what was expected, what was found."""
    said = " ".join(error.format_message().split())
    context: Any = getattr(error, "ctx", None)
    option: str | None = getattr(error, "option_name", None)
    parameter: Any = getattr(error, "param", None)
    path = "fedpact" if context is None else context.command_path
    where = "".join(f"{words}: " for words in path.split(" ", 1)[1:])
    told = f"; {path} --help says what there is"
    if option and type(error).__name__ == "NoSuchOption" and context is not None:
        known = [name for each in context.command.params for name in each.opts if name.startswith("--")]
        return f"{where}option {_cut(option)}: unknown{did_you_mean(option, known) or told}"
    if option:
        wanted, found = ("no value", "one") if "not take" in said else ("a value after it", "none")
        return f"option {_cut(option)}: expected {wanted}, found {found}"
    if parameter is not None:
        if type(error).__name__ == "MissingParameter":
            return f"{where}expected {_typed(parameter)}, found none{told}"
        expected, value = _expected(parameter), _value(error)
        if expected and value is not None:
            return f"{where}{_typed(parameter).split()[0]}: expected {expected}, found {_cut(value)!r}"
    unknown, extra = re.match(r"No such command '(.*?)'", said), re.match(r"Got unexpected extra .*? \((.*)\)", said)
    if unknown and context is not None:
        near = _command_like(unknown[1], context.command)
        return f"{where}command {_cut(unknown[1])!r}: unknown{near or told}"
    return f"{where}expected no more arguments, found {_cut(extra[1])!r}{told}" if extra else said


def _command_like(name: str, group: Any) -> str:
    """A command of a group that may have been meant, or one of that name in a group within it."""
    within = [
        f"{word} {name}" for word, each in group.commands.items() if name in (getattr(each, "commands", None) or ())
    ]
    return f"; did you mean {' or '.join(within)}?" if within else did_you_mean(name, group.commands)


def _typed(parameter: Any) -> str:
    """An argument or an option as it is typed."""
    metavar = parameter.metavar or parameter.name.upper()
    return metavar if parameter.param_type_name == "argument" else f"{max(parameter.opts, key=len)} {metavar}"


def _expected(parameter: Any) -> str:
    """What a number has to be; empty of what is none."""
    described = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    kind = getattr(getattr(parameter, "type", None), "name", "").removesuffix(" range")
    name = getattr(described, "__name__", kind)
    return "" if name not in _NUMBERS else " ".join(filter(None, (_NUMBERS[name], bounds(parameter))))


def bounds(parameter: Any) -> str:
    """From where to where a number may be; empty where it may be any."""
    kind = getattr(parameter, "type", None)
    least, most = (getattr(parameter, bound, getattr(kind, bound, None)) for bound in ("min", "max"))
    return " ".join(f"{word} {bound}" for word, bound in (("from", least), ("to", most)) if bound is not None)


def _value(error: Any) -> str | None:
    """What was given; none where the error does not tell."""
    errors = getattr(error.__cause__, "errors", None)
    if callable(errors):
        return str(errors()[0]["input"])
    found = re.match(r"'(.*?)' is not|(\S+) is not in the range", error.message)
    return None if found is None else found[1] or found[2]


def _cut(text: str) -> str:
    return text[:_LONGEST]
