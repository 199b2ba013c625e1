"""Rows of every layer kind by explicit indices, and factors from one sample at a time with autograd.

Nothing here is shared with lcaudit. For each sample, autograd's gradient of the weight must equal Σ g xᵀ
over the rows: that proves the rows themselves, before any second moment is formed from them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass
class Factors:
    """``x`` [K, d, d] = E[x xᵀ] and ``mu`` [K, d] over rows; ``g`` [K, o, o], rows summed, samples averaged."""

    x: torch.Tensor
    mu: torch.Tensor
    g: torch.Tensor
    rows: int


def _flat(coordinates, sides):
    """Place in a row-major array, or −1 outside it."""
    place = 0
    for coordinate, side in zip(coordinates, sides, strict=True):
        if not 0 <= coordinate < side:
            return -1
        place = place * side + coordinate
    return place


@cache
def _windows(origins, step, dilation, shift, kernel, sides):
    """Index table [origins, taps]: tap t of origin q reads q·step + t·dilation − shift."""
    return torch.tensor(
        [
            [
                _flat([q * s + t * d - p for q, s, t, d, p in zip(o, step, tap, dilation, shift, strict=True)], sides)
                for tap in itertools.product(*map(range, kernel))
            ]
            for o in itertools.product(*map(range, origins))
        ]
    )


def _gather(image, table, groups):
    """image [c, *sides] → [groups, origins, c/groups · taps]; an index of −1 reads zero."""
    flat = torch.cat([image.flatten(1), image.new_zeros(len(image), 1)], 1)
    taken = flat[:, table]  # [c, origins, taps]
    return taken.unflatten(0, (groups, -1)).transpose(1, 2).flatten(2)


def _rows(module, x, y, g):
    """Of one sample: rows of the input [K, R, d] and of the output gradient [K, R, o]."""
    if isinstance(module, nn.Linear):
        return x.reshape(1, -1, x.shape[-1]), g.reshape(1, -1, g.shape[-1])
    if isinstance(module, nn.Embedding):
        tokens = x.flatten()
        one_hot = torch.zeros(1, len(tokens), module.num_embeddings, dtype=g.dtype)
        for row, token in enumerate(tokens.tolist()):
            if token != module.padding_idx:
                one_hot[0, row, token] = 1
        gradients = g.reshape(1, len(tokens), -1)
        kept = one_hot[0].sum(-1) > 0
        return one_hot[:, kept], gradients[:, kept]
    if isinstance(module, _CONVOLUTIONS):
        ends = module._reversed_padding_repeated_twice
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        padded = nn.functional.pad(x[None], ends, mode=mode)[0]
        none = (0,) * len(module.kernel_size)
        table = _windows(tuple(y.shape[1:]), module.stride, module.dilation, none, module.kernel_size, padded.shape[1:])
        return _gather(padded, table, module.groups), g.flatten(1).unflatten(0, (module.groups, -1)).transpose(1, 2)
    assert isinstance(module, _TRANSPOSED)
    table = _windows(
        tuple(x.shape[1:]), module.stride, module.dilation, module.padding, module.kernel_size, g.shape[1:]
    )
    return x.flatten(1).unflatten(0, (module.groups, -1)).transpose(1, 2), _gather(g, table, module.groups)


def _blocks(module, gradient):
    """The weight's gradient as [K, o, d]."""
    if isinstance(module, nn.Linear):
        return gradient[None]
    if isinstance(module, nn.Embedding):
        return gradient.T[None]
    if isinstance(module, _CONVOLUTIONS):
        return gradient.flatten(1).unflatten(0, (module.groups, -1))
    return gradient.flatten(1).unflatten(0, (module.groups, -1)).transpose(1, 2)


def factors(model, layers, inputs, labels, mask=None) -> dict[str, Factors]:
    """Factors of ``layers`` (modules by name), in the precision of ``model``.

    Args:
        labels: for each sample, (weight, label) pairs over which its gradient's outer product is averaged.
        mask: bool [n, T]; a layer with T rows per use keeps those that are true.
    """
    totals: dict[str, Factors] = {}
    for i, draws in enumerate(labels):
        for turn, (share, label) in enumerate(draws):
            calls = {name: [] for name in layers}
            handles = [
                module.register_forward_hook(lambda m, a, out, seen=calls[name]: seen.append((a[0], out)))
                for name, module in layers.items()
            ]
            loss = nn.functional.cross_entropy(model(inputs[i : i + 1]), torch.tensor([label]))
            for handle in handles:
                handle.remove()
            for name, module in layers.items():
                uses, weight = calls[name], module.weight
                slopes = torch.autograd.grad(loss, [*(out for _, out in uses), weight], retain_graph=True)
                pairs = [
                    _rows(module, x[0].detach(), y[0].detach(), g[0]) for (x, y), g in zip(uses, slopes, strict=False)
                ]
                whole = sum(g.transpose(1, 2) @ x for x, g in pairs)
                torch.testing.assert_close(whole, _blocks(module, slopes[-1]), rtol=1e-9, atol=1e-12)
                if mask is not None:
                    pairs = [
                        (x[:, mask[i]], g[:, mask[i]]) if x.shape[1] == mask.shape[1] else (x, g) for x, g in pairs
                    ]
                x, g = (torch.cat(parts, 1) for parts in zip(*pairs, strict=True))
                if name not in totals:
                    d, o = x.shape[-1], g.shape[-1]
                    zero = [torch.zeros(len(x), *size, dtype=g.dtype) for size in ((d, d), (d,), (o, o))]
                    totals[name] = Factors(*zero, rows=0)
                one = totals[name]
                one.g += share * g.transpose(1, 2) @ g / len(inputs)
                if turn == 0:
                    one.x += x.transpose(1, 2) @ x
                    one.mu += x.sum(1)
                    one.rows += x.shape[1]
    for one in totals.values():
        one.x /= one.rows
        one.mu /= one.rows
    return totals


def weight_gradients(model, module, inputs, labels) -> torch.Tensor:
    """∂ℓ/∂W of every sample by itself, as [n, K, o, d]."""
    every = []
    for sample, label in zip(inputs, labels, strict=True):
        loss = nn.functional.cross_entropy(model(sample[None]), torch.tensor([label]))
        every.append(_blocks(module, torch.autograd.grad(loss, module.weight)[0]))
    return torch.stack(every)


def product_kappa(left, right, percentile: int) -> float:
    """κ_p over all eigenvalues of ⊕ A_k ⊗ B_k, from the whole matrices; directions under a factor's floor left out."""
    ranks = []
    for blocks in (left, right):
        each = [np.linalg.eigvalsh(block) for block in blocks]
        together = np.concatenate(each)
        share = len(together) * np.finfo(np.float64).eps
        ranks.append([int((values > share * together.max()).sum()) for values in each])
    rank = sum(a * b for a, b in zip(*ranks, strict=True))
    values = np.concatenate([np.linalg.eigvalsh(np.kron(a, b)) for a, b in zip(left, right, strict=True)])
    values[::-1].sort()
    return float(values[0] / values[math.ceil(percentile * rank / 100) - 1])
