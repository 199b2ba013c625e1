"""Every kind of page in a real browser: silent, sealed, and usable by keyboard and assistive technology.

Needs the extra ``browser`` and a Chromium of the system (``apt-get install chromium``).
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import report_specimens as specimens
from test_comparison_pages import comparison, points
from test_report_hostile_text import _poisoned

from lcaudit.core.outcomes import Report, Suppression
from lcaudit.reports import render, render_comparison, render_timeline

sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra `browser` is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")

HOSTILE = '</script><img src=http://127.0.0.1:9/x onerror=alert(1)>" onfocus="alert(1)\' <script>alert(1)</script>'
SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}


def small() -> Report:
    """Several findings and fixes, few layers: a browser takes its time for every element."""
    report = specimens.report(specimens.network(8, 12))
    last = report.findings[-1]
    again = replace(last, id=f"{last.id}-again", fixes=last.fixes * 2)
    return replace(report, findings=(*report.findings, again))


def suppressed() -> Report:
    report = small()
    wish = Suppression("LC301", "", "frozen", "2027-03-01", "lcaudit.toml")
    *kept, last = report.findings
    hidden = (replace(last, suppression=wish),)
    return replace(report, findings=tuple(kept), suppressed=hidden, notices=("settings from lcaudit.toml",))


REPORTS = {
    "main": small,
    "suppressed": suppressed,
    "held against a baseline": lambda: replace(small(), baseline=comparison("layer", "baseline")),
    "hostile": lambda: _poisoned(HOSTILE),
    **{name: (lambda report=report: report) for name, report in specimens.odd_ones().items() if name != "150 layers"},
}
PAGES = {
    **{name: (lambda make=make: render(make(), "html")) for name, make in REPORTS.items()},
    "comparison": lambda: render_comparison(comparison(), "html"),
    "comparison, nothing changed": lambda: render_comparison(replace(comparison(), changes=()), "html"),
    "comparison, hostile": lambda: render_comparison(comparison(HOSTILE), "html"),
    "timeline": lambda: render_timeline(points(), 2, "html"),
    "timeline, one checkpoint": lambda: render_timeline(points(steps=1), 0, "html"),
    "timeline, hostile": lambda: render_timeline(points(HOSTILE), 0, "html"),
}
#: One of each kind, in which everything that it can show is shown.
KINDS = ("main", "comparison", "timeline")


@dataclass
class Opened:
    """A page in a browser, and everything that it said or asked for."""

    page: Any
    url: str
    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Any]:
    contexts = []

    def go(name: str, screen: str = "desktop", scheme: str = "light") -> Opened:
        width, height = SCREENS[screen]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(120_000)  # a busy machine is slow, not wrong
        contexts.append(context)
        place = tmp_path / "report.html"
        place.write_text(PAGES[name](), encoding="utf-8")
        opened = Opened(context.new_page(), place.as_uri())
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("console", lambda message: opened.said.append(message.text))
        opened.page.on("pageerror", lambda error: opened.said.append(str(error)))
        opened.page.on("dialog", lambda dialog: (opened.said.append("dialog"), dialog.dismiss()))
        opened.page.goto(opened.url)
        return opened

    yield go
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_says_nothing_and_asks_for_nothing(visit: Any, name: str) -> None:
    opened = visit(name)
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    opened.page.mouse.wheel(0, 100_000)
    assert opened.said == []
    assert opened.requests == [opened.url]
    assert opened.page.evaluate("document.scripts.length") == 0


ATTACK = """async port => {
    const seen = [], home = `http://127.0.0.1:${port}/`;
    document.addEventListener('securitypolicyviolation', event => seen.push(event.effectiveDirective));
    const add = (tag, set) => document.body.append(Object.assign(document.createElement(tag), set));
    add('script', {textContent: 'window.owned = true'});
    add('style', {textContent: 'body { display: none }'});
    add('img', {src: home + 'x.png'});
    fetch(home).catch(() => null);
    for (let left = 100; new Set(seen).size < 4 && left; left--) await new Promise(go => setTimeout(go, 100));
    return {seen, owned: window.owned === true, shown: getComputedStyle(document.body).display};
}"""


@pytest.mark.parametrize("name", KINDS)
def test_the_policy_stops_scripts_styles_and_requests(visit: Any, browser: Any, name: str) -> None:
    """What a name from a file would do if it ever became markup; without the policy it does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        stopped = visit(name).page.evaluate(ATTACK, port)
        assert not stopped["owned"] and stopped["shown"] != "none"
        assert {"script-src-elem", "style-src-elem", "img-src", "connect-src"} <= set(stopped["seen"])
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        bare = browser.new_page()
        bare.set_content("<p>no policy</p>")
        free = bare.evaluate(ATTACK, port)
        assert free["owned"] and free["shown"] == "none" and not free["seen"]
        server.settimeout(120)
        server.accept()[0].close()
        bare.close()


@pytest.mark.parametrize("name", KINDS)
def test_its_own_style_sheet_is_let_through(visit: Any, name: str) -> None:
    opened = visit(name)
    assert opened.page.evaluate("document.styleSheets.length") == 1
    assert opened.page.evaluate("document.styleSheets[0].cssRules.length") > 20


@pytest.mark.parametrize(("name", "least"), [("main", 6), ("comparison", 1), ("timeline", 3)])
def test_every_plot_has_a_name_and_its_figures_in_words_or_a_table(visit: Any, name: str, least: int) -> None:
    plots = visit(name).page.evaluate(
        """() => [...document.querySelectorAll('svg[role=img]')].map(svg => {
            const title = svg.querySelector('title'), desc = svg.querySelector('desc');
            const home = svg.closest('article, details, section');
            return {
                named: Boolean(title?.textContent.trim() && desc?.textContent.trim()),
                table: Boolean(home?.querySelector('table')),
                words: Boolean(home?.querySelector('p.figure strong')),
            };
        })"""
    )
    assert len(plots) >= least
    assert all(plot["named"] and (plot["table"] or plot["words"]) for plot in plots)


@pytest.mark.parametrize(
    ("name", "screen", "scheme"),
    [
        *((name, screen, scheme) for name in KINDS for screen in SCREENS for scheme in ("light", "dark")),
        ("held against a baseline", "phone", "light"),
        ("suppressed", "desktop", "light"),
        ("weights not finite", "phone", "dark"),
    ],
)
def test_an_accessibility_checker_finds_nothing(visit: Any, name: str, screen: str, scheme: str) -> None:
    opened = visit(name, screen, scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    results = axe.Axe().run(opened.page)
    found = [
        f"{one['id']} ({one['impact']}): {node['html'][:160]} {node['failureSummary'][:300]}"
        for one in results.response["violations"]
        for node in one["nodes"][:3]
    ]
    assert not found, "\n".join(found)
    assert len(results.response["passes"]) > 15


def test_the_accessibility_checker_sees_what_is_wrong(visit: Any) -> None:
    opened = visit("main")
    opened.page.evaluate("document.querySelector('table').removeAttribute('class')")
    opened.page.evaluate("document.documentElement.removeAttribute('lang')")
    assert [one["id"] for one in axe.Axe().run(opened.page).response["violations"]] == ["html-has-lang"]


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", KINDS)
def test_the_keyboard_reaches_everything_in_reading_order(visit: Any, name: str, screen: str) -> None:
    opened = visit(name, screen)
    wanted = opened.page.evaluate(
        """() => [...document.querySelectorAll('a[href], summary, [tabindex="0"]')]
            .filter(one => one.checkVisibility()).map((one, place) => (one.dataset.place = place, place))"""
    )
    reached, unseen = [], []
    for _ in wanted:
        opened.page.keyboard.press("Tab")
        place, seen = opened.page.evaluate(
            """() => {
                const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
                const visible = style.outlineStyle !== 'none' && box.width > 0 && box.height > 0;
                return [Number(one.dataset.place ?? -1), visible];
            }"""
        )
        reached.append(place)
        if not seen:
            unseen.append(place)
    assert reached == wanted and not unseen
    assert opened.page.evaluate("document.querySelectorAll('[tabindex]:not([tabindex=\"0\"])').length") == 0


def test_the_skip_link_leads_to_the_findings_and_enter_opens_details(visit: Any) -> None:
    opened = visit("main")
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.getAttribute('href')") == "#findings"
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate("location.hash") == "#findings"
    summary = opened.page.query_selector("details:not([open]) > summary")
    summary.focus()
    opened.page.keyboard.press("Enter")
    assert summary.evaluate("one => one.parentElement.open")


@pytest.mark.parametrize("name", [name for name in PAGES if name in KINDS or "hostile" in name])
def test_a_phone_scrolls_in_one_direction_only(visit: Any, name: str) -> None:
    opened = visit(name, "phone")
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("name", KINDS)
def test_it_prints(visit: Any, name: str) -> None:
    opened = visit(name)
    assert opened.page.pdf(format="A4").startswith(b"%PDF")
