"""One line for each finding, as compilers print them, and the verdict on the last line."""

from __future__ import annotations

from lcaudit.core import figures as numbers
from lcaudit.core.outcomes import Finding, Report
from lcaudit.reports import _review as review
from lcaudit.reports import _summary as summary
from lcaudit.reports._contract import Style, Writer
from lcaudit.reports._readings import unsettled
from lcaudit.reports._terminal import inert


def write(report: Report, style: Style) -> str:
    """``path:layer: CODE severity metric figure, limit``; checks that did not run and what is suppressed follow."""
    path = review.subject(report)
    lines = [f"{path}:{review.place(finding)}: {_finding(finding)}" for finding in review.findings(report)]
    lines += [
        f"{path}:{review.place(finding)}: {review.printable(finding.rule)} suppressed "
        f"{review.printable(summary.suppression(finding))}"
        for finding in report.suppressed
    ]
    for group in summary.groups(report, "crash"):
        lines.append(f"{path}: {review.printable(group.rule)} not run {review.printable(group.reason)}")
    notes = [*filter(None, [unsettled(report)]), *report.notices]
    lines += [f"{path}: note {review.printable(note)}" for note in notes]
    lines += [f"{path}: {review.printable(reason)}" for reason in report.gate.reasons]
    return inert("\n".join([*lines, review.verdict(report)]) + "\n")


def _finding(finding: Finding) -> str:
    limit = numbers.limit(finding.limit.value, finding.limit.unit)
    figure = f"{review.printable(finding.metric)} {numbers.figure(finding.measured).value}, limit {limit}"
    return f"{review.printable(finding.rule)} {finding.severity} {figure}"


WRITER = Writer(".txt", "text/plain", write, people=True)
