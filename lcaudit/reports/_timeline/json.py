"""A timeline as strict JSON: the points of the history that were measured alike, by step."""

from __future__ import annotations

from collections.abc import Sequence

from lcaudit.core import serial
from lcaudit.core.comparison import Point
from lcaudit.core.metrics import METRICS
from lcaudit.reports.json import printable

SCHEMA_ID = "urn:lcaudit:timeline:1"


def write(points: Sequence[Point], others: int) -> str:
    """``points`` with what each metric means."""
    metrics = {metric.id: {"title": metric.title, "about": metric.about} for metric in METRICS}
    head = {"schema": SCHEMA_ID, "schema_version": "1.0", "metrics": metrics, "others": others}
    return printable(serial.dumps({**head, "points": [serial.plain(one) for one in points]}))
