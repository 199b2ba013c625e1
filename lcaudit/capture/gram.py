"""A layer's own Fisher information, without the Kronecker form, from the Gram matrix of single samples' gradients.

With G_i the gradient of sample i's loss with respect to the layer's weight, the Fisher block is
F = (1/n) Σ vec G_i vec G_iᵀ. It shares its non-zero eigenvalues with the m × m matrix (1/n) ⟨G_i, G_j⟩,
which is small however many parameters the layer has (Papyan 2019; Dangel et al. 2022). Correlations
between positions and channels are all in it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch

from lcaudit.capture._survey import Found
from lcaudit.capture.handlers._base import CHUNK, Call, symmetric_product

#: Entries of gradients formed at once while inputs and output gradients are what is kept: few stay in cache until they
#: are multiplied, but where an input must be unfolded each time, many at once are cheaper.
_SLICE, _UNFOLDED_SLICE = 2 * 1024 * 1024, 32 * 1024 * 1024


class Gradients:
    """Weight gradients of single samples at one layer, kept in whichever form is smaller.

    That is the gradient itself, or the layer's input and output gradient, of which it is a product. For
    vectors the product is never formed: ⟨g xᵀ, g′ x′ᵀ⟩ = ⟨x, x′⟩ ⟨g, g′⟩.
    """

    def __init__(self, found: Found, samples: int) -> None:
        """``found`` by the survey of ``samples`` samples."""
        self.found = found
        shape, rows = found.shape, found.rows // samples
        self.whole = shape.groups * shape.inputs * shape.outputs
        parts = found.call.inputs[0].numel() + rows * shape.groups * shape.outputs
        self.formed = self.whole < parts
        self.entries = min(self.whole, parts)
        self.kept: list[torch.Tensor] = []
        self.calls: list[tuple[Call, torch.Tensor]] = []

    def add(self, call: Call, gradient: torch.Tensor) -> None:
        """Samples of one batch: the layer's input, and ∂ℓ/∂output of each sample's own loss."""
        if self.formed:
            form = self.found.handler.sample_gradients or self._formed
            self.kept.append(torch.cat([form(*part).flatten(1) for part in _parts(call, gradient)]))
        else:
            self.calls.append((call, gradient))

    def part(self) -> Gradients:
        """Another one, for other samples; before any is added."""
        other = copy.copy(self)
        other.kept, other.calls = [], []
        return other

    def collect(self, part: Gradients) -> None:
        """Take what a part has kept; parts come in order of samples."""
        self.kept += part.kept
        self.calls += part.calls

    def gram(self) -> torch.Tensor | None:
        """⟨G_i, G_j⟩, float64 [m, m] on the CPU; ``None`` without a sample. What was kept is let go."""
        kept, calls, self.kept, self.calls = self.kept, self.calls, [], []
        if self.formed:
            return _gram(torch.cat(kept)) if kept else None
        if not calls:
            return None
        call = replace(calls[0][0], inputs=torch.cat([one.inputs for one, _ in calls]))
        gradient = torch.cat([one for _, one in calls])
        del calls
        x, g = self._rows(replace(call, inputs=call.inputs[:1]), gradient[:1])
        if x.shape[-1] == 1:
            x, g = self._rows(call, gradient)
            pairs = zip(x.unbind(1), g.unbind(1), strict=True)
            return sum(_product(a.flatten(1)) * _product(b.flatten(1)) for a, b in pairs)
        total = torch.zeros(len(gradient), len(gradient), dtype=torch.float64)
        unfolded = _taps(call) > 1
        outputs = max(1, (_UNFOLDED_SLICE if unfolded else _SLICE) // (len(gradient) * x.shape[1] * x.shape[2]))
        for start in range(0, g.shape[2], outputs):
            parts = _parts(call, gradient) if unfolded else [(call, gradient)]
            some = [self._formed(*part, start, start + outputs).flatten(1) for part in parts]
            total += _gram(torch.cat(some) if unfolded else some[0])
        return total

    def _rows(self, call: Call, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.found.handler.sample_rows, "asked for where there are some"
        return self.found.handler.sample_rows(call, gradient)

    def _formed(self, call: Call, gradient: torch.Tensor, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """[b, K, o, d], of some of the o outputs."""
        x, g = self._rows(call, gradient)
        return g[:, :, start:stop] @ x.transpose(2, 3)


def _parts(call: Call, gradient: torch.Tensor) -> Iterator[tuple[Call, torch.Tensor]]:
    """A few samples at a time: unfolding a convolution's input makes it larger by the kernel's size."""
    few = max(1, CHUNK // (_taps(call) * max(call.inputs[0].numel(), gradient[0].numel())))
    for inputs, some in zip(call.inputs.split(few), gradient.split(few), strict=True):
        yield replace(call, inputs=inputs), some


def _taps(call: Call) -> int:
    """How many times an entry of the input is found among the rows."""
    return max(1, call.weight[0, 0].numel())


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """rows · rowsᵀ, products in the rows' precision, summed in float64 over blocks of columns."""
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for block in rows.split(8192, dim=1):
        total += _product(block)
    return total


def _product(rows: torch.Tensor) -> torch.Tensor:
    return symmetric_product(rows.unsqueeze(0))[0].cpu().double()
