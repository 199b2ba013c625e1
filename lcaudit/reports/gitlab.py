"""GitLab's code quality report: a JSON list with one entry for each finding.

GitLab compares the fingerprints of two runs to say what is new and what was mended. Source of the format:
"Code Quality report format" in GitLab's documentation of its CI.
"""

from __future__ import annotations

from typing import Any

from lcaudit.core.outcomes import Finding, Report
from lcaudit.reports import _review as review
from lcaudit.reports import _summary as summary
from lcaudit.reports._contract import Style, Writer

_SEVERITIES = {"error": "critical", "warning": "major", "info": "info"}


def write(report: Report, style: Style) -> str:
    """The list; an audit without a verdict adds an entry that says so, since an empty list reads as clean."""
    entries = [_finding(report, finding) for finding in report.findings[: review.MOST]]
    if report.gate.verdict == "incomplete":
        reasons = "; ".join(review.printable(reason) for reason in report.gate.reasons)
        entries.append(_entry(report, "lcaudit", "incomplete", f"The audit is incomplete: {reasons}", "major", ""))
    for group in summary.groups(report, "crash"):
        text = f"{review.printable(group.rule)} did not run: {review.printable(group.reason)}"
        entries.append(_entry(report, group.rule, f"not run: {group.reason}", text, "major", ""))
    return review.json_text(entries)


def _finding(report: Report, finding: Finding) -> dict[str, Any]:
    name = review.rule_name(report, finding.rule)
    check = f"{review.printable(finding.rule)} {name}".strip() or "lcaudit"
    text = f"{review.place(finding)}: {review.message(finding)}"
    entry = _entry(report, check, "", text, _SEVERITIES[finding.severity], review.first_layer(finding))
    return {**entry, "fingerprint": review.fingerprint(report, finding)}


def _entry(report: Report, check: str, identity: str, text: str, severity: str, layer: str) -> dict[str, Any]:
    at = review.anchor(report, layer)
    return {
        "description": text,
        "check_name": review.printable(check),
        "fingerprint": review.digest(check, review.subject(report), identity),
        "severity": severity,
        "location": {"path": at.file, "lines": {"begin": at.line}},
    }


WRITER = Writer(".json", "application/json", write)
