"""What pydantic finds wrong with a document or a file, in our words."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from fedpact.artifacts import canonical
from fedpact.errors import InputError
from fedpact.suggestion import did_you_mean, unreadable
from fedpact.toml_lines import said_of

Model = TypeVar("Model", bound=BaseModel)

Place = tuple[str | int, ...]
"""Where a value is: the keys that lead to it; in lists its number, from 0."""


def first_mistake(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """The first of what is wrong with a document or file as one line: where, what was expected, what was found.

    Args:
        model: what it should be; where it is given, an unknown key comes with those that are known.
    """
    place, message = in_words(_telling(error.errors(include_url=False), model), model)
    where = canonical.shown(".".join(map(str, place)))
    return f"{where}: {message}" if where else message


def _telling(mistakes: Sequence[Any], model: type[BaseModel] | None) -> Any:
    """The first mistake; where that is a key that is missing, one that is there under a name much like it."""
    first, around = mistakes[0], mistakes[0]["loc"][:-1]
    if first["type"] == "missing":
        for each in mistakes:
            alike = each["type"] == "extra_forbidden" and each["loc"][:-1] == around
            if alike and did_you_mean(str(each["loc"][-1]), _known(model, around)):
                return each
    return first


def read_toml(path: Path, model: type[Model]) -> Model:
    """Reads a TOML file.

    Raises:
        InputError: it cannot be read, is no TOML, or is not what `model` says.
    """
    try:
        return model.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise InputError(f"{path}: {unreadable(path, error)}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error, model)}") from None
    except (ValueError, RecursionError) as error:  # TOML or UTF-8 that is none.
        raise InputError(f"{path}: {said_of(error)}") from None


def in_words(mistake: Any, model: type[BaseModel] | None = None, *, suggest: bool = True) -> tuple[Place, str]:
    """One mistake that pydantic found: where, and what was expected and found.

    Args:
        model: as for `first_mistake`.
        suggest: whether to look for what may have been meant, which takes a while where there are many mistakes.
    """
    loc = mistake["loc"]
    if loc[-1:] in (("str",), ("int",)) and mistake["type"] in _KINDS:  # One of the kinds that a value may have.
        loc = loc[:-1]
    if mistake["type"] == "value_error":
        message = mistake["msg"].removeprefix("Value error, ")
    elif mistake["type"] == "too_long" and "actual_length" in mistake["ctx"]:  # A list of so many is not shown.
        message = "expected at most {max_length}, found {actual_length}".format(**mistake["ctx"])
    elif mistake["type"] == "missing":
        message = "expected a value, found nothing"
    elif mistake["type"] == "extra_forbidden":
        known = _known(model, loc[:-1])
        near = did_you_mean(str(loc[-1]), known) if suggest else ""
        message = f"unknown; expected one of {', '.join(known)}{near}" if known else "expected nothing of this name"
    else:
        expected, found = _expected(mistake, either=loc != mistake["loc"]), _found(mistake["input"])
        message = f"expected {expected}, found {found}{_near(mistake) if suggest else ''}"
    return loc, message


_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "{expected}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
}
"""What was expected, by the kind of the mistake."""


def _expected(mistake: Any, *, either: bool) -> str:
    """Whatever pydantic says, in our words.

    Args:
        either: whether text and whole numbers are both allowed.
    """
    if isinstance(mistake["input"], float) and (either or mistake["type"] == "string_type"):
        return 'a decimal number as text, like "0.1"'
    if either:
        return "text or a whole number"
    words = _KINDS.get(mistake["type"])
    return words.format(**mistake.get("ctx", {})) if words else f"something else ({mistake['msg']})"


def _near(mistake: Any) -> str:
    """The word that may have been meant, where it has to be one of several."""
    if mistake["type"] != "literal_error" or not isinstance(mistake["input"], str):
        return ""
    return did_you_mean(mistake["input"], re.findall(r"'([^']*)'", mistake["ctx"]["expected"]))


def _found(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"[:80]
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return "nothing" if value is None else repr(value[:80] if isinstance(value, str) else str(value)[:80])


def _known(model: Any, path: Sequence[str | int]) -> list[str]:
    """The keys of a section; none where it is not found."""
    for key in path:
        fields = getattr(model, "model_fields", {})
        if key in fields:
            annotation = fields[key].annotation
            parts = (annotation, *get_args(annotation))
            model = next((each for each in parts if hasattr(each, "model_fields")), None)
    return list(getattr(model, "model_fields", {}))
