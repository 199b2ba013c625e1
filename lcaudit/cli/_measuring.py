"""The options that say how a network is measured, for every command that measures, and the files they need."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lcaudit.cli._settings import MEASURING, Measures
from lcaudit.cli.check import COMMAND as CHECK
from lcaudit.core.errors import LimitExceeded, MalformedInput, UsageError
from lcaudit.core.files import read_regular
from lcaudit.core.text import display_name

if TYPE_CHECKING:
    from lcaudit.core.outcomes import Report

F = TypeVar("F", bound=click.Command)

#: Cross-checks of single layers and further what-ifs: nothing that is compared.
_WITHOUT = frozenset({"exact", "exact_layers", "norms"})
_MOST_REPORT = 256 * 2**20


def measuring(*without: str, data_required: bool = True) -> Callable[[F], F]:
    """Add the options with which `lcaudit check` measures, less ``without``."""

    def add(command: F) -> F:
        command.params += options(set(without), data_required)
        if isinstance(command, Measures):
            command.like = CHECK
        return command

    return add


def options(without: set[str], data_required: bool) -> list[click.Parameter]:
    """Copies of the options of `lcaudit check` that say how it measures."""
    found = []
    for parameter in CHECK.params:
        if getattr(parameter, "heading", "") in MEASURING and parameter.name not in without | _WITHOUT:
            one = copy.copy(parameter)
            one.required = one.required and data_required
            found.append(one)
    return found


def read_report(path: Path) -> Report:
    """The report in a file.

    Raises:
        MalformedInput, LimitExceeded: it is none.
    """
    from lcaudit import reports

    try:
        return reports.read(read_regular(path, _MOST_REPORT))
    except (MalformedInput, LimitExceeded) as error:
        shown = display_name(path)
        said = error.message if error.message.startswith(shown) else f"{shown}: {error.message}"
        raise type(error)(said, error.hint or "pass the report.json that `lcaudit check` wrote") from None


def measure(source: str | Path, data: str | None, progress: Callable[..., None], given: dict[str, Any]) -> Report:
    """The report of ``source``: read, where it is the JSON of one; else the checkpoint is measured.

    Raises:
        UsageError: a checkpoint without data.
    """
    if str(source).endswith(".json") and not str(source).endswith(".index.json"):
        return read_report(Path(source))
    if data is None:
        raise UsageError(
            "a checkpoint is measured on data: --data is missing", "pass --data NAME|PATH, or a report.json"
        )
    from lcaudit.audit import audit  # imports torch: seconds

    return audit(source, data, progress=progress, fail_on="never", **given)
