"""GitHub workflow commands: findings become annotations on the run and on the change under review.

A runner obeys lines that begin with ``::``, and splits them at commas, colons and line ends; text from a file
is escaped so that it stays text. The runner shows ten annotations of a step: the worst nine are printed, and
a tenth counts the rest.
"""

from __future__ import annotations

from lcaudit.core.outcomes import Finding, Report
from lcaudit.reports import _review as review
from lcaudit.reports import _summary as summary
from lcaudit.reports._contract import Style, Writer

_COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}
_MOST = 9


def write(report: Report, style: Style) -> str:
    """One command on each line; the verdict comes last, as a notice or an error."""
    findings = review.findings(report)
    lines = [_finding(report, finding) for finding in findings[:_MOST]]
    rest = len(findings) - _MOST
    if rest > 0:
        lines.append(_command("notice", "lcaudit", f"{rest} more findings in the full report"))
    left = [review.printable(reason) for reason in report.gate.reasons]
    left += [
        f"{review.printable(group.rule)} not run: {review.printable(group.reason)}"
        for group in summary.groups(report, "crash")
    ]
    left += [review.printable(notice) for notice in report.notices]
    verdict = ". ".join([review.verdict(report), *left])
    kind = {"pass": "notice", "fail": "error", "incomplete": "warning"}[report.gate.verdict]
    return "\n".join([*lines, _command(kind, f"lcaudit {review.subject(report)}", verdict)]) + "\n"


def _finding(report: Report, finding: Finding) -> str:
    at = review.anchor(report, review.first_layer(finding))
    code = review.printable(finding.rule)
    name = review.rule_name(report, finding.rule)
    title = f"{code} {name}".rstrip() + f": {review.place(finding)}"
    return _command(_COMMANDS[finding.severity], title, review.message(finding), at.file, at.line)


def _command(kind: str, title: str, text: str, file: str = "", line: int = 0) -> str:
    properties = [f"file={_property(file)}", f"line={line}"] if file else []
    properties.append(f"title={_property(title)}")
    return f"::{kind} {','.join(properties)}::{_data(text)}"


def _data(text: str) -> str:
    """Escaped for the message of a command; the marks of a command inside it are spelled out."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return escaped.replace("::", ":\\x3a").replace("##[", "\\x23#[")


def _property(text: str) -> str:
    """Escaped for a property, which also ends at a colon or a comma."""
    return _data(text.replace("::", ":\\x3a")).replace(":", "%3A").replace(",", "%2C")


WRITER = Writer(".txt", "text/plain", write)
