"""The whole comparison as strict JSON."""

from __future__ import annotations

from lcaudit.core import serial
from lcaudit.core.comparison import Comparison
from lcaudit.reports._contract import Style, Writer
from lcaudit.reports.json import printable

SCHEMA_ID = "urn:lcaudit:comparison:1"


def write(comparison: Comparison, style: Style) -> str:
    """``comparison`` as indented UTF-8 JSON with a final newline."""
    return printable(serial.dumps({"schema": SCHEMA_ID, "schema_version": "1.0", **serial.plain(comparison)}))


WRITER = Writer(".json", "application/json", write)
