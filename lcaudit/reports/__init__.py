"""Tell: one file per format, each a rendering of the one :class:`~lcaudit.core.outcomes.Report`.

A format's file defines ``WRITER`` (:class:`lcaudit.reports._contract.Writer`); its file name is the
format's public name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lcaudit.core import plugins, serial
from lcaudit.core.comparison import Change, Comparison, Point
from lcaudit.core.errors import MalformedInput, UsageError
from lcaudit.core.outcomes import Report
from lcaudit.core.text import display_name
from lcaudit.core.verification import Unsettled
from lcaudit.reports._contract import SCHEMA_VERSION, Style, Writer

__all__ = [
    "COMPARISON_FORMATS", "SCHEMA_VERSION", "TIMELINE_FORMATS", "changes_text", "formats", "not_decided", "read",
    "render", "render_comparison", "render_timeline", "writer",
]  # fmt: skip
#: Formats of a comparison and of a timeline, by the files of their folders.
COMPARISON_FORMATS = plugins.names(f"{__name__}._comparison")
TIMELINE_FORMATS = plugins.names(f"{__name__}._timeline")


def formats() -> tuple[str, ...]:
    """Names of the formats, sorted; none of them is imported."""
    return plugins.names(__name__)


def writer(format: str) -> Writer[Report]:
    """The format called ``format``.

    Raises:
        UsageError: there is no such format.
    """
    if format not in formats():
        raise UsageError(f"unknown format {display_name(format)}", f"known formats: {', '.join(formats())}")
    found: Writer[Report] = plugins.load(__name__, format, "WRITER")
    return found


def render(report: Report, format: str, *, color: bool = False, width: int = 100, verbosity: int = 0) -> str:
    """``report`` as text in ``format``.

    Args:
        format: one of :func:`formats`.
        color: whether a terminal's colours may be used; ``text`` alone looks at it, and at the next two.
        width: columns to fit into; below 40 counts as 40.
        verbosity: −1 findings and verdict only, 0 the usual, 1 every layer.

    Raises:
        UsageError: there is no such format.
    """
    return writer(format).write(report, Style(color, width, verbosity))


def render_comparison(
    found: Comparison, format: str, *, color: bool = False, width: int = 100, verbosity: int = 0
) -> str:
    """A comparison of two networks as text in ``format``, one of ``COMPARISON_FORMATS``; the rest as :func:`render`."""
    chosen: Writer[Comparison] = plugins.load(f"{__name__}._comparison", format, "WRITER")
    return chosen.write(found, Style(color, width, verbosity))


def render_timeline(points: Sequence[Point], others: int, format: str) -> str:
    """Checkpoints measured alike, by step, as text in ``format``, one of ``TIMELINE_FORMATS``.

    Args:
        others: points of the history that were measured in another way and are not shown.
    """
    write: Callable[[Sequence[Point], int], str] = plugins.load(f"{__name__}._timeline", format, "write")
    return write(points, others)


def changes_text(changes: Sequence[Change], found: Comparison) -> list[str]:
    """Some changes of a comparison as lines of a table for a terminal."""
    from lcaudit.reports._comparison.text import rows

    return rows(changes, found)


def not_decided(found: Unsettled) -> str:
    """What fixes were not made because the samples did not decide it, in one line; ``""`` for nothing."""
    from lcaudit.reports._verification import not_decided as told

    return told(found)


def read(text: str | bytes) -> Report:
    """The report that ``render(report, "json")`` wrote; keys that this version does not know are ignored.

    Raises:
        MalformedInput: not strict JSON, not a report, or a report of another major version.
    """
    hint = "give a file that `lcaudit check --format json` wrote"
    try:
        data = serial.parse_json(text)
        _same_major(data)
        return serial.load(Report, data)
    except MalformedInput as error:
        raise MalformedInput(display_name(error.message, 400), error.hint or hint) from None


def _same_major(data: Any) -> None:
    if not isinstance(data, dict) or "schema_version" not in data:
        raise MalformedInput("not an lcaudit report: it has no schema_version")
    seen, ours = str(data["schema_version"]), SCHEMA_VERSION
    if seen.split(".")[0] != ours.split(".")[0]:
        raise MalformedInput(
            f"the report has schema version {display_name(seen, 40)}, this lcaudit reads {ours.split('.')[0]}.x",
            "read it with the lcaudit that wrote it, or run the check again",
        )
