"""``lcaudit identify FILE``: which network a checkpoint is, and by what evidence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from lcaudit.cli._help import Command, option
from lcaudit.cli._streams import show
from lcaudit.core.gate import EXIT_NO_VERDICT
from lcaudit.core.identity import Identity
from lcaudit.core.serial import dumps
from lcaudit.core.text import count, display_name

_SHOWN = 12


@click.command(
    name="identify",
    cls=Command,
    short_help="Tell which network a checkpoint is.",
    examples=("identify model.safetensors", "identify folder/ --format json"),
)
@click.argument("model", type=click.Path(path_type=Path))
@option(
    "Output",
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What to print on standard output.",
)
def COMMAND(model: Path, form: str) -> int:
    """Tell which network the checkpoint MODEL (a file or a folder) holds, from names and shapes alone.

    Of a safetensors file only the header is read, whatever its size, and no network is built. Exit code 0 if
    it is one network, 2 if several or none fit.
    """
    from lcaudit import architectures, checkpoints

    header = checkpoints.read_header(model)
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
