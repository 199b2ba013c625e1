"""Reading a baseline for a command, and what to type where it cannot be compared."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcaudit.core.errors import LimitExceeded, MalformedInput, UsageError
from lcaudit.core.files import read_regular
from lcaudit.core.text import display_name

if TYPE_CHECKING:
    from lcaudit.core.comparison import Baseline
    from lcaudit.core.outcomes import Anchor

#: Where a baseline lies unless another place is named.
FILE = Path("lcaudit-baseline.json")
#: A baseline of 10,000 layers is below this.
_MOST_BYTES = 32 * 2**20


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file.

    Raises:
        MalformedInput, LimitExceeded: it is none.
    """
    return read_anchored(path)[0]


def read_anchored(path: Path) -> tuple[Baseline, dict[str, Anchor]]:
    """The same, and the lines that its layers stand on, where reviews of code can point to them.

    No lines where the file does not lie below the working folder.
    """
    from lcaudit import comparisons
    from lcaudit.core.outcomes import Anchor

    shown = display_name(path)
    try:
        text = read_regular(path, _MOST_BYTES)
        baseline = comparisons.read(text)
    except (MalformedInput, LimitExceeded) as error:
        said = error.message if error.message.startswith(shown) else f"{shown}: {error.message}"
        raise type(error)(said, error.hint or "`lcaudit baseline create` writes one") from None
    if path.is_absolute() or ".." in path.parts:
        return baseline, {}
    lines = comparisons.anchors(text.decode("utf-8", "replace"))
    anchors = {"": Anchor(path.as_posix(), 1)} | {layer: Anchor(path.as_posix(), line) for layer, line in lines.items()}
    return baseline, anchors


@contextmanager
def refreshing(file: Path | None) -> Iterator[None]:
    """A baseline that cannot be compared is refused with the command, as it would be typed here, that makes it anew."""
    from lcaudit.comparisons import NotComparable

    try:
        yield
    except NotComparable as error:
        ctx = click.get_current_context()
        theirs = "; if that file is another network's, choose another name for --file" if error.other_network else ""
        raise UsageError(error.message, f"measure it anew: `{_create(ctx, file)}`{theirs}") from None


def _create(ctx: click.Context, file: Path | None) -> str:
    words = ["lcaudit", "baseline", "create", str(ctx.params.get("model") or ctx.params.get("source"))]
    from lcaudit.cli._measuring import options

    for parameter in options(set(), True):
        value = ctx.params.get(parameter.name or "")
        if value is None or value == () or value == {} or value == parameter.get_default(ctx):
            continue
        several = getattr(parameter, "multiple", False)
        if isinstance(value, dict):
            value = ",".join(f"{key}={name}" for key, name in value.items())
        for one in value if several else [value]:
            words += [parameter.opts[0], ",".join(map(str, one)) if isinstance(one, tuple) else str(one)]
    return shlex.join([*words, "--force", "--file", str(file or FILE)])
