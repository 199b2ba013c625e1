"""The whole report as strict JSON: what other programs read, and what every other format can be made from.

The first key names the schema. There is no ``NaN`` or ``Infinity``: a non-finite number is written as
``{"nonfinite": "nan" | "inf" | "-inf"}``. Characters that a terminal or an editor would act on or hide
are written as ``\\uXXXX``, so the file can be shown as it is.
"""

from __future__ import annotations

import re

from lcaudit.core import serial
from lcaudit.core.outcomes import Report
from lcaudit.reports._contract import SCHEMA_ID, Style, Writer


def write(report: Report, style: Style) -> str:
    """``report`` as indented UTF-8 JSON with a final newline."""
    return printable(serial.dumps({"schema": SCHEMA_ID, **serial.plain(report)}))


def printable(text: str) -> str:
    """JSON with every character escaped that a terminal or an editor would act on or hide."""
    # JSON keeps characters outside ASCII to strings, where an escape means the same character.
    text = re.sub(r"[^\x00-\x7e]", _escape, text)
    return text.replace("##[", "\\u0023#[")  # the log of a runner would obey it


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


WRITER = Writer(".json", "application/json", write)
