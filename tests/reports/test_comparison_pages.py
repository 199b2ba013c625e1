"""Comparisons and timelines in every format: self-contained, every plot with its table, hostile text inert."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from dataclasses import replace

import pytest
import report_specimens as specimens
from test_report_hostile_text import HOSTILE
from test_report_page import Page

from lcaudit.core.comparison import Change, Comparison, Entry, Point, Subject
from lcaudit.core.metrics import COMPARED, METRICS
from lcaudit.core.quantity import Quantity
from lcaudit.reports import COMPARISON_FORMATS, TIMELINE_FORMATS, render, render_comparison, render_timeline
from lcaudit.reports._comparison_words import measured

STATES = ("worse", "unchanged", "improved", "undecided")


def quantity(value: float, unit: str = "1") -> Quantity:
    return Quantity(value, unit, value / 1.1, value * 1.1, method="jackknife", n=500, scale="log", degrees=9)


def comparison(name: str = "layer", kind: str = "paired", layers: int = 6) -> Comparison:
    """Layers whose figures take every state in turn."""
    changes = []
    for i in range(layers):
        for metric in COMPARED:
            judged = metric.role == "judged"
            state = STATES[i % 4] if judged else "larger"
            factor = {"worse": 2.0, "improved": 0.5}.get(state, 1.0)
            known = state != "undecided"
            changes.append(
                Change(
                    f"{name}{i}" if i else name, metric.id, state, judged, quantity(100.0), quantity(100.0 * factor),
                    quantity(factor, "×") if known else None, factor / 1.2 if known else None,
                    factor * 1.2 if known else None, "" if known else f"the figure of {name} is not reliable",
                )
            )  # fmt: skip
    changes.append(Change(f"{name} new", "input.kappa_80", "new", True, None, quantity(5.0), reason="new"))
    changes.append(Change(f"{name} gone", "input.kappa_80", "gone", True, quantity(5.0), None, reason="gone"))
    sides = (Subject(name, "0" * 64, name), Subject(name, "1" * 64, name))
    return Comparison(
        kind, *sides, f"{name}, 500 samples", 500, 0.01, 20, 0.1, "a source", tuple(changes), {"data": name}, (name,)
    )  # fmt: skip


def points(name: str = "layer", steps: int = 10, layers: int = 5) -> tuple[Point, ...]:
    made = []
    for step in range(steps):
        entries = tuple(
            Entry(f"{name}{i}", metric.id, 10.0 ** (i + step / 5), 1.0, 1e9, 500, reliable=bool(step))
            for i in range(layers)
            for metric in METRICS
            if (i, step) != (1, 3)
        )
        made.append(Point(f"k{step}", "m", f"{name}-{step}", "a" * 64, step, name, name, 500, {"data": name}, entries))
    return tuple(made)


PAGES = {
    "paired": lambda name="layer": render_comparison(comparison(name), "html"),
    "baseline": lambda name="layer": render_comparison(comparison(name, "baseline"), "html"),
    "nothing changed": lambda name="layer": render_comparison(replace(comparison(name), changes=()), "html"),
    "timeline": lambda name="layer": render_timeline(points(name), 2, "html"),
    "one checkpoint": lambda name="layer": render_timeline(points(name, 1), 0, "html"),
    "report": lambda name="layer": render(
        replace(specimens.report(), baseline=comparison(name, "baseline")), "html"
    ),
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_loaded_and_nothing_runs(page):
    text = PAGES[page]()
    found = Page(text)
    assert not {tag for tag, _ in found.elements} & {"script", "link", "img", "iframe", "object", "form", "base"}
    for tag, attributes in found.elements:
        assert "style" not in attributes and "src" not in attributes, tag
        assert not any(key.startswith("on") for key in attributes), tag
    style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in found.all("meta")[1]["content"]


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_described_in_words(page):
    found = Page(PAGES[page]())
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in found.elements:
        if tag == "a":
            assert attributes["href"][1:] in ids
        if tag == "svg" and attributes.get("role") != "img":
            assert attributes.get("aria-hidden") == "true" or "class" not in attributes or attributes.get("viewbox")
    ranks = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert ranks.count(1) == 1 and all(after <= before + 1 for before, after in itertools.pairwise(ranks))


@pytest.mark.parametrize("page", ["paired", "timeline"])
def test_every_plot_has_its_figures_in_a_table(page):
    found = Page(PAGES[page]())
    plots = [attributes for tag, attributes in found.elements if tag == "svg" and attributes.get("role") == "img"]
    assert len(plots) >= 5
    words = " ".join(found.words)
    if page == "paired":
        assert "Every figure as a table" in words and words.count("layer3") >= len(COMPARED)
    else:
        assert words.count(" as a table") == len(METRICS) == len(plots)


@pytest.mark.parametrize("hostile", sorted(set(HOSTILE) - {"empty"}))
@pytest.mark.parametrize("page", PAGES)
def test_hostile_text_leaves_the_shape_of_the_page(page, hostile):
    def shape(text: str) -> list[tuple[str, tuple[str, ...]]]:
        skipped = {"sub", "title", "tspan", "text", "line"}  # of plots: labels that find room or not
        return [(tag, tuple(sorted(given))) for tag, given in Page(text).elements if tag not in skipped]

    assert shape(PAGES[page](HOSTILE[hostile])) == shape(PAGES[page]())


@pytest.mark.parametrize("hostile", sorted(HOSTILE))
def test_hostile_text_commands_neither_terminal_nor_log(hostile):
    for form in COMPARISON_FORMATS:
        text = render_comparison(comparison(HOSTILE[hostile]), form)
        assert all(character.isprintable() or character == "\n" for character in text), form
        if form in ("text", "markdown"):
            assert not re.search(r"(?m)^\s*::", text) and "##[" not in text
    for form in TIMELINE_FORMATS:
        text = render_timeline(points(HOSTILE[hostile], 3), 0, form)
        assert all(character.isprintable() or character == "\n" for character in text), form
        if form == "text":
            assert not re.search(r"(?m)^\s*::", text) and "##[" not in text


def test_hostile_text_is_no_markdown():
    text = render_comparison(comparison("[x](javascript:1) <b> | `a` **b** @team #1"), "markdown")
    assert "](" not in text.replace(r"\]\(", "") and "<b>" not in text and "**" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}


def test_worst_first_and_counted():
    text = render_comparison(comparison(), "text")
    lines = text.splitlines()
    states = [line.split()[-1] for line in lines if line.startswith("  layer") and "×" in line]
    assert states[0] == "regressed" and states == sorted(states, key=["regressed", "improved", "larger"].index)
    assert "8 regressed, 4 improved, 8 within noise, 4 undecided, 1 only in HEAD, 1 only in BASE" in text
    assert "REGRESSED  8 figures regressed, in “layer”, “layer4”; most of all" in text


@pytest.mark.parametrize("kind", ["paired", "baseline"])
def test_the_json_is_the_whole_comparison(kind):
    found = json.loads(render_comparison(comparison(kind=kind), "json"))
    assert len(found["changes"]) == len(comparison().changes) and found["kind"] == kind


def test_a_report_tells_of_its_baseline():
    report = replace(specimens.report(), baseline=comparison("stage", "baseline"))
    text = render(report, "text")
    assert "baseline  stage" in text and "8 worse, 4 improved, 8 unchanged" in text
    assert "baseline  " not in render(specimens.report(), "text")
    assert render(report, "text", verbosity=-1).count("worse") >= 8, "also where only findings are asked for"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("[[3, 32, 32], [0.485, 0.456], [0.229, 1.0]]", "3 × 32 × 32, mean 0.485, 0.456, std 0.229, 1"),
        ("[[64], [], []]", "64, values as they are"),
        ('[[1], ["a"], [2]]', '[[1], ["a"], [2]]'),
        ("[[1], [2]]", "[[1], [2]]"),
        ("[" * 5000, "[" * 5000),
        ("layer", "layer"),
    ],
)
def test_how_it_was_measured_is_told_in_words(value, shown):
    told = dict(measured({"normalisation": value, "layers": "", "data": "ab", "other": "1"}))
    assert told == {"Normalisation": shown, "Layers asked for": "all", "Data": "SHA-256 ab", "Other": "1"}


def test_a_timeline_says_what_is_missing():
    words = " ".join(Page(render_timeline(points(), 2, "html")).words)
    assert "–" in words and "?" in words and "2 checkpoints of the history measured in another way" in words
    unnumbered = tuple(replace(one, step=None) for one in points())
    assert "side by side in order of name" in render_timeline(unnumbered, 0, "text")


def test_a_long_timeline_keeps_its_tables_narrow():
    found = Page(render_timeline(points(steps=100, layers=2), 0, "html"))
    headings = [attributes for attributes in found.all("th") if attributes.get("scope") == "col"]
    assert len(headings) <= len(METRICS) * 25 + 3


def test_a_layer_has_one_line_in_every_plot_of_a_timeline():
    page = render_timeline(points(layers=5), 0, "html")
    shown = re.findall(r'<svg class="key (\w+)".*?<code>(.*?)</code>', page)
    assert len({layer for _, layer in shown}) == 3 and len(set(shown)) == 3
    assert len(shown) > 12


def test_layers_are_named_below_the_axis_where_there_is_room():
    few = render_comparison(comparison("l", layers=4), "html")
    assert ">l3<" in few and "layer, in order of execution" in few
    many = render_comparison(comparison("stage.block.conv", layers=9), "html")
    assert "layers counted from 0, in order of execution" in many


def test_what_fails_stands_first():
    held = comparison("layer", "baseline")
    page = render(replace(specimens.report(), baseline=held), "html")
    assert page.index('id="baseline"') < page.index('id="findings"')
    fine = replace(held, changes=tuple(change for change in held.changes if change.state != "worse"))
    page = render(replace(specimens.report(), baseline=fine), "html")
    assert page.index('id="baseline"') > page.index('id="findings"')


def test_only_commands_that_work_are_named():
    text = render(replace(specimens.report(), baseline=comparison("layer", "baseline")), "markdown")
    named = re.findall(r"lcaudit explain (\w+)", text)
    assert named and all(re.fullmatch(r"LC\d{3}", code) for code in named)
