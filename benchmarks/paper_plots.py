"""The two plots of ``docs/paper-figure.md``: standalone SVG files, every seed drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from lcaudit.reports._svg import (
    LEFT,
    RIGHT,
    Scale,
    element,
    fitted,
    grid_lines,
    marker,
    text,
    ticks_below,
)

if TYPE_CHECKING:
    from benchmarks.paper_page import Figures

WIDTH, HEIGHT = 720, 190
PLAIN, NORMED, THIRD = "#b5371f", "#1763a6", "#7a7a7a"
Curve = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Group:
    """Curves of one colour, one per seed."""

    label: str
    colour: str
    curves: Sequence[Curve]
    dash: str | None = None


def standalone(height: int, title: str, said: str, parts: Iterable[Markup]) -> str:
    """A file of its own: on white, so that it reads on a dark page too."""
    made = element(
        "svg",
        element("title", title),
        element("desc", said),
        element("rect", width="100%", height="100%", fill="#ffffff"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        width=WIDTH,
        height=height,
        viewBox=f"0 0 {WIDTH} {height}",
        font_family="sans-serif",
        font_size=11,
        color="#1b1b1b",
        fill="#1b1b1b",
        role="img",
    )
    return str(made).replace("><", ">\n<") + "\n"


def panel(top: int, title: str, below: str, parts: Sequence[Markup], left: float = 0, width: float = 100) -> Markup:
    """A titled frame of ``HEIGHT`` pixels at ``top``."""
    inside = [text((LEFT + RIGHT) / 2, 12, title), *parts, text((LEFT + RIGHT) / 2, HEIGHT - 4, below)]
    return element("svg", *inside, x=f"{left:g}%", y=top, width=f"{width:g}%", height=HEIGHT)


def by_layer(groups: Sequence[Group], width: float = 1.0) -> list[Markup]:
    """Axes and curves over layers."""
    bottom = HEIGHT - 36
    values = [value for group in groups for curve in group.curves for value in curve if value]
    y = fitted(values, bottom - 4, 24)
    if y is None:
        return []
    count = max(len(curve) for group in groups for curve in group.curves)
    x = Scale(1.0, max(2.0, count), LEFT + 1, RIGHT, log=False)
    step = max(1, round(count / 5))
    marks = [(float(i), Markup(i)) for i in range(1, count + 1, step)]
    drawn = [grid_lines(y), ticks_below(x, bottom, marks)]
    for group in groups:
        paths = [element("path", d=_path(curve, x, y, width)) for curve in group.curves if any(curve)]
        drawn.append(
            element(
                "g", *paths, stroke=group.colour, fill="none", stroke_width=1.4, stroke_opacity=0.85,
                stroke_dasharray=group.dash,
            )
        )  # fmt: skip
    return drawn


def _path(curve: Curve, x: Scale, y: Scale, width: float) -> str:
    pieces, pen = [], "M"
    for index, value in enumerate(curve, 1):
        if not value:
            pen = "M"
            continue
        pieces.append(f"{pen}{x.at(index) / 100 * WIDTH * width:.1f} {y.at(value):.1f}")
        pen = "L"
    return "".join(pieces)


def legend(top: int, entries: Sequence[tuple[str, str, str | None]]) -> list[Markup]:
    """Coloured strokes and their names in a row."""
    parts = []
    for index, (label, colour, dash) in enumerate(entries):
        at = 40 + index * 225
        stroke = {"stroke": colour, "stroke_width": 2, "stroke_dasharray": dash}
        parts.append(element("line", x1=at, y1=top - 4, x2=at + 24, y2=top - 4, **stroke))
        parts.append(element("text", label, x=at + 30, y=top))
    return parts


def layer_plot(f: Figures) -> str:
    """λmax and κ_80 of both factors over the MLP's layers, at the start and at the end of training."""
    styles = [("plain", PLAIN, None), ("batch norm", NORMED, None), ("plain, default initialisation", THIRD, "4 3")]
    wanted = [("x_max", "λmax of Σ_x"), ("x_80", "κ_80 of Σ_x"), ("g_max", "λmax of Σ_g"), ("g_80", "κ_80 of Σ_g")]
    parts = legend(18, styles)
    for row, (name, title) in enumerate(wanted):
        for side, step in enumerate((f.first, f.last)):
            groups = [
                Group(label, colour, [network["columns"][name] for network in f.mlp(label, step)], dash)
                for label, colour, dash in styles
                if name != "x_80" or label != styles[2][0]
            ]
            parts.append(
                panel(28 + row * HEIGHT, f"{title}, step {step}", "layer", by_layer(groups, 0.5), 50 * side, 50)
            )
    said = "One line per seed. The tables of the page hold the figures."
    return standalone(28 + len(wanted) * HEIGHT, "The layers of the multilayer perceptrons", said, parts)


def depth_plot(f: Figures) -> str:
    """The head's κ_80 and the training loss over depth, with and without a last batch norm."""
    middle = f.plan["residual_steps"][-2]
    read: list[tuple[str, Any]] = [
        ("κ_80 of Σ_x at the last linear layer", lambda depth, bn: f.head(depth, bn, "x_80").values),
        (f"training loss after {middle} steps (nat)", lambda depth, bn: f.fact(depth, bn, middle, "loss").values),
    ]
    parts: list[Markup] = []
    for index, (label, shape, colour) in enumerate(
        (("without", "dot", PLAIN), ("with a last batch norm", "ring", NORMED))
    ):
        spot = marker(6 + 26 * index, 14, shape, 4)
        parts.append(element("g", spot, fill=colour, color=colour))
        parts.append(text(7.5 + 26 * index, 18, label, "start"))
    for side, (title, values) in enumerate(read):
        parts.append(panel(28, title, "depth", _dots(f.plan["depths"], values), 50 * side, 50))
    said = "One mark per seed. The tables of the page hold the figures."
    return standalone(28 + HEIGHT, "The last linear layer of residual networks over depth", said, parts)


def _dots(depths: Sequence[int], values: Any) -> list[Markup]:
    bottom = HEIGHT - 36
    found = {(depth, bn): values(depth, bn) for depth in depths for bn in (False, True)}
    y = fitted([value for group in found.values() for value in group], bottom - 4, 24)
    if y is None:
        return []
    x = Scale(-0.5, len(depths) - 0.5, LEFT + 1, RIGHT, log=False)
    drawn = [grid_lines(y), ticks_below(x, bottom, [(float(i), Markup(depth)) for i, depth in enumerate(depths)])]
    for (depth, bn), group in found.items():
        colour, shape = (NORMED, "ring") if bn else (PLAIN, "dot")
        at = x.at(depths.index(depth) + (0.12 if bn else -0.12))
        spots = [marker(at, y.at(value), shape, 3.5) for value in group]
        drawn.append(element("g", *spots, fill=colour, color=colour))
    return drawn
