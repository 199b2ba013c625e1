"""How layers follow each other, free of torch: what a fix must know before it touches two at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """Where a layer's output goes, as far as one recorded forward pass shows *all* of it.

    Attributes:
        layer: a layer with a weight of its own that acts once.
        normalisation: path of the normalisation that reads the output directly and alone, or ``""``.
        normalises: that normalisation's function, e.g. ``batch_norm``.
        functions: what lies between it and the readers, in order of execution.
        readers: the layers that read the result and nothing else does; empty where that is not known.
        homogeneous: no normalisation lies between, and f(s x) = s f(x) for s > 0 for every function.
        channelwise: every function keeps channels apart, so that a channel can be taken out.
        ends: why ``readers`` is empty, in words.
    """

    layer: str
    normalisation: str = ""
    normalises: str = ""
    functions: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    homogeneous: bool = False
    channelwise: bool = False
    ends: str = ""
