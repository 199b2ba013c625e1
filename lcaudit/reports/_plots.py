"""The three plots of the page: a finding's figure, a profile over depth, a layer's spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lcaudit.core.outcomes import Finding, RuleRecord
from lcaudit.core.quantity import Quantity
from lcaudit.reports import _format as numbers
from lcaudit.reports._svg import (
    LEFT,
    RIGHT,
    Scale,
    element,
    fitted,
    grid_lines,
    line,
    marker,
    percent,
    picture,
    text,
    ticks_below,
)


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity over depth, ``None`` where a layer has none."""

    label: str
    figures: tuple[Quantity | None, ...]
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """A descending spectrum: points (index from 1, eigenvalue); ``style`` is a class of the page."""

    label: str
    points: tuple[tuple[int, float], ...]
    style: str
    dash: str | None = None


def value_bar(finding: Finding) -> Markup | None:
    """The figure with its interval against the limit; ``None`` where no axis can hold it."""
    measured, limit = finding.measured, finding.limit
    share = 100.0 if measured.unit in numbers.SHARES else 1.0
    ends = [end * share for end in (measured.low, measured.high) if end is not None]
    value, edge = measured.value * share, limit.value * share
    values = [value, edge, *ends]
    if not all(map(math.isfinite, values)):
        return None
    scale = fitted(values, 1.5, 98.5, log=min(values) > 0, room=1.6)
    if scale is None:
        return None
    axis, middle = 52, 34
    shown = numbers.figure(measured)
    said = f"{shown.value}, interval {shown.interval or 'none'}, limit {numbers.limit(limit.value, limit.unit)}"
    parts = [ticks_below(scale, axis)]
    at = scale.at(edge)
    parts += [line(at, 18, at, axis, "limit", stroke_width=1.5, stroke_dasharray="4 3")]
    parts += [text(at, 12, f"limit {numbers.limit(limit.value, limit.unit)}", _anchor(at), "note")]
    whisker = [_whisker(scale.at(min(ends)), scale.at(max(ends)), middle)] if len(ends) == 2 else []
    parts += [element("g", *whisker, marker(scale.at(value), middle, "dot", 5), class_=f"mark {finding.severity}")]
    return picture(72, "Figure against its limit", said, parts)


def _anchor(position: float) -> str:
    return "start" if position < 12 else "end" if position > 88 else "middle"


def _whisker(low: float, high: float, y: float) -> Markup:
    ends = [line(x, y - 5, x, y + 5, "cap", stroke_width=1.5) for x in (low, high)]
    return element("g", line(low, y, high, y, "whisker", stroke_width=1.5), *ends)


def profile(
    title: str, series: Sequence[Series], accused: frozenset[int], judges: Sequence[RuleRecord] = (), height: int = 170
) -> Markup | None:
    """Figures over depth on a logarithmic axis with their intervals; ``None`` where none is positive.

    Args:
        accused: places of the layers that a finding names: drawn as triangles.
        judges: rules whose limits are drawn as dashed lines.
    """
    bottom, count = height - 32, len(series[0].figures)
    known = [q for one in series for q in one.figures if q is not None]
    values = [v for q in known for v in (q.value, q.low, q.high) if v is not None]
    y = fitted([*values, *(rule.limit.value for rule in judges)], bottom - 4, 10)
    if y is None:
        return None
    x = Scale(-0.5, max(0.5, count - 0.5), LEFT, RIGHT, log=False)
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500) if count / s <= 11), 1000)
    ticks = [(float(i), Markup(i)) for i in range(0, count, step)]
    parts = [
        grid_lines(y),
        ticks_below(x, bottom, ticks),
        text((LEFT + RIGHT) / 2, height - 2, "layer, in order of execution"),
    ]
    for rule in judges:
        if placeable(rule.limit.value):
            at, label = y.at(rule.limit.value), numbers.limit(rule.limit.value, rule.limit.unit)
            parts += [line(LEFT, at, RIGHT, at, "limit", stroke_dasharray="4 3")]
            parts += [text(RIGHT, round(at - 4, 2), f"limit {label}, {rule.code}", "end", "note")]
    size = 4.0 if count <= 30 else 3.0 if count <= 70 else 2.0
    for one in series:
        parts += [_marks(one, x, y, accused, size)]
    return picture(height, title, _describe(title, series, count), parts)


def _marks(series: Series, x: Scale, y: Scale, accused: frozenset[int], size: float) -> Markup:
    whiskers, marks, guilty = [], [], []
    for place, q in enumerate(series.figures):
        if q is None or not placeable(q.value):
            continue
        at = x.at(float(place))
        if q.low is not None and q.high is not None and placeable(q.high):
            ends = {"x1": percent(at), "x2": percent(at), "y1": y.at(max(q.low, y.low)), "y2": y.at(q.high)}
            whiskers.append(element("line", **ends))
        if series.hollow:
            marks.append(marker(at, y.at(q.value), "ring", size))
        elif place in accused:
            guilty.append(marker(at, y.at(q.value), "triangle", size))
        else:
            marks.append(marker(at, y.at(q.value), "dot", size))
    groups = [
        element("g", *whiskers, stroke="currentColor", stroke_opacity=0.55),
        element("g", *marks),
        element("g", *guilty, class_="guilty"),
    ]
    return element("g", *groups, class_="after" if series.hollow else "before")


def placeable(value: float) -> bool:
    """Whether a logarithmic axis has a place for ``value``."""
    return math.isfinite(value) and 1e-300 < value < 1e300


def _describe(title: str, series: Sequence[Series], count: int) -> str:
    said = []
    for one in series:
        values = [q.value for q in one.figures if q is not None and placeable(q.value)]
        if values:
            said.append(f"{one.label}: {numbers.number(min(values))} to {numbers.number(max(values))}")
    return f"{title} at {count} layers. {'; '.join(said)}. Every figure is in the table below."


def spectra(title: str, curves: Sequence[Curve]) -> Markup | None:
    """Eigenvalues as shares of the largest one against their index, both logarithmic."""
    height, top, bottom = 210, 8, 174
    shares = [(curve, _shares(curve.points)) for curve in curves]
    shares = [(curve, points) for curve, points in shares if len(points) > 1]
    if not shares:
        return None
    x = Scale(1.0, max(2.0, max(i for _, points in shares for i, _ in points)), LEFT, RIGHT)
    y = Scale(min(0.5, max(1e-12, min(share for _, points in shares for _, share in points))), 1.0, bottom, top)
    paths = [
        element(
            "path",
            d="M" + "L".join(f"{_grid(x, i)} {1000 - _grid(y, share)}" for i, share in points),
            class_=curve.style,
            stroke_dasharray=curve.dash,
            vector_effect="non-scaling-stroke",
        )
        for curve, points in shares
    ]
    box = element(
        "svg",
        *paths,
        x=percent(LEFT),
        y=top,
        width=percent(RIGHT - LEFT),
        height=bottom - top,
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        overflow="visible",
        fill="none",
        stroke="currentColor",
        stroke_width=1.75,
    )
    axis = text((LEFT + RIGHT) / 2, height - 4, "index of the eigenvalue, largest first")
    names = ", ".join(curve.label for curve, _ in shares)
    said = f"Eigenvalues of {names}; their condition numbers are in the table below."
    return picture(height, title, said, [grid_lines(y), ticks_below(x, bottom), box, axis])


def _shares(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Points that a log–log plot can hold, as shares of the first, at most 64."""
    usable = [(float(i), value) for i, value in points[:64] if 1 <= i < 1e9 and placeable(value)]
    return [(i, value / usable[0][1]) for i, value in usable]


def _grid(scale: Scale, value: float) -> int:
    """Position on a grid of 0 … 1000."""
    return round(1000 * (scale.at(value) - scale.start) / (scale.end - scale.start))
