"""Which rows of a layer are real tokens, and which are padding."""

from __future__ import annotations

import torch


def kept(sides: tuple[int, ...], mask: torch.Tensor, tokens_first: bool) -> torch.Tensor | str | None:
    """The mask spread over a layer's rows, bool [rows]; ``None`` for all of them; a string says why it cannot be.

    Args:
        sides: layout of the rows, e.g. (batch, tokens, heads) or (batch · tokens,).
        mask: bool [b, T], b ≠ T unless both are 1. tokens_first: whether flat rows run over samples fastest.
    """
    batch, tokens = mask.shape
    if sides[0] == batch and (len(sides) == 1 or tokens == 1):
        return None if tokens > 1 else _spread(mask[:, 0], sides)
    if sides[:2] == (batch, tokens):
        return _spread(mask, sides)
    if sides[:2] == (tokens, batch):
        return _spread(mask.T, sides)
    if sides == (batch * tokens,):
        return (mask.T if tokens_first else mask).reshape(-1)
    return "its rows do not line up with the padding mask"


def _spread(mask: torch.Tensor, sides: tuple[int, ...]) -> torch.Tensor:
    extra = [1] * (len(sides) - mask.dim())
    return mask.reshape(*mask.shape, *extra).expand(sides).reshape(-1)
