"""What the page of a timeline shows, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lcaudit.core.comparison import Point
from lcaudit.core.text import count
from lcaudit.reports import _timeline_words as words
from lcaudit.reports._comparison_words import KAPPA, measured
from lcaudit.reports._lines import STYLES, Line, lines

#: Columns of a table; of more checkpoints evenly spread ones are shown, the JSON has all.
_MOST_COLUMNS = 24
#: Layers that have their own line in a legend and a row in a table.
_MOST_ROWS = 400
_PRIMER = (
    f"{KAPPA}. λmax says how large both are, ranks how many directions are in use. All checkpoints "
    "saw the same samples."
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric over the steps.

    Attributes:
        legend: (mark's class, layer, why it is told apart) of those lines. rows: (layer, figures) of the table.
    """

    anchor: str
    title: str
    about: str
    plot: Markup | None
    legend: tuple[tuple[str, str, str], ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def view(points: Sequence[Point], others: int) -> Mapping[str, Any]:
    """Everything that the template reads; text in it is as it came, the template escapes."""
    found = words.courses(points)
    picked = _spread(len(points))
    last = points[-1]
    styles = _styles(found)
    return {
        "sentence": words.sentence(points),
        "note": words.note(points, others),
        "primer": _PRIMER,
        "title": last.title,
        "facts": (
            ("Network", last.title),
            ("Checkpoints", f"{count(len(points), 'checkpoint')}, {points[0].name} to {last.name}"),
            ("Probe", f"{last.data}, {count(last.samples, 'sample')}, the same ones at every checkpoint"),
        ),
        "columns": tuple(words.label(points[i]) for i in picked),
        "left_out": len(points) - len(picked),
        "panels": tuple(_panel(course, points, picked, styles) for course in found),
        "files": tuple((one.name, words.label(one), one.sha256) for one in points),
        "measurement": measured(last.settings),
        "axis": _axis(points),
    }


def _axis(points: Sequence[Point]) -> str:
    return "step" if words.stepped(points) else "checkpoint, in order"


def _spread(number: int) -> list[int]:
    """Places of at most ``_MOST_COLUMNS`` of them, first and last included."""
    if number <= _MOST_COLUMNS:
        return list(range(number))
    return sorted({round(i * (number - 1) / (_MOST_COLUMNS - 1)) for i in range(_MOST_COLUMNS)})


def _styles(found: Sequence[words.Course]) -> dict[str, int]:
    """Layers that are told apart, by the same line in every plot: all of a few, else those of the leading figure."""
    leading = next((course for course in found if course.metric.id == words.LEADING), found[0] if found else None)
    if leading is None:
        return {}
    names = list(leading.entries)
    told = names if len(names) <= len(STYLES) else [name for name in names if name in _told(leading)]
    return {name: i for i, name in enumerate(told)}


def _panel(course: words.Course, points: Sequence[Point], picked: Sequence[int], styles: Mapping[str, int]) -> Panel:
    steps = (
        [float(one.step or 0) for one in points] if words.stepped(points) else [float(i) for i in range(len(points))]
    )
    told = _told(course)
    drawn = [
        Line(name, tuple(entry.value if entry else None for entry in row), styles.get(name, -1))
        for name, row in course.entries.items()
    ]
    rows = tuple(
        (name, tuple(words.number(row[i]) for i in picked)) for name, row in list(course.entries.items())[:_MOST_ROWS]
    )
    marks = ("dot", "ring", "triangle")
    return Panel(
        anchor=course.metric.id.replace(".", "-"),
        title=course.metric.title,
        about=course.metric.about,
        plot=lines(course.metric.title, steps, drawn, _axis(points)),
        legend=tuple((marks[i], name, told.get(name, "")) for name, i in styles.items() if name in course.entries),
        rows=rows,
    )


def _told(course: words.Course) -> dict[str, str]:
    """Layer → why: rose most, fell most, last in order of execution, and those that are largest in the end."""
    changes = words.moved(course)
    found: dict[str, str] = {}
    if changes and changes[0][2].value > changes[0][1].value:
        found[changes[0][0]] = "rose most"
    if changes and changes[-1][2].value < changes[-1][1].value:
        found[changes[-1][0]] = "fell most"
    found.setdefault(list(course.entries)[-1], "the last layer")
    if len(course.entries) > len(STYLES):  # of a few all are shown, for no reason
        for name, _, _ in sorted(changes, key=lambda one: -one[2].value):
            found.setdefault(name, "among the largest in the end")
    return dict(list(found.items())[: len(STYLES)])
