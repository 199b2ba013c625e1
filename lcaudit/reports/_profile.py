"""Figures of every layer over depth: the page's main plot and its smaller siblings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from lcaudit.core import figures as numbers
from lcaudit.core.outcomes import Limit
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import display_name
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
    placeable,
    text,
    ticks_below,
)

#: Width of a plot on the narrowest page, and of one of its letters, in pixels: what must find room there.
_NARROWEST_PAGE, _LETTER = 330, 6.2
_FEWEST_LETTERS = 3


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity over depth, ``None`` where a layer has none."""

    label: str
    figures: tuple[Quantity | None, ...]
    hollow: bool = False


def profile(
    title: str,
    series: Sequence[Series],
    names: Sequence[str],
    accused: frozenset[int] = frozenset(),
    judges: Sequence[tuple[Limit, tuple[int, ...]]] = (),
    height: int = 170,
    detailed: bool = False,
) -> Markup | None:
    """Figures over depth on a logarithmic axis with their intervals; ``None`` where none is positive.

    Args:
        names: of the layers, in order of execution.
        accused: places of the layers that a finding names for this figure: drawn as triangles.
        judges: limits with the places that they judge: dashed lines across those places.
        detailed: name every mark, and the stages of the network below the axis.
    """
    bottom, count = height - (52 if detailed else 32), len(series[0].figures)
    known = [q for one in series for q in one.figures if q is not None]
    values = [v for q in known for v in (q.value, q.low, q.high) if v is not None]
    y = fitted([*values, *(limit.value for limit, _ in judges)], bottom - 4, 10)
    if y is None:
        return None
    x = Scale(-0.5, max(0.5, count - 0.5), LEFT, RIGHT, log=False)
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500) if count / s <= 11), 1000)
    named = _room(names, x)
    ticks = [(float(i), escape(display_name(names[i])) if named else Markup(i)) for i in range(0, count, step)]
    parts = [grid_lines(y), ticks_below(x, bottom, ticks)]
    if detailed:
        parts += [_stages(names, x, bottom + 22)]
    axis = "layer, in order of execution" if named else "layers counted from 0, in order of execution"
    parts += [text((LEFT + RIGHT) / 2, height - 2, axis)]
    for limit, places in judges:
        if placeable(limit.value):
            parts += [_across(x, y.at(limit.value), places)]
    if len(series) == 2:
        parts += [_links(series[0], series[1], x, y)]
    size = 4.0 if count <= 30 else 3.0 if count <= 70 else 2.0
    for one in series:
        parts += [_marks(one, x, y, accused, size, names if detailed else ())]
    return picture(height, title, _describe(title, series, count), parts)


def _room(names: Sequence[str], x: Scale) -> bool:
    """Whether every layer's name fits below its mark on a telephone, as those of a short chain do."""
    letters = int((x.at(1.0) - x.at(0.0)) / 100 * _NARROWEST_PAGE / _LETTER) - 1
    return len(names) <= 11 and all(len(display_name(name)) <= letters for name in names)


def _runs(keys: Sequence[object]) -> list[tuple[int, int]]:
    """First and last place of every run of equal neighbours."""
    starts = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    return list(zip(starts, [*(start - 1 for start in starts[1:]), len(keys) - 1], strict=True))


def _stages(names: Sequence[str], x: Scale, y: float) -> Markup:
    """Brackets under neighbours whose names begin alike, named where there is room on a telephone."""
    keys = [name.partition(".")[0] for name in names]
    parts = []
    for first, last in _runs(keys):
        left, right = x.at(first - 0.4), x.at(last + 0.4)
        letters = int((right - left) / 100 * _NARROWEST_PAGE / _LETTER)
        if first < last and letters >= _FEWEST_LETTERS:
            parts += [line(left, y, right, y, "bracket", stroke_opacity=0.4)]
            parts += [text((left + right) / 2, y + 11, display_name(keys[first], letters))]
    return element("g", *parts)


def _across(x: Scale, y: float, places: Sequence[int]) -> Markup:
    """A limit's line at the places that it judges."""
    inside = set(places)
    judged = [place in inside for place in range(max(inside) + 1)]
    return element(
        "g",
        *(
            line(x.at(first - 0.5), y, x.at(last + 0.5), y, "limit", stroke_dasharray="4 3")
            for first, last in _runs(judged)
            if judged[first]
        ),
    )


def _links(before: Series, after: Series, x: Scale, y: Scale) -> Markup:
    """From each layer's figure to the same layer's figure after the change."""
    lines = []
    for place, (now, then) in enumerate(zip(before.figures, after.figures, strict=True)):
        if now is not None and then is not None and placeable(now.value) and placeable(then.value):
            at = percent(x.at(float(place)))
            lines.append(element("line", x1=at, x2=at, y1=y.at(now.value), y2=y.at(then.value)))
    return element("g", *lines, stroke="currentColor", stroke_opacity=0.3, stroke_dasharray="1 3")


def _marks(
    series: Series, x: Scale, y: Scale, accused: frozenset[int], size: float, names: Sequence[str] = ()
) -> Markup:
    whiskers, marks, guilty = [], [], []
    for place, q in enumerate(series.figures):
        if q is None or not placeable(q.value):
            continue
        at = x.at(float(place))
        if q.low is not None and q.high is not None and placeable(q.high):
            ends = {"x1": percent(at), "x2": percent(at), "y1": y.at(max(q.low, y.low)), "y2": y.at(q.high)}
            whiskers.append(element("line", **ends))
        said = f"{_clipped(names[place])}: {series.label} {numbers.spoken(q)}" if names else ""
        if series.hollow:
            marks.append(marker(at, y.at(q.value), "ring", size, said))
        elif place in accused:
            guilty.append(marker(at, y.at(q.value), "triangle", size, said))
        else:
            marks.append(marker(at, y.at(q.value), "dot", size, said))
    groups = [
        element("g", *whiskers, stroke="currentColor", stroke_opacity=0.55),
        element("g", *marks),
        element("g", *guilty, class_="guilty"),
    ]
    return element("g", *groups, class_="after" if series.hollow else "before")


def _clipped(name: str) -> str:
    """A layer's name, short enough for a mark."""
    return display_name(name, 60)


def _describe(title: str, series: Sequence[Series], count: int) -> str:
    said = []
    for one in series:
        values = [q.value for q in one.figures if q is not None and placeable(q.value)]
        if values:
            said.append(f"{one.label}: {numbers.number(min(values))} to {numbers.number(max(values))}")
    return f"{title} at {count} layers. {'; '.join(said)}. Every figure is in the table below."
