"""A timeline as one HTML page that needs nothing else, as the report's."""

from __future__ import annotations

from collections.abc import Sequence

from lcaudit.core.comparison import Point
from lcaudit.reports._timeline_page import view
from lcaudit.reports.html import document


def write(points: Sequence[Point], others: int) -> str:
    """``points`` as a whole HTML document."""
    return document("timeline.html.j2", view(points, others))
