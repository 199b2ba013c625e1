"""Contracts that every rule keeps, whichever files the folder holds."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit import rules
from lcaudit.core import plugins, specimen
from lcaudit.core.measurements import LayerSpectra, Measurements, NonFinite, NotAudited, RecordedAccuracy
from lcaudit.core.outcomes import Fail, Limit, Pass, Rule, Skip, Undecided
from lcaudit.core.quantity import Quantity
from lcaudit.core.serial import dumps, load, parse_json

HEADINGS = (
    "What it means",
    "Why it matters",
    "How it is measured",
    "How sure",
    "False alarms",
    "What to do",
    "Source",
)
HOSTILE = 'conv\x1b[2J\n::error::x‮"]); import os #</script>'
ALL = rules.all_rules()
every_rule = pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.code)


def renamed(measurements: Measurements, name: str) -> Measurements:
    """The same measurements with text from a hostile file in every place that a file can fill."""
    layers = tuple(
        replace(spectra, layer=replace(spectra.layer, name=f"{name}{i}"))
        for i, spectra in enumerate(measurements.layers)
    )
    places = {spectra.layer.name: f"{name}{i}" for i, spectra in enumerate(measurements.layers)}
    links = tuple(
        replace(
            link,
            layer=places[link.layer],
            readers=tuple(places[reader] for reader in link.readers),
            normalisation=link.normalisation and name,
            functions=(name,),
        )
        for link in measurements.links
    )
    return replace(
        measurements,
        layers=layers,
        links=links,
        batch_norms=tuple(replace(layer, name=name) for layer in measurements.batch_norms),
        not_audited=tuple(NotAudited(name, name, part.parameters, name) for part in measurements.not_audited),
        non_finite=tuple(NonFinite(name, part.entries, part.size) for part in measurements.non_finite),
        checkpoint=replace(
            measurements.checkpoint,
            recorded=RecordedAccuracy(name, 0.918) if measurements.checkpoint.recorded else None,
        ),
    )


def not_numbers(value: object) -> object:
    """A copy of a dataclass tree with every quantity's value a NaN, its interval kept."""
    if isinstance(value, Quantity):
        return replace(value, value=math.nan)
    if isinstance(value, tuple):
        return tuple(not_numbers(item) for item in value)
    if isinstance(value, dict):
        return {key: not_numbers(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: not_numbers(getattr(value, name)) for name in value.__dataclass_fields__})
    return value


def test_codes_and_names_are_unique_and_ordered() -> None:
    codes = [rule.code for rule in ALL]
    assert codes == sorted(set(codes))
    assert len({rule.name for rule in ALL}) == len(ALL)
    assert all(re.fullmatch(r"LC\d{3}", code) for code in codes)


@every_rule
def test_file_name_is_rule_name(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", rule.name)
    assert plugins.load("lcaudit.rules", rule.name.replace("-", "_"), "RULE") is rule


@every_rule
def test_manual_has_every_heading_in_order(rule: Rule) -> None:
    lines = rules.manual(rule).splitlines()
    assert lines[0].startswith(f"{rule.code} {rule.name}: ")
    headings = [line for line in lines[1:] if line and not line.startswith(" ")]
    assert headings == list(HEADINGS)
    for heading in HEADINGS:
        assert lines[lines.index(heading) + 1].startswith("    "), f"nothing stands under {heading}"


@every_rule
def test_limit_has_a_source_and_summary_is_one_line(rule: Rule) -> None:
    assert len(rule.limit.source) > 20 and math.isfinite(rule.limit.value)
    assert rule.summary and "\n" not in rule.summary and not rule.summary.endswith(".")


@every_rule
def test_example_that_fires(rule: Rule) -> None:
    checks, findings = rules.judge(rule.fires(), (rule,))
    assert any(check.status == "fail" for check in checks)
    (finding,) = findings
    assert finding.rule == rule.code and finding.id.startswith(f"{rule.code}:")
    assert (finding.severity, finding.kind) == (rule.severity, rule.kind)
    assert finding.title and finding.message and finding.evidence
    assert finding.measured.value > finding.limit.value
    assert finding.metric and finding.measured.unit == finding.limit.unit


@every_rule
def test_example_that_stays_quiet(rule: Rule) -> None:
    checks, findings = rules.judge(rule.quiet(), (rule,))
    assert not findings
    assert {check.status for check in checks} == {"pass"}


@every_rule
def test_example_that_skips(rule: Rule) -> None:
    outcomes = rule.check(rule.skips())
    assert outcomes and all(isinstance(outcome, Skip) and outcome.reason for outcome in outcomes)


@every_rule
def test_examples_survive_a_file(rule: Rule) -> None:
    for example in (rule.fires(), rule.quiet(), rule.skips()):
        again = load(Measurements, parse_json(dumps(example)))
        assert rules.judge(again, (rule,)) == rules.judge(example, (rule,))


@every_rule
def test_a_healthy_network_has_no_finding(rule: Rule) -> None:
    assert rules.judge(specimen.measurements(), (rule,))[1] == ()


@every_rule
def test_hostile_names_are_inert(rule: Rule) -> None:
    checks, findings = rules.judge(renamed(rule.fires(), HOSTILE), (rule,))
    assert findings and not any(check.status == "crash" for check in checks)
    texts = [check.reason for check in checks]
    for finding in findings:
        texts += [finding.id, finding.title, finding.message, *finding.evidence, finding.limit.source]
    assert all(text.isprintable() for text in texts), [text for text in texts if not text.isprintable()]


@every_rule
def test_numbers_that_are_not_numbers_never_pass(rule: Rule) -> None:
    spoiled = not_numbers(rule.quiet())
    assert isinstance(spoiled, Measurements)
    outcomes = rule.check(spoiled)
    assert not any(isinstance(outcome, Fail) for outcome in outcomes)
    # What still passes counted something in the file or among the samples; no measured number was judged.
    counts_only = rule.code in ("LC101", "LC201", "LC902", "LC903")
    assert counts_only or all(isinstance(outcome, (Undecided, Skip)) for outcome in outcomes)


@every_rule
def test_no_layers_is_not_a_pass_of_layers(rule: Rule) -> None:
    checks, findings = rules.judge(replace(rule.quiet(), layers=(), not_audited=()), (rule,))
    assert checks and not findings
    assert not any(check.status == "pass" and check.layer for check in checks)


def head(gain: float, spread: float) -> LayerSpectra:
    return specimen.layer("layer", is_head=True, gain=gain, spread=spread)


def inner(gain: float, spread: float) -> LayerSpectra:
    return specimen.layer("layer", "conv2d", gain=gain, spread=spread, reads="sum of branches")


ORDER = {Pass: 0, Undecided: 1, Fail: 2}


@pytest.mark.parametrize(("code", "build"), [("LC301", head), ("LC302", inner)])
@settings(max_examples=60, deadline=None)
@given(
    gains=st.lists(st.floats(0.1, 1e4), min_size=2, max_size=6),
    spread=st.floats(0.001, 1.0),
)
def test_verdict_is_monotone_in_the_gain(code: str, build, gains: list[float], spread: float) -> None:
    rule = rules.find(code)
    verdicts = []
    for gain in sorted(gains):
        (outcome,) = rule.check(specimen.measurements(layers=(build(gain, spread),)))
        verdicts.append(ORDER[type(outcome)])
    assert verdicts == sorted(verdicts)
    (at_limit,) = rule.check(specimen.measurements(layers=(build(rule.limit.value, spread),)))
    assert isinstance(at_limit, Undecided), "pass and fail must have undecided between them"


def test_every_file_in_the_folder_is_a_rule() -> None:
    folder = Path(rules.__file__).parent
    assert len(ALL) == len([path for path in folder.glob("*.py") if not path.name.startswith("_")])
    assert all(isinstance(rule.limit, Limit) for rule in ALL)


@every_rule
def test_a_limit_holds_only_in_the_conventions_that_the_rule_names(rule: Rule) -> None:
    assert "kfac" in rule.conventions
    measured = rule.fires()
    theirs = replace(measured, settings=replace(measured.settings, convention="huang2020"))
    checks, findings = rules.judge(theirs, [rule])
    if "huang2020" in rule.conventions:
        assert findings
    else:
        assert not findings and [(check.status, check.layer) for check in checks] == [("skip", "")]
        assert "not calibrated" in str(checks[0])
