"""``lcaudit export``: a copy of the weights that says which network they are and how its input is prepared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lcaudit
from lcaudit import checkpoints, opening, probes
from lcaudit.core import hub
from lcaudit.core.declared import Declared
from lcaudit.core.errors import UsageError
from lcaudit.core.identification import Identification
from lcaudit.core.machine import DTYPES, choose_device
from lcaudit.core.measurements import ProbeRecord
from lcaudit.core.recipe import METADATA_KEY
from lcaudit.core.text import display_name
from lcaudit.core.types import Checkpoint, Network, Shaping

#: Families whose name says nothing to another run, why, and what does.
_NAMELESS = {
    "user": ("your own file", "pass --arch again when you audit the copy"),
    "exported_program": (
        "a graph, which only MODEL itself holds",
        "audit MODEL, or the copy with --arch file.py:factory",
    ),
    "hf": ("described by its config.json", "put that file beside the copy"),
}
#: What a recorded preprocessing says where channels or axes were exchanged, which no entry can hold.
_EXCHANGED = ("last channel first", "rows and columns exchanged")


@dataclass(frozen=True, slots=True)
class Exported:
    """What is to be written.

    Attributes:
        weights: bytes of the safetensors file. declared: what stands in its metadata. title: of the network.
        tensors: how many were copied.
        notes: what was not written and why, or what the probe said, one sentence each.
    """

    weights: bytes
    declared: Declared
    title: str
    tensors: int
    notes: tuple[str, ...]


def export(
    model: str | Path,
    data: str | Path | None = None,
    *,
    arch: str | None = None,
    data_root: Path | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    samples: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    input_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    tokenizer: Path | None = None,
    max_tokens: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    batch_size: int | str = "auto",
    seed: int = 0,
    task: str = "auto",
    ignore_index: int = -100,
    max_download: int | str = hub.MOST,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Exported:
    """Recognise the network, if there is data confirm it and its preprocessing, and copy the weights with both.

    Stored tensors are copied as they are, in their types; prefixes and nesting are undone.

    Args:
        data: a probe to confirm network and preprocessing on, as far as batch norms or gradients can. The others are
            as of :func:`lcaudit.audit`; those of the probe mean nothing without ``data``.

    Raises:
        UsageError: the probe contradicts what is declared. AuditError: as of :func:`lcaudit.audit`.

    Cost: without data that of opening; with data up to 3000 samples forward.
    """
    if (mean is None) != (std is None):
        raise UsageError("--mean and --std go together: one was given without the other", "pass both, or neither")
    record, found = None, None
    if data is None:
        checkpoint, networks = opening.networks_of(model, arch, max_download, progress)
        network = _only(networks)
    else:
        checkpoint, networks, probe = opening.opened(
            model, data, arch, max_download, progress, root=data_root, split=split, columns=columns, samples=samples,
            mean=mean, std=std, seed=seed, task=task, ignore_index=ignore_index, input_size=input_size,
            interpolation=interpolation, tokenizer=tokenizer, max_tokens=max_tokens,
        )  # fmt: skip
        network = networks[0]
        if not checkpoint.non_finite:
            network, probe, found = opening.identified(
                networks, probe, device=choose_device(device, dtype), dtype=DTYPES[dtype], batch_size=batch_size,
                seed=seed, task=task, ignore_index=ignore_index,
            )  # fmt: skip
        record = probe.record
    wanted, shaping = probes.chosen_shape(network, opening.sides(input_size), interpolation or "")
    notes = list(_said(found))
    given = (tuple(mean), tuple(std)) if mean is not None and std is not None else None
    if given and network.text:
        raise UsageError("--mean and --std have no meaning for token ids", "leave them out")
    known = None if network.text else _normalisation(given, record, shaping, found, notes)
    declared = _declaration(checkpoint, network, wanted, shaping, known, record)
    if network.record.family in _NAMELESS:
        why, todo = _NAMELESS[network.record.family]
        notes.append(f"the network is {why} and was not written: {todo}")
    texts = declared.texts()
    if METADATA_KEY in checkpoint.texts:
        texts[METADATA_KEY] = checkpoint.texts[METADATA_KEY]
    weights = checkpoints.written(checkpoint.tensors, texts)
    return Exported(weights, declared, network.record.title, len(checkpoint.tensors), tuple(notes))


def _only(networks: tuple[Network, ...]) -> Network:
    if len(networks) > 1:
        names = [f"{one.record.family}:{one.record.variant.get('architecture', one.record.title)}" for one in networks]
        raise UsageError(
            f"{len(networks)} networks that compute different functions have exactly these tensors: {', '.join(names)}",
            "choose with --arch, or pass --data so that the probe decides",
        )
    return networks[0]


def _said(found: Identification | None) -> tuple[str, ...]:
    """What the probe says.

    Raises:
        UsageError: it contradicts what is declared.
    """
    if found is None:
        return ()
    if found.decision == "contradicted":
        raise UsageError(
            f"the probe contradicts what was declared: {display_name(found.reason, 500)}",
            "leave --mean, --std and --arch out so that the probe chooses, or pass the data that it was trained on",
        )
    reason = found.reason if found.reason.endswith(".") else f"{found.reason}."
    told = {"agrees": "confirmed", "chosen by probe": "chosen by the probe"}.get(found.decision, "not confirmed")
    return (f"{told}: {reason}",)


def _normalisation(
    given: tuple[tuple[float, ...], tuple[float, ...]] | None, record: ProbeRecord | None, shaping: Shaping | None,
    found: Identification | None, notes: list[str],
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:  # fmt: skip
    """(mean, std) that are known of these very weights; never what others of this network are assumed to want."""
    if given:
        return given
    if record is not None and any(words in step for step in record.preprocessing for words in _EXCHANGED):
        notes.append("the probe exchanged channels or axes, which the metadata cannot hold: no normalisation written")
        return None
    trusted = ["declared", "chosen by probe"]
    if found is None or found.decision != "ambiguous":  # else the probe was asked, and did not bear the names out
        trusted.append("identified")
    if record is not None and record.confidence in trusted:
        return record.normalisation.mean, record.normalisation.std
    if shaping and shaping.declared and shaping.normalisation.source:
        return shaping.normalisation.mean, shaping.normalisation.std
    more = "" if record is None else ", or samples on which it can be found out"
    notes.append(f"no normalisation written, since none is known: pass --mean and --std{more or ', or --data'}")
    return None


def _declaration(
    checkpoint: Checkpoint, network: Network, wanted: tuple[int, ...], shaping: Shaping | None,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None, record: ProbeRecord | None,
) -> Declared:  # fmt: skip
    known, source = network.record, checkpoint.record
    size = record.shape if record is not None else wanted
    pictures = shaping is not None and all(shaping.size) and len(size) == 3
    crop: Literal["centre", "squash", "border", ""] = shaping.mode if shaping and pictures else ""
    return Declared(
        arch=_arch(known.family, known.variant),
        variant={} if known.family in _NAMELESS else dict(known.variant),
        mean=normalisation[0] if normalisation else (),
        std=normalisation[1] if normalisation else (),
        input_size=size if size and all(size) and network.text is None else (),
        resize=shaping.resize if shaping and pictures else (),
        crop=crop,
        interpolation=shaping.interpolation if shaping and pictures else "",
        version=lcaudit.__version__,
        source=source.name,
        sha256=source.sha256,
    )


def _arch(family: str, variant: Mapping[str, str | int | bool]) -> str:
    if family in _NAMELESS:
        return ""
    return f"{family}:{variant['architecture']}" if family in ("timm", "torchvision") else family
