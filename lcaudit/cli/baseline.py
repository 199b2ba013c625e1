"""``lcaudit baseline``: the committed figures that a network is held against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcaudit.cli._baseline import FILE, read_baseline, refreshing
from lcaudit.cli._help import Group, option
from lcaudit.cli._measuring import measure, measuring
from lcaudit.cli._progress import Progress
from lcaudit.cli._settings import Measures
from lcaudit.cli._streams import note, show
from lcaudit.core.errors import UsageError
from lcaudit.core.files import check_writable, write_whole
from lcaudit.core.gate import EXIT_FINDINGS, EXIT_PASS
from lcaudit.core.text import count, display_name, one_line

if TYPE_CHECKING:
    from lcaudit.core.comparison import Change, Comparison
    from lcaudit.core.measurements import Measurements


@click.group(
    name="baseline",
    cls=Group,
    examples=(
        "baseline create model.safetensors --data cifar10",
        "baseline update lcaudit-report/report.json",
    ),
    short_help="Keep the figures that a network is held against.",
)
def COMMAND() -> None:
    """Write, move and prune the committed file that `lcaudit check --baseline` compares with.

    MODEL is a checkpoint, measured with the options of `lcaudit check`, or the report.json of a check, with which
    nothing is measured again. `lcaudit check MODEL --data D --baseline FILE` holds a network against it.
    """


_file = option(
    "Baseline", "--file", "-o", type=click.Path(path_type=Path), default=FILE, show_default=True, metavar="FILE",
    help="The baseline.",
)  # fmt: skip
_quiet = option("Baseline", "-q", "--quiet", is_flag=True, setting=False, help="No progress.")


def _command(name: str, short_help: str, examples: tuple[str, ...]) -> Callable[[Callable[..., int]], click.Command]:
    """A subcommand with MODEL, --file, --quiet and the measuring options."""

    def make(function: Callable[..., int]) -> click.Command:
        argument = click.argument("source", metavar="MODEL", type=click.Path(path_type=Path))
        wrapped = click.command(name=name, cls=Measures, short_help=short_help, examples=examples)(
            argument(_file(_quiet(function)))
        )
        COMMAND.add_command(measuring(data_required=False)(wrapped))
        return wrapped

    return make


def _measured(source: Path, data: str | None, options: dict[str, Any]) -> Measurements:
    progress = Progress(quiet=options.pop("quiet"))
    try:
        return measure(source, data, progress, options).measurements
    finally:
        progress.close()


@_command(
    "create", "Write the figures of a network as a baseline.", ("baseline create model.safetensors --data cifar10",)
)
@option("Baseline", "--force", is_flag=True, help="Replace a baseline that is there.")
def create(source: Path, data: str | None, file: Path, force: bool, **options: Any) -> int:
    """Write a baseline of MODEL as it is, one line for each layer and figure."""
    from lcaudit import comparisons

    check_writable(file)
    if file.exists() and not force:
        raise UsageError(
            f"{display_name(file)} is there already",
            "`lcaudit baseline update` moves it on evidence only; --force replaces it by what is measured now",
        )
    made = comparisons.create(_measured(source, data, options))
    write_whole(file, comparisons.dump(made))
    layers = count(len({one.layer for one in made.entries}), "layer")
    show(
        f"{display_name(file)}: {count(len(made.entries), 'figure')} of {layers}, {made.measurement['samples']} samples"
    )
    shaky = sum(not one.reliable for one in made.entries)
    if shaky:
        note(f"{count(shaky, 'figure')} not reliable at so few samples: the gate cannot see them change")
    return EXIT_PASS


@_command(
    "update",
    "Move a baseline where there is evidence.",
    (
        "baseline update model.safetensors --data cifar10",
        "baseline update lcaudit-report/report.json --accept-worse head --reason 'twice the classes'",
    ),
)
@option(
    "Baseline", "--accept-worse", "accept", multiple=True, metavar="LAYER",
    help="Take the worse value of this layer, by name, * for anything; repeatable, needs --reason.",
)  # fmt: skip
@option("Baseline", "--reason", default="", metavar="TEXT", help="Why; kept in the baseline.")
def update(
    source: Path, data: str | None, file: Path, accept: tuple[str, ...], reason: str, **options: Any
) -> int:  # fmt: skip
    """Take the figures of MODEL that are better than the baseline's beyond noise, and those of new layers.

    Where no change was shown the older value stays: a baseline that followed the best value ever seen would turn an
    unchanged network red, by noise alone. Worse values are taken only where --accept-worse names their layer; the
    exit code is 1 while any is left.
    """
    from lcaudit import comparisons

    kept = read_baseline(file)
    check_writable(file)
    with refreshing(file):
        moved, found, taken = comparisons.update(_measured(source, data, options), kept, accept, reason)
    if taken:
        write_whole(file, comparisons.dump(moved))
    left = [change for change in found.having("worse") if change not in taken]
    show("\n".join([*_moves(taken, found, file), *_left(left, found)]))
    return EXIT_FINDINGS if left else EXIT_PASS


@_command("prune", "Drop what a network no longer has.", ("baseline prune model.safetensors --data cifar10",))
def prune(source: Path, data: str | None, file: Path, **options: Any) -> int:
    """Drop the layers of the baseline that MODEL does not have, or that cannot be measured any more."""
    from lcaudit import comparisons

    kept = read_baseline(file)
    check_writable(file)
    with refreshing(file):
        pruned, gone = comparisons.prune(_measured(source, data, options), kept)
    if pruned != kept:
        write_whole(file, comparisons.dump(pruned))
    said = f"dropped {count(len(gone), 'layer')}: {one_line(gone)}" if gone else "nothing to drop"
    show(f"{display_name(file)}: {said}")
    return EXIT_PASS


def _moves(taken: tuple[Change, ...], found: Comparison, file: Path) -> list[str]:
    if not taken:
        return [f"{display_name(file)}: unchanged, nothing better was shown"]
    return [f"{display_name(file)}: {count(len(taken), 'figure')} moved", *_lines(taken, found)]


def _left(left: list[Change], found: Comparison) -> list[str]:
    if not left:
        return []
    said = f"{count(len(left), 'figure')} worse and not taken; --accept-worse LAYER --reason TEXT takes them"
    return [said, *_lines(left, found)]


def _lines(changes: list[Change] | tuple[Change, ...], found: Comparison) -> list[str]:
    from lcaudit.reports import changes_text

    return changes_text(changes, found)
