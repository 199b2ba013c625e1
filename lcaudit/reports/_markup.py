"""Text as HTML: printable, escaped, and set as mathematics where it is mathematics."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from lcaudit.core.text import display_name

_SUBSCRIPT = re.compile(r"(?<![^\W\d_])([κΣλ])_(\w{1,3}\b|⌈[^⌉_<&]{1,8}⌉)")
_POWER = re.compile(r"(?<=\d)e(-?\d+)")
_INSIDE_NUMBER = re.compile(r"(?<=\d) (?=\d{3}(?!\d)|%)")
#: Longest text of several sentences, and longest name, that a page shows.
_LONGEST, _LONGEST_NAME = 4000, 120
_MOST_LINES = 200


def finalize(value: object) -> object:
    """What every expression of a template passes through before it is escaped."""
    return value if isinstance(value, Markup) else display_name("" if value is None else value, _LONGEST)


def name(value: object) -> str:
    """A name from a file, short enough for a heading."""
    return display_name(value, _LONGEST_NAME)


def prose(value: object) -> Markup:
    """Sentences, with the subscripts of κ_80, Σ_x and λ_⌈p·r⌉ set as subscripts."""
    shown = str(escape(display_name(" ".join(str(value).split()), _LONGEST)))
    return Markup(_together(_SUBSCRIPT.sub(r"\1<sub>\2</sub>", shown)))


def num(value: object) -> Markup:
    """One of our own formatted numbers: ``4.10e5`` as 4.10 × 10⁵."""
    shown = str(escape(display_name(value)))
    return Markup(_together(_POWER.sub(_power, shown).replace("-", "−")))


def _together(shown: str) -> str:
    """``shown`` with no line break inside a number, nor between a number and its per-cent sign."""
    return _INSIDE_NUMBER.sub("&nbsp;", shown)


def _power(match: re.Match[str]) -> str:
    return f" × 10<sup>{match.group(1)}</sup>"


def code(value: object) -> Markup:
    """Lines to paste, each printable; line breaks stay."""
    lines = str(value).splitlines()[:_MOST_LINES]
    return Markup("\n").join(display_name(line.expandtabs(4), 400) for line in lines)
