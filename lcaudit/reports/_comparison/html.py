"""The comparison as one HTML page that needs nothing else, as the report's."""

from __future__ import annotations

from lcaudit.core.comparison import Comparison
from lcaudit.reports._comparison_page import view
from lcaudit.reports._contract import Style, Writer
from lcaudit.reports.html import document


def write(comparison: Comparison, style: Style) -> str:
    """``comparison`` as a whole HTML document; ``style`` is for terminals and changes nothing."""
    return document("comparison.html.j2", view(comparison))


WRITER = Writer(".html", "text/html", write)
