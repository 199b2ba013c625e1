"""A ``.jsonl`` file: one JSON object a line, with a field of text and, if there are labels, one of class numbers.

Fields are found by type, as the columns of a table are: the only one of text, or the one named ``text``; the one named
``label``, or the only one of whole numbers. ``--columns text=…,label=…`` chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lcaudit.core.errors import AuditError, LimitExceeded, MalformedInput, ProbeUnavailable, UsageError
from lcaudit.core.serial import parse_json
from lcaudit.core.text import display_name, one_line
from lcaudit.probes._contract import Samples, Source
from lcaudit.probes._lines import Lines

_SUFFIXES = (".jsonl", ".ndjson", ".json")
_HINT = "write one object a line, each with the same fields"
#: Longest line: a text is at most a few of these characters to any network, and nesting swells in memory.
_LONGEST_LINE = 2**24
#: Largest class number: beyond, NumPy has no whole numbers.
_LARGEST = 2**62


def open_jsonl(path: Path, split: str | None, columns: Mapping[str, str]) -> Samples:
    """Samples of a file of JSON lines.

    Raises:
        MalformedInput: a line that is no JSON object or lacks a field. ProbeUnavailable: which field is meant is not
            clear, or holds something else. UsageError: a field that the user names is not there, or ``--split``.
        LimitExceeded, EnvironmentFailure: too large, or cannot be read.
    """
    lines = Lines(path)
    shown = display_name(path.name)
    if not len(lines):
        raise ProbeUnavailable(f"{shown} holds no lines", _HINT)
    first = _object(lines, 0)
    text = _text(first, columns, shown)
    label = _label(first, text, columns, shown)
    labels = []
    for place in range(len(lines)):
        row = _object(lines, place)
        _held(row, text, str, lines, place)
        if label:
            value = _held(row, label, (int, float), lines, place)
            if isinstance(value, bool) or abs(value) > _LARGEST:
                raise ProbeUnavailable(f"{_line(lines, place)}: {display_name(label, 60)} is no class number", _HINT)
            labels.append(value)
    given = None
    if labels:
        given = np.array(labels, np.int64 if all(isinstance(one, int) for one in labels) else np.float64)
    beside = f", labels from {display_name(label, 60)}" if label else ", no labels"
    found = f"text from {display_name(text, 60)}{beside}"
    return lines.samples(split, lambda place: str(_object(lines, place)[text]), [found], labels=given)


def _line(lines: Lines, place: int) -> str:
    return f"{lines.shown}: line {lines.numbers[place]}"


def _object(lines: Lines, place: int) -> dict[str, Any]:
    if len(lines.bytes(place)) > _LONGEST_LINE:
        raise LimitExceeded(f"{_line(lines, place)}: longer than {_LONGEST_LINE >> 20} MiB", "pass shorter texts")
    try:
        found = parse_json(lines.text(place))
    except AuditError as error:
        if error.message.startswith(lines.shown):
            raise
        raise MalformedInput(f"{_line(lines, place)} is {error.message}", _HINT) from None
    if not isinstance(found, dict):
        raise MalformedInput(f"{_line(lines, place)} is no JSON object", _HINT)
    return found


def _held(row: Mapping[str, Any], name: str, kind: Any, lines: Lines, place: int) -> Any:
    if not isinstance(row.get(name), kind):
        seen = f"{display_name(name, 60)} is {type(row[name]).__name__}" if name in row else f"no {name}"
        raise MalformedInput(f"{_line(lines, place)}: {display_name(seen, 120)}", _HINT)
    return row[name]


def _text(first: Mapping[str, Any], asked: Mapping[str, str], shown: str) -> str:
    for use, name in asked.items():
        if use == "image" or name not in first:
            raise UsageError(
                f"--columns {use}={display_name(name, 60)}: {shown} has no such field",
                f"it has {one_line(list(first), 12)}; name them by text=… and label=…",
            )
    found = [name for name, value in first.items() if isinstance(value, str)]
    if "text" in asked:
        return asked["text"]
    if len(found) > 1 and "text" in found:
        return "text"
    if len(found) != 1:
        raise ProbeUnavailable(
            f"{shown} has {len(found)} fields of text" + (f": {one_line(found)}" if found else ""),
            f"choose one: --columns text={display_name(found[0], 60)}" if found else _HINT,
        )
    return found[0]


def _label(first: Mapping[str, Any], text: str, asked: Mapping[str, str], shown: str) -> str:
    name = asked.get("label") or ("label" if "label" in first else "")
    whole = [one for one, value in first.items() if type(value) is int]
    if not name and len(whole) == 1:
        return whole[0]
    if name and name != text and not isinstance(first[name], (int, float)):
        raise ProbeUnavailable(
            f"{shown}: {display_name(name, 60)} is {display_name(repr(first[name]), 40)}, expected a class number",
            "write the network's own class numbers, from 0",
        )
    return name


SOURCE = Source(
    title="a .jsonl file of text",
    accepts=lambda path, start: path.suffix.lower() in _SUFFIXES and start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{",
    open=lambda path, split: open_jsonl(path, split, {}),
    open_columns=open_jsonl,
)
