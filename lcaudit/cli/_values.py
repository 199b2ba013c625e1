"""What options accept beyond click's own types."""

from __future__ import annotations

import math
from typing import Any

import click

from lcaudit.core import hub, memory
from lcaudit.core.text import display_name


def numbers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """``1,2,3`` → numbers; ``None`` where the option is not given."""
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{display_name(value)!r}: expected numbers separated by commas, e.g. 0.5,0.5,0.5"
        ) from None


def share(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
    """A number from 0 to 1."""
    if math.isnan(value):  # lies in every range, and below which nothing is
        raise click.BadParameter("nan: expected a number from 0 to 1")
    return value


class Memory(click.ParamType[int]):
    """An amount of memory."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        return value if isinstance(value, int) else memory.parse(value)


def codes(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Words separated by commas, over all uses of the option."""
    return tuple(code.strip() for given in value for code in given.split(",") if code.strip())


def no_code(value: str) -> str:
    """Why a file that was found may not choose this network."""
    library, colon, _ = value.rpartition(":")
    known = library in ("timm", "torchvision") or not colon
    return "" if known and not value.endswith(".py") else "arch names a file whose code would run"


def columns(ctx: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, str]:
    """``image=A,label=B`` or ``text=A,label=B`` → names of columns by use."""
    pairs = [part.partition("=") for part in (value or "").split(",") if part.strip()]
    found = {use.strip(): name.strip() for use, _, name in pairs}
    if len(found) != len(pairs) or not found.keys() <= {"image", "text", "label"} or not all(found.values()):
        raise click.BadParameter(
            f"{display_name(value)!r}: expected image=COLUMN or text=COLUMN, label=COLUMN, or two with a comma"
        )
    return found


def size(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    """``10GB`` → bytes."""
    return hub.size(value)


class NumberOr(click.ParamType[int | str]):
    """A whole number from ``least``, or one ``word``."""

    def __init__(self, least: int, word: str) -> None:
        self.least, self.word, self.name = least, word, f"N|{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """The number, or the word itself."""
        if value == self.word:
            return self.word
        try:
            number = int(value)
        except ValueError:
            number = self.least - 1
        if number < self.least:
            self.fail(f"{display_name(value)!r}: expected a whole number from {self.least}, or {self.word}", param, ctx)
        return number
