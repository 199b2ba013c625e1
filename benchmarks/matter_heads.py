"""Part of ``benchmarks/does_it_matter.py``: heads of real networks trained again on frozen features.

Multinomial logistic regression of the labels on what the head reads, from weights of zero, without weight decay.
Every variant is an affine change of the same features, so that all have the same function at the start and the same
optimal training loss, and only the way between differs. The features of training images are linearly separable, so
that with the given labels the optimum is 0 and lies at infinity; with smoothed labels it can be reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from lcaudit import opening

VARIANTS = ("plain", "centred", "batch norm", "whitened")
#: Step sizes, as multiples of 2 / λmax of the features' second moment with a constant 1 for the bias.
MULTIPLES = tuple(2.0**i for i in range(-1, 12))
#: Step sizes of Adam.
ADAM = tuple(10.0 ** (i / 2) for i in range(-5, 2))
#: Steps at which the loss is looked at.
STEPS = (10, 30, 100)
#: Share of each label that is spread over all classes.
SMOOTHING = {"smoothed labels": 0.1, "given labels": 0.0}
EPS = 1e-5
#: Newton's method ends where it can gain no more than this.
GAIN = 1e-10


def features(checkpoint: Path, data: str, root: Path | None, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What the last linear layer reads on every sample [n, d], float64, and the labels [n]."""
    _, networks, probe = opening.opened(
        checkpoint, data, None, root=root, split=split, samples=10**6, seed=0, mean=None, std=None, task="auto",
        ignore_index=-100,
    )  # fmt: skip
    module = networks[0].module.eval()
    head = [one for one in module.modules() if isinstance(one, torch.nn.Linear)][-1]
    read: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].double()))
    with torch.no_grad():
        for start in range(0, len(probe.keys), 100):
            module(probe.batch(start, min(start + 100, len(probe.keys))))
    hook.remove()
    assert probe.labels is not None, "a named data set has labels"
    return torch.cat(read), torch.from_numpy(probe.labels[: len(probe.keys)])


def changed(train: torch.Tensor, test: torch.Tensor, variant: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sets of features after the change, whose statistics are the training set's; a constant 1 is appended."""
    mean, variance = train.mean(0), train.var(0, correction=0)
    if variant == "plain":
        matrix, mean = torch.eye(train.shape[1], dtype=train.dtype), torch.zeros_like(mean)
    elif variant == "centred":
        matrix = torch.eye(train.shape[1], dtype=train.dtype)
    elif variant == "batch norm":
        matrix = torch.diag((variance + EPS).rsqrt())
    else:
        values, vectors = torch.linalg.eigh((train - mean).T @ (train - mean) / len(train))
        matrix = vectors * (values + EPS).rsqrt()
    first, second = (torch.cat([(one - mean) @ matrix, torch.ones_like(one[:, :1])], 1) for one in (train, test))
    return first, second


def optimum(rows: torch.Tensor, targets: torch.Tensor) -> tuple[float, torch.Tensor]:
    """The smallest mean loss in nats, by Newton's method with halved steps, and the weights that reach it.

    Where classes can be separated there is no smallest loss; the iteration then ends near 0, its infimum.
    """
    (n, d), classes = rows.shape, targets.shape[1]
    weights = rows.new_zeros(d, classes)
    loss = functional.cross_entropy(rows @ weights, targets)
    for _ in range(60):
        p = torch.softmax(rows @ weights, 1)
        gradient = rows.T @ (p - targets) / n
        hessian = rows.new_zeros(classes, d, classes, d)
        for a in range(classes):
            for b in range(a, classes):
                share = p[:, a] * (float(a == b) - p[:, b])
                hessian[a, :, b] = hessian[b, :, a] = rows.T @ (rows * share[:, None]) / n
        square = hessian.reshape(classes * d, classes * d)
        square.diagonal().add_(1e-10 * float(square.diagonal().mean()))
        step = torch.linalg.solve(square, gradient.T.flatten()).reshape(classes, d).T
        promised, size = float((gradient * step).sum()) / 2, 1.0
        while size > 1e-6:
            candidate = functional.cross_entropy(rows @ (weights - size * step), targets)
            if candidate <= loss:
                break
            size /= 2
        else:
            break
        weights, loss = weights - size * step, candidate
        if promised < GAIN:
            break
    return float(loss), weights


def descend(
    rows: torch.Tensor, targets: torch.Tensor, sizes: torch.Tensor, adam: bool
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Full-batch gradient descent, or Adam, with every step size at once: step, losses [s], weights [s, d, classes].

    Cost: 4 n d · classes · s operations a step.
    """
    (n, d), classes = rows.shape, targets.shape[1]
    weights = rows.new_zeros(d, len(sizes), classes)
    first, second = torch.zeros_like(weights), torch.zeros_like(weights)
    wanted = targets[:, None]
    size = sizes[None, :, None]
    for step in range(max(STEPS) + 1):
        logits = (rows @ weights.flatten(1)).reshape(n, len(sizes), classes)
        if step in STEPS:
            loss = -(wanted * torch.log_softmax(logits, 2)).sum(2).mean(0)
            yield step, loss, weights.transpose(0, 1)
        difference = torch.softmax(logits, 2) - wanted
        gradient = (rows.T @ difference.flatten(1)).reshape(weights.shape) / n
        if adam:
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient.square()
            t = step + 1
            gradient = (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        weights = weights - size * gradient


def one_seed(train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor], seed: int) -> Any:
    """Every variant on resampled training and test samples; seed 0 takes them as they are."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(rows: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.randint(len(rows), (len(rows),), generator=generator) if seed else torch.arange(len(rows))
        return rows[chosen], labels[chosen]

    (rows, labels), (others, answers) = drawn(*train), drawn(*test)
    classes = int(train[1].max()) + 1
    targets = {
        name: functional.one_hot(labels, classes) * (1 - share) + share / classes for name, share in SMOOTHING.items()
    }
    white = changed(rows, others, "whitened")[0]
    best = {name: optimum(white, wanted.double())[0] for name, wanted in targets.items()}
    found: dict[str, Any] = {"seed": seed, "optimum": best, "variants": {}}
    for variant in VARIANTS:
        here, there = changed(rows, others, variant)
        scale = 2 / float(torch.linalg.matrix_norm(here, 2) ** 2 / len(here))
        sizes = {"gradient descent": [scale * m for m in MULTIPLES], "adam": list(ADAM)}
        here, there = here.float(), there.float()
        found["variants"][variant] = {
            name: {
                optimiser: _best(here, wanted.float(), there, answers, sizes[optimiser], best[name])
                for optimiser in sizes
            }
            for name, wanted in targets.items()
        }
    return found


def _best(
    rows: torch.Tensor, targets: torch.Tensor, others: torch.Tensor, answers: torch.Tensor, sizes: list[float],
    optimal: float,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """At each step looked at, the step size with the least training loss: its distance to the optimum and error."""
    found = {}
    adam = sizes == list(ADAM)
    for step, losses, weights in descend(rows, targets, torch.tensor(sizes), adam):
        place = int(torch.where(losses.isfinite(), losses, torch.inf).argmin())
        wrong = ((others @ weights[place]).argmax(1) != answers).double().mean()
        found[str(step)] = {
            "distance": float(losses[place]) - optimal, "error": float(wrong), "size": sizes[place],
            "at_an_end_of_the_grid": place in (0, len(sizes) - 1),
        }  # fmt: skip
    return found


def run(checkpoints: Iterable[Path], data: str, root: Path | None, seeds: int, told: Any = print) -> list[Any]:
    """Every checkpoint: features once, then every seed."""
    found = []
    for path in checkpoints:
        train, test = (features(path, data, root, split) for split in ("train", "test"))
        told(f"{path.name}: {tuple(train[0].shape)} training features")
        found.append(
            {
                "checkpoint": path.name, "training_samples": len(train[0]), "test_samples": len(test[0]),
                "dimension": train[0].shape[1], "seeds": [one_seed(train, test, seed) for seed in range(seeds)],
            }
        )  # fmt: skip
    return found
