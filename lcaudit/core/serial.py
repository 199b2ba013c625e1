"""Dataclasses ↔ strict JSON, and the JSON Schema that follows from them.

One description, the dataclass, gives writer, reader and schema, so the three cannot drift apart.
JSON has no NaN or infinity: a non-finite float is written as ``{"nonfinite": "nan" | "inf" | "-inf"}``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lcaudit.core.errors import MalformedInput
from lcaudit.core.text import display_name

T = TypeVar("T")
#: Deeper nesting than a report ever has; a deeper file is refused before Python's recursion limit.
MOST_DEPTH = 64
#: A record or list with text in it that is no longer than this is written on one line.
LONGEST_LINE = 400


def dumps(value: Any) -> str:
    """``value`` (a dataclass) as indented UTF-8 JSON text with a trailing newline.

    A list of numbers (or of such lists), and a short record of scalars, takes one line: a changed
    figure then changes one line.
    """
    return _written(plain(value), "") + "\n"


def _written(value: Any, margin: str) -> str:
    if not value or not isinstance(value, (dict, list)) or _fits_one_line(value):
        return _compact(value)
    inner = f"{margin} "
    if isinstance(value, dict):
        rows = [f"{inner}{_compact(key)}: {_written(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{margin}}}"
    return "[\n" + ",\n".join(inner + _written(item, inner) for item in value) + f"\n{margin}]"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _fits_one_line(value: dict[str, Any] | list[Any]) -> bool:
    items = list(value.values()) if isinstance(value, dict) else value
    if isinstance(value, list) and all(_numeric(item) for item in items):
        return True
    return all(_single(item) for item in items) and len(_compact(value)) <= LONGEST_LINE


def _single(item: Any) -> bool:
    return not isinstance(item, (dict, list)) or (isinstance(item, dict) and item.keys() == {"nonfinite"})


def _numeric(item: Any) -> bool:
    if isinstance(item, list):
        return all(_single(one) and not isinstance(one, str) for one in item)
    return _single(item) and not isinstance(item, str)


def plain(value: Any) -> Any:
    """A dataclass as dicts, lists and scalars that JSON can hold."""
    if dataclasses.is_dataclass(value):
        floats = _float_fields(type(value))
        items = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {
            name: plain(float(item) if name in floats and item is not None else item) for name, item in items.items()
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"nonfinite": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    assert value is None or isinstance(value, (bool, int, float)), f"not serialisable: {type(value)}"
    return value


@cache
def _float_fields(kind: type) -> frozenset[str]:
    """Fields of floats: a whole number there is written as it will be read back, ``1.0`` and not ``1``."""
    hints = get_type_hints(kind)
    return frozenset(name for name in hints if hints[name] in (float, float | None))


def parse_json(text: str | bytes) -> Any:
    """Strict JSON: no NaN literals, no duplicate keys, bounded depth.

    Raises:
        MalformedInput: what is wrong with the text.
    """

    def refuse(token: str) -> Any:
        raise ValueError(f"{token} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            raise ValueError("a key appears twice")
        return seen

    try:
        data = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
        if _depth(data) > MOST_DEPTH:
            raise RecursionError
        return data
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise MalformedInput(f"not valid JSON: {reason}") from None


def _depth(data: Any) -> int:
    """How many lists and objects lie one in another; level by level, so that depth costs no stack."""
    depth, level = 0, [data]
    while level := [one for one in level if isinstance(one, (dict, list))]:
        depth += 1
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
    return depth


def load(kind: type[T], data: Any) -> T:
    """Build ``kind`` (a dataclass) from what :func:`parse_json` returned. Unknown keys are ignored.

    Raises:
        MalformedInput: the path of the first value that does not fit.
    """
    return _read(kind, data, "report")


def _read(kind: Any, data: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        options = [option for option in arguments if option is not type(None)]
        if data is None and len(options) < len(arguments):
            return None
        if len(options) == 1:
            return _read(options[0], data, where)
        for option in options:  # scalars only
            if _scalar(option, data) is not _MISSING:
                return _scalar(option, data)
        raise _misfit(where, kind, data)
    if origin is Literal:
        if data in arguments:
            return data
        raise _misfit(where, kind, data)
    if origin is tuple:
        if not isinstance(data, list):
            raise _misfit(where, kind, data)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(data))
        if len(data) != len(arguments):
            raise _misfit(where, kind, data)
        return tuple(_read(a, item, f"{where}[{i}]") for i, (a, item) in enumerate(zip(arguments, data, strict=True)))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, dict):
            raise _misfit(where, kind, data)
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in data.items()}
    if dataclasses.is_dataclass(kind):
        if not isinstance(data, dict):
            raise _misfit(where, kind, data)
        hints, values = get_type_hints(kind), {}
        for field in dataclasses.fields(kind):
            if field.name in data:
                values[field.name] = _read(hints[field.name], data[field.name], f"{where}.{field.name}")
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise MalformedInput(f"{where}.{field.name} is missing")
        return kind(**values)
    value = _scalar(kind, data)
    if value is _MISSING:
        raise _misfit(where, kind, data)
    return value


_MISSING = object()
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _scalar(kind: Any, data: Any) -> Any:
    if kind is float:
        if isinstance(data, dict):
            name = data.get("nonfinite")
            return _NON_FINITE.get(name, _MISSING) if isinstance(name, str) else _MISSING
        number = isinstance(data, (int, float)) and not isinstance(data, bool)
        return float(data) if number and abs(data) <= sys.float_info.max else _MISSING
    if kind is int:
        return data if isinstance(data, int) and not isinstance(data, bool) else _MISSING
    return data if isinstance(data, kind) else _MISSING


def _misfit(where: str, kind: Any, data: Any) -> MalformedInput:
    held = display_name(repr(data), 40) if isinstance(data, str) else _WORDS.get(type(data), type(data).__name__)
    if kind is float and type(data) is int:
        held = "a number too large for float64"
    return MalformedInput(f"{where} holds {held}, expected {_expected(kind)}")


_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _expected(kind: Any) -> str:
    """``kind`` in the words of JSON."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_expected(option) for option in arguments)
    if origin is Literal:
        return "one of " + ", ".join(f"'{option}'" for option in arguments)
    if origin is tuple:
        return "a list" if Ellipsis in arguments else f"a list of {len(arguments)}"
    return _WORDS.get(kind, "an object")


def schema(kind: type, identifier: str, title: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a dataclass and everything below it."""
    definitions: dict[str, Any] = {}
    root = _schema(kind, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": identifier,
        "title": title,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    float: {"$ref": "#/$defs/number"},
}
_NUMBER = {
    "description": "A finite number, or an object that names a non-finite one.",
    "anyOf": [
        {"type": "number"},
        {
            "type": "object",
            "properties": {"nonfinite": {"enum": ["nan", "inf", "-inf"]}},
            "required": ["nonfinite"],
            "additionalProperties": False,
        },
    ],
}


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(option, definitions) for option in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is tuple:
        items = [_schema(argument, definitions) for argument in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if dataclasses.is_dataclass(kind):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}
            hints = typing.get_type_hints(kind)
            fields = dataclasses.fields(kind)
            required = [
                field.name
                for field in fields
                if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            ]
            definitions[kind.__name__] = {
                "description": " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
                "type": "object",
                "properties": {field.name: _schema(hints[field.name], definitions) for field in fields},
                "required": required,
            }
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if kind is float:
        definitions["number"] = _NUMBER
    return dict(_SCALARS[kind])
