"""A layer's own Fisher information, without the Kronecker form, from the Gram matrix of per-sample gradients.

With G_i the gradient of sample i's loss with respect to the layer's weight, the Fisher block is
F = (1/m) Σ vec G_i vec G_iᵀ. It shares its non-zero eigenvalues with the m × m matrix
(1/m) ⟨G_i, G_j⟩, which is small however many parameters the layer has (Papyan 2019; Dangel et al. 2022).
Correlations between positions, uses and channels are all in it; only the number of samples limits it.
"""

from __future__ import annotations

import math

import torch
from torch.func import functional_call, vjp, vmap

#: Bytes of per-sample gradients formed at once. Wider layers use fewer samples.
MOST_BYTES = 512 * 2**20


class SampleGradients:
    """Keeps what a layer's per-sample gradients need, for the first ``samples`` samples only.

    Memory: inputs and output gradients of those samples, in the network's precision.
    """

    def __init__(self, module: torch.nn.Module, samples: int) -> None:
        self.module = module
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        self.weight = weight
        self.samples = min(samples, MOST_BYTES // max(1, weight.numel() * weight.element_size()))
        self.inputs: list[torch.Tensor] = []
        self.gradients: list[torch.Tensor] = []

    def see_input(self, inputs: torch.Tensor) -> None:
        """Keep a batch's inputs [b, …] while more samples are wanted."""
        left = self.samples - sum(map(len, self.inputs))
        if left > 0:
            self.inputs.append(inputs.detach()[:left].clone())

    def see_gradient(self, gradient: torch.Tensor) -> None:
        """Keep ∂ℓ/∂output [b, …] of the same batch, each sample's own loss."""
        left = self.samples - sum(map(len, self.gradients))
        if left > 0:
            self.gradients.append(gradient.detach()[:left].clone())

    def gram(self) -> torch.Tensor | None:
        """⟨G_i, G_j⟩, float64 [m, m] on the CPU; ``None`` where fewer than two samples have both."""
        if not self.gradients or [len(x) for x in self.inputs] != [len(g) for g in self.gradients]:
            return None
        rows = torch.cat([self._flat(x, g) for x, g in zip(self.inputs, self.gradients, strict=True)])
        self.inputs, self.gradients = [], []
        return _gram(rows) if len(rows) > 1 else None

    def _flat(self, inputs: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        weight = self.weight.detach()

        def one(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
            _, back = vjp(lambda value: functional_call(self.module, {"weight": value}, (x.unsqueeze(0),)), weight)
            return back(g.unsqueeze(0))[0].flatten()

        # a few samples at a time: a convolution's own workspace grows with them
        chunk = max(1, 2**24 // weight.numel())
        flat: torch.Tensor = vmap(one, chunk_size=chunk)(inputs, gradients)
        return flat


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """rows · rowsᵀ, products in the rows' precision, summed in float64 over blocks of columns."""
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for block in rows.split(max(1, math.ceil(rows.shape[1] / 8)), dim=1):
        total += (block @ block.T).double().cpu()
    return total
