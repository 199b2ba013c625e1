"""The text and the page of one fixed report, to the byte.

After a wanted change run ``LCAUDIT_UPDATE_GOLDEN=1 pytest tests/reports/test_report_golden.py`` and read
the difference before keeping it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import report_specimens as specimens

from lcaudit.reports import render

GOLDEN = Path(__file__).with_name("golden")
CASES = {
    "report.txt": ("text", {}),
    "report-verbose.txt": ("text", {"verbosity": 1}),
    "report-narrow.txt": ("text", {"width": 60}),
    "report-colour.txt": ("text", {"color": True, "verbosity": -1}),
    "report.html": ("html", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_rendering_is_unchanged(name):
    format, options = CASES[name]
    shown, path = render(specimens.report(specimens.network(6, 12)), format, **options), GOLDEN / name
    if os.environ.get("LCAUDIT_UPDATE_GOLDEN") == "1":
        path.write_text(shown, encoding="utf-8", newline="\n")
    assert shown == path.read_text(encoding="utf-8")
