"""How many samples go through the network at once, and fewer of them where memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from lcaudit.core.errors import EnvironmentFailure, out_of_memory
from lcaudit.core.types import Probe

AUTO = "auto"
#: Where to begin, by type of device: enough to keep it busy.
_FIRST = {"cuda": 512}
_FIRST_ELSEWHERE = 50
#: Numbers that the outputs of one batch may take to begin with, 256 MiB of float32: a few copies of them are made.
_MOST_OUTPUTS = 2**26

Result = TypeVar("Result")


def sizes(asked: int | str, device: torch.device, samples: int, outputs: int = 0) -> list[int]:
    """Batch sizes to try in turn: the one asked for alone, or for ``auto`` ever half as many down to one.

    Args:
        outputs: numbers that one sample's outputs take, 0 where that is not known: a system may end a process that asks
            for too much memory before it can be told.
    """
    if asked != AUTO:
        return [int(asked)]
    most = _MOST_OUTPUTS // outputs if outputs else samples
    found = [max(1, min(_FIRST.get(device.type, _FIRST_ELSEWHERE), samples, most))]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


def outputs_of(probe: Probe, classes: int) -> int:
    """Numbers that one sample's outputs take where each token has as many as the vocabulary, else 0."""
    by_token = probe.meaning is not None and probe.meaning.prediction
    return probe.record.shape[0] * max(1, classes) if by_token else 0


def first_batch_size(asked: int | str, device: torch.device, probe: Probe, classes: int) -> int:
    """Where :func:`backing_off` begins."""
    return sizes(asked, device, len(probe.keys), outputs_of(probe, classes))[0]


def backing_off(
    run: Callable[[int], Result], asked: int | str, device: torch.device, samples: int, outputs: int = 0
) -> Result:
    """``run`` with the first batch size that fits into memory.

    Raises:
        EnvironmentFailure: not even one sample fits, or not the number that was asked for.
    """
    for size in sizes(asked, device, samples, outputs):
        try:
            return run(size)
        except Exception as error:
            if not out_of_memory(error):
                raise
        gc.collect()  # what the failed run held, cycles included, before the next one asks
        if device.type == "cuda":
            torch.cuda.empty_cache()
    raise EnvironmentFailure(
        f"memory ran out with {size} sample{'s' if size > 1 else ''} a pass on {device.type}",
        "use a smaller --batch-size, or auto" if asked != AUTO else "use fewer --layers, or a device with more memory",
    )
