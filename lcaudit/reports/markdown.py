"""Markdown: a section for a job's summary, a merge request or a model card.

Names from files stand in code spans; in sentences every character with a meaning in Markdown is escaped, so
that no text makes a heading, a link, an image, a mention or an element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from lcaudit.core import figures as numbers
from lcaudit.core.outcomes import Finding, Report
from lcaudit.core.text import count, display_name
from lcaudit.reports import _review as review
from lcaudit.reports import _summary as summary
from lcaudit.reports._contract import Style, Writer
from lcaudit.reports._terminal import inert

#: Rows of one table, and names in one cell; a summary on GitHub may hold 1 MiB.
_MOST, _MOST_NAMES = 50, 12
_LONGEST = 1000
_MARKS = re.compile(r"[\\`*\[\]<>#|~&$]|(?<!\w)_|_(?!\w)|(?<=:)/(?=/)|(?<=[wW]{3})\.")


def write(report: Report, style: Style) -> str:
    """Verdict, findings as a table, each finding folded, and what was not decided, not run or suppressed."""
    measured, found = report.measurements, summary.tally(report)
    lines = [f"## lcaudit: {summary.VERDICTS[report.gate.verdict]}", ""]
    lines += [f"{code(review.subject(report))} on {code(f'{measured.probe.dataset}/{measured.probe.split}')}, "
              f"{count(measured.probe.samples, 'sample')}: {prose(summary.verdict_sentence(report))}", ""]  # fmt: skip
    said = (summary.doubt(report), summary.fit_untested(report))
    lines += [line for text in said if text for line in (f"**{prose(text)}**", "")]
    gate = f"{numbers.percent(report.gate.coverage)} of the parameters audited; {summary.GATES[report.gate.fail_on]}"
    lines += [f"{summary.severities(found)}. {summary.account(found)}. {gate}."]
    lines += [f"- {prose(reason)}" for reason in report.gate.reasons]
    findings = review.findings(report)
    lines += _table(report, findings)
    for finding in findings[:_MOST]:
        lines += ["", *_details(finding)]
    lines += _left(report)
    lines += _provenance(report)
    return inert("\n".join(lines) + "\n")


def code(name: object) -> str:
    """A name as a code span; the two characters that end a span or a cell are spelled out."""
    shown = display_name(name, 120).replace("`", "\\x60").replace("|", "\\x7c").strip()
    return f"`{shown}`" if shown else "` `"


def prose(text: object) -> str:
    """Sentences as one line of Markdown that reads as it is; a comment keeps ``@`` from naming anybody."""
    shown = display_name(" ".join(str(text).split()), _LONGEST)
    return _MARKS.sub(r"\\\g<0>", shown).replace("@", "@<!-- -->")


def _html(text: str) -> str:
    """Sentences inside an element, where Markdown is not read."""
    shown = escape(display_name(" ".join(text.split()), _LONGEST))
    return shown.replace("@", "@<!-- -->")


def _table(report: Report, findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        return
    yield from ("", "| severity | rule | layers | figure | limit |", "|---|---|---|---|---|")
    for finding in findings[:_MOST]:
        name = review.rule_name(report, finding.rule)
        limit = numbers.limit(finding.limit.value, finding.limit.unit)
        figure = f"{prose(finding.metric)} **{prose(numbers.figure(finding.measured).value)}**"
        interval = prose(numbers.interval(finding.measured))
        yield (
            f"| {finding.severity} | {code(finding.rule)} {prose(name)} | {_names(finding.layers, 3)} "
            f"| {figure} ({interval}) | {prose(limit)} |"
        )
    if len(findings) > _MOST:
        yield from ("", f"{len(findings) - _MOST} more findings are in the full report.")


def _details(finding: Finding) -> Iterator[str]:
    yield f"<details><summary>{_html(finding.title)}</summary>"
    yield from ("", prose(finding.message), "")
    yield f"- Where: {_names(finding.layers, _MOST_NAMES)}"
    yield from (f"- {prose(fact)}" for fact in finding.evidence[:_MOST_NAMES])
    for fix in finding.fixes:
        promised = summary.promise(fix)
        shown = f": {prose(promised)}" if promised else ""
        shown += f" ({prose(priced)})" if (priced := summary.price(fix)) else ""
        yield f"- Fix ({summary.TAGS[fix.applicability]}): {prose(fix.title)}{shown}. {prose(fix.how)}"
    if finding.rule != review.BASELINE:
        yield f"- `lcaudit explain {review.printable(finding.rule)[:12].replace('`', '')}`"
    yield from ("", "</details>")


def _names(layers: Sequence[str], most: int) -> str:
    if not layers:
        return "whole model"
    rest = f" and {len(layers) - most} more" if len(layers) > most else ""
    return ", ".join(code(layer) for layer in layers[:most]) + rest


def _left(report: Report) -> Iterator[str]:
    """What is not among the findings and did not pass, with reasons."""
    for status in ("undecided", "crash"):
        groups = summary.groups(report, status)
        if groups:
            yield from ("", f"### {summary.STATUSES[status].capitalize()}", "")
        for group in groups[:_MOST]:
            yield f"- {code(group.rule)} on {_names(group.layers, _MOST_NAMES)}: {prose(group.reason)}"
    if report.suppressed:
        yield from ("", "### Suppressed", "")
    for finding in report.suppressed[:_MOST]:
        because = prose(summary.suppression(finding))
        yield f"- {code(finding.rule)} on {_names(finding.layers, _MOST_NAMES)}: {because}"
    if report.notices:
        yield from ("", "### Notes", "")
    yield from (f"- {prose(notice)}" for notice in report.notices[:_MOST])


def _provenance(report: Report) -> Iterator[str]:
    measured = report.measurements
    yield from ("", "<details><summary>How this was measured</summary>", "")
    yield f"- Network: {prose(measured.network.title)}, {numbers.grouped(measured.network.parameters)} parameters"
    yield f"- SHA-256: {code(measured.checkpoint.sha256)}"
    yield (
        f"- lcaudit {prose(measured.environment.lcaudit)}, torch {prose(measured.environment.torch)}, "
        f"seed {measured.settings.seed}, convention {prose(measured.settings.convention)}"
    )
    yield from (f"- {prose(line)}" for line in report.convention)
    yield from ("", "</details>")


WRITER = Writer(".md", "text/markdown", write)
