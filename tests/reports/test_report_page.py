"""The page: self-contained, well-formed, described in words, and small enough."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser

import pytest
import report_specimens as specimens

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
    assert ["limit 5, LC301" in plot for plot in plots[1:4]] == [False, True, False]


def test_layers_that_a_finding_names_have_another_shape():
    report = specimens.report()
    main = render(report, "html").split('<div class="panels">')[1].split("<figure")[1]
    named = {layer for finding in report.findings for layer in finding.layers}
    assert main.count('<path d="M0 -') == len(named)
    layers = len(report.measurements.layers)
    assert main.count("<circle") == 2 * layers - len(named)  # as it is, without the named; and after BatchNorm


def test_what_was_not_decided_stands_beside_what_passed():
    words = " ".join(" ".join(Page(render(specimens.report(), "html")).words).split())
    assert "Passed 32 of 39 decided checks" in words
    assert "Undecided 1" in words and "Not run 0" in words
    assert "the network has no batch-norm layer" in words
    assert "normalisation layers have no Σ x" in words


def test_a_clean_report_says_so_and_an_incomplete_one_says_why():
    assert "No findings: every check that applies passed." not in render(ODD["undefined"], "html")
    assert "No findings" in render(ODD["clean"], "html")
    assert "Only 0 % of the parameters were audited." in render(ODD["weights not finite"], "html")
