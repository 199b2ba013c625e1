"""The table of layers in the terminal report."""

from __future__ import annotations

from dataclasses import replace

from lcaudit.core.measurements import LayerSpectra
from lcaudit.core.outcomes import Report
from lcaudit.reports import _format as numbers
from lcaudit.reports import _summary as summary
from lcaudit.reports._contract import Style
from lcaudit.reports._terminal import Column, cells, clip, table, wrapped

#: Layers listed without ``-v``; columns that a narrow terminal loses, least important first.
_MOST = 12
_DISPENSABLE = ("kind", "λmax(F)", "95 % interval", "rank/dim", "κ_50")
_SHORTEST_NAME = 20
_COLUMNS = (
    Column("layer", right=False),
    Column("kind", right=False),
    Column("κ_50"),
    Column("κ_80 of Σ_x"),
    Column("95 % interval"),
    Column("gain"),
    Column("λmax(F)"),
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
    legend = "gain: κ_80 before / after a BatchNorm at the input"
    if any(marked):
        legend += "; * named in a finding"
    if not all(summary.kappa(spectra).reliable for spectra in shown):
        legend += "; ? too few samples to judge"
    rows = _fit([[clip(s.layer.name, 60), *_figures(s)] for s in shown], marked, style.width)
    title = wrapped(f"layers  {len(shown)} of {len(layers)}, {order}", style.width, "", "        ")
    return [*title, *rows, *wrapped(legend, style.width, "  ")]


def _fit(rows: list[list[str]], marked: list[str], width: int) -> list[str]:
    """Drop columns, then shorten names, until the table is no wider than ``width``."""
    columns = list(_COLUMNS)
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
        drop = [column.heading for column in columns].index(heading)
        del columns[drop]
        rows = [row[:drop] + row[drop + 1 :] for row in rows]
    raise AssertionError("the last round returns")


def _figures(spectra: LayerSpectra) -> list[str]:
    kappa, gain = summary.kappa(spectra), summary.gain(spectra)
    interval = ""
    if kappa.low is not None and kappa.high is not None:
        interval = f"{numbers.scientific(kappa.low)} – {numbers.scientific(kappa.high)}"
    return [
        clip(spectra.layer.kind, 12),
        numbers.scientific(summary.kappa(spectra, "50").value),
        numbers.scientific(kappa.value) + ("" if kappa.reliable else "?"),
        interval,
        numbers.figure(replace(gain, unit="×")).value if gain else "",
        numbers.scientific(spectra.fisher.largest.value),
        f"{spectra.input.rank}/{spectra.input.dimension}",
    ]
