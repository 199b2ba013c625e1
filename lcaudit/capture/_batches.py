"""The order in which samples are run: groups for intervals, batches within them."""

from __future__ import annotations

import itertools
import math

import numpy as np

Span = tuple[int, int, int]


def edges(samples: int, groups: int) -> list[int]:
    """Where the contiguous groups of samples begin, and where the last one ends."""
    return [int(edge) for edge in np.linspace(0, samples, groups + 1)]


def spans(samples: int, groups: int) -> list[Span]:
    """(group, start, stop) of the groups."""
    return [(group, *span) for group, span in enumerate(itertools.pairwise(edges(samples, groups)))]


def parted(whole: list[Span], first: int) -> tuple[list[Span], list[Span]]:
    """The first samples of every group, ``first`` in all or a few less, and the rest of it."""
    each = first // len(whole)
    some = [(group, low, low + each) for group, low, _ in whole]
    return some, [(group, low + each, high) for group, low, high in whole]


def batches(parts: list[Span], batch_size: int, tokens: int) -> list[Span]:
    """(group, start, stop): batches of nearly one size that never straddle ``parts``, and never hold as many
    samples as ``tokens`` (0 if there is no padding mask), so that the two dimensions can be told apart."""
    planned = []
    for group, low, high in parts:
        for start, stop in itertools.pairwise(edges(high - low, math.ceil((high - low) / batch_size))):
            if stop - start == tokens > 1:
                planned.append((group, low + start, low + stop - 1))
                start = stop - 1
            planned.append((group, low + start, low + stop))
    return planned
