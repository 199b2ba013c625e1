"""The report on a terminal: findings first, the verdict on the last line.

At verbosity −1 findings and verdict only; at 0 also the worst layers; at 1 every layer, every fix in full,
the evidence and what was assumed. Every text that a file could have brought is made printable and kept
from being read as a command by a continuous-integration log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import click

from lcaudit.core import figures as numbers
from lcaudit.core.comparison import Comparison
from lcaudit.core.outcomes import Effect, Finding, Fix, Report
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import count, one_line
from lcaudit.reports import _summary as summary
from lcaudit.reports import _verification as verification
from lcaudit.reports._comparison.text import changes
from lcaudit.reports._contract import Style, Writer
from lcaudit.reports._layer_table import layer_lines
from lcaudit.reports._readings import rows, told
from lcaudit.reports._terminal import Column, cells, clip, inert, pad, prose, table, wrapped

_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan", "pass": "green", "fail": "red", "incomplete": "yellow"}
#: The rule that names what was not audited: its finding says the same in fewer words.
_NOT_AUDITED = "LC903"
#: A source of the normalisation that is longer is cut at its first semicolon.
_SHORT = 50
#: Columns that the names of a finding's layers need on the line of its rule; else they get their own.
_NARROWEST = 24


def write(report: Report, style: Style) -> str:
    """``report`` as lines of at most ``style.width`` columns where that is possible."""
    style = replace(style, width=max(40, style.width))
    blocks: list[list[str]] = []
    if style.verbosity >= 0:
        blocks += [list(_header(report, style))]
    if report.verification:
        blocks += [list(verification.lines(report.verification, style))]
    blocks += [list(_finding(finding, report, style)) for finding in report.findings]
    if report.baseline:
        blocks += [_baseline(report.baseline, style)]
    if style.verbosity >= 0:
        blocks += [list(_suppressed(report, style))]
        blocks += [layer_lines(report, style), list(_undecided(report, style)), list(_blind_spots(report, style))]
        blocks += [list(_counts(report, style))]
    blocks += [[*_reasons(report, style), *_left_open(report, style), _verdict(report, style)]]
    return inert("\n\n".join("\n".join(block) for block in blocks if block) + "\n")


def _baseline(found: Comparison, style: Style) -> list[str]:
    """The network against its baseline."""
    return [
        f"baseline  {clip(found.before.name, 60)}",
        *changes(found, replace(style, verbosity=min(0, style.verbosity))),
    ]


def _header(report: Report, style: Style) -> Iterator[str]:
    measured = report.measurements
    run, probe, network = measured.environment, measured.probe, measured.network
    yield from _flow(
        [
            f"lcaudit {clip(run.lcaudit, 20)}",
            f"torch {clip(run.torch, 20)} {clip(run.device, 20)}",
            f"seed {measured.settings.seed}",
        ],
        style,
    )
    yield from _flow(
        [
            f"model  {clip(measured.checkpoint.name, 40)}",
            clip(network.title, 48),
            f"{numbers.grouped(network.parameters)} parameters",
            f"sha256 {clip(measured.checkpoint.sha256[:8], 16)}…",
            *_confidence(report, style),
        ],
        style,
    )
    if measured.checkpoint.hub:
        yield from wrapped(prose(f"Hub: {measured.checkpoint.hub.words(12)}"), style.width, "       ")
    if measured.checkpoint.unwrapped:
        yield from wrapped(prose("; ".join(measured.checkpoint.unwrapped)), style.width, "       ")
    source = f"{clip(probe.dataset, 30)}/{clip(probe.split, 20)}"
    used = f"{numbers.grouped(probe.samples)} of {count(probe.available, 'sample')}"
    whole = probe.normalisation.source
    normalisation = f"normalisation: {clip(whole if len(whole) <= _SHORT else whole.partition(';')[0], 84)}"
    yield from _flow([f"probe  {source}, {used}", *_fit(report), normalisation], style)
    if probe.hub:
        yield from wrapped(prose(f"Hub: {probe.hub.words(12)}"), style.width, "       ")
    compared = told(report)
    notes = [*([compared] if compared else []), *measured.notes]
    if style.verbosity > 0:
        seen = [f"{step.step}: {step.says}" for step in network.evidence]
        seen += [", ".join(filter(None, row)) for row in rows(report)]
        notes = [*seen, *(f"assumed: {line}" for line in network.assumptions), *notes]
    for note in (*notes, *report.notices):
        yield from wrapped(prose(note), style.width, "note   ", "       ")


def _confidence(report: Report, style: Style) -> Iterator[str]:
    network = report.measurements.network
    known = clip(network.confidence, 20)
    if network.assumptions:
        listed = "" if style.verbosity > 0 else " (-v lists them)"
        known += f", {count(len(network.assumptions), 'assumption')}{listed}"
    yield known


def _fit(report: Report) -> Iterator[str]:
    fit, recorded = report.measurements.fit, report.measurements.checkpoint.recorded
    if fit is None:
        yield "not run: the weights are not all finite"
        return
    if fit.error is not None:
        beside = f", recorded {numbers.percent(1 - recorded.value)}" if recorded else ""
        yield f"{summary.error_words(fit)} {numbers.spoken(replace(fit.error, unit='share'))}{beside}"
    if fit.loss is not None:
        yield summary.loss_words(fit)
    if fit.error is None and fit.loss is None:
        yield summary.unlabelled(report, ", ")


def _finding(finding: Finding, report: Report, style: Style) -> Iterator[str]:
    rule = summary.rule_names(report).get(finding.rule)
    head = f"{finding.severity} {clip(finding.rule, 12)} {clip(rule.name, 40) if rule else ''}".rstrip()
    coloured = _paint(finding.severity, finding.severity, style) + head[len(finding.severity) :]
    layers = _places(finding.layers, max(_NARROWEST, style.width - cells(head) - 3))
    if cells(head) + 3 + cells(layers) <= style.width:
        yield coloured + pad(layers, style.width - cells(head), right=True)
    else:
        yield coloured
        yield f"    {_places(finding.layers, style.width - 4)}"
    yield from wrapped(prose(finding.title), style.width, "    ")
    limit = numbers.limit(finding.limit.value, finding.limit.unit)
    beside = [] if summary.side(finding) == "over the limit" else [summary.side(finding)]
    yield from _flow([prose(finding.metric), *_measured(finding.measured), f"limit {limit}", *beside], style, "    ")
    if _brief(finding, report, style):
        return
    yield from wrapped(prose(finding.message), style.width, "    ")
    if style.verbosity > 0:
        for fact in finding.evidence:
            yield from wrapped(prose(fact), style.width, "    - ", "      ")
    for i, fix in enumerate(finding.fixes):
        yield from _fix(fix, style, "    fix  " if i == 0 else "    or   ")


def _brief(finding: Finding, report: Report, style: Style) -> bool:
    """Whether a finding's message and fixes are left out: notes, and opportunities that are in doubt."""
    doubted = finding.kind == "opportunity" and bool(summary.doubt(report))
    return style.verbosity <= 0 and (finding.severity == "info" or doubted)


def _fix(fix: Fix, style: Style, start: str) -> Iterator[str]:
    promised = summary.promise(fix)
    title = f"[{fix.applicability}] {fix.title}" + (f": {promised}" if promised else "")
    yield from wrapped(prose(title), style.width, start, "         ")
    if priced := summary.price(fix):
        yield from wrapped(prose(f"costs {priced}"), style.width, "         ")
    if style.verbosity <= 0:
        return
    rows = [_effect(effect, style.width) for effects in summary.ranked(fix) for effect in effects]
    lines = table([Column("", right=False)] + [Column("")] * 4, rows, "         ")[1:]
    if max(map(cells, lines), default=0) <= style.width:
        yield from lines
    else:
        for row in rows:
            yield from wrapped("  ".join(filter(None, row)), style.width, "         ", "           ")
    yield from wrapped(prose(f"{fix.how} Cost: {fix.cost}"), style.width, "         ")


def _effect(effect: Effect, width: int) -> list[str]:
    before, after = numbers.figure(effect.before), numbers.figure(effect.after)
    gain = numbers.figure(replace(effect.gain, unit="×"))
    interval = f"({gain.interval})" if gain.interval else ""
    change = f"{before.value} -> {after.value}"
    return [f"{clip(effect.layer, width // 3)}: {prose(effect.metric)}", change, gain.value, interval, effect.basis]


def _suppressed(report: Report, style: Style) -> Iterator[str]:
    for finding in report.suppressed:
        line = f"{clip(finding.rule, 12)} {_places(finding.layers, 60)}: {prose(finding.title)}"
        yield from wrapped(line, style.width, "suppressed  ", "    ")
        yield from wrapped(f"because: {prose(summary.suppression(finding))}", style.width, "    ")


def _undecided(report: Report, style: Style) -> Iterator[str]:
    for status, word in (("undecided", "undecided"), ("crash", "not run")):
        for group in summary.groups(report, status):
            yield from wrapped(
                f"{clip(group.rule, 12)} {clip(group.name, 40)}  {_places(group.layers, 60)}",
                style.width,
                f"{word} ",
                "    ",
            )
            first = group.checks[0].measured
            figure = _measured(first) if first and len(group.checks) == 1 else []
            limit = summary.straddled(group, report)
            beside = [f"limit {numbers.limit(limit.value, limit.unit)}"] if limit else []
            yield from _flow([*figure, *beside, prose(group.reason)], style, "    ")


def _blind_spots(report: Report, style: Style) -> Iterator[str]:
    measured = report.measurements
    told = any(finding.rule == _NOT_AUDITED for finding in report.findings) and style.verbosity <= 0
    by_reason: dict[str, list[str]] = {}
    for module in () if told else measured.not_audited:
        by_reason.setdefault(module.reason, []).append(module.name)
    for reason, modules in by_reason.items():
        line = f"{count(len(modules), 'module')}: {prose(reason)} ({one_line(modules, 4)})"
        yield from wrapped(line, style.width, "not audited  ", "             ")
    for tensor in measured.non_finite[: None if style.verbosity > 0 else 6]:
        line = f"{clip(tensor.name, 60)}: {numbers.grouped(tensor.entries)} of {numbers.grouped(tensor.size)} entries"
        yield from wrapped(line, style.width, "not finite   ", "             ")


def _counts(report: Report, style: Style) -> Iterator[str]:
    found = summary.tally(report)
    for sentence in (summary.verdict_sentence(report), summary.doubt(report), summary.fit_untested(report)):
        yield from wrapped(prose(sentence), style.width, "")
    yield from wrapped(
        f"{summary.severities(found)}.  {summary.account(found)}.  "
        f"{numbers.percent(report.gate.coverage)} of the parameters audited.",
        style.width,
        "",
    )
    shown = {fix.applicability for f in report.findings if not _brief(f, report, style) for fix in f.fixes}
    legend = "; ".join(f"[{tag}] {words}" for tag, words in summary.TAGS.items() if tag in shown)
    yield from wrapped(legend, style.width, "") if legend else ()
    if report.findings:
        yield f"explain: lcaudit explain {clip(report.findings[0].rule, 12)}"


def _reasons(report: Report, style: Style) -> Iterator[str]:
    for reason in report.gate.reasons:
        yield from wrapped(prose(reason), style.width, "")


def _left_open(report: Report, style: Style) -> Iterator[str]:
    """What the full report says with reasons, in one line where there is no full report."""
    undecided = report.gate.counts.get("undecided", 0)
    if style.verbosity < 0 and undecided:
        yield f"{count(undecided, 'check')} undecided"
    if style.verbosity < 0 and report.suppressed:
        yield f"{count(len(report.suppressed), 'finding')} suppressed"


def _verdict(report: Report, style: Style) -> str:
    word = summary.VERDICTS[report.gate.verdict]
    said = f"{_paint(word, report.gate.verdict, style)} (fail-on: {report.gate.fail_on})"
    said += f", but {open_}" if (open_ := summary.hardly_decided(report)) else ""
    if report.verification is None:
        return said
    of = (
        "check of the new weights"
        if report.verification.applied
        else "nothing mended; check of the weights as they are"
    )
    return f"{of}: {said}"


def _measured(quantity: Quantity) -> list[str]:
    figure = numbers.figure(quantity)
    samples = f", n {numbers.grouped(quantity.n)}" if quantity.n and figure.interval else ""
    return [figure.value, numbers.interval(quantity) + samples, *([figure.note] if figure.note else [])]


def _places(layers: tuple[str, ...], width: int) -> str:
    if not layers:
        return "whole model"
    rest = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
    return clip(layers[0], max(8, width - cells(rest))) + rest


def _flow(parts: list[str], style: Style, indent: str = "") -> Iterator[str]:
    """Parts side by side, three spaces apart, going on in the next line where they do not fit."""
    hanging = f"{indent}       "
    lines: list[str] = []
    for part in parts:
        room = style.width - len(hanging if len(lines) > 1 else indent)
        if lines and cells(lines[-1]) + 3 + cells(part) <= room:
            lines[-1] += "   " + part
        else:
            lines.append(part)
    for line in lines:
        yield from wrapped(line, style.width, indent if line is lines[0] else hanging, hanging)


def _paint(text: str, key: str, style: Style) -> str:
    return click.style(text, fg=_COLOURS[key], bold=True) if style.color else text


WRITER = Writer(".txt", "text/plain", write, people=True)
