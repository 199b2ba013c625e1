"""The largest eigenvalue of one layer's own curvature matrix, without the Kronecker form: a cross-check.

Lanczos iteration with products of the matrix and a vector; the matrix itself is never formed.

* ``ggn``: the generalised Gauss–Newton matrix E[Jᵀ (diag p − p pᵀ) J], which for softmax cross-entropy is
  the expected Fisher information (Martens 2020), over all classes and not one draw.
* ``hessian``: of the mean loss on the given labels; it may have negative eigenvalues, and the largest
  is reported.

Both are with respect to the layer's weight alone, bias held fixed, like Σ_x ⊗ Σ_g.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch.func import functional_call

from lcaudit.capture._as_found import as_found
from lcaudit.capture._choose import did_you_mean
from lcaudit.core.errors import ProbeUnavailable, UsageError
from lcaudit.core.measurements import ExactCurvature
from lcaudit.core.quantity import Quantity
from lcaudit.core.text import display_name
from lcaudit.core.types import Network, Probe

Kind = Literal["hessian", "ggn"]
#: Lanczos stops when the residual is this share of the eigenvalue, or after this many products.
TOLERANCE, MOST_STEPS = 1e-3, 60


def largest_curvature(
    network: Network,
    probe: Probe,
    layer: str,
    kind: Kind,
    *,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int,
    seed: int,
    progress: Callable[[int], None] = lambda step: None,
) -> Quantity:
    """λmax of the layer's block on the whole probe.

    Args:
        layer: state-dict path of a module with a ``weight``. progress: called with the step's number.

    Returns:
        The Ritz value, its interval the residual bound (Parlett 1998, theorem 4.5.1): an eigenvalue lies
        within it. Sampling noise of the probe is not in it.

    Raises:
        UsageError: no such layer. ProbeUnavailable: a Hessian without labels.

    Cost: per step about two forward and backward passes over the probe.
    """
    check(network, probe, [layer], kind)
    with as_found(network.module, device, dtype) as module:
        return _largest(module, probe, layer, kind, device, dtype, batch_size, seed, progress)


def check(network: Network, probe: Probe, layers: Sequence[str], kind: Kind) -> None:
    """Refuse what cannot be computed, before anything is.

    Raises: as :func:`largest_curvature`.
    """
    if kind == "hessian" and probe.labels is None:
        raise ProbeUnavailable("--exact hessian needs labels, and this probe has none", "use --exact ggn")
    known = [
        name.removesuffix(".weight")
        for name, one in network.module.named_parameters()
        if name.endswith(".weight") and one.dim() > 1
    ]
    for layer in layers:
        if layer not in known:
            raise UsageError(
                f"--exact-layer: the network has no layer {display_name(layer)!r} with a weight matrix",
                did_you_mean(layer, known),
            )


def cross_check(
    network: Network, probe: Probe, layers: Sequence[str], kind: Kind, *,
    device: torch.device, dtype: torch.dtype, batch_size: int, seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[ExactCurvature, ...]:  # fmt: skip
    """:func:`largest_curvature` of several layers. ``progress``: called with (steps done, most steps)."""
    found = []
    for place, layer in enumerate(layers):

        def step(number: int, before: int = place * MOST_STEPS) -> None:
            progress(before + number, len(layers) * MOST_STEPS)

        value = largest_curvature(
            network, probe, layer, kind, device=device, dtype=dtype, batch_size=batch_size, seed=seed, progress=step
        )
        converged = value.high is not None and value.high - value.value <= 1.01 * TOLERANCE * abs(value.value)
        found.append(ExactCurvature(layer, kind, value, converged))
    return tuple(found)


def _largest(
    module: torch.nn.Module, probe: Probe, layer: str, kind: Kind, device: torch.device, dtype: torch.dtype,
    batch_size: int, seed: int, progress: Callable[[int], None],
) -> Quantity:  # fmt: skip
    name, samples = f"{layer}.weight", len(probe.keys)
    weight = dict(module.named_parameters())[name].detach()

    def product(vector: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(weight, dtype=torch.float64 if device.type != "mps" else dtype)
        direction = vector.to(weight).view_as(weight)
        for start in range(0, samples, batch_size):
            stop = min(start + batch_size, samples)
            inputs = probe.batch(start, stop).to(device)
            inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs  # token ids stay whole numbers
            labels = None if probe.labels is None else torch.from_numpy(probe.labels[start:stop]).to(device)
            total += _batch_product(module, name, weight, inputs, labels, direction, kind)
        return (total / samples).double().cpu().flatten()

    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(weight.numel(), generator=generator, dtype=torch.float64)
    value, residual, steps = lanczos(product, first, progress)
    return Quantity(
        value,
        "nat",
        value - residual,
        value + residual,
        method=f"Lanczos, {steps} steps, residual bound; sampling noise not included",
        n=samples,
    )


def _batch_product(
    module: torch.nn.Module, name: str, weight: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor | None,
    direction: torch.Tensor, kind: Kind,
) -> torch.Tensor:  # fmt: skip
    """Σ over a batch of (matrix of one sample) · direction, by differentiating twice in reverse."""
    value = weight.clone().requires_grad_(True)
    logits = functional_call(module, {name: value}, (inputs,))
    if logits.dim() != 2:
        raise UsageError(
            f"--exact needs a classifier that scores each sample once, this network returns {list(logits.shape)}",
            "leave --exact out",
        )
    if kind == "hessian":
        assert labels is not None
        loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, value, create_graph=True)
        return torch.autograd.grad(slope, value, direction)[0]
    # J · direction is the derivative of (uᵀ J) · direction with respect to u
    dummy = torch.zeros_like(logits, requires_grad=True)
    (pulled,) = torch.autograd.grad(logits, value, dummy, create_graph=True)
    (tangent,) = torch.autograd.grad(pulled, dummy, direction, retain_graph=True)
    probabilities = logits.detach().softmax(-1)
    curved = probabilities * (tangent - (probabilities * tangent).sum(-1, keepdim=True))
    return torch.autograd.grad(logits, value, curved)[0]


def lanczos(
    product: Callable[[torch.Tensor], torch.Tensor],
    first: torch.Tensor,
    progress: Callable[[int], None] = lambda step: None,
) -> tuple[float, float, int]:
    """(largest Ritz value, its residual norm, steps) of a symmetric operator on float64 vectors [P].

    Full reorthogonalisation: without it converged eigenvalues come back as ghosts.
    """
    basis = [first / first.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for step in range(1, min(MOST_STEPS, len(first)) + 1):
        image = product(basis[-1])
        diagonal.append(float(basis[-1] @ image))
        for _ in range(2):  # twice is enough (Parlett)
            for one in basis:
                image -= (one @ image) * one
        norm = float(image.norm())
        tridiagonal = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        values, vectors = np.linalg.eigh(tridiagonal)
        residual = norm * abs(float(vectors[-1, -1]))
        progress(step)
        if residual <= TOLERANCE * abs(values[-1]) or norm <= 1e-14 * max(abs(values[0]), abs(values[-1]), 1e-300):
            break
        beside.append(norm)
        basis.append(image / norm)
    return float(values[-1]), residual, step
