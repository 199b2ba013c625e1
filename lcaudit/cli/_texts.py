"""Options that say how texts become tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lcaudit.cli._help import option

F = TypeVar("F", bound=Callable[..., Any])


def text_options(command: F) -> F:
    """Add --tokenizer and --max-tokens."""
    for decorate in (
        option(
            "Probe",
            "--max-tokens",
            discovered=True,
            metavar="N",
            type=click.IntRange(2),
            help="Cut texts after so many tokens.  [default: what the network reads, at most 512]",
        ),
        option(
            "Probe",
            "--tokenizer",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="The tokenizer.json for texts.  [default: the one beside the weights]",
        ),
    ):
        command = decorate(command)
    return command
