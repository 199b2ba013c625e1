"""``lcaudit fix``: apply what an audit proposes, measure again, write new weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcaudit.cli import _values as values
from lcaudit.cli._help import option
from lcaudit.cli._measuring import measuring
from lcaudit.cli._output import check_outputs, deliver, output_options, parse_exports
from lcaudit.cli._progress import Progress
from lcaudit.cli._settings import Measures
from lcaudit.cli._streams import note, show
from lcaudit.core.errors import UsageError
from lcaudit.core.gate import EXIT_FINDINGS, EXIT_PASS
from lcaudit.core.text import count, display_name

if TYPE_CHECKING:
    from lcaudit.mend import Mended

_SUFFIX = ".safetensors"


@measuring("samples", "fisher", "mc_samples", "convention", "learning_rate", "norms", "base", "precision")
@click.command(
    name="fix",
    cls=Measures,
    short_help="Apply fixes to a checkpoint and measure again.",
    examples=(
        "fix model.safetensors --data cifar10 -o fixed.safetensors",
        "fix model.pt --data cifar10 --select LC301 -o fixed.safetensors --export html=fixed.html",
        "fix model.pt --data x.npz --select recalibrate-batch-norm --unsafe-fixes -o y.safetensors",
        "fix model.safetensors --data cifar10 --select LC301 --diff",
    ),
)
@click.argument("model")
@option(
    "Probe",
    "--samples",
    metavar="N",
    type=click.IntRange(min=2),
    help="How many samples measure the network and make the fixes; as many more are held out and only judge them.  "
    "[default: half of the data, at most 5000]",
)
@option(
    "Fixes",
    "--select",
    multiple=True,
    callback=values.codes,
    metavar="CODES|FIXES",
    help="Only findings of these rules, by code (LC301), beginning of a code or name, or only these fixes, by name "
    "(batch-norm-before).  [default: the first fix that applies to each finding]",
)
@option(
    "Fixes",
    "--unsafe-fixes",
    "unsafe",
    is_flag=True,
    help="Also fixes that change what the network computes; each is kept only if the error on held-out samples falls.",
)
@option("Fixes", "--diff", is_flag=True, help="Print the code to paste into your own training script.")
@option(
    "Output",
    "-o",
    "--output",
    metavar="OUT.safetensors",
    type=click.Path(path_type=Path),
    help="Where the new weights go, with their recipe inside and beside them as OUT.recipe.json. MODEL is never "
    "changed.",
)
@output_options
def COMMAND(
    model: str, data: str, output: Path | None, select: tuple[str, ...], unsafe: bool, diff: bool, samples: int | None,
    form: str, exports: tuple[str, ...], color: str, quiet: int, verbose: int, **options: Any,
) -> int:  # fmt: skip
    """Audit the checkpoint MODEL, apply the fixes that hold, and measure the result again. MODEL is a file, a folder,
    or a repository of the Hugging Face Hub, NAMESPACE/NAME[@REVISION].

    Exit code 0: new weights were written, or with --diff alone code was printed. 1: no fix applies or holds, and
    nothing was written. 2: wrong usage, or a file that cannot be audited.
    """
    if output is None and not diff:
        raise UsageError("nowhere to write to", "pass -o OUT.safetensors, or --diff to see the code alone")
    if output is not None and output.suffix != _SUFFIX:
        raise UsageError(
            f"-o {display_name(output)}: expected a name that ends in {_SUFFIX}", "weights are safetensors"
        )
    files = parse_exports(exports)
    beside = [] if output is None else [("weights", output), ("recipe", output.with_suffix(".recipe.json"))]
    factory = str(options.get("arch") or "").rpartition(":")[0]
    check_outputs([*files, *beside], [Path(model), Path(data), *([Path(factory)] if factory else [])])
    progress = Progress(quiet=bool(quiet))
    progress.start()
    try:
        from lcaudit.mend import mend  # imports torch: seconds

        name = output.name if output else "fixed.safetensors"
        mended = mend(
            model, data, name, select=select, unsafe=unsafe, samples=samples, only_choose=output is None,
            progress=progress, **options,
        )  # fmt: skip
    finally:
        progress.close()
    if diff:
        _print_code(mended)
        if output is None:
            return EXIT_PASS if any(choice.fix.code for choice in mended.choices) else EXIT_FINDINGS
    written = (
        list(zip((path for _, path in beside), (mended.weights, mended.recipe), strict=True)) if mended.recipe else []
    )
    deliver(mended.report, form, files, color=color, quiet=quiet, verbose=verbose, beside=written, printed=not diff)
    if not written:
        note(f"nothing was written: {_why_nothing(mended)}")
    return EXIT_PASS if written else EXIT_FINDINGS


def _print_code(mended: Mended) -> None:
    """The code of every chosen fix, one after the other."""
    parts = [
        f"# {choice.fix.id}: {display_name(choice.fix.title)}\n{choice.fix.code}"
        for choice in mended.choices
        if choice.fix.code
    ]
    if parts:
        show("\n\n".join(parts), color=False, for_people=False)
    else:
        note(f"no code to print: {_why_nothing(mended)}")


def _why_nothing(mended: Mended) -> str:
    """Why no fix was made, in one line."""
    from lcaudit.reports import not_decided

    found = mended.report.verification
    refused = len(found.refused) if found else 0
    reasons = [not_decided(mended.unsettled)]
    if refused:
        reasons.append(f"{count(refused, 'fix', 'fixes')} refused, with reasons in the report")
    return "; ".join(filter(None, reasons)) or "no finding asks for a fix"
