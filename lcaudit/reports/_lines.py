"""Figures of many layers over the steps of training: one line each, a few of them told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lcaudit.core.text import display_name
from lcaudit.reports._svg import (
    LEFT,
    RIGHT,
    Scale,
    element,
    fitted,
    grid_lines,
    marker,
    percent,
    picture,
    placeable,
    text,
    ticks_below,
)

_GRID = 1000
#: Dashes and classes of the lines that are told apart, in order.
STYLES = (("curve input", None), ("curve after", "7 4"), ("curve centred", "2 3"))


@dataclass(frozen=True, slots=True)
class Line:
    """One layer's figures, ``None`` where a step has none; ``style`` is a place in ``STYLES``, −1 for the crowd."""

    layer: str
    values: tuple[float | None, ...]
    style: int = -1


def lines(title: str, steps: Sequence[float], found: Sequence[Line], axis: str, height: int = 210) -> Markup | None:
    """Lines on a logarithmic axis; ``None`` where no figure is positive, or there are no two steps."""
    bottom = height - 32
    y = fitted([v for one in found for v in one.values if v is not None], bottom - 4, 10)
    if y is None or len(steps) < 2:
        return None
    x = Scale(min(steps), max(steps), LEFT, RIGHT, log=False)
    ordered = sorted(found, key=lambda one: one.style >= 0)
    paths = [path for one in ordered if (path := _path(one, steps, x, y))]
    box = element(
        "svg", *paths, x=percent(LEFT), y=10, width=percent(RIGHT - LEFT), height=bottom - 10,
        viewBox=f"0 0 {_GRID} {_GRID}", preserveAspectRatio="none", overflow="visible", fill="none",
    )  # fmt: skip
    ends = [_end(one, steps, x, y) for one in ordered if one.style >= 0]
    parts = [grid_lines(y), ticks_below(x, bottom), box, *ends, text((LEFT + RIGHT) / 2, height - 2, axis)]
    told = ", ".join(display_name(one.layer, 60) for one in found if one.style >= 0)
    said = (
        f"{title} of {len(found)} layers at {len(steps)} steps; told apart: {told}. Every figure is in the table below."
    )
    return picture(height, title, said, parts)


def _path(one: Line, steps: Sequence[float], x: Scale, y: Scale) -> Markup | None:
    """The line, broken where a figure is missing."""
    drawn, broken = "", True
    for step, value in zip(steps, one.values, strict=True):
        if value is None or not placeable(value):
            broken = True
            continue
        across = round(_GRID * (x.at(step) - x.start) / (x.end - x.start))
        down = round(_GRID * (y.at(value) - 10) / (y.start + 4 - 10))
        drawn += f"{'M' if broken else 'L'}{across} {down}"
        broken = False
    if not drawn:
        return None
    style, dash = STYLES[one.style] if one.style >= 0 else ("crowd", None)
    return element(
        "path", element("title", display_name(one.layer, 60)), d=drawn, class_=style, stroke="currentColor",
        stroke_width=2 if one.style >= 0 else 1, stroke_opacity=None if one.style >= 0 else 0.3, stroke_dasharray=dash,
        vector_effect="non-scaling-stroke",
    )  # fmt: skip


def _end(one: Line, steps: Sequence[float], x: Scale, y: Scale) -> Markup:
    """A mark at the last figure of a line that is told apart: a shape for each style."""
    for step, value in reversed(list(zip(steps, one.values, strict=True))):
        if value is not None and placeable(value):
            shape = ("dot", "ring", "triangle")[one.style]
            group = ("before", "after", "told")[one.style]
            return element("g", marker(x.at(step), y.at(value), shape, 3.5), class_=group)
    return Markup("")
