"""The lines of a TOML file: every value that `tomllib` finds has one, and it is the right one."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from fedpact.toml_lines import Place, key_lines, line_of
from hypothesis import given
from hypothesis import strategies as st

TEXT = '''# a comment [with] = signs
name = "a # b"
"quoted.key" = 1      # another
a.b.c = 2
long = """
x = 1
[no table]
"""
items = [
  1, # one
  { x = 1, 'y z' = [2,
    3] },

  "three",
]

[table]
x = 1979-05-27T07:32:00Z
inner.deep = {}
raw = \'\'\'
it's ''\'\'\'
  [table.sub]
  y = [] # none
[[many]]
n = 1
[[many]]
n = 2
[many.child]
m = 3
'''


def _places(value: Any, place: Place = ()) -> set[Place]:
    found = {place} if place else set()
    if isinstance(value, dict):
        return found.union(*(_places(each, (*place, key)) for key, each in value.items()))
    if isinstance(value, list):
        return found.union(*(_places(each, (*place, number)) for number, each in enumerate(value)))
    return found


def test_every_value_has_its_line() -> None:
    """Whatever form its key, its string or its table has; what is within a string or a comment is not taken for one."""
    lines = key_lines(TEXT)
    assert set(lines) == _places(tomllib.loads(TEXT))
    expected: dict[Place, int] = {
        ("name",): 2,
        ("quoted.key",): 3,
        ("a", "b", "c"): 4,
        ("long",): 5,
        ("items",): 9,
        ("items", 0): 10,
        ("items", 1): 11,
        ("items", 1, "y z", 1): 12,
        ("items", 2): 14,
        ("table",): 17,
        ("table", "x"): 18,
        ("table", "inner", "deep"): 19,
        ("table", "raw"): 20,
        ("table", "sub"): 22,
        ("table", "sub", "y"): 23,
        ("many", 0, "n"): 25,
        ("many", 1): 26,
        ("many", 1, "n"): 27,
        ("many", 1, "child", "m"): 29,
    }
    assert {place: lines[place] for place in expected} == expected


def test_windows_line_ends_count_once() -> None:
    """As an editor counts them."""
    assert key_lines("a = 1\r\n\r\n[b]\r\nc = [\r\n 2,\r\n]\r\n")[("b", "c", 0)] == 5


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    """A missing key is looked for in its table."""
    lines = key_lines("a = 1\n[b]\nc = 2\n")
    assert line_of(lines, ("b", "d", "e")) == 2
    assert line_of(lines, ("x",)) is None


_KEYS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=5)
_LEAVES = st.one_of(
    st.integers(-9, 99), st.booleans(), st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)))
)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=8
)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=True) if text.isascii() else '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    return f"\\U{ord(character):08x}"


def _toml(value: Any, newline: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + newline + f",{newline}".join(_toml(each, newline) for each in value) + newline + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_string(key)} = {_toml(each, newline)}" for key, each in value.items()) + " }"
    return str(value)


@given(
    st.dictionaries(_KEYS, _VALUES, max_size=4),
    st.dictionaries(_KEYS, _VALUES, max_size=3),
    st.text("# \n", max_size=3),
)
def test_it_finds_what_tomllib_finds(top: dict[str, Any], table: dict[str, Any], between: str) -> None:
    """Neither more nor less, for whatever keys and values there are."""
    text = "".join(f"{_string(key)} = {_toml(each, ' #x' + chr(10))}\n" for key, each in top.items())
    if "table" not in top:
        text += f"{between}\n[table]\n" + "".join(f"{_string(k)} = {_toml(v, chr(10))}\n" for k, v in table.items())
    assert set(key_lines(text)) == _places(tomllib.loads(text))
