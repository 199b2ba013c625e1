"""What a file's own metadata says of its network (see :mod:`lcaudit.core.declared`), held against its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lcaudit.architectures._index.lookup import look_up
from lcaudit.architectures._reading import COUNTER
from lcaudit.core.declared import Declared
from lcaudit.core.errors import EnvironmentFailure, UnknownArchitecture, UsageError
from lcaudit.core.measurements import Evidence
from lcaudit.core.text import display_name, one_line
from lcaudit.core.types import Checkpoint, Network, Shaping

SOURCE = "the file's own metadata, written by lcaudit export"


def network(
    checkpoint: Checkpoint, said: Declared, build: Callable[[Checkpoint, str], Network]
) -> tuple[Network | None, list[Evidence]]:
    """The network that the metadata names, if the weights bear it out; else what it got wrong.

    Args:
        build: (checkpoint, what ``--arch`` would take) → the network, strictly loaded.

    Raises:
        EnvironmentFailure: its library is not installed.
    """
    words = f"the metadata says {display_name(said.arch, 100)}"
    try:
        found = build(checkpoint, said.arch)
    except EnvironmentFailure:
        shapes = {key: tuple(value.shape) for key, value in checkpoint.tensors.items() if not key.endswith(COUNTER)}
        if any(one.full_name == said.arch for one in look_up(shapes)):
            raise
        return None, [
            Evidence("contradicted", f"{words}, whose names and shapes, as far as they are known, are others")
        ]
    except (UnknownArchitecture, UsageError) as error:
        return None, [Evidence("contradicted", f"{words}, but {error.message}")]
    evidence = [Evidence("declared", f"{words}, whose names and shapes the weights have ({told(said)})")]
    evidence += [Evidence("contradicted", doubt) for doubt in unlike(said.variant, found.record.variant)]
    others = [one for one in found.record.evidence if not (one.step == "declared" and one.says.startswith("--arch"))]
    record = replace(found.record, confidence="declared", evidence=(*evidence, *others))
    return replace(found, record=record), evidence


def told(said: Declared) -> str:
    """Who wrote it and from what, in words."""
    who = f"lcaudit {said.version}" if said.version else "lcaudit"
    source = f" from {display_name(said.source, 80)}" if said.source else ""
    digest = f", SHA-256 {said.sha256[:12]}…" if said.sha256 else ""
    return f"exported by {who}{source}{digest}"


def unlike(said: Mapping[str, object], seen: Mapping[str, object]) -> list[str]:
    """Entries of the variant that the weights contradict, in words."""
    wrong = [key for key, value in said.items() if key in seen and seen[key] != value]
    pairs = [f"{display_name(key, 40)} {display_name(said[key], 40)}, the weights {seen[key]}" for key in wrong]
    return [f"the metadata says {one_line(pairs)}"] if pairs else []


def prepared(found: Network, said: Declared, doubts: Sequence[str]) -> Network:
    """The same network with what the metadata says of its input; a claim that the shapes contradict is dropped."""
    record, doubts = found.record, [*doubts]
    wanted = record.input_shape
    size = said.input_size
    if size and wanted and not _fits(size, wanted):
        shown, takes = (" × ".join(str(side or "any") for side in shape) for shape in (size, wanted))
        doubts.append(f"it says inputs of {shown}, the network takes {takes}; not believed")
        size = ()
    normalisation = said.normalisation(SOURCE)
    channels = (size or wanted)[:1]
    if normalisation and channels and channels[0] and len(normalisation.mean) not in (1, channels[0]):
        doubts.append(f"it has {len(normalisation.mean)} means for {channels[0]} channels; not believed")
        normalisation = None
    evidence = [Evidence("contradicted", f"metadata: {doubt}") for doubt in doubts]
    record = replace(record, evidence=(*record.evidence, *evidence))
    if len(size) == len(wanted) == 3:
        record = replace(record, input_shape=size)
    shaping = found.shaping
    if normalisation:
        sides = (size[1], size[2]) if len(size) == 3 else (wanted[1], wanted[2]) if len(wanted) == 3 else (0, 0)
        resize = (said.resize[0], said.resize[1]) if len(said.resize) == 2 else sides
        # a size of 0 leaves pictures to the probe: only the normalisation is known
        shaping = Shaping(
            size=sides if all(sides) else (0, 0),
            resize=resize,
            mode=said.crop or "squash",
            interpolation=said.interpolation or "bilinear",
            normalisation=normalisation,
            declared=True,
            source=SOURCE,
        )
        record = replace(record, assumptions=tuple(one for one in record.assumptions if not _of_pictures(one)))
    return replace(found, record=record, shaping=shaping)


def _of_pictures(assumption: str) -> bool:
    """Whether a library's network assumes how pictures are prepared, which is said now."""
    return assumption.startswith(("pictures are prepared as for", "published weights with these tensors also want"))


def _fits(size: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(size) == len(wanted) and all(side in (0, said) for said, side in zip(size, wanted, strict=True))
