"""Where the templates lie: inside an installed package, beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "_templates", _PACKAGE.parent / "templates")


def folder() -> Path:
    """The folder that holds them."""
    return next(place for place in _PLACES if (place / "report.html.j2").is_file())
