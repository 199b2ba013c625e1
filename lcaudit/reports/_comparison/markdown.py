"""A comparison as Markdown, for a summary of continuous integration or a pull request."""

from __future__ import annotations

import re

from lcaudit.core.comparison import Change, Comparison
from lcaudit.core.text import display_name
from lcaudit.reports import _comparison_words as words
from lcaudit.reports._contract import Style, Writer

#: Rows of a table; summaries of continuous integration have little room.
_MOST = 50
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&@:$])")


def write(comparison: Comparison, style: Style) -> str:
    """``comparison`` with its changes in a table; every text from a file is escaped."""
    state = words.outcome(comparison)
    told = words.told(comparison)
    lines = [
        f"### {words.WORDS[comparison.kind][state].capitalize()}: {escaped(comparison.before.name)} → "
        f"{escaped(comparison.after.name)}",
        "",
        escaped(words.sentence(comparison), 1000),
        "",
        f"{words.counts(comparison)}. Data: {escaped(comparison.data)}.",
        "",
    ]
    if told:
        lines += [*_table(told[:_MOST], comparison), ""]
    if len(told) > _MOST:
        lines += [f"and {len(told) - _MOST} more", ""]
    lines += [
        "<details><summary>Every figure</summary>",
        "",
        *_table(comparison.changes[:1000], comparison),
        "",
        "</details>",
    ]
    lines += ["", *(escaped(note, 1000) for note in comparison.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _table(changes: tuple[Change, ...], comparison: Comparison) -> list[str]:
    lines = ["| layer | figure | before | after | change | corrected interval | |", "|---|---|--:|--:|--:|--:|---|"]
    for change in changes:
        one = words.row(change, comparison)
        cells = (one.layer, one.figure, one.before, one.after, one.change, one.corrected, one.word)
        lines.append("| " + " | ".join(escaped(cell) for cell in cells) + " |")
    return lines


def escaped(text: str, limit: int = 120) -> str:
    """Printable text that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", display_name(text, limit))


WRITER = Writer(".md", "text/markdown", write)
