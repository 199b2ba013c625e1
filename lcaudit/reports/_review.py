"""What the formats for code reviews and gates have in common: where a finding lies, its identity, its one line."""

from __future__ import annotations

import hashlib
import json

from lcaudit.core import figures as numbers
from lcaudit.core.comparison import Change, Comparison
from lcaudit.core.outcomes import Anchor, Finding, Limit, Report
from lcaudit.core.text import count, display_name, one_line
from lcaudit.reports import _comparison_words as words
from lcaudit.reports import _summary as summary

#: Results that one document holds at most: what GitHub shows of an upload. The rest is counted.
MOST = 5000
#: What stands in the place of a rule's code where a figure is worse than the baseline.
BASELINE = "baseline"


def subject(report: Report) -> str:
    """The checkpoint's path below the working folder, else its name: printable, relative, with ``/``."""
    path = display_name((report.subject or report.measurements.checkpoint.name).replace("\\", "/"), 400)
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "checkpoint"


def anchor(report: Report, layer: str) -> Anchor:
    """The line that stands for ``layer``: its own, the whole model's, or the first one of the checkpoint."""
    kept_as = report.measurements.network.former_names.get(layer, layer)
    found = report.anchors.get(kept_as) or report.anchors.get("")
    return Anchor(display_name(found.file, 400), max(1, found.line)) if found else Anchor(subject(report), 1)


def findings(report: Report) -> tuple[Finding, ...]:
    """What a review is told: figures that are worse than the baseline, and then the findings."""
    return (*worse(report), *report.findings)


def worse(report: Report) -> tuple[Finding, ...]:
    """Figures worse than the baseline, in the form of findings, the largest change first."""
    held = report.baseline
    if held is None:
        return ()
    return tuple(_worse(held, change) for change in held.worst)


def _worse(held: Comparison, change: Change) -> Finding:
    shown = words.row(change, held)
    assert change.before and change.after, "what is worse was measured twice"
    return Finding(
        id=f"{BASELINE}:{change.layer}:{change.metric}",
        rule=BASELINE,
        severity="error",
        kind="defect",
        title=f"{shown.figure} is worse than in the baseline",
        message=f"{shown.before} → {shown.after}, {shown.change} ({shown.interval}; corrected for "
        f"{count(held.comparisons, 'comparison')}: {shown.corrected}).",
        layers=(change.layer,),
        metric=shown.figure,
        measured=change.after,
        limit=Limit((1 + held.margin) * change.before.value, change.after.unit, held.margin_source),
    )


def first_layer(finding: Finding) -> str:
    """The layer that the finding is shown at; ``""`` for the whole model."""
    return finding.layers[0] if finding.layers else ""


def fingerprint(report: Report, finding: Finding) -> str:
    """Identity of a finding over time: its rule, what was audited, and its layer or common cause; no figure."""
    return digest(finding.rule, subject(report), finding.id)


def digest(*parts: str) -> str:
    """32 hexadecimal digits for these parts, kept apart."""
    joined = "\0".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.sha256(joined).hexdigest()[:32]


def place(finding: Finding) -> str:
    """``conv1``, ``conv1 and 3 more`` or ``whole model``."""
    return one_line(finding.layers, 1) if finding.layers else "whole model"


def figure(finding: Finding) -> str:
    """What was measured and its limit: ``gain 12.0× (95 % interval 11 – 13), limit 5×``."""
    shown, interval = numbers.figure(finding.measured), numbers.interval(finding.measured)
    limit = numbers.limit(finding.limit.value, finding.limit.unit)
    return f"{printable(finding.metric)} {shown.value} ({interval}), limit {limit}"


def message(finding: Finding) -> str:
    """Title, figure and the first thing to do, as sentences."""
    parts = [f"{printable(finding.title).rstrip('.')}: {figure(finding)}."]
    if finding.fixes:
        parts.append(f"What to do: {printable(finding.fixes[0].title).rstrip('.')}.")
    return " ".join(parts)


def printable(text: str) -> str:
    """Sentences as one printable line."""
    return display_name(" ".join(text.split()), 2000)


def json_text(document: object) -> str:
    """Indented JSON in ASCII; a mark that the log of a runner would obey is written as an escape."""
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, indent=1)
    return text.replace("##[", "\\u0023#[") + "\n"


def rule_name(report: Report, code: str) -> str:
    """The rule's kebab name, or ``""`` where the report does not carry the rule."""
    if code == BASELINE:
        return "worse-than-baseline"
    rule = summary.rule_names(report).get(code)
    return display_name(rule.name, 80) if rule else ""


def blocks(report: Report, finding: Finding) -> bool:
    """Whether the finding is at or above --fail-on."""
    order = ("error", "warning", "info")
    fail_on = report.gate.fail_on
    return fail_on != "never" and order.index(finding.severity) <= order.index(fail_on)


def verdict(report: Report) -> str:
    """``FAIL (fail-on: error): 1 error, 2 warnings, 0 notes; 3 checks undecided, 1 not run``."""
    found = summary.tally(report)
    left = [f"{found.checks[s]} {w}" for s, w in (("undecided", "undecided"), ("crash", "not run")) if found.checks[s]]
    left += [f"{count(len(report.suppressed), 'finding')} suppressed"] * bool(report.suppressed)
    line = f"{summary.VERDICTS[report.gate.verdict]} (fail-on: {report.gate.fail_on}): {summary.severities(found)}"
    return "; ".join([line, *([f"checks: {', '.join(left)}"] if left else [])])
