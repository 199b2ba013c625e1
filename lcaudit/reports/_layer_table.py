"""The table of layers in the terminal report."""

from __future__ import annotations

import math

from lcaudit.core import figures as numbers
from lcaudit.core.measurements import LayerSpectra
from lcaudit.core.outcomes import Report
from lcaudit.reports import _summary as summary
from lcaudit.reports._contract import Style
from lcaudit.reports._terminal import Column, cells, clip, prose, table, wrapped

#: Layers listed without ``-v``; columns that only ``-v`` shows, and that a narrow terminal loses, least
#: important first.
_MOST = 8
_FOR_EXPERTS = ("κ_50", "λmax(F)", "≈ λmax(F)", "≈/own")
_DISPENSABLE = ("kind", "≈ λmax(F)", "95 % interval", "rank/dim", "κ_50", "λmax(F)", "≈/own")
_SHORTEST_NAME = 20
_COLUMNS = (
    Column("layer", right=False),
    Column("kind", right=False),
    Column("κ_50"),
    Column("κ_80 of Σ_x"),
    Column("95 % interval"),
    Column("gain"),
    Column("λmax(F)"),
    Column("≈ λmax(F)"),
    Column("≈/own"),
    Column("rank/dim"),
)


def layer_lines(report: Report, style: Style) -> list[str]:
    """The worst layers, or with verbosity above 0 all of them in order of execution."""
    layers = report.measurements.layers
    if not layers:
        return ["layers  none was audited"]
    every = style.verbosity > 0 or len(layers) <= _MOST
    shown = layers if every else summary.worst_first(layers)[:_MOST]
    marks = summary.accused(report)
    marked = [" *" if spectra.layer.name in marks else "" for spectra in shown]
    order = "in order of execution" if every else "worst κ_80 first; -v lists all"
    legend = (
        "κ_80 of Σ_x: how lopsided the layer's input is, 1 is ideal, gradient descent needs steps in proportion; gain: "
        "κ_80 now / after BatchNorm before the layer"
    )
    if style.verbosity > 0:
        legend += (
            "; λmax(F): of the layer's own Fisher, ≈ of the Kronecker product that stands for it, and their ratio: "
            "trust the product where that is near 1"
        )
    if any(marked):
        legend += "; * named in a finding"
    doubtful = [one for one in map(summary.kappa, shown) if not one.reliable]
    if not all(one.bounds_only for one in doubtful):
        legend += "; ? too few samples to judge"
    if any(one.bounds_only for one in doubtful):
        legend += "; ? with bounds in the place of the interval: not judged"
    rows = _fit([[clip(s.layer.name, 60), *_figures(s)] for s in shown], marked, style)
    title = wrapped(f"layers  {len(shown)} of {len(layers)}, {order}", style.width, "", "        ")
    lines = [*title, *rows, *wrapped(legend, style.width, "  ")]
    if style.verbosity > 0:
        lines += wrapped(prose(summary.products(report)), style.width, "  ")
    lines += [line for spectra in shown for line in _form(spectra, style)]
    for one in report.measurements.exact:
        lines += wrapped(f"{clip(one.layer, 60)}: {prose(summary.exact(one))}", style.width, "  ")
    return lines


def _form(spectra: LayerSpectra, style: Style) -> list[str]:
    """How the layer's moments were kept, where that is not the usual way."""
    if not spectra.form:
        return []
    return wrapped(f"{clip(spectra.layer.name, 60)}: {prose(spectra.form)}", style.width, "  ", "    ")


def _fit(rows: list[list[str]], marked: list[str], style: Style) -> list[str]:
    """Drop columns, then shorten names, until the table is no wider than ``style.width``."""
    width, columns = style.width, list(_COLUMNS)
    for heading in _FOR_EXPERTS if style.verbosity <= 0 else ():
        rows = _without(columns, rows, heading)
    for heading in (*_DISPENSABLE, ""):
        lines = table(columns, [[row[0] + mark, *row[1:]] for row, mark in zip(rows, marked, strict=True)], "  ")
        over = max(map(cells, lines)) - width
        longest = max(cells(row[0]) for row in rows)
        if over <= 0:
            return lines
        if longest - over >= _SHORTEST_NAME or not heading:
            short = [clip(row[0], max(8, longest - over)) for row in rows]
            named = [[name + mark, *row[1:]] for name, mark, row in zip(short, marked, rows, strict=True)]
            return table(columns, named, "  ")
        rows = _without(columns, rows, heading)
    raise AssertionError("the last round returns")


def _without(columns: list[Column], rows: list[list[str]], heading: str) -> list[list[str]]:
    """``rows`` less the column called ``heading``, which is taken out of ``columns`` if it is still there."""
    headings = [column.heading for column in columns]
    if heading not in headings:
        return rows
    drop = headings.index(heading)
    del columns[drop]
    return [row[:drop] + row[drop + 1 :] for row in rows]


def _figures(spectra: LayerSpectra) -> list[str]:
    kappa, gain = summary.kappa(spectra), summary.gain(spectra)
    own, ratio = spectra.fisher_largest, spectra.kronecker_ratio
    interval = ""
    if kappa.low is not None and kappa.high is not None:
        interval = f"{numbers.scientific(kappa.low)} – {numbers.scientific(kappa.high)}"
    return [
        clip(spectra.layer.kind, 12),
        numbers.scientific(summary.kappa(spectra, "50").value),
        ("≥ " if kappa.bounds_only and kappa.high == math.inf else "")
        + numbers.scientific(kappa.value)
        + ("" if kappa.reliable else "?"),
        interval,
        numbers.figure(gain).value if gain else "",
        numbers.scientific(own.value) + ("" if own.reliable else "?") if own else "",
        numbers.scientific(spectra.fisher.largest.value),
        numbers.number(ratio.value, 2) + ("" if ratio.reliable else "?") if ratio else "",
        numbers.rank(spectra.input),
    ]
