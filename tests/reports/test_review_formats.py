"""The formats for gates and code reviews: valid against the schemas of their readers, stable, and inert."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import report_specimens as specimens
import xmlschema
from markdown_it import MarkdownIt
from test_report_hostile_text import HOSTILE, INNOCENT, _poisoned

from lcaudit.core.identification import HypothesisScore, Identification
from lcaudit.core.outcomes import Anchor, Gate, Report, Suppression
from lcaudit.core.quantity import Quantity
from lcaudit.reports import _review, formats, read, render

SCHEMAS = Path(__file__).with_name("schemas")
SARIF = json.loads((SCHEMAS / "sarif-2.1.0.json").read_text(encoding="utf-8"))
JUNIT = xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd")
#: "Code Quality report format" in GitLab's documentation: each of these is required.
GITLAB = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^[^/.]"},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}
#: A line that a GitHub runner takes for a command, or the older form anywhere in a line.
COMMAND = re.compile(r"::(error|warning|notice) (?:file=[^,:]+,line=\d+,)?title=[^,:\r\n]+::[^\r\n]*")
FORMS = ("concise", "github", "gitlab", "junit", "markdown", "sarif")


def excused(report: Report) -> Report:
    """The same audit with its last finding suppressed."""
    wish = Suppression("LC301", "layer*", "frozen | <b>probe</b>", "2027-03-01", "lcaudit.toml")
    *kept, last = report.findings
    notice = "suppression of LC9 is unused: remove it"
    return replace(report, findings=tuple(kept), suppressed=(replace(last, suppression=wish),), notices=(notice,))


CASES = {
    "main": specimens.report(),
    "suppressed": excused(specimens.report()),
    "warnings fail": replace(specimens.report(), gate=Gate("warning", 0, 1, "fail", 1, ("2 findings",), {})),
    **specimens.odd_ones(),
}


def check_sarif(text: str) -> dict:
    log = json.loads(text)
    jsonschema.Draft7Validator(SARIF, format_checker=jsonschema.FormatChecker()).validate(log)
    (run,) = log["runs"]
    for result in run["results"]:
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        uri = physical["artifactLocation"]["uri"]
        assert uri and ":" not in uri and not uri.startswith("/") and ".." not in uri.split("/")
        assert physical["region"]["startLine"] >= 1
        assert re.fullmatch("[0-9a-f]{32}:1", result["partialFingerprints"]["primaryLocationLineHash"])
    for rule in run["tool"]["driver"]["rules"]:
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["text"]
    return log


def check_junit(text: str) -> ElementTree.Element:
    JUNIT.validate(text)
    suite = ElementTree.fromstring(text).find("testsuite")
    assert suite is not None
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.get(attribute, "")) == len(suite.findall(f"testcase/{tag}"))
    assert int(suite.get("tests", "")) == len(suite.findall("testcase"))
    assert [child.tag for child in suite if child.tag != "testcase"] == ["properties", "system-out", "system-err"]
    return suite


def check_gitlab(text: str) -> list[dict]:
    entries = json.loads(text)
    jsonschema.Draft202012Validator(GITLAB).validate(entries)
    assert text.isascii(), "no byte order mark, no surprise in any encoding"
    return entries


def check_github(text: str) -> list[str]:
    lines = text.splitlines()
    assert 1 <= len(lines) <= 11
    for line in lines:
        assert COMMAND.fullmatch(line), line
        assert line.isprintable() and "##[" not in line and line.count("::") == 2
    return lines


CHECKS = {"sarif": check_sarif, "junit": check_junit, "gitlab": check_gitlab, "github": check_github}


@pytest.mark.parametrize("form", CHECKS)
@pytest.mark.parametrize("name", CASES)
def test_every_shape_of_report_is_valid(form: str, name: str) -> None:
    CHECKS[form](render(CASES[name], form))


@pytest.mark.parametrize("form", CHECKS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_text(form: str, name: str) -> None:
    CHECKS[form](render(_poisoned(HOSTILE[name] if name != "huge" else "x" * 10_000), form))


@pytest.mark.parametrize("form", (*FORMS, "json"))
@pytest.mark.parametrize("name", HOSTILE)
def test_every_line_is_printable_and_no_command(form: str, name: str) -> None:
    text = render(_poisoned(HOSTILE[name] if form != "json" or name != "huge" else "x" * 10_000), form)
    assert all(line.isprintable() for line in text.split("\n"))
    assert "##[" not in text
    if form != "github":
        assert not any(line.lstrip().startswith("::") for line in text.split("\n"))
    assert len(text) < 1_500_000 or form == "json"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
def test_what_was_written_and_read_renders_the_same(form: str, name: str) -> None:
    if name != "150 layers":
        assert render(read(render(CASES[name], "json")), form) == render(CASES[name], form)


def test_the_tests_see_a_command_that_was_not_escaped() -> None:
    with pytest.raises(AssertionError):
        check_github("::error title=a::b\n::error::owned\n")
    with pytest.raises(AssertionError):
        check_github("::error title=a,file=/etc/passwd,line=1::b\n")


# What stands in them


def test_sarif_has_a_result_for_each_finding_and_notifications_for_the_rest() -> None:
    report = specimens.report()
    (run,) = check_sarif(render(report, "sarif"))["runs"]
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == [("LC201", "error"), ("LC301", "warning")]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in run["results"])
    several = run["results"][1]["locations"][0]["logicalLocations"]
    assert [one["fullyQualifiedName"] for one in several] == list(report.findings[1].layers)
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] and invocation["exitCode"] == 1
    assert [n["message"]["text"].split(":")[0] for n in invocation["toolExecutionNotifications"]] == [
        "LC301 undecided on linear"
    ]
    assert run["automationDetails"]["id"] == "lcaudit/model.safetensors/"


def test_sarif_opens_no_alert_for_what_is_suppressed_but_tells_it() -> None:
    (run,) = check_sarif(render(CASES["suppressed"], "sarif"))["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["LC201"]
    said = [one["message"]["text"] for one in run["invocations"][0]["toolExecutionNotifications"]]
    assert any("suppressed: LC301" in text and "frozen | <b>probe</b>, until 2027-03-01" in text for text in said)
    assert any("is unused" in text for text in said)


def test_sarif_text_has_no_links_and_no_placeholders() -> None:
    report = _poisoned("[a](http://x) {0} \\")
    (run,) = check_sarif(render(report, "sarif"))["runs"]
    for text in re.findall(r'"text": (".*")', json.dumps(run, indent=1)):
        shown = json.loads(text)
        assert "{0}" not in shown.replace("{{0}}", "")
        assert not re.search(r"(?<!\\)(\\\\)*[\[\]]", shown), shown


@pytest.mark.parametrize("form", ["sarif", "gitlab"])
def test_fingerprints_do_not_change_with_the_figure_and_differ_between_findings(form: str) -> None:
    def prints(report: Report) -> list[str]:
        return re.findall(r'"(?:fingerprint|primaryLocationLineHash)": "(.*?)"', render(report, form))

    report = specimens.report()
    first, second = report.findings
    measured = Quantity(77.0, "×", 70, 80, method="grouped jackknife", n=9)
    moved = replace(first, measured=measured, title="other words", message="too", severity="warning")
    assert prints(replace(report, findings=(moved, second))) == prints(report)
    assert len(set(prints(report))) == 2
    assert prints(replace(report, subject="other/model.safetensors")) != prints(report)
    renamed = replace(first, id="LC201:elsewhere")
    assert prints(replace(report, findings=(renamed, second)))[0] != prints(report)[0]


@pytest.mark.parametrize("form", ["sarif", "gitlab", "github"])
def test_findings_point_to_the_line_of_their_layer(form: str) -> None:
    report = specimens.report()
    layer = report.findings[0].layers[0]
    known = {layer: Anchor("audit/lcaudit-baseline.json", 7), "": Anchor("audit/lcaudit-baseline.json", 1)}
    text = " ".join(render(replace(report, anchors=known), form).split())
    assert "audit/lcaudit-baseline.json" in text and 'model.safetensors", "lines"' not in text
    place = {"sarif": '"startLine": 7', "gitlab": '"begin": 7', "github": "file=audit/lcaudit-baseline.json,line=7"}
    assert place[form] in text
    below = " ".join(render(replace(report, subject="nets/a.safetensors"), form).split())
    assert "nets/a.safetensors" in below


def test_paths_are_relative_whatever_the_file_is_called() -> None:
    report = specimens.report()
    for given, shown in {
        "/etc/passwd": "etc/passwd",
        "../../x.pt": "x.pt",
        "hf://ns/name": "hf:/ns/name",
        "C:\\nets\\a.pt": "C:/nets/a.pt",
        "": "model.safetensors",
        "///": "checkpoint",
    }.items():
        assert _review.subject(replace(report, subject=given)) == shown
        check_sarif(render(replace(report, subject=given), "sarif"))


def test_junit_has_a_case_for_each_check_and_fails_what_fails_the_gate() -> None:
    report = specimens.report()
    suite = check_junit(render(report, "junit"))
    assert len(suite.findall("testcase")) == len(report.checks)
    assert [case.get("classname") for case in suite.findall("testcase") if case.find("failure") is not None] == [
        "lcaudit.LC201 dead-features"
    ]
    assert "warning, below --fail-on error: 6 layers read" in (suite.findtext("system-out") or "")
    stricter = check_junit(render(CASES["warnings fail"], "junit"))
    failed = sum(check.status == "fail" for check in report.checks)
    assert len(stricter.findall("testcase/failure")) == failed > 1
    never = replace(report, gate=replace(report.gate, fail_on="never", verdict="pass"))
    assert not check_junit(render(never, "junit")).findall("testcase/failure")


def test_junit_tells_undecided_suppressed_and_not_run_from_passed() -> None:
    skipped = [one.get("message", "") for one in check_junit(render(CASES["suppressed"], "junit")).iter("skipped")]
    assert any(text.startswith("undecided: the limit lies inside the interval, measured 4.80×") for text in skipped)
    assert any(text.startswith("not applicable: ") for text in skipped)
    assert any(text.startswith("suppressed: frozen") for text in skipped)
    (error,) = check_junit(render(CASES["undefined"], "junit")).iter("error")
    assert error.get("type") == "not run" and error.text == "ZeroDivisionError"


def test_junit_fails_a_check_whose_finding_is_missing() -> None:
    report = replace(specimens.report(), findings=())
    failed = sum(check.status == "fail" for check in report.checks)
    assert len(check_junit(render(report, "junit")).findall("testcase/failure")) == failed > 0


def test_gitlab_severities_and_an_incomplete_audit() -> None:
    assert [entry["severity"] for entry in check_gitlab(render(specimens.report(), "gitlab"))] == ["critical", "major"]
    (entry,) = check_gitlab(render(CASES["weights not finite"], "gitlab"))
    assert entry["description"].startswith("The audit is incomplete: Only 0 %")
    assert check_gitlab(render(CASES["clean"], "gitlab")) == []


def test_github_shows_at_most_what_a_runner_shows() -> None:
    report = specimens.report()
    many = tuple(replace(report.findings[0], id=f"LC201:{i}") for i in range(30))
    lines = check_github(render(replace(report, findings=many), "github"))
    assert sum(line.startswith("::error file=") for line in lines) == 9
    assert "21 more findings in the full report" in lines[-2]
    assert lines[-1].startswith("::error title=lcaudit model.safetensors::FAIL (fail-on: error)")


def test_github_escapes_what_its_runner_unescapes() -> None:
    name = "50%0A::warning file=x,line=2::y,z:w"
    report = specimens.report()
    finding = replace(report.findings[0], title=name, layers=(name,))
    line = check_github(render(replace(report, findings=(finding,)), "github"))[0]
    head, _, data = line[2:].partition("::")
    title = head.partition("title=")[2]

    def unescaped(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
        for escape, mark in pairs:
            text = text.replace(escape, mark)
        return text

    plain = name.replace("::", ":\\x3a")
    both = (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
    assert unescaped(title, both) == f"LC201 dead-features: {plain}"
    assert unescaped(data, both[2:]).startswith(f"{plain}: dead features 3")


def test_concise_says_what_the_probe_left_open() -> None:
    """No finding does: the rule is undecided then."""
    measured = specimens.report().measurements
    score = HypothesisScore("ResNet-8", "values 0 to 1", "none", Quantity(0.3, "1", 0.2, 0.4), 1.0, False, True)
    for decision, said in (("ambiguous", True), ("agrees", False)):
        found = Identification("batch-norm replay", decision, (), "No reading reproduces it.", (score,), 2.0, 300, 9)
        shown = replace(specimens.report(), measurements=replace(measured, identification=found))
        lines = render(shown, "concise").splitlines()
        note = "note ambiguous (batch-norm replay, 300 samples): No reading reproduces it."
        assert any(line.endswith(note) for line in lines) == said


def test_concise_has_a_line_for_each_finding_and_the_verdict_last() -> None:
    lines = render(specimens.report(), "concise").splitlines()
    assert lines[0] == "model.safetensors:layer1.2.conv1: LC201 error dead features 3 features, limit 0"
    assert lines[1].startswith("model.safetensors:layer1.0.conv2 and 5 more: LC301 warning gain: ")
    assert lines[2:] == ["FAIL (fail-on: error): 1 error, 1 warning, 0 notes; checks: 1 undecided"]
    suppressed = render(CASES["suppressed"], "concise").splitlines()
    assert "LC301 suppressed frozen | <b>probe</b>, until 2027-03-01 (lcaudit.toml)" in suppressed[1]
    assert suppressed[-1].endswith("1 undecided, 1 finding suppressed")
    assert any("LC301 not run ZeroDivisionError" in line for line in render(CASES["undefined"], "concise").splitlines())


# Markdown, by another library's reading


def elements(text: str) -> list[str]:
    """Every element that the Markdown makes, with our own inline HTML, but no text."""
    reader = MarkdownIt("gfm-like", {"html": True})
    reader.linkify.set({"fuzzy_link": False})  # GitHub makes links of addresses, not of every word with a dot
    tokens = reader.parse(text)
    flat = [one for token in tokens for one in (token, *(token.children or ()))]
    shape = []
    for token in flat:
        if token.type in ("html_block", "html_inline"):
            shape += re.findall(r"</?[a-zA-Z]+|<!--", token.content)
        elif token.type not in ("text", "inline", "softbreak", "text_special"):
            shape.append(f"{token.type} {sorted(token.attrs)}")
    return [one for one in shape if one != "<!--"]


MARKS = {
    **HOSTILE,
    "markdown": "# a [b](http://x) ![c](http://y) **d** _e_ ~~f~~ `g` | h <http://i> | @someone #1",
    "bare links": "http://example.com www.example.com https://a.b/?c=`d` me@example.com",
    "fence": "```\n~~~ <details> $x$ :smile: ---",
    "spans": "``|``\\`|\\|` `` ",
    "entities": "&lt;b&gt; &#x3c;script&#62; <!-- -->",
}


@pytest.mark.parametrize("name", MARKS)
def test_markdown_has_the_elements_of_an_innocent_one(name: str) -> None:
    text = MARKS[name] if name != "huge" else "x" * 10_000
    innocent, hostile = (elements(render(_poisoned(one), "markdown")) for one in (INNOCENT, text))
    if name in ("empty", "wide", "surrogate", "bidi", "terminal"):  # lines are left out or joined, none is added
        assert set(hostile) <= set(innocent) | {"code_inline []"}
    else:
        assert hostile == innocent


def test_markdown_elements_are_seen_by_the_test() -> None:
    assert elements("a [b](http://x)") != elements("a b") != elements("a <b>")
    assert elements("see http://example.com") != elements("see nothing")


def test_markdown_says_what_the_text_report_says() -> None:
    text = render(CASES["suppressed"], "markdown")
    assert text.startswith("## lcaudit: FAIL\n") and "`LC201`" in text and "| error |" in text
    for heading in ("### Undecided", "### Suppressed", "### Notes"):
        assert f"\n{heading}\n" in text
    assert "frozen \\| \\<b\\>probe\\</b\\>, until 2027-03-01" in text
    assert "### Not run" in render(CASES["undefined"], "markdown")
    assert len(render(CASES["150 layers"], "markdown").encode()) < 200_000


def test_the_formats_are_the_ones_that_are_tested_here() -> None:
    assert set(FORMS) | {"text", "json", "html"} == set(formats())
