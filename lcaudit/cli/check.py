"""``lcaudit check``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lcaudit.cli._output import deliver, output_options, parse_exports
from lcaudit.cli._progress import Progress


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected numbers separated by commas, e.g. 0.5,0.5,0.5") from None


def _codes(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code.strip() for given in value for code in given.split(",") if code.strip())


@click.command(name="check", short_help="Audit a checkpoint on a probe set.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    metavar="NAME|PATH",
    help="Probe: cifar10, digits, or a path to .npz, .safetensors or a folder of images. Labels are optional.",
)
@click.option("--data-root", type=click.Path(path_type=Path), help="Where to look for a named data set first.")
@click.option("--split", help="Which split of a named data set.  [default: test]")
@click.option("--samples", type=click.IntRange(min=2), help="How many samples to use.  [default: all, at most 5000]")
@click.option("--mean", callback=_numbers, metavar="R,G,B", help="Input normalisation; needs --std.")
@click.option("--std", callback=_numbers, metavar="R,G,B", help="Input normalisation; needs --mean.")
@click.option(
    "--arch",
    metavar="FILE.py:FACTORY|FAMILY",
    help="Build the network with your own function (this runs that file's code), or force a family.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Chooses the samples and draws the labels of the expected Fisher.",
)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option("--select", multiple=True, callback=_codes, metavar="CODES", help="Only these rules: LC301, LC3, a name.")
@click.option("--ignore", multiple=True, callback=_codes, metavar="CODES", help="Not these rules.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "info", "never"]),
    default="error",
    show_default=True,
    help="Lowest severity that makes the exit code 1.",
)
@click.option(
    "--min-coverage",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Exit 3 where a smaller share of the parameters could be audited.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("lcaudit-report"),
    show_default=True,
    help="Folder for report.html and report.json.",
)
@click.option("--no-output", is_flag=True, help="Write no report folder.")
@output_options
def COMMAND(
    model: Path, data: str, output: Path, no_output: bool, form: str, exports: tuple[str, ...], color: str,
    quiet: int, verbose: int, **options: Any,
) -> int:  # fmt: skip
    """Audit the checkpoint MODEL (a file or a folder) on a probe set.

    \b
    lcaudit check model.safetensors --data cifar10
    lcaudit check resnet20.th --data test.npz --samples 1000 --fail-on warning
    """
    files = parse_exports(exports)
    if not no_output:
        files = [("html", output / "report.html"), ("json", output / "report.json"), *files]
    return run(model, data, files, form, color, quiet, verbose, options)


def run(
    model: Path, data: str, files: list[tuple[str, Path]], form: str, color: str, quiet: int, verbose: int,
    options: dict[str, Any],
) -> int:  # fmt: skip
    """Audit, deliver, return the exit code."""
    progress = Progress(quiet=bool(quiet))
    progress.start()
    try:
        from lcaudit.audit import audit  # imports torch: seconds

        report = audit(model, data, progress=progress, **options)
    finally:
        progress.close()
    deliver(report, form, files, color=color, quiet=quiet, verbose=verbose)
    return report.gate.exit_code
