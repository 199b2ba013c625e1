"""The probe: which data is run through the network, and what is done to it first.

One file for each kind of source (``SOURCE``) and each data set with a name (``DATASET``); the folder is
the registry. Everything after reading is shared: choosing, arranging, scaling, normalising.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from lcaudit.core import hub
from lcaudit.core.errors import ProbeUnavailable, UsageError
from lcaudit.core.measurements import Normalisation, ProbeRecord
from lcaudit.core.text import display_name, one_line
from lcaudit.probes._contract import Pixels, Samples
from lcaudit.probes._labels import check_labels
from lcaudit.probes._layout import Layout, fit, fit_plain
from lcaudit.probes._reads import embeddings, takes_rows
from lcaudit.probes._resizing import resized
from lcaudit.probes._resolve import datasets, find, recognise
from lcaudit.probes._scale import Scaling, normalisation, only_one, scaling
from lcaudit.probes._select import DEFAULT_SAMPLES, choose, ranges
from lcaudit.probes._shaping import chosen as chosen_shape
from lcaudit.probes._text import Reading, is_text, text_probe
from lcaudit.probes._tokens import are_tokens, mask_words, token_layout, token_normalisation, without_padding

if TYPE_CHECKING:  # the shipped digits are of use without torch
    from lcaudit.core.types import Network, Preprocessing, Probe, Shaping

__all__ = ["DEFAULT_SAMPLES", "chosen_shape", "datasets", "open_probe", "preprocessings"]


def open_probe(
    data: str,
    network: Network,
    *,
    root: Path | None,
    split: str | None,
    samples: int | None,
    seed: int,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    task: str = "auto",
    ignore_index: int = -100,
    input_size: tuple[int, ...] = (),
    interpolation: str = "",
    columns: Mapping[str, str] = MappingProxyType({}),
    tokenizer: Path | None = None,
    max_tokens: int | None = None,
    max_download: int | str = hub.MOST,
    progress: hub.Progress = lambda stage, done, total: None,
) -> Probe:
    """Open the data, choose samples and prepare them for ``network``.

    Args:
        data: name of a data set, path of a file or of a folder of images, or address of a data set on the Hub.
        network: its input shape, number of classes and known normalisations are used.
        root: folder in which named data sets are looked for first.
        split: ``test``, ``train``, …; ``None`` takes ``test`` of a named data set, and what the name of a
            file or folder says.
        samples: how many to use; ``None`` for all, at most 5000.
        seed: of the permutation that chooses and orders them.
        mean, std: per channel, on inputs in [0, 1]; both or neither; one value or one for each channel.
        task: what the labels are for, as far as the user says. ignore_index: label that does not count.
        input_size: (height, width) that pictures are brought to, ``()`` for the network's own; interpolation:
            how, ``""`` for the network's own.
        columns: of a table, by use, ``image``, ``text`` or ``label``; found by type where not given.
        tokenizer: the ``tokenizer.json`` for texts, ``None`` for the one beside the weights. max_tokens: of a text.
        max_download: bytes, or a size such as ``10GB``, that may be downloaded.

    Returns:
        A probe whose ``batch`` converts only the samples asked for.

    Raises:
        ProbeUnavailable: no such data, or data that does not fit the network.
        UsageError: arguments that contradict each other.
        MalformedInput, LimitExceeded, UnsafeCheckpoint: the file is damaged, too large, or wants code to run.
        EnvironmentFailure: a file cannot be read, or Pillow or pyarrow is missing.
        HubUnavailable, HubUnreachable: the Hub does not give it.
    """
    found, dataset, path, notes = find(data, root, split, columns, hub.size(max_download), progress)
    found = _among_more(found, dataset, network.record.classes)
    (wanted, shaping), vocabularies = chosen_shape(network, input_size, interpolation), embeddings(network.module)
    tokens = found.texts is None and are_tokens(found, vocabularies, wanted)
    if is_text(found, network, tokens):
        reading = Reading(tokenizer, max_tokens)
        return text_probe(found, network, reading, samples, seed, task, ignore_index, mean, std)
    if tokenizer or max_tokens:
        raise UsageError(
            f"--tokenizer and --max-tokens are for texts; {display_name(found.source)} holds none", "leave them out"
        )
    classes = network.record.classes  # 0 for a network of the user's that does not say
    _check_width(found, dataset, classes)
    if found.labels is not None:
        if classes and found.classes and not dataset:
            _check_classes(
                found, classes, "class folders" if found.hub is None and path and path.is_dir() else "classes"
            )
        found = replace(found, labels=without_padding(found.labels, found.mask, ignore_index))
        each = found.shape if tokens or found.mask is not None else ()
        check_labels(found.labels, classes, found.source, task, ignore_index, each)
    positions, order = choose(found.count, samples, seed)
    pictured = bool(found.pictures and shaping and all(shaping.size))
    if found.pictures and shaping and pictured:
        pixels = found.pictures(positions, wanted, shaping)
    else:
        pixels = found.pixels(positions, wanted)
    recognised = f"data set {dataset} by name" if path is None else "".join(notes)
    if not dataset and path is not None and not tokens:
        dataset, recognised = recognise(path, found, pixels.shape)
        notes = (recognised,) if dataset else ()
    known = datasets().get(dataset)
    _check_width(found, dataset, classes)
    if not tokens and not pictured:
        at_size = resized(pixels, wanted, shaping, known.scale if known else None)
        pictured, pixels = at_size is not pixels, at_size
    if interpolation and not pictured:
        order += ("--interpolation has no effect: the samples are not resized",)
    rows = False
    if tokens:
        layout, scale = token_layout(pixels, wanted, vocabularies, found.source, found.tokens)
        chosen = token_normalisation(mean, std)
    else:
        rows = takes_rows(network.module, pixels.shape, wanted)
        layout = fit_plain(pixels.shape, wanted, "values") if rows else fit(pixels.shape, pixels.axes, wanted)
        scale = scaling(pixels, known.scale if known else None, rows, len(layout.image) == 3)
        usual = _usual(network, layout)
        chosen = normalisation(
            mean,
            std,
            layout.channels,
            scale,
            dataset,
            recognised,
            network.normalisation,
            known.normalisation if known and not (pictured and usual) else None,
            (only_one(network.normalisation, _widths(), classes, wanted, layout.channels) or usual)
            if pixels.kind != "b"
            else None,
            network.shaping.normalisation if network.shaping and network.shaping.declared else None,
        )
    mask = None if found.mask is None else found.mask[pixels.positions]
    if mask is not None and (layout.shape != pixels.shape or len(layout.image) == 3):
        raise ProbeUnavailable(
            f"{display_name(found.source)}: an attention_mask, but the samples are images",
            "save token ids as input_ids, or leave attention_mask out",
        )
    padding = (mask_words(mask),) if mask is not None else ()
    identity = set(chosen.mean) == {0.0} and set(chosen.std) == {1.0}
    sure = (
        ""
        if tokens or rows
        else _confidence(mean is not None, scale, chosen, dataset, network, shaping if pictured else None)
    )
    done = "not normalised" if identity else "normalised: (x − mean) / std for each channel"
    record = ProbeRecord(
        dataset=dataset or found.source,
        split=found.split,
        source=found.source,
        sha256=found.sha256,
        available=found.count,
        samples=len(pixels.positions),
        indices=ranges(pixels.positions),
        seed=seed,
        labelled=found.labels is not None,
        classes=found.classes or (known.classes if known else ()),
        shape=layout.shape,
        normalisation=chosen,
        preprocessing=(*notes, *found.notes, *order, *pixels.notes, *layout.words, scale.words, done, *padding),
        hub=found.hub,
        confidence=sure,
    )
    if mask is not None and mask.all():
        mask = None
    return _probe(record, pixels, found, layout, None if tokens else scale, mask)


def preprocessings(probe: Probe, networks: Sequence[Network]) -> tuple[Preprocessing, ...]:
    """What else than the probe's own preprocessing training could have done, the own one first.

    Empty where samples are no images whose values lie in [0, 1] once scaled.
    """
    from lcaudit.probes._rivals import preprocessings as rivals

    dataset = datasets().get(probe.record.dataset)
    known = [one for network in networks for one in network.normalisation.values()]
    return rivals(probe, [*known, *([dataset.normalisation] if dataset else [])])


def _confidence(
    declared: bool, scale: Scaling, chosen: Normalisation, dataset: str, network: Network, shaping: Shaping | None
) -> Literal["declared", "identified", "assumed"]:
    """How sure the preparation is: a code base's for this very data set is identified, all else is assumed.

    ``shaping``: what pictures were resized by, if they were.
    """
    if declared:
        return "declared"
    if shaping and not shaping.declared:
        return "assumed"
    if network.shaping and network.shaping.declared and chosen == network.shaping.normalisation:
        return "identified"  # a configuration beside the weights is a claim, not the user's word
    return "identified" if dataset in network.normalisation and not scale.why_not else "assumed"


def _widths() -> dict[str, int]:
    """Number of classes by name of data set."""
    return {name: dataset.number for name, dataset in datasets().items()}


def _among_more(found: Samples, dataset: str, classes: int) -> Samples:
    """Labels of a data set that is a part of the one the network was trained on, as that one's."""
    among = datasets()[dataset].within.get(classes) if dataset else None
    if among is None or found.labels is None:
        return found
    note = f"labels are those of the same {len(among)} classes among the network's {classes:,}"
    return replace(found, labels=np.asarray(among, np.int64)[found.labels], notes=(*found.notes, note))


def _usual(network: Network, layout: Layout) -> Normalisation | None:
    """What the network's library does to pictures; arrays of another kind have none."""
    usual = network.shaping.normalisation if network.shaping else None
    fits = usual and len(layout.image) == 3 and len(usual.mean) in (1, layout.channels)
    return usual if fits else None


def _check_width(found: Samples, dataset: str, classes: int) -> None:
    known = datasets().get(dataset)
    if known and classes and found.labels is not None and classes not in (known.number, *known.within):
        raise ProbeUnavailable(
            f"{dataset} has {known.number} classes, the network has {classes} outputs",
            "pass the data set that the network was trained for to --data",
        )


def _check_classes(found: Samples, classes: int, said: str) -> None:
    if len(found.classes) != classes:
        raise ProbeUnavailable(
            f"{display_name(found.source)} has {len(found.classes)} {said} ({one_line(found.classes, 12)}), "
            f"the network has {classes} outputs",
            "use one folder for each class, or a flat folder of images to measure without labels"
            if said == "class folders"
            else "pass the data set that the network was trained for",
        )


def _probe(
    record: ProbeRecord,
    pixels: Pixels,
    found: Samples,
    layout: Layout,
    scale: Scaling | None,
    mask: np.ndarray | None,
) -> Probe:
    """``scale``: ``None`` for token ids. ``mask``: of the chosen samples."""
    import torch

    from lcaudit.core.types import Probe

    positions = pixels.positions
    assert len(positions) >= 2, "at most 1 % of at least 2 images can have been left out"
    mean, std = (np.asarray(values, np.float32) for values in (record.normalisation.mean, record.normalisation.std))

    def scaled(start: int, stop: int) -> np.ndarray:
        assert scale is not None
        values = np.array(layout.arrange(pixels.read(positions[start:stop])), np.float32, order="C")
        values /= np.float32(scale.divisor)
        return values

    def batch(start: int, stop: int) -> torch.Tensor:
        assert 0 <= start < stop <= len(positions), f"no samples {start} to {stop}"
        if scale is None:
            return torch.from_numpy(pixels.read(positions[start:stop]).astype(np.int64))
        values = scaled(start, stop)
        axes = (-1, 1, 1) if values.ndim == 4 else (-1,)
        values -= mean.reshape(axes)
        values /= std.reshape(axes)
        return torch.from_numpy(values.reshape(len(values), *record.shape))

    labels = None if found.labels is None else found.labels[positions]
    real = None if mask is None else torch.from_numpy(mask)
    padding = None if real is None else lambda start, stop: real[start:stop]
    images = scale is not None and scale.unit and len(layout.image) == 3 and mask is None
    return Probe(
        record=record,
        batch=batch,
        labels=labels,
        keys=positions,
        mask=padding,
        pixels=(lambda start, stop: torch.from_numpy(scaled(start, stop))) if images else None,
    )
