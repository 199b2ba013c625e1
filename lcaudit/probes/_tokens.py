"""Token ids: samples that are looked up in an embedding, and so are never scaled."""

from __future__ import annotations

import numpy as np

from lcaudit.core.errors import ProbeUnavailable, UsageError
from lcaudit.core.measurements import Normalisation
from lcaudit.core.text import display_name
from lcaudit.probes._contract import Pixels, Samples
from lcaudit.probes._layout import Layout, fit_plain
from lcaudit.probes._scale import Scaling

AS_THEY_ARE = "token ids, as they are"


def are_tokens(found: Samples, embeddings: dict[str, int], wanted: tuple[int, ...]) -> bool:
    """Whether samples are token ids: their name says so, or they can be nothing else that the network reads.

    Args:
        embeddings: number of ids by name of the network's embeddings. wanted: shape of one input, ``()`` for any.

    Raises:
        ProbeUnavailable: they are named so and hold no integers.
    """
    if found.tokens:
        if found.kind not in "iu":
            raise ProbeUnavailable(
                f"{display_name(found.source)}: token ids are no integers, expected whole numbers from 0",
                "save input_ids as int64, samples × tokens",
            )
        return True
    wide = found.kind == "i" or (found.kind == "u" and found.bits > 8)
    return wide and len(found.shape) == 1 and len(wanted) < 2 and bool(embeddings)


def token_layout(
    pixels: Pixels, wanted: tuple[int, ...], embeddings: dict[str, int], source: str, named: bool
) -> tuple[Layout, Scaling]:
    """How token ids become inputs: not at all.

    Raises:
        ProbeUnavailable: ids that the network has no vector for, or another number of them than it takes.
    """
    low, high = int(pixels.low), int(pixels.high)
    name = max(embeddings, key=lambda one: embeddings[one], default="")
    if low < 0 or (name and high >= embeddings[name]):
        seen = f"{display_name(source)}: {'smallest' if low < 0 else 'largest'} token id {low if low < 0 else high}"
        known = f"the vocabulary is 0 to {embeddings[name] - 1} (embedding {display_name(name, 80)})" if name else ""
        raise ProbeUnavailable(
            f"{seen}, {known or 'expected 0 or more'}",
            "mark padding in attention_mask, with any id of the vocabulary in its place"
            if low < 0
            else "use the tokenizer that the network was trained with",
        )
    said = "" if named else ": integers for a network with an embedding"
    return fit_plain(pixels.shape, wanted, "tokens"), Scaling(1.0, False, f"{AS_THEY_ARE} ({low} to {high}){said}", "")


def token_normalisation(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Normalisation:
    """None.

    Raises:
        UsageError: one was asked for.
    """
    if mean is not None or std is not None:
        raise UsageError("--mean and --std have no meaning for token ids", "leave them out")
    return Normalisation((0.0,), (1.0,), AS_THEY_ARE)


def without_padding(labels: np.ndarray | None, mask: np.ndarray | None, ignore_index: int) -> np.ndarray | None:
    """Labels whose padded positions hold ``ignore_index``, where there is one class number for each position."""
    if labels is None or mask is None or labels.shape != mask.shape or labels.dtype.kind == "f":
        return labels
    return np.where(mask, labels, ignore_index)


def mask_words(mask: np.ndarray, noticed: bool = False) -> str:
    """What became of the padding. ``noticed``: whether the network knows it by its token."""
    share = 1 - float(mask.mean())
    return f"attention_mask: {share:.1%} of the positions are padding, left out of every figure; " + (
        "the network takes no notice of them" if noticed else "the network is given the samples without the mask"
    )
