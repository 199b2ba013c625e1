"""``lcaudit track``: conditioning over training, checkpoint by checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcaudit.cli._help import option
from lcaudit.cli._measuring import measuring
from lcaudit.cli._output import check_outputs
from lcaudit.cli._progress import Progress
from lcaudit.cli._settings import Measures
from lcaudit.cli._streams import note, show
from lcaudit.core.errors import AuditError, EnvironmentFailure, UsageError
from lcaudit.core.files import read_regular, write_together, write_whole
from lcaudit.core.gate import EXIT_INCOMPLETE, EXIT_PASS
from lcaudit.core.text import display_name

if TYPE_CHECKING:
    from lcaudit.core.comparison import Point

#: What a folder of checkpoints is searched for.
_SUFFIXES = frozenset({".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt"})
_INDEX = ".safetensors.index.json"
_MOST_BYTES = 2**30
#: What is wrong with one file and says nothing of the others.
_OF_ONE_FILE = frozenset({"malformed", "refused", "limit", "unknown-architecture", "ambiguous-architecture"})


@click.command(
    name="track",
    cls=Measures,
    short_help="Follow conditioning over training.",
    examples=("track runs/cifar/ --data cifar10 --samples 1000", "track step-100.pt step-200.pt --data test.npz"),
    verdict=True,
)
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
@option("Output", "-o", "--output", type=click.Path(path_type=Path), default=Path("lcaudit-track"),
        show_default=True, metavar="FOLDER",
        help="Folder for history.jsonl, which is continued, timeline.html and timeline.json.")  # fmt: skip
@option("Output", "-q", "--quiet", count=True, help="No progress; -qq prints nothing.")
def COMMAND(checkpoints: tuple[Path, ...], data: str, output: Path, quiet: int, **options: Any) -> int:
    """Measure CHECKPOINTS (files, or a folder of them) on the same samples, and show every layer over the steps.

    The step is the last number in a checkpoint's name. What the history already holds is skipped, so a run that was
    stopped goes on where it was, and new checkpoints are added to it. A file that cannot be read is named and makes
    the exit code 3; the others are measured.
    """
    if options["samples"] == "auto":
        raise UsageError("--samples auto: all checkpoints must see the same samples", "pass a number")
    history, files = output / "history.jsonl", [("html", output / "timeline.html"), ("json", output / "timeline.json")]
    found = listed(checkpoints)
    check_outputs([("history", history), *files], [*found, Path(data)])
    points = _continued(history)
    progress = Progress(quiet=bool(quiet))
    progress.start()
    try:
        points, missed, measurement = _measure(found, data, points, history, progress, options, quiet)
    finally:
        progress.close()
    from lcaudit import comparisons, reports

    shown = comparisons.latest(points, measurement) if measurement else ()
    others = len({one.name for one in points if one.measurement != measurement})
    if shown:
        write_together([(path, reports.render_timeline(shown, others, form)) for form, path in files])
    if quiet < 2 and shown:
        show(reports.render_timeline(shown, others, "text"))
        if not quiet:
            note("written: " + "  ".join(display_name(path) for path in (history, *(path for _, path in files))))
    for path, error in missed:
        note(f"not measured: {display_name(path)}: {display_name(error.message, 500)}")
    return EXIT_INCOMPLETE if missed else EXIT_PASS


def _measure(
    found: Sequence[Path], data: str, points: tuple[Point, ...], history: Path, progress: Progress,
    options: dict[str, Any], quiet: int,
) -> tuple[tuple[Point, ...], list[tuple[Path, AuditError]], str]:  # fmt: skip
    """Points with those added that were not there, what could not be measured, and the digest of how it was done."""
    from lcaudit import comparisons
    from lcaudit.audit import audit  # imports torch: seconds
    from lcaudit.planning import planned

    missed: list[tuple[Path, AuditError]] = []
    measurement, keys = "", {one.key for one in points}
    for place, path in enumerate(found, 1):
        try:
            source = path if path.exists() else str(path)  # of the Hub, or what is said of a file that is not there
            sha256, settings = planned(source, data, **options)
            measurement = measurement or comparisons.digest(settings)
            if comparisons.digest(settings) != measurement:
                raise UsageError(
                    f"{display_name(path)} would be measured in another way than the checkpoints before it",
                    "track checkpoints of one network; --mean and --std settle the normalisation",
                )
            if comparisons.key_of(sha256, settings) in keys:
                continue
            if not quiet:
                progress.close()
                note(f"{display_name(path.name)}, {place} of {len(found)}")
            report = audit(source, data, progress=progress, select="LC903", fail_on="never", **options)
        except AuditError as error:
            if error.kind not in _OF_ONE_FILE:
                raise
            missed.append((path, error))
            continue
        one = comparisons.point(report.measurements, settings)
        _append(history, comparisons.written(one))
        points, keys = (*points, one), keys | {one.key}
    return points, missed, measurement


def listed(given: Sequence[Path]) -> list[Path]:
    """Checkpoints in order: as given, those of a folder by step and name.

    Raises:
        UsageError: a folder without any.
    """
    from lcaudit.comparisons.history import step_of

    found: list[Path] = []
    for path in given:
        if not path.is_dir() or _is_checkpoint(path):
            found.append(path)
            continue
        inside = [one for one in path.iterdir() if not one.name.startswith(".")]
        chosen = [one for one in inside if _is_checkpoint(one) or (one.is_file() and one.suffix in _SUFFIXES)]
        if not chosen:
            raise UsageError(
                f"{display_name(path)}: no checkpoint in it, by name",
                f"expected files of {', '.join(sorted(_SUFFIXES))}",
            )
        found += sorted(chosen, key=lambda one: (step_of(one.name) is None, step_of(one.name) or 0, one.name))
    return list(dict.fromkeys(found))


def _is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds the shards of one, or weights under the name that model repositories give them."""
    try:
        return folder.is_dir() and any(
            one.name.endswith(_INDEX) or one.name in ("model.safetensors", "pytorch_model.bin")
            for one in folder.iterdir()
        )
    except OSError:
        return False


def _continued(history: Path) -> tuple[Point, ...]:
    """What a history holds; a line that was being written when a run was stopped is taken off it."""
    from lcaudit import comparisons

    if not history.exists():
        return ()
    text = read_regular(history, _MOST_BYTES).decode("utf-8", "replace")
    points, whole = comparisons.read_history(text)
    if whole < len(text):
        write_whole(history, text[:whole])
    return points


def _append(history: Path, line: str) -> None:
    try:
        history.parent.mkdir(parents=True, exist_ok=True)
        with history.open("ab") as stream:
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot write {display_name(history)}: {error.strerror}", "choose another -o"
        ) from None


measuring()(COMMAND)
