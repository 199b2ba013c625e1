"""Label draws for the expected Fisher.

Each sample's draw depends on the seed and the sample's own index in its data set alone: neither batch
size, nor order, nor the choice of layers shifts it.
"""

from __future__ import annotations

import numpy as np
import torch


def uniforms(keys: np.ndarray, seed: int) -> torch.Tensor:
    """One number in [0, 1) per key, float64: a counter-based generator read at the key's place.

    Args:
        keys: int64 [n], non-negative indices into the data set. seed: non-negative.
    Cost: proportional to the largest key.
    """
    stream = np.random.Generator(np.random.Philox(key=seed)).random(int(keys.max(initial=0)) + 1)
    return torch.from_numpy(stream[keys])


def draw(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Labels [b] drawn from softmax(logits) [b, C] by inversion of the cumulative distribution."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    cumulative[:, -1] = 1.0  # rounding must not leave a gap above the last class
    return torch.searchsorted(cumulative, uniform.to(cumulative).unsqueeze(-1), right=True).squeeze(-1)
