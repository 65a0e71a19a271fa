"""Canonical JSON: one value has one sequence of bytes, and nothing else is read."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from fedpact.artifacts import canonical
from fedpact.errors import InvalidDocument
from hypothesis import given, settings
from hypothesis import strategies as st

# Text without halves of surrogate pairs, which no UTF-8 holds.
text = st.text(max_size=8)
values = st.recursive(
    text | st.integers() | st.integers(-(2**70), 2**70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | text | st.integers() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text | st.integers(), inner, max_size=3),
    max_leaves=8,
)


# ------------------------------------------------------------------------------------------------- what is not written

UNWRITABLE: dict[str, tuple[object, str]] = {
    "a float": ({"a": [1, 1.5]}, r"document\.a\[1\]: expected .*, found float"),
    "a whole float": (1.0, "document: expected .*, found float"),
    "not a number": ([float("nan")], r"document\[0\]: .*found float"),
    "true": ({"a": {"b": True}}, r"document\.a\.b: .*found bool"),
    "none": ({"a": None}, r"document\.a: .*found NoneType"),
    "bytes": (b"text", "document: .*found bytes"),
    "a tuple": ([(1, 2)], r"document\[0\]: .*found tuple"),
    "a number as a key": ({"a": {1: "x"}}, r"document\.a: a key that is no text: 1"),
    "half a character": (["\ud800"], "document: text that is not Unicode"),
    "half a character in a key": ({"\udfff": 1}, "document: text that is not Unicode"),
    "a number too long to be read again": ([10**5000], "document: a number of too many digits"),
}


@pytest.mark.parametrize(("value", "message"), UNWRITABLE.values(), ids=UNWRITABLE.keys())
def test_a_value_that_json_cannot_carry_to_everyone_is_refused(value: object, message: str) -> None:
    """What is not an object, list, text or integer is refused, and the error names the place."""
    with pytest.raises(InvalidDocument, match=message):
        canonical.encode(value)


# ---------------------------------------------------------------------------------------------------- what is not read

UNREADABLE = {
    "nothing": b"",
    "no JSON": b"{",
    "a single quote": b"{'a':1}",
    "two values": b"1 2",
    "bytes that are no UTF-8": b'"\xff"',
    "UTF-16": '"a"'.encode("utf-16"),
    "half a character": b'"\\ud800"',
    "half a character as bytes": b'"\xed\xa0\x80"',
    "a byte order mark": b'\xef\xbb\xbf"a"',
    "a float": b'{"a":1.5}',
    "a whole float": b"1.0",
    "an exponent": b"1e3",
    "minus zero": b"-0",
    "infinity": b"Infinity",
    "not a number": b"[NaN]",
    "true": b"true",
    "null": b'{"a":null}',
    "a space": b'{"a": 1}',
    "a line feed after": b'{"a":1}\n',
    "a space before": b" 1",
    "keys out of order": b'{"b":1,"a":2}',
    "a key twice": b'{"a":1,"a":1}',
    "an escape that is not needed": b'"\\u0061"',
    "an escaped slash": b'"\\/"',
    "an escape in upper case": b'"\\u001F"',
    "letters beyond ASCII escaped": b'"\\u00e9"',
    "a number with zeros before": b"[007]",
    "a number of too many digits": b"9" * 5000,
    "lists too deep": b"[" * 100_000 + b"]" * 100_000,
    "objects too deep": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_bytes_that_are_not_the_canonical_ones_are_refused(data: bytes) -> None:
    """Whatever is not the one sequence of bytes of a value is refused in one short line that names the document."""
    with pytest.raises(InvalidDocument, match=r"^manifest\b") as caught:
        canonical.decode(data, "manifest")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("key", ["a\nb", "a\x1b[31mb", "k" * 100_000, "\u2028"])
def test_a_hostile_key_does_not_spread_in_the_error(key: str) -> None:
    """A key with line feeds, terminal codes, or without end is quoted and cut where an error names it."""
    with pytest.raises(InvalidDocument) as caught:
        canonical.decode(json.dumps({key: 1.5}).encode(), "manifest")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("brackets", [b"[", b'{"a":'])
def test_a_document_nested_too_deeply_is_neither_written_nor_read(brackets: bytes) -> None:
    """32 lists or objects in one another are read and written, 33 are neither."""
    end = b"]" if brackets == b"[" else b"}"
    data = brackets * canonical.MAX_DEPTH + b"1" + end * canonical.MAX_DEPTH
    value = canonical.decode(data, "document")
    assert canonical.encode(value) == data
    with pytest.raises(InvalidDocument, match=f"nested deeper than {canonical.MAX_DEPTH}"):
        canonical.decode(brackets + data + end, "document")
    with pytest.raises(InvalidDocument, match=f"nested deeper than {canonical.MAX_DEPTH}"):
        canonical.encode([value])


@pytest.mark.parametrize("content", ["[" * 100, "{" * 100, '"[[' * 50, "\\" * 7 + '"' + "[" * 100, "]" * 100])
def test_brackets_in_text_are_not_counted(content: str) -> None:
    """Text may hold any number of brackets, quotes and backslashes."""
    data = canonical.encode({content: [content, "]", content]})
    assert canonical.decode(data, "document") == {content: [content, "]", content]}


@pytest.mark.parametrize("data", [b'"' + b'\\"' * 30_000, b'"' * 30_001, b'"\\' * 30_000, b"[" + b'"a",' * 30_000])
def test_a_document_that_breaks_off_costs_no_more_than_its_length(data: bytes) -> None:
    """Text that never ends, however many quotes are in it, is refused in time proportional to its length."""
    start = time.process_time()
    with pytest.raises(InvalidDocument, match="not JSON"):
        canonical.decode(data, "document")
    assert time.process_time() - start < 2  # The processor's seconds: a busy machine does not matter.


def test_long_keys_below_one_another_cost_no_more_than_the_document() -> None:
    """A hostile document of nested long keys is read in memory proportional to its size."""
    depth, key = 30, "k" * 100_000
    data = (f'{{"{key}":' * depth + "1" + "}" * depth).encode()
    tracemalloc.start()
    try:
        canonical.decode(data, "manifest")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(data)


@settings(max_examples=150)
@given(st.binary(max_size=30) | st.text(alphabet='{}[]":,0123456789.eE-\\ aubntrl', max_size=20).map(str.encode))
def test_any_bytes_are_refused_or_are_those_of_their_value(data: bytes) -> None:
    """Whatever is read is written in the same way again, so no two documents have one meaning."""
    try:
        value = canonical.decode(data, "document")
    except InvalidDocument:
        return
    assert canonical.encode(value) == data


@settings(max_examples=100)
@given(anything)
def test_any_value_is_refused_or_comes_back(value: Any) -> None:
    """A value is either refused when it is written, or is read as the same value of the same types."""
    try:
        data = canonical.encode(value)
    except InvalidDocument:
        return
    assert repr(canonical.decode(data, "document")) == repr(_sorted(value))


def _sorted(value: Any) -> Any:
    """The same value with every object's keys in order, as canonical documents have them."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("data", "value"), [(b' {"b": 1.5,\n "a": null}', {"b": 1.5, "a": None}), (b"[true]", [True])])
def test_json_that_is_not_canonical_can_be_parsed_as_such(data: bytes, value: object) -> None:
    """Documents of others are parsed with spaces, decimals and truth values, but are not canonical."""
    assert canonical.parse(data, "document") == value
    with pytest.raises(InvalidDocument):
        canonical.decode(data, "document")


# ------------------------------------------------------------------------------------------------------- what is right


@settings(max_examples=150)
@given(values)
def test_a_value_comes_back_from_its_bytes(value: Any) -> None:
    """Objects, lists, text and integers of any size survive, and the bytes are JSON that any library reads."""
    data = canonical.encode(value)
    assert canonical.decode(data, "document") == json.loads(data) == value


@settings(max_examples=60)
@given(st.dictionaries(text, values, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], source: Any) -> None:
    """An object has the same bytes in whatever order its keys were set."""
    items = list(value.items())
    source.shuffle(items)
    assert canonical.encode(dict(items)) == canonical.encode(value)


GOLDEN: dict[bytes, object] = {
    b"{}": {},
    b'""': "",
    b"0": 0,
    b"-18446744073709551616": -(2**64),
    b'{"B":1,"a":[2,"x"],"b":{}}': {"b": {}, "a": [2, "x"], "B": 1},
    '{"é":"\u2028/☃"}'.encode(): {"é": "\u2028/☃"},
    b'"\\"\\\\\\n\\u0000\\u001f\x7f"': '"\\\n\x00\x1f\x7f',
    # Keys sort by code point, not by UTF-16 unit as RFC 8785 has it.
    '{"\uff5e":1,"\U0001f600":2}'.encode(): {"\U0001f600": 2, "\uff5e": 1},
}


@pytest.mark.parametrize(("data", "value"), GOLDEN.items(), ids=[data.decode()[:40] for data in GOLDEN])
def test_golden_documents_do_not_change(data: bytes, value: object) -> None:
    """These values have these bytes for ever: no spaces, sorted keys, only the escapes that JSON demands."""
    assert canonical.encode(value) == data
    assert canonical.decode(data, "document") == value
