"""Compare: the figures of two measurements against each other, and what a repository keeps of them.

Pure: measurements and files' text in, frozen dataclasses out. :mod:`~lcaudit.comparisons.engine` is the one place
that decides whether a figure is worse.
"""

from __future__ import annotations

from lcaudit.comparisons.baseline import NotComparable, against, anchors, create, dump, hold, prune, read, update
from lcaudit.comparisons.engine import ALPHA, MARGIN, paired
from lcaudit.comparisons.fingerprint import digest, fingerprint
from lcaudit.comparisons.history import key_of, latest, point, read_history, settings_of, written

__all__ = [
    "ALPHA", "MARGIN", "NotComparable", "against", "anchors", "create", "digest", "dump", "fingerprint", "hold",
    "key_of", "latest", "paired", "point", "prune", "read", "read_history", "settings_of", "update", "written",
]  # fmt: skip
