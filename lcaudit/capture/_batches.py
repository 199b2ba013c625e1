"""The order in which samples are run: groups for intervals, batches within them."""

from __future__ import annotations

import itertools
import math

import numpy as np


def edges(samples: int, groups: int) -> list[int]:
    """Where the contiguous groups of samples begin, and where the last one ends."""
    return [int(edge) for edge in np.linspace(0, samples, groups + 1)]


def batches(samples: int, groups: int, batch_size: int, tokens: int) -> list[tuple[int, int, int]]:
    """(group, start, stop): batches of nearly one size that never straddle groups, and never hold as many
    samples as ``tokens`` (0 if there is no padding mask), so that the two dimensions can be told apart."""
    planned = []
    for group, (low, high) in enumerate(itertools.pairwise(edges(samples, groups))):
        for start, stop in itertools.pairwise(edges(high - low, math.ceil((high - low) / batch_size))):
            if stop - start == tokens > 1:
                planned.append((group, low + start, low + stop - 1))
                start = stop - 1
            planned.append((group, low + start, low + stop))
    return planned
