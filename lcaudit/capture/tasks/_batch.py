"""One batch's positions that count, as rows in float64, and the way back to gradients of the outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lcaudit.capture.labels import streams, uniforms
from lcaudit.capture.tasks._base import Task
from lcaudit.capture.tasks._layout import Layout

#: Float64 numbers worked on at once: 64 MiB, so that a vocabulary of 50,000 needs no more memory.
_CHUNK = 8_388_608


def precise(device: torch.device) -> torch.device:
    """Where float64 work for tensors on ``device`` is done: Apple's devices have no float64."""
    return torch.device("cpu") if device.type == "mps" else device


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of b samples of T positions each, of which r count.

    Attributes:
        outputs: as the network gave them. layout: where their class axis is.
        rows: [r, C], the outputs at the positions that count, sample by sample.
        valid: bool [b, T], which count.
        targets: [r] or [r, C] where :func:`precise` says, or ``None``.
    """

    outputs: Tensor
    layout: Layout
    rows: Tensor
    valid: Tensor
    targets: Tensor | None

    def parts(self) -> Iterator[slice]:
        """Slices of the rows, small enough for float64 copies of them; one empty slice where r = 0."""
        total, step = len(self.rows), max(1, _CHUNK // self.rows.shape[1])
        for start in range(0, max(total, 1), step):
            yield slice(start, min(start + step, total))

    def double(self, part: slice) -> Tensor:
        """Float64 rows."""
        return self.rows[part].to(precise(self.rows.device), torch.float64)

    def per_sample(self, values: Tensor) -> Tensor:
        """Sum ``values`` [r] over each sample's rows: [b]."""
        samples = self.valid.to(values.device).nonzero()[:, 0]
        return torch.zeros(len(self.valid), dtype=values.dtype, device=values.device).index_add(0, samples, values)

    def uniforms(self, task: Task, keys: np.ndarray, seed: int, index: int) -> Tensor:
        """Numbers [r, task.numbers] of draw ``index``: a sample's k-th row takes its k-th lot, wherever it lies."""
        valid = self.valid.cpu()
        if task.indices and self.outputs.dim() == 2:
            return uniforms(keys, seed, index).unsqueeze(1)[valid[:, 0]]
        each, most = task.numbers(self.rows.shape[1]), int(valid.sum(1).max())
        lots = streams(keys, seed, most * each, index).reshape(len(keys), most, each)
        return lots[torch.arange(most) < valid.sum(1, keepdim=True)]

    def residual(self, task: Task, uniform: Tensor | None, scale: float) -> Tensor:
        """∂ℓ/∂outputs times ``scale``: for the given targets, or for targets drawn with ``uniform``."""
        residual = torch.empty_like(self.rows)
        for part in self.parts():
            rows = self.double(part)
            if uniform is None:
                assert self.targets is not None, "asked after labels were found"
                chosen = self.targets[part]
            else:
                chosen = task.draw(rows, uniform[part].to(rows.device))
            residual[part] = (task.residual(rows, chosen) * scale).to(residual)
        return self._spread(residual, self.valid)

    def root(self, task: Task) -> Iterator[Tensor]:
        """Columns of the root of E[∂ℓ/∂outputs ∂ℓ/∂outputsᵀ], one position at a time."""
        for position in range(self.valid.shape[1]):
            here = torch.zeros_like(self.valid)
            here[:, position] = self.valid[:, position]
            rows = self.double(slice(None))
            for column in task.root(rows[here[self.valid].to(rows.device)]):
                yield self._spread(column.to(self.rows), here)

    def _spread(self, values: Tensor, where: Tensor) -> Tensor:
        rows = self.rows.new_zeros(*self.valid.shape, self.rows.shape[1])
        rows[where] = values
        return self.layout.restore(rows, self.outputs)
