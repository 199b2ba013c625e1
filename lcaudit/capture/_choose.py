"""Measuring some layers only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from lcaudit.capture._survey import Found
from lcaudit.core.errors import UsageError
from lcaudit.core.text import display_name

NOT_ASKED = "not asked for by --layers"


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
            near = difflib.get_close_matches(pattern, known, n=4, cutoff=0.5) or known[-4:]
            raise UsageError(
                f"--layers {display_name(pattern)!r} matches no layer",
                f"did you mean {' or '.join(map(display_name, near))}?" if near else "",
            )
    for one in layers if patterns else ():
        if not any(fnmatchcase(one.weight.name, pattern) for pattern in patterns):
            one.refused = NOT_ASKED
