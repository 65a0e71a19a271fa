"""Tables of a document's fields, from the models that read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from reference_pages.markdown import attributes, code, prose, sentence, table

_TYPES = {"string": "text", "integer": "whole number", "number": "number"}


def fields(
    model: type[BaseModel],
    names: list[str] | None = None,
    *,
    defaults: bool = True,
    links: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """A row for each field of a model.

    Args:
        names: the fields; otherwise all.
        defaults: whether to say what a field is where it is left out.
        links: types by name, where a table of their own says more.

    Raises:
        Undocumented: the model's docstring says nothing of one.
    """
    schema = model.model_json_schema()
    names = names or list(model.model_fields)
    words = attributes(model, names)
    rows = []
    for name in names:
        field = schema["properties"][name]
        row = [
            code(name),
            links.get(name) or type_of(field, schema),
            _default(model, name),
            prose(sentence(words[name])),
        ]
        rows.append(row if defaults else [row[0], row[1], row[3]])
    columns = ("key", "type", "default", "what it is") if defaults else ("field", "type", "what it is")
    return table(*columns, rows=rows)


def type_of(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a value may be, with its bounds."""
    options = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
    return " or ".join(_one(each, schema) for each in options)


def _one(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in field:
        return "table"
    if "allOf" in field:
        return _one(field["allOf"][0], schema)
    if "const" in field or "enum" in field:
        return ", ".join(code(json.dumps(each)) for each in field.get("enum", [field.get("const")]))
    kind = field.get("type")
    if kind == "array":
        items = field["items"]
        return "list of " + ("tables" if "$ref" in items else f"{_TYPES[items['type']]}s")
    if kind == "object":
        inner = field.get("additionalProperties")
        return "table of " + (
            "tables" if inner and "$ref" in inner else type_of(inner, schema) if inner else "anything"
        )
    if "format" in field:
        return str(field["format"])
    words = _TYPES[str(kind)]
    if "minimum" in field:
        least, most = field["minimum"], field.get("maximum")
        words += f" from {least:,}" if most is None else f", {least:,} to {most:,}"
    if "maxLength" in field:
        words += f", {field.get('minLength', 0)} to {field['maxLength']} characters"
    return words


def _default(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel | list):
        return "its defaults" if field.default else "none"
    return "none" if field.default is None else code(repr(field.default).replace("'", '"'))
