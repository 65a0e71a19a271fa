"""Every mistake in a charter as people write it, with its line; where there is none, the charter."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fedpact.artifacts import canonical
from fedpact.artifacts.charter import MAX_BYTES, Charter, Contradictions, contradictions
from fedpact.artifacts.mistakes import Place, in_words
from fedpact.errors import CharterError, NotInstalled
from fedpact.suggestion import unreadable
from fedpact.toml_lines import key_lines, line_of, said_of

_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")

_SUGGESTIONS = 100
"""Mistakes for which names that may have been meant are looked for: a file from a stranger may have many thousands."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake.

    Attributes:
        line: where, from 1; none where something is missing from the file as a whole.
        reason: the setting, what was expected, what was found.
    """

    line: int | None
    reason: str


def check(path: Path) -> tuple[Charter | None, list[Mistake]]:
    """Reads a charter, and finds all that is wrong with it in the order of the file.

    Returns:
        The charter where there is no mistake in itself; it may still name a rule that is not installed here.

    Raises:
        CharterError: the file cannot be read, or is longer than any charter.
    """
    text = _text(path)
    try:
        value = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        at = _AT.search(str(error))
        line = None if at is None else int(at[1] or text.count("\n") + 1)
        return None, [Mistake(line, _AT.sub("", said_of(error)))]
    charter, found = _check(value)
    lines = key_lines(text) if found else {}
    mistakes = [Mistake(line_of(lines, place), reason) for place, reason in dict.fromkeys(found)]
    return charter, sorted(mistakes, key=lambda each: each.line or 0)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CharterError(f"charter {path}: {unreadable(path, error)}") from None
    except ValueError as error:  # A path that no system has.
        raise CharterError(f"charter {path}: {error}") from None
    if len(data) > MAX_BYTES:
        raise CharterError(f"charter {path}: expected at most {MAX_BYTES} bytes")
    try:
        return data.decode()
    except ValueError:
        raise CharterError(f"charter {path}: expected text in UTF-8, found other bytes") from None


def _check(value: dict[str, Any]) -> tuple[Charter | None, list[tuple[Place, str]]]:
    try:
        charter = Charter.model_validate(value)
    except ValidationError as error:
        mistakes: list[Any] = error.errors(include_url=False)
    else:
        return charter, list(_not_installed(charter, ()))
    cause = mistakes[0].get("ctx", {}).get("error")
    if isinstance(cause, Contradictions):  # They are looked for only where there is nothing else.
        return None, [*cause.all, *_not_installed(_parts(value, set()), cause.all)]
    found: list[tuple[Place, str]] = []
    for number, mistake in enumerate(mistakes):
        place, message = in_words(mistake, Charter, suggest=number < _SUGGESTIONS)
        found.append((place, f"{canonical.shown('.'.join(map(str, place)))}: {message}"))
    wrong = {str(place[0]) for place, _ in found if place}
    parts = _parts(value, wrong)
    found += contradictions(parts, wrong)
    return None, [*found, *_not_installed(parts, found)]


def _not_installed(charter: Charter, found: Sequence[tuple[Place, str]]) -> Iterator[tuple[Place, str]]:
    """The rule and the optimiser, where they are not here, unless something else was found to be wrong with them."""
    wrong = {str(place[0]) for place, _ in found if place}
    made: list[tuple[set[str], Callable[[], object]]] = [
        ({"rule", "before"}, charter.make_rule),
        ({"optimiser"}, charter.make_optimiser),
    ]
    for sections, make in made:
        try:
            if not sections & wrong:
                make()
        except NotInstalled as error:
            section = next(each for each in ("rule", "before", "optimiser") if str(error).startswith(each))
            yield (section,), str(error)
        except CharterError:
            pass  # Said already.


def _parts(value: dict[str, Any], wrong: set[str]) -> Charter:
    """What is right of a charter by itself; the rest of it is not to be looked at."""
    fields: dict[str, Any] = Charter.model_fields
    parts = {
        name: TypeAdapter(fields[name].annotation).validate_python(each, strict=True)
        for name, each in value.items()
        if name in fields and name not in wrong
    }
    return Charter.model_construct(**parts)
