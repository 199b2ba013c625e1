"""A timeline on a terminal: the layers, first and last step, and what happened."""

from __future__ import annotations

from collections.abc import Sequence

from lcaudit.core import figures as numbers
from lcaudit.core.comparison import Point
from lcaudit.reports import _timeline_words as words
from lcaudit.reports._terminal import Column, clip, inert, prose, table, wrapped

_MOST = 12


def write(points: Sequence[Point], others: int) -> str:
    """``points``, by step."""
    course = next((one for one in words.courses(points) if one.metric.id == words.LEADING), None)
    lines = []
    changes = words.moved(course) if course else []
    if changes and course:
        columns = (Column("layer", right=False), Column(clip(words.label(points[0]), 24)), Column(""),
                   Column(clip(words.label(points[-1]), 24)), Column("change"))  # fmt: skip
        rows = [
            [clip(name, 40), numbers.number(first.value), "→", numbers.number(last.value),
             f"{numbers.number(last.value / first.value)}×"]
            for name, first, last in changes[:_MOST]
        ]  # fmt: skip
        lines += [f"{course.metric.title} at the first and the last step", *table(columns, rows, "  ")]
        if len(changes) > _MOST:
            lines.append(f"  and {len(changes) - _MOST} more layers")
        lines.append("")
    lines += wrapped(prose(words.sentence(points)), 100, "")
    lines += wrapped(prose(words.note(points, others)), 100, "") if words.note(points, others) else []
    return inert("\n".join(lines)) + "\n"
