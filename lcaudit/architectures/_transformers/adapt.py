"""One tensor in, one tensor out: what lcaudit runs in the place of a transformers network's own ``forward``.

Modules keep their names: the network stays what it is and is called in one way only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any, Literal

import torch
from torch import nn

from lcaudit.architectures._transformers.config import Purpose, TransformersConfig
from lcaudit.core.errors import UnknownArchitecture

Pooling = Literal["mean", "cls", "max", "last"]
#: Entries of sentence-transformers' ``1_Pooling/config.json`` → the pooling that they switch on.
_POOLINGS: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
#: What newer releases of it write in the place of the switches.
_MODES: Mapping[str, Pooling] = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}


@dataclass(frozen=True, slots=True)
class Call:
    """How the network is called.

    Attributes:
        padding: index of the token that fills up, ``None`` where nothing is hidden from the network.
        pooling: of a network without a head, over the real positions.
    """

    purpose: Purpose
    padding: int | None = None
    pooling: Pooling = "mean"


def adapt(module: nn.Module, call: Call) -> None:
    """From here on ``module(inputs)`` is one tensor.

    Takes token ids int64 [b, L], or pictures [b, c, h, w], and gives logits [b, L, V] (``causal``, ``masked``,
    ``tokens``) or [b, K] (``sequence``, ``pictures``), or vectors [b, h] (``embedding``, ``features``).
    """
    module.forward = MethodType(partial(_forward, call), module)  # a bound method: copies of the module bind their own


def _forward(call: Call, module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    own = type(module).forward
    if call.purpose in ("pictures", "features"):
        given = own(module, pixel_values=inputs)
        if call.purpose == "pictures":
            return _tensor(given.logits)
        states = _tensor(given.last_hidden_state)
        return states.mean((2, 3)) if states.dim() == 4 else states.mean(1)
    real = None if call.padding is None else inputs != call.padding
    given = own(module, input_ids=inputs, attention_mask=None if real is None else real.long())
    if call.purpose == "embedding":
        return _pool(call.pooling, _tensor(given.last_hidden_state), real)
    logits = getattr(given, "logits", None)
    return _tensor(given.prediction_logits if logits is None else logits)


def _tensor(value: Any) -> torch.Tensor:
    assert isinstance(value, torch.Tensor)
    return value


def _pool(pooling: Pooling, states: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """[b, L, h] → [b, h], over real positions. A sample without any counts as wholly real."""
    if pooling == "cls":
        return states[:, 0]
    if real is None:
        real = states.new_ones(states.shape[:2], dtype=torch.bool)
    real = real | ~real.any(1, keepdim=True)
    if pooling == "max":
        return states.masked_fill(~real.unsqueeze(-1), -torch.inf).amax(1)
    if pooling == "last":
        last = (real * torch.arange(1, real.shape[1] + 1, device=real.device)).argmax(1)
        return states[torch.arange(len(states), device=states.device), last]
    weights = real.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(1) / weights.sum(1)


def pooling_of(config: TransformersConfig, said: Mapping[str, Any]) -> tuple[Pooling, str]:
    """How a network without a head makes one vector of a sample, and by whose word.

    Args:
        said: ``1_Pooling/config.json`` of sentence-transformers, unchecked; empty if there is none.

    Raises:
        UnknownArchitecture: a pooling that is not one of the four.
    """
    if not said:
        return "mean", "the mean over real positions, since 1_Pooling/config.json says nothing else"
    source = "1_Pooling/config.json beside the weights"
    mode = said.get("pooling_mode")
    if isinstance(mode, str) and mode in _MODES:
        return _MODES[mode], source
    on = [key for key, value in said.items() if key.startswith("pooling_mode") and value is True]
    if len(on) == 1 and on[0] in _POOLINGS:
        return _POOLINGS[on[0]], source
    raise UnknownArchitecture(
        f"1_Pooling/config.json asks {config.name} for another pooling than one of mean, first, largest and last",
        "pass --arch file.py:factory, where factory() returns the nn.Module with its pooling",
    )
