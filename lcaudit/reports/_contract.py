"""What a report format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lcaudit.core.comparison import Comparison
from lcaudit.core.outcomes import Report

#: Major.minor of the JSON report: a minor version adds keys, a major one changes or removes them.
SCHEMA_VERSION = "1.0"
#: Identifier of the published schema, ``report-1.schema.json`` beside this file.
SCHEMA_ID = "urn:lcaudit:report:1"


@dataclass(frozen=True, slots=True)
class Style:
    """How the user wants it: colours allowed, columns, and −1 (quiet), 0 or 1 (verbose)."""

    color: bool = False
    width: int = 100
    verbosity: int = 0


#: What a format tells: a report, or a comparison of two.
Told = TypeVar("Told", Report, Comparison)


@dataclass(frozen=True, slots=True)
class Writer(Generic[Told]):
    """One format: file suffix with its dot, media type, the function that writes it, and whether a terminal reads it.

    What is for ``people`` is printed in the terminal's own encoding; the rest is UTF-8 to the byte.
    """

    suffix: str
    media_type: str
    write: Callable[[Told, Style], str]
    people: bool = False
