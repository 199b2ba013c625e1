"""Two plots of the page: a finding's figure against its limit, and a layer's spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lcaudit.core import figures as numbers
from lcaudit.core.outcomes import Finding
from lcaudit.reports._svg import (
    LEFT,
    RIGHT,
    Scale,
    element,
    fitted,
    labels_below,
    labels_left,
    line,
    marker,
    percent,
    picture,
    placeable,
    text,
    ticks_below,
)

#: Distance that nobody sees, on the grid of 0 … 1000 that a plot's frame has in each direction.
_INVISIBLE = 2.5


@dataclass(frozen=True, slots=True)
class Curve:
    """A descending spectrum: points (index from 1, eigenvalue); ``style`` is a class of the page."""

    label: str
    points: tuple[tuple[int, float], ...]
    style: str
    dash: str | None = None


def value_bar(finding: Finding) -> Markup | None:
    """The figure with its interval against the limit; ``None`` where no axis can hold it, or the limit is none."""
    measured, limit = finding.measured, finding.limit
    share = 100.0 if measured.unit in numbers.SHARES else 1.0
    ends = [end * share for end in (measured.low, measured.high) if end is not None]
    value, edge = measured.value * share, limit.value * share
    values = [value, edge, *ends]
    if not edge or not all(map(math.isfinite, values)):
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
            d="M" + "L".join(f"{across} {1000 - up}" for across, up in drawn),
            class_=curve.style,
            stroke_dasharray=curve.dash,
            vector_effect="non-scaling-stroke",
        )
        for curve, points in shares
        for drawn in [_straightened([(_grid(x, i), _grid(y, share)) for i, share in points])]
    ]
    frame = "".join(f"M0 {1000 - _grid(y, value)}H1000" for value, _ in y.ticks())
    frame += "M0 1000H1000" + "".join(f"M{_grid(x, value)} 1000v24" for value, _ in x.ticks())
    thin = {"vector_effect": "non-scaling-stroke", "stroke_width": 1, "stroke_opacity": 0.25}
    box = element(
        "svg",
        element("path", d=frame, **thin),
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
    return picture(height, title, said, [labels_left(y), labels_below(x, bottom, x.ticks()), box, axis])


def _shares(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Points that a log–log plot can hold, as shares of the first, at most 64."""
    usable = [(float(i), value) for i, value in points[:64] if 1 <= i < 1e9 and placeable(value)]
    return [(i, value / usable[0][1]) for i, value in usable]


def _grid(scale: Scale, value: float) -> int:
    """Position on a grid of 0 … 1000."""
    return round(1000 * (scale.at(value) - scale.start) / (scale.end - scale.start))


def _straightened(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The corners of a line: points left out lie within ``_INVISIBLE`` of it (Douglas and Peucker 1973)."""
    if len(points) < 3:
        return points
    (left, first), (right, last) = points[0], points[-1]
    slope = (last - first) / (right - left) if right > left else 0.0
    off = [abs(first + slope * (across - left) - up) for across, up in points]
    worst = max(range(len(points)), key=off.__getitem__)
    if off[worst] <= _INVISIBLE:
        return [points[0], points[-1]]
    return _straightened(points[: worst + 1])[:-1] + _straightened(points[worst:])
