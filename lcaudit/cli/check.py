"""``lcaudit check``: the main job."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from lcaudit.cli._help import Command, option
from lcaudit.cli._output import check_outputs, deliver, output_options, parse_exports
from lcaudit.cli._progress import Progress
from lcaudit.core.text import display_name


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{display_name(value)!r}: expected numbers separated by commas, e.g. 0.5,0.5,0.5"
        ) from None


def _sides(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    sides = value.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and 0 < len(side) < 6 for side in sides):
        raise click.BadParameter(f"{display_name(value)!r}: expected pixels, e.g. 224 or 224x320")
    return int(sides[0]), int(sides[-1])


def _share(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
    if math.isnan(value):  # lies in every range, and below which nothing is
        raise click.BadParameter("nan: expected a number from 0 to 1")
    return value


def _codes(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code.strip() for given in value for code in given.split(",") if code.strip())


class _NumberOr(click.ParamType[int | str]):
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


@click.command(
    name="check",
    cls=Command,
    short_help="Audit a checkpoint on a probe set.",
    examples=(
        "check model.safetensors --data cifar10",
        "check resnet20.th --data test.npz --samples 1000 --fail-on warning",
        "check weights.pt --data images/ --arch network.py:make --mean 0.5 --std 0.25",
    ),
    verdict=True,
)
@click.argument("model", type=click.Path(path_type=Path))
@option(
    "Probe",
    "--data",
    required=True,
    metavar="NAME|PATH",
    help="What to run through the network: cifar10, digits, or the path of an .npz, .npy or .safetensors file "
    "or of a folder of images. Labels are optional.",
)
@option(
    "Probe",
    "--data-root",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Where to look for a named data set first.",
)
@option("Probe", "--split", metavar="NAME", help="Which split of a named data set.  [default: test]")
@option(
    "Probe",
    "--samples",
    metavar="N|auto",
    type=_NumberOr(2, "auto"),
    help="How many samples to use, or `auto`: as many as it takes to decide every verdict.  [default: all, at most "
    "5000]",
)
@option(
    "Probe",
    "--mean",
    callback=_numbers,
    metavar="R,G,B",
    help="Mean of each channel, on the scale 0 to 1; needs --std.  [default: the network's or the data set's own]",
)
@option("Probe", "--std", callback=_numbers, metavar="R,G,B", help="Standard deviation of each channel; needs --mean.")
@option(
    "Probe",
    "--input-size",
    callback=_sides,
    metavar="N|HxW",
    help="Bring pictures to this many pixels.  [default: the network's own]",
)
@option(
    "Probe",
    "--interpolation",
    type=click.Choice(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]),
    help="How pictures are resized.  [default: the network's own, else bilinear]",
)
@option(
    "Network",
    "--arch",
    metavar="ARCH",
    help="FILE.py:FACTORY builds the network with your own function (this runs that file's code); timm:NAME and "
    "torchvision:NAME with these libraries; a family's name considers that family alone.  [default: recognised from "
    "config.json beside the weights, and from names and shapes]",
)
@option(
    "Measurement",
    "--batch-size",
    metavar="N",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Samples per pass; smaller needs less memory and changes nothing but rounding (except with --convention "
    "huang2020, whose batch statistics it sets).",
)
@option(
    "Measurement",
    "--seed",
    metavar="N",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Chooses the samples and draws the labels of the expected Fisher.",
)
@option(
    "Measurement",
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Precision of the passes; sums and eigenvalues are always float64.",
)
@option(
    "Measurement",
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where the passes run.",
)
@option(
    "Curvature",
    "--task",
    type=click.Choice(["auto", "classification", "binary", "regression"]),
    default="auto",
    show_default=True,
    help="What the outputs stand for: scores of classes, of independent yes-or-no labels, or real values. auto takes "
    "the one that outputs and labels speak for.",
)
@option(
    "Curvature",
    "--fisher",
    type=click.Choice(["expected", "empirical"]),
    help="Whose labels the gradients' second moment averages over: the network's own predictions, which gives the "
    "Fisher information, or the given labels, which does not.  [default: expected]",
)
@option(
    "Curvature",
    "--mc-samples",
    type=_NumberOr(1, "exact"),
    metavar="N|exact",
    default=1,
    show_default=True,
    help="Labels drawn for each sample, one backward pass each; exact: the whole expectation, a pass for each class "
    "but one.",
)
@option(
    "Curvature",
    "--ignore-index",
    type=int,
    metavar="N",
    default=-100,
    show_default=True,
    help="Class index of pixels and tokens that do not count.",
)
@option(
    "Curvature",
    "--convention",
    type=click.Choice(["kfac", "huang2020"]),
    default="kfac",
    show_default=True,
    help="huang2020 measures as that paper's authors do: given labels, batch statistics, channels instead of patches. "
    "Rules whose limits do not hold there are skipped.",
)
@option(
    "Measurement",
    "--layers",
    multiple=True,
    callback=_codes,
    metavar="NAMES",
    help="Measure only these layers, by name; * stands for anything. The rest counts as not audited.",
)
@option(
    "Curvature",
    "--exact",
    type=click.Choice(["hessian", "ggn"]),
    help="Cross-check λmax of single layers by Lanczos iteration on the loss's Hessian (given labels) or the "
    "Gauss–Newton matrix (the expected Fisher): up to 60 steps of about two passes over the probe each.",
)
@option(
    "Curvature",
    "--exact-layer",
    "exact_layers",
    multiple=True,
    metavar="NAME",
    help="A layer for --exact; may be repeated.  [default: the head]",
)
@option(
    "Verdict",
    "--select",
    multiple=True,
    callback=_codes,
    metavar="CODES",
    help="Only these rules, by code (LC301), beginning of a code (LC3) or name; `lcaudit rules` lists them.",
)
@option("Verdict", "--ignore", multiple=True, callback=_codes, metavar="CODES", help="Not these rules.")
@option(
    "Verdict",
    "--fail-on",
    type=click.Choice(["error", "warning", "info", "never"]),
    default="error",
    show_default=True,
    help="Lowest severity of a finding that makes the exit code 1.",
)
@option(
    "Verdict",
    "--min-coverage",
    type=click.FloatRange(0, 1),
    callback=_share,
    default=0,
    show_default=True,
    metavar="SHARE",
    help="Exit with 3 where a smaller share of the parameters could be audited, 0 to 1.",
)
@option(
    "Output",
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    default=Path("lcaudit-report"),
    show_default=True,
    help="Folder for report.html and report.json.",
)
@option("Output", "--no-output", is_flag=True, help="Write no report folder.")
@output_options
def COMMAND(
    model: Path, data: str, output: Path, no_output: bool, form: str, exports: tuple[str, ...], color: str,
    quiet: int, verbose: int, **options: Any,
) -> int:  # fmt: skip
    """Audit the checkpoint MODEL (a file or a folder) on a probe set."""
    files = parse_exports(exports)
    if not no_output:
        files = [("html", output / "report.html"), ("json", output / "report.json"), *files]
    return run(model, data, files, form, color, quiet, verbose, options)


def run(
    model: Path, data: str, files: list[tuple[str, Path]], form: str, color: str, quiet: int, verbose: int,
    options: dict[str, Any],
) -> int:  # fmt: skip
    """Audit, deliver, return the exit code."""
    factory = str(options.get("arch") or "").rpartition(":")[0]
    check_outputs(files, [model, Path(data), *([Path(factory)] if factory else [])])
    progress = Progress(quiet=bool(quiet))
    progress.start()
    try:
        from lcaudit.audit import audit  # imports torch: seconds

        report = audit(model, data, progress=progress, **options)
    finally:
        progress.close()
    deliver(report, form, files, color=color, quiet=quiet, verbose=verbose)
    return report.gate.exit_code
