"""``lcaudit export``: a copy of the weights that says which network they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lcaudit.cli._help import option
from lcaudit.cli._measuring import measuring
from lcaudit.cli._output import check_outputs
from lcaudit.cli._progress import Progress
from lcaudit.cli._settings import Measures
from lcaudit.cli._streams import note, show
from lcaudit.core.declared import PREFIX
from lcaudit.core.errors import UsageError
from lcaudit.core.files import write_together
from lcaudit.core.gate import EXIT_PASS
from lcaudit.core.text import count, display_name

_SUFFIX = ".safetensors"


@measuring(
    "data", "samples", "base", "fisher", "mc_samples", "convention", "max_memory", "layers", "learning_rate",
    "precision",
)  # fmt: skip
@click.command(
    name="export",
    cls=Measures,
    short_help="Copy weights, with what the next audit needs to know of them.",
    examples=(
        "export model.pt -o model.safetensors --data cifar10",
        "export model.bin --arch timm:resnet50 --mean 0.5 --std 0.5 -o out.safetensors",
    ),
)
@click.argument("model", type=click.Path(path_type=Path))
@option(
    "Probe",
    "--data",
    metavar="NAME|PATH",
    help="Data on which network and normalisation are confirmed, or chosen where they are not known.",
)
@option(
    "Probe",
    "--samples",
    metavar="N",
    type=click.IntRange(min=2),
    default=1000,
    show_default=True,
    help="How many samples confirm them.",
)
@option(
    "Output",
    "-o",
    "--output",
    metavar="OUT.safetensors",
    required=True,
    type=click.Path(path_type=Path),
    help="Where the copy goes. MODEL is never changed.",
)
@option("Output", "--overwrite", is_flag=True, setting=False, help="Replace OUT.safetensors if it exists.")
@option("Output", "-q", "--quiet", is_flag=True, setting=False, help="Print nothing.")
def COMMAND(
    model: Path, data: str | None, samples: int, output: Path, overwrite: bool, quiet: bool, **options: Any
) -> int:
    """Write a safetensors copy of the checkpoint MODEL that says which network it is and how its input is prepared.

    `lcaudit check` and `lcaudit identify` then need no guess: what the copy says counts as declared, and is still held
    against names, shapes and the probe. Only what is known of these very weights is written. Exit code 0: the copy
    was written. 2: wrong usage, a file that cannot be read, or a probe that contradicts what is declared.
    """
    if output.suffix != _SUFFIX:
        raise UsageError(
            f"-o {display_name(output)}: expected a name that ends in {_SUFFIX}", "weights are written as safetensors"
        )
    factory = str(options.get("arch") or "").rpartition(":")[0]
    inputs = [model, *([Path(data)] if data else []), *([Path(factory)] if factory else [])]
    check_outputs([("weights", output)], inputs)
    if not overwrite and (output.exists() or output.is_symlink()):
        raise UsageError(f"{display_name(output)} exists", "choose another name, or pass --overwrite")
    progress = Progress(quiet=quiet)
    progress.start()
    try:
        from lcaudit.exporting import export  # imports torch: seconds

        made = export(model, data, samples=samples, progress=progress, **options)
    finally:
        progress.close()
    write_together([(output, made.weights)])
    if not quiet:
        rows = [("network", made.title), ("tensors", count(made.tensors, "tensor")), *made.declared.texts().items()]
        rows = [(name.removeprefix(PREFIX), words) for name, words in rows]
        show("\n".join(f"{name:<14} {display_name(words, 400)}" for name, words in rows))
        for words in made.notes:
            note(display_name(words, 600))
        note(f"written: {display_name(output)}")
    return EXIT_PASS
