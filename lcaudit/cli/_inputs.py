"""Options that say how pictures are brought to a network's size, and how texts become tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lcaudit.cli._help import option
from lcaudit.core.text import display_name
from lcaudit.core.types import INTERPOLATIONS

F = TypeVar("F", bound=Callable[..., Any])


def input_options(command: F) -> F:
    """Add --input-size, --interpolation, --tokenizer and --max-tokens."""
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
        option(
            "Probe",
            "--interpolation",
            type=click.Choice(INTERPOLATIONS),
            help="How pictures are resized.  [default: the network's own, else bilinear]",
        ),
        option(
            "Probe",
            "--input-size",
            callback=_sides,
            metavar="N|HxW",
            help="Bring pictures to this many pixels.  [default: the network's own]",
        ),
    ):
        command = decorate(command)
    return command


def _sides(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    sides = value.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and 0 < len(side) < 6 for side in sides):
        raise click.BadParameter(f"{display_name(value)!r}: expected pixels, e.g. 224 or 224x320")
    return int(sides[0]), int(sides[-1])
