"""The part of a network's graph that is recorded: from its first weight on, towards outputs only."""

from __future__ import annotations

import torch


class Graph:
    """One forward pass, and the backward passes over it; parameters are frozen and get no gradient.

    Args:
        unrecorded: parts of the network are recomputed when going backward.
    """

    def __init__(self, unrecorded: bool) -> None:
        self.unrecorded = unrecorded
        self.leaves: list[torch.Tensor] = []

    def begin(self, output: torch.Tensor) -> torch.Tensor:
        """``output``, recorded: where the graph starts here, a copy of a leaf that functions in place may overwrite."""
        if output.requires_grad:
            return output
        leaf = output.detach().requires_grad_(True)
        self.leaves.append(leaf)
        return leaf.clone()

    def backward(self, outputs: torch.Tensor, gradient: torch.Tensor, retain_graph: bool = False) -> None:
        """Run the hooks on everything recorded; ``retain_graph`` for another pass."""
        # a reentrant checkpoint refuses to run backward towards given tensors only
        only = None if self.unrecorded else self.leaves or None
        torch.autograd.backward(outputs, gradient, retain_graph=retain_graph, inputs=only)
        for leaf in self.leaves:
            leaf.grad = None
