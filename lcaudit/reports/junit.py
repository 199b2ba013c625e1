"""JUnit XML: a suite for the checkpoint, a case for every rule on every layer, passes included.

A case fails where its finding is at or above --fail-on, so that the suite is red when the gate is; lesser
findings stand in the suite's output. A check that did not run is an error. What does not apply, is undecided or
suppressed is skipped, with the reason.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as xml

from lcaudit.core import figures as numbers
from lcaudit.core.outcomes import Check, Finding, Report
from lcaudit.reports import _review as review
from lcaudit.reports import _summary as summary
from lcaudit.reports._contract import Style, Writer
from lcaudit.reports._terminal import inert

_TIME = re.compile(r"\d{4}-(0\d|1[0-2])-([0-2]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d")
#: Where a report does not say when it was made.
_NEVER = "1970-01-01T00:00:00"


def write(report: Report, style: Style) -> str:
    """The document, valid for Jenkins' and for Ant's schema."""
    suite = xml.Element("testsuite")
    properties = xml.SubElement(suite, "properties")
    for name, value in _properties(report):
        xml.SubElement(properties, "property", name=name, value=value)
    told = {(f.rule, layer): f for f in (*report.suppressed, *report.findings) for layer in f.layers or ("",)}
    cases = [_case(report, check, told.get((check.rule, check.layer))) for check in report.checks]
    suite.extend(cases)
    lesser = [finding for finding in report.findings if not review.blocks(report, finding)]
    lines = [
        f"{finding.severity}, below --fail-on {report.gate.fail_on}: {review.message(finding)}" for finding in lesser
    ]
    lines += [review.verdict(report), *map(review.printable, (*report.gate.reasons, *report.notices))]
    xml.SubElement(suite, "system-out").text = "\n".join(lines)
    xml.SubElement(suite, "system-err")
    time = _TIME.match(report.run.started_at)
    seconds = sum(one for one in report.run.seconds.values() if 0 <= one < 1e6)
    suite.attrib.update(
        {
            "name": _token(review.subject(report)),
            "package": "lcaudit",
            "id": "0",
            "timestamp": time.group() if time else _NEVER,
            "hostname": "localhost",
            "tests": str(len(cases)),
            "failures": str(sum(case.find("failure") is not None for case in cases)),
            "errors": str(sum(case.find("error") is not None for case in cases)),
            "skipped": str(sum(case.find("skipped") is not None for case in cases)),
            "time": f"{seconds:.3f}",
        }
    )
    root = xml.Element("testsuites")
    root.append(suite)
    xml.indent(root, " ")
    return inert(f'<?xml version="1.0" encoding="UTF-8"?>\n{xml.tostring(root, encoding="unicode")}\n')


def _case(report: Report, check: Check, finding: Finding | None) -> xml.Element:
    name = review.rule_name(report, check.rule)
    case = xml.Element("testcase", name=_token(check.layer) if check.layer else "whole model")
    case.attrib["classname"] = _token(f"lcaudit.{check.rule} {name}".rstrip())
    case.attrib["time"] = "0"
    reason = review.printable(check.reason)
    if check.status == "crash":
        xml.SubElement(case, "error", message=reason, type="not run").text = reason
    elif check.status in ("skip", "undecided"):
        word = summary.STATUSES[check.status]
        figure = f", measured {numbers.spoken(check.measured)}" if check.measured else ""
        xml.SubElement(case, "skipped", message=f"{word}: {reason}{figure}")
    elif check.status == "fail" and finding is None:
        xml.SubElement(case, "failure", message=reason, type="unknown").text = reason
    elif check.status == "fail" and finding and finding.suppression:
        because = review.printable(summary.suppression(finding))
        xml.SubElement(case, "skipped", message=f"suppressed: {because}")
    elif check.status == "fail" and finding and review.blocks(report, finding):
        text = "\n".join(map(review.printable, (review.message(finding), finding.message, *finding.evidence)))
        xml.SubElement(case, "failure", message=review.message(finding), type=finding.severity).text = text
    return case


def _properties(report: Report) -> list[tuple[str, str]]:
    measured = report.measurements
    pairs = (
        ("lcaudit", measured.environment.lcaudit),
        ("verdict", report.gate.verdict),
        ("fail-on", report.gate.fail_on),
        ("sha256", measured.checkpoint.sha256),
        ("probe", f"{measured.probe.dataset}/{measured.probe.split}, {measured.probe.samples} samples"),
        ("seed", str(measured.settings.seed)),
        ("convention", measured.settings.convention),
    )
    return [(name, review.printable(value)) for name, value in pairs]


def _token(text: str) -> str:
    return review.printable(text) or "unnamed"


WRITER = Writer(".xml", "application/xml", write)
