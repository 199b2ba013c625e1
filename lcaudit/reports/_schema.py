"""The JSON Schema of a report, from the dataclasses; ``python -m lcaudit.reports`` prints it."""

from __future__ import annotations

import json
from typing import Any

from lcaudit.core import serial
from lcaudit.core.outcomes import Report
from lcaudit.reports._contract import SCHEMA_ID


def schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of what the ``json`` format writes."""
    described = serial.schema(Report, SCHEMA_ID, "lcaudit report, major version 1")
    definitions = described.pop("$defs")
    return {
        **described,
        "properties": {"schema": {"const": SCHEMA_ID}},
        "required": ["schema"],
        "$defs": definitions,
    }


def schema_text() -> str:
    """The published file, to the byte."""
    return json.dumps(schema(), ensure_ascii=False, indent=1) + "\n"
