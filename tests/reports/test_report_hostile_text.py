"""Text from a file never becomes markup, a terminal's command or a log's command."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import get_type_hints

import jsonschema
import pytest
import report_specimens as specimens
from test_report_page import Page

from lcaudit.core import serial
from lcaudit.core.outcomes import Report
from lcaudit.reports import _schema, read, render

HOSTILE = {
    "markup": "</script></style></title><img src=x onerror=alert(1)>",
    "attribute": "x\" onmouseover=\"alert(1)' autofocus='",
    "template": "{{ 7*7 }}{% raw %}<b>",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m\r\x08",
    "log": "a\n::error::owned\n##[error]owned\n  ::add-mask::x",
    "bidi": "abc\u202edef\u2066\u200b\ufeff",
    "surrogate": "\ud800x\udfff",
    "huge": "x" * 1_000_000,
    "wide": "層" * 90,
    "empty": "",
}
INNOCENT = "layer"


def _everywhere(value, text: str, kind=Report):
    """``value`` with ``text`` in place of every free text; fields with a fixed set of words are left."""
    if dataclasses.is_dataclass(value):
        hints = get_type_hints(type(value))
        changes = {
            field.name: _everywhere(getattr(value, field.name), text, hints[field.name])
            for field in dataclasses.fields(value)
            if field.name not in ("schema_version",)
        }
        return dataclasses.replace(value, **changes)
    if isinstance(value, Mapping):
        return {key: _everywhere(item, text) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_everywhere(item, text, str if isinstance(item, str) else None) for item in value)
    return text if isinstance(value, str) and kind in (str, None) else value


def _poisoned(text: str) -> Report:
    report = _everywhere(specimens.report(specimens.network(3, 4)), text)
    key = {text: "x"}
    network = dataclasses.replace(report.measurements.network, variant=key)
    measured = dataclasses.replace(report.measurements, network=network)
    return dataclasses.replace(report, measurements=measured, run=dataclasses.replace(report.run, seconds={text: 1.0}))


def _shape(page: Page) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(sorted(attributes))) for tag, attributes in page.elements]


def test_the_poison_reaches_every_stage():
    report = _poisoned("POISON")
    assert report.measurements.layers[0].layer.name == "POISON"
    assert report.findings[0].fixes[0].code == "POISON"
    assert report.gate.fail_on == "error"
    assert render(report, "html").count("POISON") > 100
    assert render(report, "text", verbosity=1).count("POISON") > 20


@pytest.mark.parametrize("name", HOSTILE)
def test_the_page_has_the_elements_of_an_innocent_one(name):
    innocent, hostile = (Page(render(_poisoned(text), "html")) for text in (INNOCENT, HOSTILE[name]))
    if name == "empty":  # optional parts are left out, none are added
        assert set(_shape(hostile)) <= set(_shape(innocent))
    else:
        assert _shape(hostile) == _shape(innocent)
    for tag, attributes in hostile.elements:
        for key in ("href", "id", "class", "d", "style", "content"):
            value = attributes.get(key) or ""
            assert not HOSTILE[name] or HOSTILE[name] not in value, (tag, key)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_page_holds_printable_text_only(name):
    text = render(_poisoned(HOSTILE[name]), "html")
    assert all(line.isprintable() for line in text.split("\n"))
    text.encode("utf-8")
    assert len(text) < 1_500_000


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_the_terminal_gets_printable_text_only(name, color):
    for verbosity in (-1, 0, 1):
        for width in (40, 100):
            text = render(_poisoned(HOSTILE[name]), "text", color=color, width=width, verbosity=verbosity)
            bare = re.sub(r"\x1b\[(1|0|[39][0-7])m", "", text) if color else text
            assert all(line.isprintable() for line in bare.split("\n"))
            assert "##[" not in bare
            assert not any(line.strip().startswith("::") for line in bare.split("\n"))
            text.encode("utf-8")
            assert len(text) < 100_000


@pytest.mark.parametrize("name", HOSTILE)
def test_json_validates_and_comes_back(name):
    text = render(_poisoned(HOSTILE[name]) if name != "huge" else _poisoned("x" * 10_000), "json")
    assert all(line.isprintable() for line in text.split("\n"))
    jsonschema.Draft202012Validator(_schema.schema()).validate(serial.parse_json(text))
    again = read(text)
    if name not in ("surrogate", "huge"):
        assert again.measurements.layers[0].layer.name == HOSTILE[name]
    assert render(again, "json") == text
