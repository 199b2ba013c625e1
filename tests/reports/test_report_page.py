"""The page: self-contained, well-formed, described in words, and small enough."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import report_specimens as specimens

from lcaudit.reports import _markup as markup
from lcaudit.reports import render

ODD = specimens.odd_ones()
VOID = {"meta", "br", "img", "hr", "link", "input"}


class Page(HTMLParser):
    """Elements with their attributes, and whether tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"<{tag}> repeats an attribute"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module", params=["main", *ODD])
def page(request) -> Page:
    return Page(render(specimens.report() if request.param == "main" else ODD[request.param], "html"))


def test_nothing_is_loaded_and_nothing_runs(page):
    names = {tag for tag, _ in page.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "foreignobject", "use"}
    for tag, attributes in page.elements:
        assert "style" not in attributes and "src" not in attributes, tag
        assert not any(key.startswith("on") for key in attributes), tag
        assert attributes.get("href", "#").startswith("#"), tag


def test_the_policy_names_the_hash_of_the_style_sheet():
    text = render(specimens.report(), "html")
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    policy = Page(text).all("meta")[1]["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}'" in policy


def test_one_heading_of_the_first_rank_and_none_left_out(page):
    ranks = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert ranks.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(ranks))


def test_landmarks_and_the_skip_link_lead_somewhere(page):
    assert len(page.all("main")) == len(page.all("header")) == len(page.all("footer")) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for anchor in page.all("a"):
        assert anchor["href"] is not None
        assert anchor["href"][1:] in ids
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids


def test_every_plot_is_described_in_words(page):
    tags = [tag for tag, _ in page.elements]
    for i, (tag, attributes) in enumerate(page.elements):
        if tag == "svg" and attributes.get("role") == "img":
            assert tags[i + 1 : i + 3] == ["title", "desc"]
        elif tag == "svg" and "x" not in attributes:
            assert attributes.get("aria-hidden") == "true"


def test_sixty_layers_fit_in_half_a_megabyte():
    text = render(specimens.report(specimens.network(60, 64)), "html")
    assert len(text.encode()) < 500_000
    assert text.count('class="curve input"') == 61  # one each, and the legend's


def test_a_huge_network_stays_below_two_megabytes_and_keeps_the_worst_spectra():
    report = ODD["150 layers"]
    text = render(report, "html")
    assert len(text.encode()) < 2_000_000
    assert text.count('class="curve input"') == 81
    assert text.count('<details class="layer"') == 150


def test_a_limit_is_drawn_where_a_rule_judges_the_plotted_figures():
    plots = render(specimens.report(), "html").split('<div class="panels">')[1].split("<figure")
    assert ["limit 5×, LC301" in plot for plot in plots[1:4]] == [False, True, False]
    assert ['class="limit"' in plot for plot in plots[1:4]] == [False, True, False]


def test_a_limit_is_drawn_across_the_layers_that_it_judges():
    report = specimens.report(specimens.network(10))
    checks = tuple(c for c in report.checks if c.rule != "LC301" or c.layer in ("linear", "layer1.0.conv1"))
    plots = render(replace(report, checks=checks), "html").split('<div class="panels">')[1].split("<figure")
    assert re.findall(r'<line x1="(\S+)%" y1="\S+" x2="(\S+)%" y2="\S+" class="limit"', plots[2]) == [
        ("9", "17.95"),
        ("89.55", "98.5"),
    ]


def test_every_curve_is_drawn_whole(page):
    for path in page.all("path"):
        assert re.fullmatch("[MLHVZmlhvz0-9. -]+", path["d"] or ""), path["d"]


def test_what_casts_doubt_is_said_before_the_rest():
    report = specimens.report()
    doubtful = replace(report.rules[1], casts_doubt=True)
    doubted = replace(report, rules=(report.rules[0], doubtful, *report.rules[2:]))
    for format in ("html", "text"):
        assert "Clear LC201 first" not in render(report, format)
        assert "Clear LC201 first" in render(doubted, format)
    assert "If training goes on" in render(report, "html")
    assert "If training goes on" not in render(doubted, "html")
    assert "fix  " in render(report, "text") and "fix  " not in render(doubted, "text")


def test_the_manual_stands_in_the_first_card_of_its_rule_only():
    report = specimens.report()
    again = replace(report.findings[1], id="LC301:again")
    text = render(replace(report, findings=(*report.findings, again)), "html")
    assert text.count("A frozen layer has nothing to gain.") == 1
    assert text.count('id="about-finding-2"') == text.count('href="#about-finding-2"') == 1


def test_the_first_screen_says_what_kappa_is_and_what_to_do():
    head = render(specimens.report(), "html").split("<main>")[0]
    assert "how lopsided a layer&#39;s input is" in head and "1 is ideal" in head
    assert "If training goes on: Put a BatchNorm before the layer and train on" in head
    assert "how lopsided" not in render(ODD["weights not finite"], "html").split("<main>")[0]


def test_no_line_breaks_inside_a_number():
    assert "95&nbsp;% interval" in render(specimens.report(), "html")
    assert markup.prose("10 000 of 12 345 678 and 3 of 4") == "10&nbsp;000 of 12&nbsp;345&nbsp;678 and 3 of 4"


def test_layers_that_a_finding_names_have_another_shape():
    report = specimens.report()
    main = render(report, "html").split('<div class="panels">')[1].split("<figure")[1]
    named = {layer for finding in report.findings if finding.rule == "LC301" for layer in finding.layers}
    assert main.count('<path d="M0 -') == len(named)
    layers = len(report.measurements.layers)
    assert main.count("<circle") == 2 * layers - len(named)  # as it is, without the named; and after BatchNorm


def test_what_was_not_decided_stands_beside_what_passed():
    words = " ".join(" ".join(Page(render(specimens.report(), "html")).words).split())
    assert "Passed 32 of " in words and "Led to findings 7 " in words and "behind warnings" in words
    assert "Undecided 1" in words and "Not run 0" in words
    assert "the network has no batch-norm layer" in words
    assert "normalisation layers have no Σ x" in words


def test_a_clean_report_says_so_and_an_incomplete_one_says_why():
    assert "every check that applies passed" not in render(ODD["undefined"], "html")
    assert "No defect found: every check that applies passed." in render(ODD["clean"], "html")
    assert "Only 0&nbsp;% of the parameters were audited." in render(ODD["weights not finite"], "html")
