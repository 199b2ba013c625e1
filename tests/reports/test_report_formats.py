"""Every format renders every shape of report; what was written is what is read."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import report_specimens as specimens

from lcaudit import rules
from lcaudit.core import serial
from lcaudit.core.errors import MalformedInput, UsageError
from lcaudit.core.outcomes import Check
from lcaudit.reports import _schema, formats, read, render, writer

SCHEMA = Path(_schema.__file__).with_name("report-1.schema.json")
ODD = specimens.odd_ones()


def test_formats_are_the_files_of_the_folder():
    assert formats() == ("concise", "github", "gitlab", "html", "json", "junit", "markdown", "sarif", "text")
    assert {writer(name).suffix for name in formats()} == {".html", ".json", ".md", ".sarif", ".txt", ".xml"}
    with pytest.raises(UsageError, match=r"unknown format \.\./x") as caught:
        render(specimens.report(), "../x")
    assert "gitlab, html, json, junit" in caught.value.hint


def test_listing_formats_imports_none_of_them():
    code = (
        "import sys, lcaudit.reports as r; r.formats(); print(*sorted({'jinja2', 'click', 'torch'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_the_published_schema_follows_the_dataclasses():
    assert SCHEMA.read_text(encoding="utf-8") == _schema.schema_text(), (
        "run: python -m lcaudit.reports > lcaudit/reports/report-1.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(_schema.schema())


@pytest.mark.parametrize("name", ["main", *(name for name in ODD if name != "150 layers")])
def test_json_is_strict_valid_and_read_back(name):
    report = specimens.report() if name == "main" else ODD[name]
    text = render(report, "json")
    data = serial.parse_json(text)
    assert next(iter(data)) == "schema"
    assert data["schema"] == _schema.schema()["$id"]
    jsonschema.Draft202012Validator(_schema.schema()).validate(data)
    again = read(text)
    assert render(again, "json") == text
    for format in ("text", "html"):
        assert render(again, format) == render(report, format)


def test_a_figure_and_a_curve_take_one_line_each():
    lines = render(specimens.report(), "json").splitlines()
    assert any(line.strip().startswith('"measured": {"value": 3.0, "unit": "features", ') for line in lines)
    assert all(line.strip().startswith('"curve": [[1, ') for line in lines if '"curve"' in line)
    report = ODD["undefined"]
    assert '"curve": [[1, {"nonfinite": "nan"}], [2, 0.0]]' in render(report, "json")
    assert max(len(line) for line in lines if '"curve"' not in line) < 1000


def test_the_schema_refuses_what_is_not_a_report():
    data = serial.parse_json(render(specimens.report(), "json"))
    data["gate"]["verdict"] = "maybe"
    assert not jsonschema.Draft202012Validator(_schema.schema()).is_valid(data)


def _changed(**changes: object) -> str:
    return json.dumps({**json.loads(render(ODD["one layer"], "json")), **changes})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not valid JSON"),
        ("[1]", "no schema_version"),
        ("{}", "no schema_version"),
        ('{"schema_version": "1.0"}', "report.run is missing"),
        (_changed(schema_version="2.0"), "schema version 2.0, this lcaudit reads 1.x"),
        (_changed(schema_version=["1"]), "schema version"),
        (_changed(checks=3), "report.checks holds a whole number, expected a list"),
        (_changed(run={"started_at": "now", "seconds": {"a": {"nonfinite": []}}}), "report.run.seconds.a"),
        (_changed(run={"started_at": "now", "seconds": {"a": 10**400}}), "report.run.seconds.a"),
        (_changed(run={"started_at": "now", "seconds": {"\u202e\x1b": "x"}}), r"\\u202e\\x1b"),
        ('{"schema_version": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_anything_else_is_refused_in_one_line(text, says):
    with pytest.raises(MalformedInput, match=says) as caught:
        read(text)
    assert caught.value.message.isprintable()
    assert caught.value.hint


def test_a_later_minor_version_is_read():
    assert read(_changed(schema_version="1.7", novelty=[1])).schema_version == "1.7"


@pytest.mark.parametrize("format", ["text", "html"])
@pytest.mark.parametrize("extreme", [0, -1, 1e308, -1e308, 5e-324, {"nonfinite": "nan"}, {"nonfinite": "inf"}])
def test_no_number_breaks_a_format(format, extreme):
    data = serial.parse_json(render(specimens.report(specimens.network(5, 8)), "json"))
    report = read(json.dumps(_with_numbers(data, extreme)))
    shown = render(report, format)
    assert "nan" not in shown.replace("finance", "").split()
    assert '="nan' not in shown
    assert '="inf' not in shown


def _with_numbers(data, number):
    if isinstance(data, dict):
        return {key: _with_numbers(item, number) for key, item in data.items()}
    if isinstance(data, list):
        return [_with_numbers(item, number) for item in data]
    return number if isinstance(data, float) else data


def test_assumptions_and_effects_wait_for_verbose():
    report = specimens.report()
    usual, verbose = render(report, "text"), render(report, "text", verbosity=1)
    assert "1 assumption (-v lists them)" in usual and "assumed: Shortcuts" not in usual
    assert "assumed: Shortcuts" in verbose and "-v lists" not in verbose
    assert usual.count("layer1.0.conv2: κ_80") == 0 and verbose.count("layer1.0.conv2: κ_80") == 1


def test_every_finding_names_its_figure():
    report = specimens.report()
    for format in formats():
        shown = " ".join(render(report, format).split())
        assert "dead features" in shown and "now / after BatchNorm" in shown


def test_quiet_text_keeps_findings_and_verdict_only():
    report = specimens.report()
    lines = render(report, "text", verbosity=-1).splitlines()
    assert lines[0].startswith("error LC201")
    assert lines[-1] == "FAIL (fail-on: error)"
    assert not any(line.startswith(("layers", "undecided", "lcaudit")) for line in lines)


@pytest.mark.parametrize("verbosity", [-1, 0, 1])
@pytest.mark.parametrize("name", ["main", *ODD])
def test_the_verdict_is_the_last_line(name, verbosity):
    report = specimens.report() if name == "main" else ODD[name]
    word = {"pass": "PASS", "fail": "FAIL", "incomplete": "INCOMPLETE"}[report.gate.verdict]
    assert render(report, "text", verbosity=verbosity).splitlines()[-1].startswith(word)


def test_text_lists_the_worst_eight_layers_and_verbose_all():
    report = specimens.report()
    usual, verbose = render(report, "text"), render(report, "text", verbosity=1)
    assert "layers  8 of 20" in usual
    assert "layers  20 of 20" in verbose
    kappas = {layer.layer.name: layer.input.condition_number["80"].value for layer in report.measurements.layers}
    best = min(kappas, key=kappas.__getitem__)
    assert f"\n  {best} " in verbose
    assert f"\n  {best} " not in usual


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_text_keeps_to_its_width(width):
    for verbosity in (0, 1):
        longest = max(render(specimens.report(), "text", width=width, verbosity=verbosity).splitlines(), key=len)
        assert len(longest) <= width, longest


def test_colour_changes_nothing_but_colour():
    import re

    report = specimens.report()
    coloured = render(report, "text", color=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(report, "text")


def test_missing_labels_and_missing_measurements_are_said():
    assert "no labels" in render(ODD["unlabelled"], "text")
    broken = render(ODD["weights not finite"], "text")
    assert "not run: the weights are not all finite" in broken
    assert "layer1.0.conv1.weight: 4 of 2304 entries" in broken
    assert "Only 0 % of the parameters were audited." in broken


def test_an_undefined_figure_is_named_in_words():
    text = render(ODD["undefined"], "text", verbosity=1)
    assert "infinite" in text
    assert "undefined" in text
    assert "not run LC301" in text


def test_an_undecided_check_shows_the_limit_that_it_could_not_be_told_from():
    report = specimens.report()
    shown = "4.80×   95 % interval 4.36 – 5.28, n 1000   limit 5×   the limit lies inside the interval"
    assert shown in " ".join(render(report, "text", width=120).split("\n"))
    assert "4.80× (4.36 – 5.28), limit 5×<" in render(report, "html")


def test_a_defect_without_rule_record_still_shows():
    report = replace(specimens.report(), rules=())
    for format in formats():
        assert "LC301" in render(report, format)


def test_the_legend_names_the_tags_that_occur():
    for report in (specimens.report(), *ODD.values()):
        for verbosity in (0, 1):
            text = render(report, "text", verbosity=verbosity, width=400)
            fixes, _, legend = text.partition(" audited.")
            for tag in ("safe", "unsafe", "display"):
                assert (f"[{tag}] " in legend) == (f"[{tag}] " in fixes), (tag, text)


@pytest.mark.parametrize("form", ["text", "html"])
def test_a_probe_without_labels_is_said_beside_the_verdict(form):
    report = specimens.report()
    fit = replace(report.measurements.fit, error=None, loss=None, chance=None)
    unlabelled = replace(report, measurements=replace(report.measurements, fit=fit))
    said = "Fit to the probe not tested: no labels."
    assert said in render(unlabelled, form) and said not in render(report, form)


@pytest.mark.parametrize("form", ["text", "html"])
def test_which_weights_were_taken_is_said_first(form):
    report = specimens.report()
    taken = "took the weights under model; the running average under ema was left out"
    checkpoint = replace(report.measurements.checkpoint, unwrapped=(taken,))
    shown = render(replace(report, measurements=replace(report.measurements, checkpoint=checkpoint)), form)
    assert taken in shown[: shown.index('id="findings"' if form == "html" else "LC201")]


def test_every_check_is_accounted_for():
    report = specimens.report()
    text = " ".join(render(report, "text").split())
    passed, warned = (sum(check.status == status for check in report.checks) for status in ("pass", "fail"))
    assert f"{len(report.checks)} checks: {passed} passed, " in text and "behind warnings" in text
    assert warned == sum(int(part.split()[0]) for part in text.split(" passed, ")[1].split(", ") if " behind " in part)


@pytest.mark.parametrize(
    ("undecided", "verdict", "word"),
    [
        (("LC301", "LC302", "LC901"), "pass", "PASS (fail-on: error), but 3 of 5 rules undecided"),
        (("LC301", "LC101", "LC902"), "pass", "PASS (fail-on: error)"),  # decided elsewhere, and a note
        (("LC301", "LC302", "LC901"), "fail", "FAIL (fail-on: error)"),
    ],
)
def test_a_pass_that_decided_little_says_so(undecided, verdict, word):
    """However many layers a rule was decided in."""
    whole = specimens.report()
    checks = [Check(code, "fc", "undecided", None, "") for code in undecided]
    checks += [Check(code, f"fc{i}", "pass", None, "") for code in ("LC101", "LC201") for i in range(20)]
    gate = replace(whole.gate, verdict=verdict, counts={"undecided": 3, "pass": 40})
    shown = replace(whole, checks=tuple(checks), gate=gate, rules=tuple(map(rules.record, rules.select((), ()))))
    for verbosity in (-1, 0, 1):
        assert render(shown, "text", verbosity=verbosity).splitlines()[-1] == word
