"""Laying out plain text in columns, and keeping a log from reading commands in it."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from lcaudit.core.text import display_name

#: Runners of continuous integration obey lines that begin with ``::`` and anything after ``##[``.
_COMMAND = re.compile(r"(?m)^((?:[^\S\n]|\x1b\[[0-9;]*m)*):(?=:)")


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, and whether its cells stand on the right."""

    heading: str
    right: bool = True


def cells(text: str) -> int:
    """Columns that ``text`` takes in a terminal: East Asian wide characters take two, marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, width: int, right: bool = False) -> str:
    """``text`` filled with spaces to ``width`` cells."""
    space = " " * max(0, width - cells(text))
    return space + text if right else text + space


def clip(text: object, width: int) -> str:
    """``text`` made printable and cut in its middle to ``width`` cells, both ends kept."""
    shown = display_name(text, max(8, width))
    if cells(shown) <= width:
        return shown
    head, tail = "", ""
    for i in range(len(shown)):
        if cells(head + shown[i]) + cells(tail + shown[-1 - i]) > width - 1:
            break
        head, tail = head + shown[i], shown[-1 - i] + tail
    return f"{head}…{tail}"


def prose(text: str) -> str:
    """Several sentences as one printable line."""
    return display_name(" ".join(text.split()), 2000)


def wrapped(text: str, width: int, indent: str, hanging: str = "") -> list[str]:
    """Printable ``text`` in lines of at most ``width``, the first after ``indent``."""
    rest = hanging or indent
    return textwrap.wrap(text, max(20, width), initial_indent=indent, subsequent_indent=rest, break_on_hyphens=False)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], indent: str) -> list[str]:
    """Rows under their headings, two spaces between columns; cells must be printable already."""
    lines = [[column.heading for column in columns], *rows]
    widths = [max(cells(line[i]) for line in lines) for i in range(len(columns))]
    return [
        indent
        + "  ".join(
            pad(cell, width, column.right) for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    ]


def inert(text: str) -> str:
    """``text`` with the marks that a continuous-integration log would obey spelled out."""
    return _COMMAND.sub(r"\1\\x3a", text).replace("##[", "\\x23#[")
