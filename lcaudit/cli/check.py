"""``lcaudit check``: the main job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lcaudit.cli import _values as values
from lcaudit.cli._baseline import read_anchored, refreshing
from lcaudit.cli._help import option
from lcaudit.cli._inputs import input_options
from lcaudit.cli._output import check_outputs, deliver, output_options, parse_exports
from lcaudit.cli._progress import Progress
from lcaudit.cli._settings import Configured, of_context, settings_options
from lcaudit.cli._streams import show
from lcaudit.core import hub


@click.command(
    name="check",
    cls=Configured,
    short_help="Audit a checkpoint on a probe set.",
    examples=(
        "check model.safetensors --data cifar10",
        "check resnet20.th --data test.npz --samples 1000 --fail-on warning",
        "check NAMESPACE/NAME@main --data hf:NAMESPACE/DATA:test --max-download 2GB",
        "check weights.pt --data images/ --arch network.py:make --mean 0.5 --std 0.25",
    ),
    verdict=True,
)
@click.argument("model")
@option(
    "Probe",
    "--data",
    discovered=True,
    beside_file=True,
    envvar="LCAUDIT_PROBE",  # LCAUDIT_DATA is the folder of named data sets
    required=True,
    metavar="NAME|PATH",
    help="What to run through the network: cifar10, cifar100, mnist, fashion-mnist, svhn, imagenette, imagenet or "
    "digits, found here or on the Hub; the path of a folder of images, of an .npz, .npy, "
    ".safetensors or .parquet file, of text (.txt, .jsonl), or of a WebDataset .tar; or a data set of the Hub, "
    "hf:NAMESPACE/NAME[:SPLIT]. Labels are optional.",
)
@option(
    "Probe",
    "--data-root",
    discovered=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Where to look for a named data set first.",
)
@option("Probe", "--split", discovered=True, metavar="NAME", help="Which split of a named data set.  [default: test]")
@option(
    "Probe",
    "--columns",
    discovered=True,
    metavar="image=A,label=B",
    callback=values.columns,
    help="Which columns of a table are the images and the labels; text=A for texts.  [default: found by type]",
)
@option(
    "Probe",
    "--samples",
    discovered=True,
    metavar="N|auto",
    type=values.NumberOr(2, "auto"),
    help="How many samples to use, or `auto`: as many as it takes to decide every verdict.  [default: all, at most "
    "5000]",
)
@option(
    "Probe",
    "--mean",
    discovered=True,
    callback=values.numbers,
    metavar="R,G,B",
    help="Mean of each channel, on the scale 0 to 1; needs --std.  [default: the network's or the data set's own]",
)
@option(
    "Probe",
    "--std",
    discovered=True,
    callback=values.numbers,
    metavar="R,G,B",
    help="Standard deviation of each channel; needs --mean.",
)
@input_options
@option(
    "Network",
    "--arch",
    discovered=values.no_code,
    metavar="ARCH",
    help="FILE.py:FACTORY (runs that file), timm:NAME, torchvision:NAME, hf:CLASS (transformers), or a family.  "
    "[default: recognised]",
)
@option(
    "Network",
    "--base",
    metavar="MODEL",
    help="The weights that MODEL, a LoRA adapter, was trained on: a file, a folder or a repository.  [default: the "
    "repository that an adapter from the Hub names]",
)
@option(
    "Hub",
    "--max-download",
    metavar="SIZE",
    default=hub.MOST,
    show_default=True,
    callback=values.size,
    help="Refuse to download more than this for the model, or for the data: 500MB, 20GB. Token, cache and offline mode "
    "are the Hub's own: HF_TOKEN, HF_HOME, HF_HUB_OFFLINE.",
)
@option(
    "Measurement",
    "--batch-size",
    discovered=True,
    metavar="N|auto",
    type=values.NumberOr(1, "auto"),
    default="auto",
    show_default=True,
    help="Samples per pass; smaller needs less memory and changes nothing but rounding (except with --convention "
    "huang2020, whose batch statistics it sets). auto: 50, on a GPU 512, halved whenever memory runs out.",
)
@option(
    "Measurement",
    "--seed",
    discovered=True,
    metavar="N",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Chooses the samples and draws the labels of the expected Fisher.",
)
@option(
    "Measurement",
    "--dtype",
    discovered=True,
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Precision of the passes; sums and eigenvalues are always float64.",
)
@option(
    "Measurement",
    "--device",
    discovered=True,
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where the passes run.",
)
@option(
    "Curvature",
    "--task",
    discovered=True,
    type=click.Choice(["auto", "classification", "binary", "regression"]),
    default="auto",
    show_default=True,
    help="What the outputs stand for: scores of classes, of independent yes-or-no labels, or real values. auto takes "
    "the one that outputs and labels speak for.",
)
@option(
    "Curvature",
    "--fisher",
    discovered=True,
    type=click.Choice(["expected", "empirical"]),
    help="Whose labels the gradients' second moment averages over: the network's own predictions, which gives the "
    "Fisher information, or the given labels, which does not.  [default: expected]",
)
@option(
    "Curvature",
    "--mc-samples",
    discovered=True,
    type=values.NumberOr(1, "exact"),
    metavar="N|exact",
    default=1,
    show_default=True,
    help="Labels drawn for each sample, one backward pass each; exact: the whole expectation, a pass for each class "
    "but one.",
)
@option(
    "Curvature",
    "--ignore-index",
    discovered=True,
    type=int,
    metavar="N",
    default=-100,
    show_default=True,
    help="Class index of pixels and tokens that do not count.",
)
@option(
    "Curvature",
    "--convention",
    discovered=True,
    type=click.Choice(["kfac", "huang2020"]),
    default="kfac",
    show_default=True,
    help="huang2020 measures as that paper's authors do: given labels, batch statistics, channels instead of patches. "
    "Rules whose limits do not hold there are skipped.",
)
@option(
    "Measurement",
    "--max-memory",
    metavar="SIZE",
    type=values.Memory(),
    help="Memory for the layers' moments, e.g. 8GB. Layers that would take more are measured in a form that takes less "
    "and say so.  [default: at most half of what is free]",
)
@option(
    "Measurement",
    "--precision",
    discovered=True,
    type=click.FloatRange(0, 1),
    callback=values.share,
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Leave the other samples out of a layer's input if 250 make its κ known this well: each end of the 95 % "
    "interval within this share of the figure, and no limit near. 0: always take all samples.",
)
@option(
    "Measurement",
    "--layers",
    discovered=True,
    multiple=True,
    callback=values.codes,
    metavar="NAMES",
    help="Measure only these layers, by name; * stands for anything. The rest counts as not audited.",
)
@option(
    "Curvature",
    "--norms",
    discovered=True,
    is_flag=True,
    help="Compute what a LayerNorm and an RMSNorm would do before every layer, and not only before a head where that "
    "costs next to nothing: each input is then summed three times.",
)
@option(
    "Curvature",
    "--exact",
    discovered=True,
    type=click.Choice(["hessian", "ggn"]),
    help="Cross-check λmax of single layers by Lanczos iteration on the loss's Hessian (given labels) or the "
    "Gauss–Newton matrix (the expected Fisher): up to 60 steps of about two passes over the probe each.",
)
@option(
    "Curvature",
    "--exact-layer",
    "exact_layers",
    discovered=True,
    multiple=True,
    metavar="NAME",
    help="A layer for --exact; may be repeated.  [default: the head]",
)
@option(
    "Curvature",
    "--learning-rate",
    metavar="RATE",
    type=click.FloatRange(min=0, min_open=True),
    help="The learning rate you train with: LC307 holds it against 2/λmax of every layer.",
)
@option(
    "Verdict",
    "--select",
    discovered=True,
    multiple=True,
    callback=values.codes,
    metavar="CODES",
    help="Only these rules, by code (LC301), beginning of a code (LC3) or name; `lcaudit rules` lists them.",
)
@option(
    "Verdict",
    "--ignore",
    discovered=True,
    multiple=True,
    callback=values.codes,
    metavar="CODES",
    help="Not these rules.",
)
@option(
    "Verdict",
    "--fail-on",
    discovered=lambda value: "fail-on is never, which switches the gate off" if value == "never" else "",
    type=click.Choice(["error", "warning", "info", "never"]),
    default="error",
    show_default=True,
    help="Lowest severity of a finding that makes the exit code 1.",
)
@option(
    "Verdict",
    "--min-coverage",
    discovered=True,
    type=click.FloatRange(0, 1),
    callback=values.share,
    default=0,
    show_default=True,
    metavar="SHARE",
    help="Exit with 3 where a smaller share of the parameters could be audited, 0 to 1.",
)
@option(
    "Verdict", "--baseline", discovered=True, metavar="FILE", type=click.Path(path_type=Path),
    help="Hold every layer against this file, which `lcaudit baseline create` wrote: the exit code is 1 where a figure "
    "is worse, beyond noise and a margin of 10 %.",
)  # fmt: skip
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
@option("Output", "--no-output", discovered=True, is_flag=True, help="Write no report folder.")
@option(
    "Output",
    "--dry-run",
    is_flag=True,
    setting=False,
    help="Say what would be measured, in which form, in what time and memory; measure nothing, write nothing.",
)
@output_options
@settings_options
@click.pass_context
def COMMAND(
    ctx: click.Context, model: str, data: str, output: Path, no_output: bool, dry_run: bool, form: str,
    exports: tuple[str, ...], color: str, quiet: int, verbose: int, show_settings: bool, **options: Any,
) -> int:  # fmt: skip
    """Audit the checkpoint MODEL on a probe set: a file, a folder, or a repository of the Hugging Face Hub,
    NAMESPACE/NAME[@REVISION]. A path that exists always wins."""
    settings = of_context(ctx)
    if show_settings:
        show(settings.table(ctx))
        return 0
    options |= {"suppress": settings.suppressions, "notices": settings.notices(ctx)}
    files = parse_exports(exports)
    if dry_run:
        from lcaudit.cli._dry_run import dry_run as rehearse

        asked = ctx.get_parameter_source("form") is ParameterSource.COMMANDLINE
        return rehearse(model, data, form if asked or form == "json" else "text", quiet, options)
    if not no_output:
        files = [("html", output / "report.html"), ("json", output / "report.json"), *files]
    return run(model, data, files, form, color, quiet, verbose, options)


def run(
    model: str | Path, data: str, files: list[tuple[str, Path]], form: str, color: str, quiet: int, verbose: int,
    options: dict[str, Any],
) -> int:  # fmt: skip
    """Audit, deliver, return the exit code."""
    factory = str(options.get("arch") or "").rpartition(":")[0]
    check_outputs(files, [Path(model), Path(data), *([Path(factory)] if factory else [])])
    file = options.pop("baseline", None)
    baseline, anchors = read_anchored(file) if file else (None, {})
    progress = Progress(quiet=bool(quiet))
    progress.start()
    try:
        with refreshing(file):
            from lcaudit.audit import audit  # imports torch: seconds

            report = audit(model, data, progress=progress, baseline=baseline, **options)
    finally:
        progress.close()
    deliver(replace(report, anchors=anchors), form, files, color=color, quiet=quiet, verbose=verbose)
    return report.gate.exit_code
