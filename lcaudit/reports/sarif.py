"""SARIF 2.1.0, the format of code scanning services.

A finding is a result; its layers are logical locations. The physical location, which such services insist
on, is the layer's line in the baseline file where there is one, else the first line of the checkpoint. What
could not be decided, did not run or is suppressed is told as notifications, since a result would open an alert.
Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", 2020.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from lcaudit.core import figures as numbers
from lcaudit.core.outcomes import Finding, Report, RuleRecord
from lcaudit.core.text import display_name, one_line
from lcaudit.reports import _review as review
from lcaudit.reports import _summary as summary
from lcaudit.reports._contract import Style, Writer

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}
#: An opportunity is an estimate that healthy networks raise as well; a defect is a fact.
_PRECISION = {"defect": "high", "opportunity": "medium"}
_MOST_LAYERS = 100


def write(report: Report, style: Style) -> str:
    """The log: one run with the rules, the results and the notifications."""
    measured = report.measurements
    rules = {rule.code: place for place, rule in enumerate(report.rules)}
    driver = {
        "name": "lcaudit",
        "semanticVersion": review.printable(measured.environment.lcaudit),
        "rules": [_rule(rule) for rule in report.rules],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"lcaudit/{_uri(review.subject(report))}/"},
        "columnKind": "utf16CodeUnits",
        "artifacts": [
            {"location": _artifact(review.subject(report)), "hashes": {"sha-256": measured.checkpoint.sha256}}
        ],
        "invocations": [
            {
                "executionSuccessful": report.gate.verdict != "incomplete",
                "exitCode": report.gate.exit_code,
                "exitCodeDescription": review.verdict(report),
                "toolExecutionNotifications": _notifications(report),
            }
        ],
        "results": [_result(report, finding, rules) for finding in report.findings[: review.MOST]],
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return review.json_text(log)


def _rule(rule: RuleRecord) -> dict[str, Any]:
    sections = [f"{heading}: {text}" for heading, text in rule.manual.items()] or [rule.summary]
    limit = f"Limit: {numbers.limit(rule.limit.value, rule.limit.unit)}. {rule.limit.source}"
    return {
        "id": review.printable(rule.code),
        "name": _pascal(rule.name),
        "shortDescription": {"text": _text(rule.summary) or "no description"},
        "fullDescription": {"text": _text(next(iter(rule.manual.values()), rule.summary)) or "no description"},
        "help": {"text": "\n\n".join(filter(None, map(_text, [*sections, limit]))) or "no description"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"precision": _PRECISION[rule.kind], "tags": ["trained-weights", rule.kind]},
    }


def _result(report: Report, finding: Finding, rules: dict[str, int]) -> dict[str, Any]:
    text = f"{review.place(finding)}: {review.message(finding)}"
    if len(finding.layers) > 1:
        text += f" Layers: {one_line(finding.layers, 20)}."
    place = {"ruleIndex": rules[finding.rule]} if finding.rule in rules else {}
    return {
        "ruleId": review.printable(finding.rule),
        **place,
        "level": _LEVELS[finding.severity],
        "message": {"text": _text(text)},
        "locations": [_location(report, finding)],
        "partialFingerprints": {"primaryLocationLineHash": f"{review.fingerprint(report, finding)}:1"},
        "properties": {"id": review.printable(finding.id), "kind": finding.kind, "figure": review.figure(finding)},
    }


def _location(report: Report, finding: Finding) -> dict[str, Any]:
    at = review.anchor(report, review.first_layer(finding))
    layers = [display_name(layer, 400) for layer in finding.layers[:_MOST_LAYERS]]
    logical = [{"name": layer, "fullyQualifiedName": layer, "kind": "module"} for layer in dict.fromkeys(layers)]
    return {
        "physicalLocation": {"artifactLocation": _artifact(at.file), "region": {"startLine": at.line}},
        **({"logicalLocations": logical} if logical else {}),
    }


def _notifications(report: Report) -> list[dict[str, Any]]:
    said: list[tuple[str, str, str]] = []
    for status, level in (("crash", "error"), ("undecided", "note")):
        for group in summary.groups(report, status):
            where = f" on {one_line(group.layers, 20)}" if group.layers else ""
            word = summary.STATUSES[status]
            said.append((level, group.rule, f"{review.printable(group.rule)} {word}{where}: {group.reason}"))
    for finding in report.suppressed:
        text = f"suppressed: {finding.rule} on {review.place(finding)}, {summary.suppression(finding)}"
        said.append(("note", finding.rule, text))
    said += [("warning", "", text) for text in (*report.gate.reasons, *report.notices)]
    more = len(report.findings) - review.MOST
    if more > 0:
        said.append(("warning", "", f"{more} more findings are in the full report"))
    return [
        {
            "level": level,
            "message": {"text": _text(text) or "no reason given"},
            **({"associatedRule": {"id": review.printable(rule)}} if rule else {}),
        }
        for level, rule, text in said[: review.MOST]
    ]


def _artifact(path: str) -> dict[str, str]:
    return {"uri": _uri(path)}


def _uri(path: str) -> str:
    """A relative reference: a colon is escaped too, so that no name reads as a scheme."""
    return quote(path, safe="/")


def _pascal(name: str) -> str:
    words = [word for word in review.printable(name).replace("_", "-").split("-") if word]
    return "".join(word[:1].upper() + word[1:] for word in words) or "Unnamed"


def _text(text: str) -> str:
    """One printable line in which no bracket makes a link and no brace a placeholder (§3.11.5, §3.11.6)."""
    shown = review.printable(text)
    for mark in "\\[]":
        shown = shown.replace(mark, f"\\{mark}")
    return shown.replace("{", "{{").replace("}", "}}")


WRITER = Writer(".sarif", "application/sarif+json", write)
