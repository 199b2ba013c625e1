"""Measuring some layers only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from lcaudit.capture._survey import Found
from lcaudit.core.errors import UsageError
from lcaudit.core.text import display_name

NOT_ASKED = "not asked for by --layers"


def did_you_mean(name: str, known: list[str]) -> str:
    """A hint with the layers whose names are nearest to one that is not there, or the last ones."""
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.5) or known[-4:]
    return f"did you mean {' or '.join(map(display_name, near))}?" if near else ""


def choose(found: Iterable[Found], patterns: Sequence[str]) -> None:
    """Refuse every layer whose name no pattern matches; none are refused without patterns.

    Args:
        patterns: layers' names, in which ``*`` stands for anything, ``?`` for one character.

    Raises:
        UsageError: a pattern that no layer matches.
    """
    layers = list(found)
    for pattern in patterns:
        if not any(fnmatchcase(one.weight.name, pattern) for one in layers):
            known = [one.weight.name for one in layers]
            raise UsageError(f"--layers {display_name(pattern)!r} matches no layer", did_you_mean(pattern, known))
    for one in layers if patterns else ():
        if not any(fnmatchcase(one.weight.name, pattern) for pattern in patterns):
            one.refused = NOT_ASKED
