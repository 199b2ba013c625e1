"""Slow, literal computations that the fast ones must equal. Nothing here is shared with lcaudit."""

from __future__ import annotations

import math

import numpy as np
import torch


def patches(module: torch.nn.Conv2d, image: torch.Tensor) -> torch.Tensor:
    """Every patch of one image [c, h, w], by indexing: [groups, positions, c/groups · kh · kw]."""
    kh, kw = module.kernel_size
    sh, sw = module.stride
    dh, dw = module.dilation
    left, right, top, bottom = module._reversed_padding_repeated_twice
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = torch.nn.functional.pad(image[None], (left, right, top, bottom), mode=mode)[0]
    height = (padded.shape[1] - dh * (kh - 1) - 1) // sh + 1
    width = (padded.shape[2] - dw * (kw - 1) - 1) // sw + 1
    per_group = padded.shape[0] // module.groups
    rows = torch.empty(module.groups, height * width, per_group * kh * kw, dtype=image.dtype)
    for group in range(module.groups):
        for y in range(height):
            for x in range(width):
                entries = [
                    padded[group * per_group + c, y * sh + i * dh, x * sw + j * dw]
                    for c in range(per_group)
                    for i in range(kh)
                    for j in range(kw)
                ]
                rows[group, y * width + x] = torch.stack(entries)
    return rows


def rows_of(module: torch.nn.Module, value: torch.Tensor) -> torch.Tensor:
    """Rows of one sample's input: [groups, rows, d]."""
    if isinstance(module, torch.nn.Conv2d):
        return patches(module, value)
    return value.reshape(1, -1, value.shape[-1])


def gradient_rows_of(module: torch.nn.Module, gradient: torch.Tensor) -> torch.Tensor:
    """Rows of one sample's output gradient: [groups, rows, o]."""
    if isinstance(module, torch.nn.Conv2d):
        return gradient.flatten(1).T.unflatten(1, (module.groups, -1)).transpose(0, 1)
    return gradient.reshape(1, -1, gradient.shape[-1])


def factors(model: torch.nn.Module, inputs: torch.Tensor, labels: list[list[tuple[float, int]]]) -> dict[str, dict]:
    """Σ_x, μ, Σ_g of every Conv2d and Linear, one sample at a time, with autograd.

    Args:
        inputs: [n, …]. labels: for each sample, (weight, label) pairs over which its gradient's outer
            product is averaged.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))}
    result: dict[str, dict] = {name: {"x": 0.0, "mu": 0.0, "rows": 0, "g": 0.0} for name in layers}
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def watch(name):
        def hook(module, args, output):
            output.retain_grad()
            seen[name] = (args[0].detach(), output)

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in layers.items()]
    for sample, draws in zip(inputs, labels, strict=True):
        for weight, label in draws:
            model.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(sample[None]), torch.tensor([label]))
            loss.backward()
            for name, module in layers.items():
                g = gradient_rows_of(module, seen[name][1].grad[0])
                result[name]["g"] = result[name]["g"] + weight * g.transpose(1, 2) @ g / len(inputs)
        for name, module in layers.items():
            x = rows_of(module, seen[name][0][0])
            result[name]["x"] = result[name]["x"] + x.transpose(1, 2) @ x
            result[name]["mu"] = result[name]["mu"] + x.sum(1)
            result[name]["rows"] += x.shape[1]
    for handle in handles:
        handle.remove()
    model.zero_grad()
    for one in result.values():
        one["x"] = one["x"] / one["rows"]
        one["mu"] = one["mu"] / one["rows"]
    return result


def kappa(matrix: np.ndarray, percentile: int) -> float:
    """κ_p of one symmetric matrix [d, d] or of blocks [K, d, d], straight from its definition."""
    blocks = np.asarray(matrix, np.float64)
    blocks = blocks[None] if blocks.ndim == 2 else blocks
    values = sorted((v for block in blocks for v in np.linalg.eigvalsh(block)), reverse=True)
    edge = len(values) * np.finfo(np.float64).eps * values[0]
    kept = [v for v in values if v > edge]
    return kept[0] / kept[math.ceil(percentile / 100 * len(kept)) - 1]


def kronecker_eigenvalues(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Eigenvalues of A ⊗ B from the whole matrix, descending."""
    return np.sort(np.linalg.eigvalsh(np.kron(left, right)))[::-1]
