"""Figures of a network that reads text, literally: one sample without padding at a time, one position at a time.

Nothing here is shared with lcaudit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

#: One sample: its ids, and for each position (for a whole sample: one) its target, ``None`` where it does not count.
Sample = tuple[list[int], list[int | None]]
#: Weight, positions among those that count, ∂ℓ/∂outputs there.
Way = tuple[float, list[int], torch.Tensor]
Ways = Callable[[int, torch.Tensor], Sequence[Way]]


def causal(ids: list[int]) -> Sample:
    """Each token's target is the next one."""
    return ids, [*ids[1:], None]


def figures(
    model: torch.nn.Module,
    samples: Sequence[Sample],
    pseudo: Ways,
) -> tuple[dict[str, dict], dict]:
    """Σ_x, Σ_g and rows of every linear layer; and loss, entropy and error of the given targets.

    Args:
        pseudo: (number of the sample, its outputs [T, C] at the positions that count) → for each way in which labels
            can fall a ``Way``, each to be taken back through the network by itself.
    """
    layers = {name: part for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    result: dict[str, dict] = {name: {"x": 0.0, "g": 0.0, "rows": 0} for name in layers}
    fit = {"loss": 0.0, "entropy": 0.0, "wrong": 0, "counted": 0}
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def watch(name):
        def hook(module, args, output):
            output.retain_grad()
            seen[name] = (args[0].detach(), output)

        return hook

    handles = [part.register_forward_hook(watch(name)) for name, part in layers.items()]
    for number, (ids, targets) in enumerate(samples):
        outputs = rows_of(model(torch.tensor([ids])))
        for name, (x, _) in seen.items():
            rows = x.reshape(-1, x.shape[-1])
            result[name]["x"] = result[name]["x"] + rows.T @ rows
            result[name]["rows"] += len(rows)
        counted = [place for place, target in enumerate(targets) if target is not None]
        logits = outputs.detach()
        for place in counted:
            p = torch.softmax(logits[place], 0)
            fit["loss"] -= float(torch.log(p[targets[place]]))
            fit["entropy"] -= float((p * p.log()).sum())
            fit["wrong"] += int(p.argmax()) != targets[place]
            fit["counted"] += 1
        for weight, positions, slopes in pseudo(number, logits[counted]):
            model.zero_grad()
            outputs = rows_of(model(torch.tensor([ids])))
            chosen = outputs[[counted[place] for place in positions]]
            (chosen * slopes).sum().backward()
            for name, (_, output) in seen.items():
                g = output.grad.reshape(-1, output.shape[-1])
                result[name]["g"] = result[name]["g"] + weight * g.T @ g / len(samples)
    for handle in handles:
        handle.remove()
    model.zero_grad()
    for one in result.values():
        one["x"] = one["x"] / one["rows"]
    for name in ("loss", "entropy"):
        fit[name] /= max(1, fit["counted"])
    return result, fit


def rows_of(outputs: torch.Tensor) -> torch.Tensor:
    """[1, T, C] or [1, C] → [T, C]."""
    return outputs.reshape(-1, outputs.shape[-1])


def every_label(number: int, logits: torch.Tensor) -> list[Way]:
    """The whole expectation under softmax: labels of different positions are independent, so one position at a time."""
    ways = []
    for place, row in enumerate(logits):
        p = torch.softmax(row, 0)
        for label, weight in enumerate(p):
            slope = p.clone()
            slope[label] -= 1
            ways.append((float(weight), [place], slope))
    return ways


def every_direction(number: int, outputs: torch.Tensor) -> list[Way]:
    """The whole expectation under a Gaussian of unit variance: E[g gᵀ] = I."""
    return [(1.0, [place], one) for place in range(len(outputs)) for one in torch.eye(outputs.shape[1]).to(outputs)]


def given(samples: Sequence[Sample]) -> Ways:
    """The labels at hand, all positions of a sample together."""

    def ways(number: int, logits: torch.Tensor) -> list[Way]:
        wanted = [target for target in samples[number][1] if target is not None]
        slopes = torch.softmax(logits, 1)
        for place, target in enumerate(wanted):
            slopes[place, target] -= 1
        return [(1.0, list(range(len(wanted))), slopes)]

    return ways
