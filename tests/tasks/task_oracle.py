"""Second moments of gradients, one sample and one whole assignment of labels at a time, by autograd."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from tests.oracles.literal import gradient_rows_of

#: (weight, targets of one sample) pairs over which g gᵀ is averaged.
Assignments = list[tuple[float, torch.Tensor]]


class Pixels(nn.Module):
    """[b, 2, h, w] → logits [b, 3, h/2, w/2], positions mixed by the convolutions."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(4, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Tokens(nn.Module):
    """[b, T, 3] → logits [b, T, C], positions mixed by a cumulative mean, which knows no length."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.first(x))
        steps = torch.arange(1, x.shape[1] + 1, dtype=x.dtype).unsqueeze(-1)
        return self.head(torch.tanh(self.second(x.cumsum(1) / steps)))


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    return {name: part for name, part in model.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear))}


def watched(model: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The outputs, and every layer's own output."""
    seen: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        return lambda module, args, output: seen.__setitem__(name, output)

    handles = [part.register_forward_hook(watch(name)) for name, part in layers_of(model).items()]
    outputs = model(inputs)
    for handle in handles:
        handle.remove()
    return outputs, seen


def sample_loss(task: str, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """ℓ of one sample straight from torch; ``outputs`` [1, …], ``targets`` of one sample."""
    if task == "classification":
        return F.cross_entropy(outputs, targets[None], reduction="sum", ignore_index=-100)
    if task == "binary":
        return F.binary_cross_entropy_with_logits(outputs, targets[None], reduction="sum")
    return F.mse_loss(outputs, targets[None], reduction="sum") / 2


def second_moments(
    model: nn.Module, inputs: torch.Tensor, task: str, assignments: list[Assignments], classes_last: bool = False
) -> dict[str, torch.Tensor]:
    """Σ over samples of E[g gᵀ], g at every layer's output, by name: [groups, o, o]."""
    layers = layers_of(model)
    total = dict.fromkeys(layers, torch.zeros(()))
    for sample, weighted in zip(inputs, assignments, strict=True):
        outputs, seen = watched(model, sample[None])
        for weight, targets in weighted:
            loss = sample_loss(task, outputs.movedim(-1, 1) if classes_last else outputs, targets)
            gradients = torch.autograd.grad(loss, list(seen.values()), retain_graph=True)
            for name, gradient in zip(seen, gradients, strict=True):
                rows = gradient_rows_of(layers[name], gradient[0])
                total[name] = total[name] + weight * rows.transpose(1, 2) @ rows
    return total


def every_class(outputs: torch.Tensor, ignored: torch.Tensor | None = None) -> Assignments:
    """Every joint assignment of classes to one sample's positions, with its probability. ``outputs`` [C, …]."""
    probabilities = outputs.detach().reshape(len(outputs), -1).softmax(0)
    classes, positions = probabilities.shape
    skipped = [False] * positions if ignored is None else ignored.flatten().tolist()
    result: Assignments = []
    for labels in itertools.product(*([-100] if skip else range(classes) for skip in skipped)):
        weight = math.prod(float(probabilities[c, t]) for t, c in enumerate(labels) if c >= 0)
        result.append((weight, torch.tensor(labels).reshape(outputs.shape[1:])))
    return result


def every_answer(outputs: torch.Tensor) -> Assignments:
    """Every joint assignment of yes and no to one sample's labels, with its probability."""
    probabilities = outputs.detach().sigmoid().flatten().tolist()
    result: Assignments = []
    for answers in itertools.product((0.0, 1.0), repeat=len(probabilities)):
        weight = math.prod(p if y else 1 - p for p, y in zip(probabilities, answers, strict=True))
        result.append((weight, torch.tensor(answers, dtype=outputs.dtype).reshape(outputs.shape)))
    return result


def every_sign(outputs: torch.Tensor) -> Assignments:
    """Targets one unit above or below each output: the second moments of a Gaussian of unit variance, exactly."""
    signs = list(itertools.product((-1.0, 1.0), repeat=outputs.numel()))
    steps = [torch.tensor(sign, dtype=outputs.dtype).reshape(outputs.shape) for sign in signs]
    return [(1 / len(signs), outputs.detach() + step) for step in steps]


def through(
    model: nn.Module, inputs: torch.Tensor, gradients: Callable[[torch.Tensor], Iterator[torch.Tensor]]
) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """Outputs, Σ over passes and samples of g gᵀ by layer, and the number of passes."""
    layers = layers_of(model)
    outputs, seen = watched(model, inputs)
    total, passes = dict.fromkeys(layers, torch.zeros(())), 0
    for gradient in gradients(outputs):
        assert gradient.shape == outputs.shape and gradient.dtype == outputs.dtype
        passes += 1
        found = torch.autograd.grad(outputs, list(seen.values()), gradient, retain_graph=True)
        for name, value in zip(seen, found, strict=True):
            rows = torch.cat([gradient_rows_of(layers[name], one) for one in value], dim=1)
            total[name] = total[name] + rows.transpose(1, 2) @ rows
    return outputs, total, passes
