"""``lcaudit identify FILE``: which network a checkpoint is, and by what evidence."""

from __future__ import annotations

from collections import Counter

import click

from lcaudit.cli import _values as values
from lcaudit.cli._help import Command, option
from lcaudit.cli._progress import Progress
from lcaudit.cli._streams import show
from lcaudit.core import hub
from lcaudit.core.gate import EXIT_NO_VERDICT
from lcaudit.core.identity import Identity
from lcaudit.core.serial import dumps
from lcaudit.core.text import count, display_name

_SHOWN = 12


@click.command(
    name="identify",
    cls=Command,
    short_help="Tell which network a checkpoint is.",
    examples=("identify model.safetensors", "identify NAMESPACE/NAME@main", "identify folder/ --format json"),
)
@click.argument("model")
@option(
    "Output",
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What to print on standard output.",
)
@option(
    "Hub",
    "--max-download",
    metavar="SIZE",
    default=hub.MOST,
    show_default=True,
    callback=values.size,
    help="Refuse to download more than this: 500MB, 20GB.",
)
def COMMAND(model: str, form: str, max_download: int) -> int:
    """Tell which network the checkpoint MODEL holds, from names and shapes alone: a file, a folder, or a repository of
    the Hugging Face Hub, NAMESPACE/NAME[@REVISION].

    Of a safetensors file only the header is read, or downloaded, whatever its size, and no network is built. Exit
    code 0 if it is one network, 2 if several or none fit.
    """
    from lcaudit import architectures, checkpoints

    progress = Progress(quiet=False)
    try:
        header = checkpoints.read_header(model, max_download=max_download, progress=progress)
    finally:
        progress.close()
    identity = Identity(
        name=header.name,
        container=header.container,
        size=header.size,
        tensors=len(header.tensors),
        numbers=sum(tensor.numel() for tensor in header.tensors.values()),
        dtypes=dict(sorted(Counter(tensor.dtype for tensor in header.tensors.values()).items())),
        unwrapped=header.unwrapped,
        network=architectures.recognise(
            {key: tensor.shape for key, tensor in header.tensors.items()}, header.config, header.texts, header.program
        ),
    )
    show(dumps(identity) if form == "json" else _text(identity), for_people=form == "text")
    return 0 if identity.network.recognised else EXIT_NO_VERDICT


def _text(identity: Identity) -> str:
    network = identity.network
    kinds = ", ".join(
        f"{number} {kind}" if len(identity.dtypes) > 1 else kind for kind, number in identity.dtypes.items()
    )
    rows = [
        ("file", f"{identity.name}: {identity.container}, {identity.size:,} bytes"),
        ("tensors", f"{count(identity.tensors, 'tensor')}, {count(identity.numbers, 'number')}, {kinds}"),
        *(("", words) for words in identity.unwrapped),
        ("network", network.title),
        ("confidence", network.confidence),
    ]
    if network.classes:
        rows.append(("classes", str(network.classes)))
    if network.input_shape:
        rows.append(("input", " × ".join(str(side) if side else "any" for side in network.input_shape)))
    rows += [(evidence.step, evidence.says) for evidence in network.evidence]
    rows += [("rival", f"{rival.arch}  {rival.differs}".rstrip()) for rival in network.rivals[:_SHOWN]]
    if len(network.rivals) > _SHOWN:
        rows.append(("", f"and {len(network.rivals) - _SHOWN} more"))
    if network.hint:
        rows.append(("hint", network.hint))
    return "\n".join(f"{name:<14} {display_name(words, 400)}" for name, words in rows)
