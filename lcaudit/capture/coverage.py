"""Which modules with parameters were not measured, and why."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from lcaudit.capture.handlers import handler_for
from lcaudit.core.measurements import NotAudited
from lcaudit.core.text import display_name

_NORMALISATIONS = (_BatchNorm, torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.RMSNorm)


def shared_weights(module: torch.nn.Module) -> dict[str, str]:
    """Layers whose weight is also another module's: name → the other's name, for each of them."""
    owners: dict[int, list[str]] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        for parameter in part.parameters(recurse=False):
            if parameter.dim() > 1:
                owners.setdefault(id(parameter), []).append(name)
    return {
        name: display_name(next(other for other in names if other != name))
        for names in owners.values()
        if len(set(names)) > 1
        for name in names
    }


def not_audited(module: torch.nn.Module, refused: Mapping[str, str], audited: set[str]) -> tuple[NotAudited, ...]:
    """Every module that owns parameters and was not measured. Shared parameters count once."""
    seen: set[int] = set()
    missing = []
    for name, part in module.named_modules():
        own = [parameter for parameter in part.parameters(recurse=False) if id(parameter) not in seen]
        seen.update(id(parameter) for parameter in own)
        if not own or name in audited:
            continue
        kind = type(part).__name__
        if name in refused:
            reason = refused[name]
        elif isinstance(part, _NORMALISATIONS):
            reason = "scale and shift of a normalisation: they have no Kronecker form"
        elif handler_for(part):
            reason = "it did not run in the forward pass"
        else:
            reason = f"no measurement for {display_name(kind)} yet"
        missing.append(NotAudited(name, kind, sum(parameter.numel() for parameter in own), reason))
    return tuple(missing)
