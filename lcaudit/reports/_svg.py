"""Small plots as SVG text: axes, whiskers, markers, curves.

Horizontal positions are percentages and vertical ones pixels, so a plot fills the width it is given
without scaling its type. Colours come from the page's classes; shapes, dashes and ``currentColor``
carry the meaning without them. All text is made printable and escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from lcaudit.core.text import display_name

#: Left and right ends of a plot's frame, in percent of its width.
LEFT, RIGHT = 9.0, 98.5
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
#: Characters of the longest attribute, a curve of 64 points.
_LONGEST_PATH = 4000


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """One element; ``text_anchor`` becomes ``text-anchor``, ``class_`` becomes ``class``."""
    given = Markup("").join(
        Markup(' {}="{}"').format(Markup(key.rstrip("_").replace("_", "-")), _value(value))
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(child if isinstance(child, Markup) else display_name(child) for child in children)
    opening = Markup("<") + Markup(name) + given
    return opening + Markup(">") + inside + Markup(f"</{name}>") if children else opening + Markup("/>")


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else display_name(value, _LONGEST_PATH)


def picture(height: int, title: str, description: str, parts: Iterable[Markup]) -> Markup:
    """A whole plot that says in words what it shows."""
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *parts,
        role="img",
        class_="plot",
        width="100%",
        height=height,
        font_size=11,
        fill="currentColor",
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """Data to position: ``low`` … ``high`` onto ``start`` … ``end``, logarithmic unless said otherwise."""

    low: float
    high: float
    start: float
    end: float
    log: bool = True

    def at(self, value: float) -> float:
        """Position of ``value``, at the nearer end where it lies outside."""
        value = min(self.high, max(self.low, value))
        if self.log:
            share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self) -> list[tuple[float, Markup]]:
        """Round values inside the scale with their labels; at most about seven."""
        if not self.log:
            step = _round_step(self.high - self.low)
            first = math.ceil(self.low / step - 1e-9)
            values = [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
            return [(value, escape(f"{value:.6g}".replace("-", "−"))) for value in values]
        bottom, top = math.log10(self.low), math.log10(self.high)
        factors = (1, 2, 5) if top - bottom < 1.7 else (1,)
        step = max(1, math.ceil((top - bottom) / 6))
        decades = range(math.floor(bottom), math.ceil(top) + 1)
        values = [f * 10.0**d for d in decades if factors != (1,) or d % step == 0 for f in factors]
        return [(value, _label(value)) for value in values if self.low <= value <= self.high]


def placeable(value: float) -> bool:
    """Whether a logarithmic axis has a place for ``value``."""
    return math.isfinite(value) and 1e-300 < value < 1e300


def fitted(values: Iterable[float], start: float, end: float, log: bool = True, room: float = 1.25) -> Scale | None:
    """A scale around ``values`` with some room; ``None`` where none of them can be placed."""
    usable = [v for v in values if placeable(v if log else abs(v) + 1)]
    if not usable:
        return None
    low, high = min(usable), max(usable)
    if log:
        room = max(room, math.sqrt(max(1.0, 3 * low / high)))
        return Scale(low / room, high * room, start, end)
    margin = 0.08 * (high - low) or 0.5 * abs(high) or 1.0
    return Scale(low - margin if low < 0 else max(0.0, low - margin), high + margin, start, end, log=False)


def _round_step(span: float) -> float:
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * f for f in (1, 2, 5, 10) if power * f >= raw * 0.999)


def _label(value: float) -> Markup:
    if 0.01 <= value <= 1000:
        return escape(f"{value:g}")
    mantissa, exponent = f"{value:.0e}".split("e")
    lead = "10" if mantissa == "1" else f"{mantissa}·10"
    return escape(lead + str(int(exponent)).translate(_RAISED))


def percent(value: float) -> str:
    """A horizontal position."""
    return f"{value:.2f}".rstrip("0").rstrip(".") + "%"


def line(x1: float, y1: float, x2: float, y2: float, class_: str, **more: object) -> Markup:
    """A straight line; x in percent, y in pixels."""
    ends = {"x1": percent(x1), "y1": y1, "x2": percent(x2), "y2": y2}
    return element("line", **ends, class_=class_, stroke="currentColor", **more)


def text(x: float, y: float, words: Markup | str, anchor: str = "middle", class_: str | None = None) -> Markup:
    """Words at a point."""
    return element("text", words, x=percent(x), y=y, text_anchor=anchor, class_=class_)


def marker(x: float, y: float, shape: str, size: float, said: str = "") -> Markup:
    """A ``dot``, a ``ring`` (hollow) or a ``triangle``; colours come from the group it stands in.

    ``said`` is shown where a pointer rests on it.
    """
    told = [element("title", said)] if said else []
    if shape == "triangle":
        path = element("path", *told, d=f"M0 {-1.5 * size:g}L{1.5 * size:g} {size:g}H{-1.5 * size:g}Z")
        return element("svg", path, x=percent(x), y=y, overflow="visible")
    if shape == "ring":
        ring = {"fill": "none", "stroke": "currentColor", "stroke_width": 1.5}
        return element("circle", *told, cx=percent(x), cy=y, r=size, **ring)
    return element("circle", *told, cx=percent(x), cy=y, r=size)


def ticks_below(x: Scale, bottom: float, ticks: Sequence[tuple[float, Markup]] = ()) -> Markup:
    """An axis with its marks and labels under it."""
    values = ticks or x.ticks()
    lines = [element("line", x1=percent(x.start), y1=bottom, x2=percent(x.end), y2=bottom)]
    places = [percent(x.at(value)) for value, _ in values]
    lines += [element("line", x1=at, y1=bottom, x2=at, y2=bottom + 4) for at in places]
    return element("g", *lines, stroke="currentColor", stroke_opacity=0.5) + labels_below(x, bottom, values)


def labels_below(x: Scale, bottom: float, ticks: Sequence[tuple[float, Markup]]) -> Markup:
    """The labels of an axis."""
    labels = [element("text", label, x=percent(x.at(value)), y=bottom + 16) for value, label in ticks]
    return element("g", *labels, text_anchor="middle")


def grid_lines(y: Scale) -> Markup:
    """Lines across the frame with their values at the left."""
    places = [y.at(value) for value, _ in y.ticks()]
    lines = [element("line", x1=percent(LEFT), y1=at, x2=percent(RIGHT), y2=at) for at in places]
    return element("g", *lines, stroke="currentColor", stroke_opacity=0.15) + labels_left(y)


def labels_left(y: Scale) -> Markup:
    """The values of the lines across the frame."""
    labels = [element("text", label, x=percent(LEFT - 1), y=round(y.at(v) + 4)) for v, label in y.ticks()]
    return element("g", *labels, text_anchor="end")
