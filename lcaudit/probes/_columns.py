"""Which columns of a table are images or texts, and labels: by what the Hub's libraries record, else by type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lcaudit.core.errors import MalformedInput, ProbeUnavailable, UsageError
from lcaudit.core.serial import parse_json
from lcaudit.core.text import display_name, one_line

_MOST_FEATURES = 2**24
#: What a column of labels, or of text, is called where several could be it.
_LABEL, _TEXT = "label", "text"


@dataclass(frozen=True, slots=True)
class Columns:
    """What is read. ``cells``: dotted path of the images' bytes, or the name of a column of ``text``.

    ``label``: ``""`` for none; ``classes``: its names.
    """

    cells: str
    label: str
    classes: tuple[str, ...]
    text: bool = False


def find_columns(file: Any, asked: Mapping[str, str], shown: str) -> Columns:
    """The columns of an open Parquet file.

    Args:
        asked: the user's choice, by use, ``image`` or ``text``, and ``label``. shown: what to call the table.

    Raises:
        UsageError: a column that the user names is not there. MalformedInput: two have the same name.
        ProbeUnavailable: none or several could be meant, or the one named holds something else.
    """
    schema = file.schema_arrow
    fields = {name: schema.field(index).type for index, name in enumerate(schema.names)}
    if len(fields) != len(schema.names):
        raise MalformedInput(f"{shown}: two columns have the same name", "write the table again")
    features = _features(schema.metadata)
    for use, name in asked.items():
        if name not in fields:
            raise UsageError(
                f"--columns {use}={display_name(name, 60)}: {shown} has no such column",
                f"it has {one_line(list(fields), 12)}",
            )
    if "text" in asked or ("image" not in asked and not _images(fields, features)):
        return _text(fields, features, asked, shown)
    image = asked.get("image") or _image(fields, features, shown)
    paths = {name: path for name, kind in fields.items() if (path := _encoded(name, kind))}
    if image not in paths:
        raise ProbeUnavailable(
            f"{shown}: column {display_name(image, 60)} holds {display_name(fields[image], 60)}, expected image files",
            "name a column of bytes, or of records with bytes, with --columns image=…",
        )
    label = _checked(asked.get("label") or _label(fields, features, image, shown), fields, shown)
    return Columns(paths[image], label, _names(features.get(label)))


def _text(fields: Mapping[str, Any], features: Mapping[str, Any], asked: Mapping[str, str], shown: str) -> Columns:
    """The columns of a table of texts, whose labels most networks do not want: where unclear, there are none."""
    if "image" in asked:
        raise UsageError("--columns names both image and text", "name one of them")
    texts = [name for name, kind in fields.items() if _strings(kind)]
    text = asked.get("text") or (_TEXT if _TEXT in texts else texts[0] if len(texts) == 1 else "")
    if not text:
        seen = [f"{display_name(name, 40)} ({display_name(kind, 40)})" for name, kind in list(fields.items())[:12]]
        raise ProbeUnavailable(
            f"{shown} has {len(texts)} columns of text: {one_line(texts)}"
            if texts
            else f"{shown} has no column of images or text; it has {', '.join(seen)}",
            f"choose one: --columns text={display_name(texts[0], 60)}"
            if texts
            else "pass a data set of images or text, or --columns image=… or text=…",
        )
    if text not in texts:
        raise ProbeUnavailable(
            f"{shown}: column {display_name(text, 60)} holds {display_name(fields[text], 60)}, expected text",
            f"it has columns of text: {one_line(texts)}" if texts else "pass a table with a column of text",
        )
    try:
        label = asked.get("label") or _label(fields, features, text, shown)
    except ProbeUnavailable:
        label = ""
    label = _checked(label, fields, shown)
    return Columns(text, label, _names(features.get(label)), text=True)


def _checked(label: str, fields: Mapping[str, Any], shown: str) -> str:
    if label and not _numbers(fields[label]):
        raise ProbeUnavailable(
            f"{shown}: column {display_name(label, 60)} holds {display_name(fields[label], 60)}, expected numbers",
            "name a column of class numbers with --columns label=…",
        )
    return label


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """What the Hub's own libraries wrote about the columns; nothing where it makes no sense."""
    text = (metadata or {}).get(b"huggingface", b"")
    if not text or len(text) > _MOST_FEATURES:
        return {}
    try:
        match parse_json(text):
            case {"info": {"features": dict(features)}}:
                return features
    except MalformedInput:
        pass
    return {}


def _kind(feature: Any) -> str:
    return str(feature.get("_type")) if isinstance(feature, dict) else ""


def _names(feature: Any) -> tuple[str, ...]:
    """Names of the classes, in order."""
    match feature:
        case {"_type": "ClassLabel", "names": list(names)} if all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()


def _images(fields: Mapping[str, Any], features: Mapping[str, Any]) -> list[str]:
    found = [name for name in fields if _kind(features.get(name)) == "Image"]
    return found or [name for name, kind in fields.items() if _encoded(name, kind)]


def _image(fields: Mapping[str, Any], features: Mapping[str, Any], shown: str) -> str:
    found = _images(fields, features)
    if len(found) == 1:
        return found[0]
    raise ProbeUnavailable(
        f"{shown} has {len(found)} columns of images: {one_line(found)}",
        f"choose one: --columns image={display_name(found[0], 60)}",
    )


def _label(fields: Mapping[str, Any], features: Mapping[str, Any], image: str, shown: str) -> str:
    found = [name for name in fields if _kind(features.get(name)) == "ClassLabel" and name != image]
    found = found or [name for name, kind in fields.items() if name != image and _whole(kind)]
    if len(found) > 1 and _LABEL in found:
        return _LABEL
    if len(found) > 1:
        raise ProbeUnavailable(
            f"{shown} has {len(found)} columns that could be labels: {one_line(found)}",
            f"choose one: --columns label={display_name(found[0], 60)}",
        )
    return found[0] if found else ""


def _encoded(name: str, kind: Any) -> str:
    """Path of a column's bytes, or ``""`` if it has none."""
    from pyarrow import types

    def binary(one: Any) -> bool:
        return bool(types.is_binary(one) or types.is_large_binary(one))

    if binary(kind):
        return name
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and binary(kind.field("bytes").type):
        return f"{name}.bytes"
    return ""


def _strings(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _whole(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind))


def _numbers(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))
