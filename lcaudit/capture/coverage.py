"""Which parameters were not measured, and why."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.modules.batchnorm import _NormBase

from lcaudit.capture._weights import Block
from lcaudit.capture.handlers import kind_of
from lcaudit.core.measurements import NotAudited
from lcaudit.core.text import display_name

_NORMALISATIONS = (_NormBase, torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.RMSNorm)
_RECURRENT = (torch.nn.RNNBase, torch.nn.RNNCellBase)


def not_audited(
    module: torch.nn.Module, reasons: Mapping[int, str], aside: Mapping[int, str], audited: set[Block]
) -> tuple[NotAudited, ...]:
    """Every module that owns parameters that were not measured. Shared parameters count once.

    Args:
        reasons: by parameter's id, why a weight that acts was refused.
        aside: by parameter's id, an operation that takes it and is not measured. audited: what was measured.
    """
    measured: dict[int, int] = {}
    for identity, _, size in audited:
        measured[identity] = measured.get(identity, 0) + size
    seen: set[int] = set()
    missing = []
    for name, part in module.named_modules():
        own = {key: p for key, p in part.named_parameters(recurse=False) if id(p) not in seen}
        seen.update(map(id, own.values()))
        left = {key: p for key, p in own.items() if measured.get(id(p), 0) < p.numel()}
        if left:
            number = sum(p.numel() - measured.get(id(p), 0) for p in left.values())
            reason = _reason(part, left, reasons, aside, partly=len(left) < len(own))
            missing.append(NotAudited(name, type(part).__name__, number, reason))
    return tuple(missing)


def _reason(
    part: torch.nn.Module,
    left: Mapping[str, torch.nn.Parameter],
    reasons: Mapping[int, str],
    aside: Mapping[int, str],
    partly: bool,
) -> str:
    kind = display_name(type(part).__name__)
    for parameter in left.values():
        if id(parameter) in reasons:
            return reasons[id(parameter)]
    if isinstance(part, _NORMALISATIONS):
        return "scale and shift of a normalisation: they have no Kronecker form"
    if isinstance(part, _RECURRENT):
        return "a recurrent layer runs its steps in one operation: their inputs and gradients cannot be seen"
    for key, parameter in left.items():
        if id(parameter) in aside:
            return f"its {display_name(key)} is used by {display_name(aside[id(parameter)])!r}, which is not measured"
    if partly:
        return f"no measurement for {', '.join(map(display_name, left))} of {kind} yet"
    if kind_of(part):
        return "it did not run in the forward pass"
    return f"no measurement for {kind} yet"
