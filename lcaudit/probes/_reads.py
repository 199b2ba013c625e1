"""What a network's layers say about the input that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # data can be read without torch
    import torch


def embeddings(module: torch.nn.Module) -> dict[str, int]:
    """Number of ids that each ``nn.Embedding`` knows, by name."""
    import torch

    kinds = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    return {
        name or type(part).__name__: part.num_embeddings
        for name, part in module.named_modules()
        if isinstance(part, kinds)
    }


def takes_rows(module: torch.nn.Module, raw: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether samples [A, B] are sequences or signals, to be passed as they are, rather than grey images.

    Says so a declared shape of two entries; where none is declared, the first layer with parameters: everything
    but layers for images, and a linear layer that reads A · B values at once, is made for rows.
    """
    import torch

    if len(raw) != 2 or wanted:
        return len(raw) == len(wanted) == 2
    layers = (
        part
        for part in module.modules()
        if type(part).__module__.startswith("torch.nn.") and any(True for _ in part.parameters(recurse=False))
    )
    first = next(layers, None)
    if isinstance(first, torch.nn.Linear):
        return first.in_features == raw[1] or first.in_features != raw[0] * raw[1]
    pictures = (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.BatchNorm2d, torch.nn.InstanceNorm2d)
    return first is not None and not isinstance(first, pictures)
