"""A comparison on a terminal: what changed, and the outcome on the last line."""

from __future__ import annotations

from collections.abc import Sequence

import click

from lcaudit.core.comparison import Change, Comparison
from lcaudit.core.text import count, one_line
from lcaudit.reports import _comparison_words as words
from lcaudit.reports._contract import Style, Writer
from lcaudit.reports._terminal import Column, clip, inert, prose, table, wrapped

_COLOURS = {"fail": "red", "pass": "green", "incomplete": "yellow"}
_MOST = 20
_COLUMNS = (
    Column("layer", right=False), Column("figure", right=False), Column("before"), Column("after"), Column("change"),
    Column("corrected interval"), Column("", right=False),
)  # fmt: skip


def write(comparison: Comparison, style: Style) -> str:
    """``comparison`` in lines of at most ``style.width`` columns where that is possible."""
    blocks = [
        [f"{clip(comparison.before.name, 60)} → {clip(comparison.after.name, 60)}", f"data  {prose(comparison.data)}"]
    ]
    if style.verbosity < 0:
        blocks = []
    blocks.append(changes(comparison, style))
    state = words.outcome(comparison)
    verdict = f"{words.WORDS[comparison.kind][state].upper()}  {prose(words.sentence(comparison))}"
    last = wrapped(verdict, style.width, "")
    if style.color:
        last = [click.style(line, fg=_COLOURS[words.TONES[state]]) for line in last]
    text = "\n\n".join("\n".join(block) for block in [*blocks, last] if block)
    return inert(text) + "\n"


def changes(comparison: Comparison, style: Style) -> list[str]:
    """What changed, counts, and why some figures are undecided; printable."""
    told = comparison.changes if style.verbosity > 0 else words.told(comparison)
    most = len(told) if style.verbosity > 0 else _MOST
    lines = rows(told[:most], comparison)
    if len(told) > most:
        lines.append(f"  and {len(told) - most} more; -v lists all")
    lines += wrapped(words.counts(comparison), style.width, "")
    if style.verbosity < 0:
        return lines
    for reason, places in words.undecided(comparison):
        lines += wrapped(f"undecided, {count(len(places), 'figure')}: {prose(reason)}", style.width, "  ")
    for reason, places in words.not_comparable(comparison):
        lines += wrapped(f"not comparable, {prose(one_line(places))}: {prose(reason)}", style.width, "  ")
    for note in comparison.notes:
        lines += wrapped(prose(note), style.width, "  ")
    return lines


def rows(told: Sequence[Change], comparison: Comparison) -> list[str]:
    """A table of ``told``, printable; no line for none."""
    found = [words.row(change, comparison) for change in told]
    cells = [
        [clip(one.layer, 40), one.figure, one.before, one.after, one.change, one.corrected, one.word] for one in found
    ]
    return table(_COLUMNS, cells, "  ") if cells else []


WRITER = Writer(".txt", "text/plain", write)
