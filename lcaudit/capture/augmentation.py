"""Training augmentations, as hypotheses: stored batch-norm statistics describe augmented images, a probe holds plain
ones.

Every draw depends on the seed and the sample's own key, so that all hypotheses see the same crops and flips.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from lcaudit.capture.labels import streams

#: Sequence of random numbers apart from the ones that labels are drawn with.
_STREAM = 1 << 32
_NUMBERS = 5
#: ``RandomCrop(32, padding=4)`` of the CIFAR recipes, as a share of the side.
_PADDING = 8
#: ``RandomResizedCrop``'s own area and aspect ratio.
_LEAST_AREA, _WIDEST = 0.08, 4 / 3


def _none(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    return images


def _flipped(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    return torch.where((draws[:, 0] < 0.5).reshape(-1, 1, 1, 1), images.flip(3), images)


def _cropped(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Padded by an eighth of the side with black (zero before the normalisation), cropped to the size it had."""
    height, width = images.shape[2:]
    rows, columns = max(1, height // _PADDING), max(1, width // _PADDING)
    padded = functional.pad(images, (columns, columns, rows, rows))
    top = (draws[:, 1] * (2 * rows + 1)).long().tolist()
    left = (draws[:, 2] * (2 * columns + 1)).long().tolist()
    return torch.stack(
        [padded[i, :, y : y + height, x : x + width] for i, (y, x) in enumerate(zip(top, left, strict=True))]
    )


def _cropped_and_flipped(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    return _cropped(_flipped(images, draws), draws)


def _resized(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """A window of 8 to 100 % of the area, 3:4 to 4:3, resized to the size that the image had."""
    height, width = images.shape[2:]
    windows = []
    for image, (_, y, x, area, aspect) in zip(_flipped(images, draws), draws.tolist(), strict=True):
        size = height * width * (_LEAST_AREA + (1 - _LEAST_AREA) * area)
        ratio = math.exp((2 * aspect - 1) * math.log(_WIDEST))
        rows = min(height, max(1, round((size / ratio) ** 0.5)))
        columns = min(width, max(1, round((size * ratio) ** 0.5)))
        top, left = int(y * (height - rows + 1)), int(x * (width - columns + 1))
        window = image[None, :, top : top + rows, left : left + columns]
        windows.append(functional.interpolate(window, (height, width), mode="bilinear", antialias=True))
    return torch.cat(windows)


#: By what a report calls it, the commonest first.
AUGMENTATIONS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "random crop and flip": _cropped_and_flipped,
    "random crop": _cropped,
    "random flip": _flipped,
    "none": _none,
    "random resized crop and flip": _resized,
}


def augmented(images: torch.Tensor, name: str, keys: np.ndarray, seed: int) -> torch.Tensor:
    """Images [b, c, h, w] in [0, 1] as training with the augmentation ``name`` could have shown them.

    Args:
        keys: int64 [b], of the samples. seed: of the draws.
    """
    draws = streams(keys, seed, _NUMBERS, _STREAM)
    return AUGMENTATIONS[name](images, draws)
