"""The report as one HTML page that needs nothing else: no script, no network, no font.

The page stays readable without its style sheet, prints, follows the reader's light or dark setting, and
forbids itself everything but its own style sheet, whose hash its content security policy names.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lcaudit.core.outcomes import Report
from lcaudit.core.templates import folder
from lcaudit.reports import _markup as markup
from lcaudit.reports._contract import Style, Writer
from lcaudit.reports._page import page


def write(report: Report, style: Style) -> str:
    """``report`` as a whole HTML document; ``style`` is for terminals and changes nothing."""
    return document("report.html.j2", page(report))


def document(template: str, content: Mapping[str, Any]) -> str:
    """A whole page from one of the templates, which reads ``content`` as ``page``."""
    environment = _environment()
    css = _style_sheet()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return environment.get_template(template).render(page=content, css=Markup(css), policy=policy)


@cache
def _style_sheet() -> str:
    # A browser hashes the text that it parsed, and parsing turns every line end into a line feed.
    return "\n" + "\n".join((folder() / "report.css").read_text(encoding="utf-8").splitlines()) + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder()),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=markup.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(name=markup.name, prose=markup.prose, num=markup.num, code=markup.code)
    return environment


WRITER = Writer(".html", "text/html", write)
