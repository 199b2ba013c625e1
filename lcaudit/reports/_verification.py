"""Fixes applied and measured again, in words and rows that every format shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from lcaudit.core import figures as numbers
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import count, display_name, one_line
from lcaudit.core.verification import OpenCheck, Unsettled, Verification, Verified
from lcaudit.reports._contract import Style
from lcaudit.reports._terminal import Column, clip, prose, table, wrapped

HEADINGS = ("layer", "figure", "before", "predicted", "measured", "change")
NOTE = (
    "Each figure is evaluated on the same samples before and after, without correction of bias; predicted: in closed "
    "form from the original network's moments, before anything was changed."
)
#: Figures of a fix in the text report before -v is asked for, κ_80 of Σ_x first.
_MOST = 9
#: Checks left open that are named.
_MOST_OPEN = 4


def summary(verification: Verification) -> str:
    """How much was made of what, in one sentence."""
    made, refused = len(verification.applied), len(verification.refused)
    held_out = "none held out"
    if verification.held_out:
        held_out = f"{count(verification.held_out, 'held-out sample')} judged"
    applied_to = f"{count(made, 'fix', 'fixes')} applied to {display_name(verification.source, 80)}"
    others = f", {refused} not" if refused else ""
    return f"{applied_to}{others}; {count(verification.samples, 'sample')} measured and chose, {held_out}."


def not_decided(found: Unsettled | None) -> str:
    """What was not mended because the samples did not decide it, and with how many to try; ``""`` for nothing."""
    if found is None or not found.checks:
        return ""
    named = [_open(one) for one in found.checks]
    rest = f" and {len(named) - _MOST_OPEN} more" if len(named) > _MOST_OPEN else ""
    tried = f": try --samples {found.try_samples}" if found.try_samples else ""
    samples = count(found.samples, "sample")
    return f"not decided on {samples}, so not mended: {', '.join(named[:_MOST_OPEN])}{rest}{tried}"


def _open(one: OpenCheck) -> str:
    needs = f"about {count(one.needed, 'sample')} would do" if one.needed else display_name(one.reason, 160)
    return f"{display_name(one.rule, 12)} {display_name(one.layer, 80)} ({numbers.figure(one.measured).value}, {needs})"


def facts(verification: Verification) -> Iterator[tuple[str, str]]:
    """(what, in words): outputs, error, loss, Σ_g, findings."""
    v = verification
    if not v.applied:
        return
    out = "not measured: no samples are held out"
    if v.logits_held_out is not None:
        out = f"{numbers.number(v.logits_held_out)} on held-out samples"
    yield (
        "outputs",
        f"largest change {numbers.number(v.logits_probe)} of their scale on the probe, {out}; a safe fix may make "
        f"{numbers.number(v.tolerance)}",
    )
    errors = ((v.error_probe_before, v.error_probe_after), (v.error_held_out_before, v.error_held_out_after))
    losses = ((v.loss_probe_before, v.loss_probe_after), (v.loss_held_out_before, v.loss_held_out_after))
    for name, unit, both in (("error", "share", errors), ("loss", "nat", losses)):
        places = zip(both, ("on the probe", "held out"), strict=True)
        said = [f"{_arrow(*pair, unit)} {where}" for pair, where in places if pair[0]]
        if said:
            yield name, "; ".join(said)
    if v.gradient_change is not None:
        yield (
            "Σ_g",
            f"as predicted to {numbers.number(v.gradient_change)} of its largest entry (unchanged by insertions)",
        )
    for name, ids in (("gone", v.gone), ("left", v.left), ("new", v.new)):
        if ids:
            yield name, one_line(ids, 8)


def _arrow(before: Quantity | None, after: Quantity | None, unit: str) -> str:
    ends = [numbers.figure(replace(one, unit=unit)).value if one else "unknown" for one in (before, after)]
    return " → ".join(ends)


def applied(verification: Verification) -> Iterator[tuple[str, str]]:
    """(id and class, what was done and what it changed)."""
    for one in verification.applied:
        changes = numbers.number(one.logits_probe)
        if one.logits_held_out is not None:
            changes += f", {numbers.number(one.logits_held_out)} held out"
        said = f"{one.what}; outputs change by {changes}"
        if one.error_before and one.error_after:
            said += f"; held-out error {_arrow(one.error_before, one.error_after, 'share')}"
        yield f"{one.fix} [{one.applicability}]", f"{said}; for {one.answers}" if one.answers else said


def refused(verification: Verification) -> Iterator[tuple[str, str]]:
    """(id, where and why)."""
    for one in verification.refused:
        where = f"{one_line(one.layers, 3)}: " if one.layers else ""
        yield one.fix, f"{where}{one.reason}"


def rows(verification: Verification) -> list[tuple[str, ...]]:
    """One row for each figure, under ``HEADINGS``; text in them is as it came."""
    return [_row(one) for one in verification.figures]


def _row(one: Verified) -> tuple[str, ...]:
    predicted = "not predicted" if one.predicted is None else numbers.number(one.predicted, 5)
    ratio = one.before / one.measured if one.measured else math.nan
    change = f"÷ {numbers.number(ratio)}" if ratio >= 1 else f"× {numbers.number(1 / ratio)}" if ratio > 0 else ""
    return (
        one.layer, one.metric, numbers.number(one.before, 5), predicted, numbers.number(one.measured, 5), change,
    )  # fmt: skip


def lines(verification: Verification, style: Style) -> Iterator[str]:
    """The block of the text report."""
    yield from wrapped(prose(summary(verification)), style.width, "fixes  ", "       ")
    if open_ := not_decided(verification.unsettled):
        yield from wrapped(prose(open_), style.width, "    ", "      ")
    for word, pairs in (("applied", applied(verification)), ("refused", refused(verification))):
        for name, said in pairs:
            yield from wrapped(prose(f"{word} {name}: {said}"), style.width, "    ", "      ")
    chosen = [one for one in verification.figures if style.verbosity > 0 or not one.metric.startswith("κ_50")]
    shown = chosen if style.verbosity > 0 else chosen[:_MOST]
    if shown:
        cells = [[clip(row[0], style.width // 3), prose(row[1]), *row[2:]] for row in map(_row, shown)]
        columns = [Column(heading, right=i > 1) for i, heading in enumerate(HEADINGS)]
        yield from table(columns, cells, "    ")
    if len(shown) < len(chosen):
        yield f"    and {len(chosen) - len(shown)} more figures (-v)"
    for name, said in facts(verification):
        yield from wrapped(prose(f"{name}: {said}"), style.width, "    ", "      ")
