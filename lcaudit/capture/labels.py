"""Random numbers for label draws, and labels drawn from a softmax.

Every number depends on the seed, the sample's own index in its data set, which draw it is and, where a
sample holds several predictions, which of them. Batch size, order, the layers measured, padding and the
number of draws shift nothing: all numbers are places in the sequence of one counter-based generator
(Philox 4×64; Salmon et al. 2011), whose 256-bit counter is read as (place, sample, draw, kind).
"""

from __future__ import annotations

import numpy as np
import torch

#: Kinds of sequence, the counter's highest word: one number per sample; many numbers per sample.
_SINGLE, _MANY = 0, 1
#: Keys closer than this share a generator: running over 1,000 numbers costs as much as making a new one.
_GAP = 1024
#: Numbers per step of the counter.
_BLOCK = 4


def uniforms(keys: np.ndarray, seed: int, draw_index: int = 0) -> torch.Tensor:
    """One number in [0, 1) per sample, float64 [n].

    Args:
        keys: int64 [n], non-negative indices into the data set. seed, draw_index: non-negative.
    Cost: under 50 µs per key, however large the keys; far less where they are close to each other.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    values = np.empty(len(keys))
    for run in np.split(order, np.flatnonzero(np.diff(ordered) > _GAP) + 1):
        if len(run):
            block = int(keys[run[0]]) // _BLOCK
            places = keys[run] - _BLOCK * block
            values[run] = _generator(seed, block, 0, draw_index, _SINGLE).random(int(places[-1]) + 1)[places]
    return torch.from_numpy(values)


def streams(keys: np.ndarray, seed: int, count: int, draw_index: int = 0) -> torch.Tensor:
    """``count`` numbers in [0, 1) per sample, float64 [n, count]; a larger ``count`` only adds at the end.

    Args:
        keys: int64 [n], non-negative indices into the data set. seed, draw_index: non-negative.
    Cost: about 20 µs per key and 20 ns per number.
    """
    values = np.empty((len(keys), count))
    for row, key in zip(values, keys, strict=True):
        row[:] = _generator(seed, 0, int(key), draw_index, _MANY).random(count)
    return torch.from_numpy(values)


def _generator(seed: int, block: int, sample: int, draw_index: int, kind: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed, counter=[block, sample, draw_index, kind]))


def draw(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Labels [b] drawn from softmax(logits) [b, C] by inversion of the cumulative distribution."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    cumulative[:, -1] = 1.0  # rounding must not leave a gap above the last class
    return torch.searchsorted(cumulative, uniform.to(cumulative).unsqueeze(-1), right=True).squeeze(-1)
