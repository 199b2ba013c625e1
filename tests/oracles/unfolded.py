"""A whole published CIFAR-10 ResNet measured by its definitions: float64, every patch unfolded.

Nothing is shared with lcaudit: the weights are read with torch alone, the forward pass is written out
from the layout of akamaster/pytorch_resnet_cifar10 (three stages, option A shortcuts), each layer's
input is unfolded whole, each layer's output gradient comes from autograd, and κ_p is λ_1 / λ_⌈p·r⌉ over
the r sorted eigenvalues above d · eps(float64) · λmax.

Labels follow the published rule of the expected Fisher with one draw per sample: sample k has one
uniform number u_k in [0, 1), which the caller supplies, and its label is the first class c with
p_0 + … + p_c > u_k, p the softmax of the network's logits. At the head Σ_g is E[diag(p) − p pᵀ].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

#: Inputs of these networks: pixels / 255, then (x − mean) / std for each channel.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAD = "linear"
#: Images in one pass: keeps the unfoldings (9 MB at most) near the processor and changes nothing else.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Factors:
    """Σ_x [d, d], μ [d], Σ_g [o, o], and which entries of a row were never other than zero [d]."""

    second: np.ndarray
    mean: np.ndarray
    gradient: np.ndarray
    dead: np.ndarray


@dataclass(frozen=True, slots=True)
class Measured:
    """Factors by layer in order of execution, and what the network said.

    Attributes:
        predicted: most probable class [n]. drawn: label drawn for Σ_g [n].
        margin: distance of each sample's uniform from the nearest edge between two classes [n]: a network
            whose probabilities are off by less draws the same label.
    """

    layers: Mapping[str, Factors]
    predicted: np.ndarray
    drawn: np.ndarray
    margin: np.ndarray


@dataclass(frozen=True, slots=True)
class Figures:
    """λmax, κ by percentile and rank of one symmetric matrix."""

    largest: float
    condition_number: Mapping[str, float]
    rank: int


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a ``.th`` file in float64, by name without the wrapper's ``module.``."""
    stored = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    return {name.removeprefix("module."): tensor.double() for name, tensor in stored.items()}


def normalised(images: np.ndarray) -> torch.Tensor:
    """uint8 images [n, 32, 32, 3] → float64 network inputs [n, 3, 32, 32]."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(numbers, dtype=torch.float64)[:, None, None] for numbers in (MEAN, STD))
    return (pixels - mean) / std


class _Tape:
    """Convolutions and the head, applied while their inputs and outputs are written down."""

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        self.state = state
        self.seen: dict[str, tuple[torch.Tensor, torch.Tensor, int]] = {}

    def convolution(self, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return self._keep(name, x, F.conv2d(x, self.state[f"{name}.weight"], None, stride, 1), stride)

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self._keep(name, x, x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"], 0)

    def batch_norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        mean, variance, weight, bias = (
            self.state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) * (weight / torch.sqrt(variance + 1e-5)) + bias

    def _keep(self, name: str, x: torch.Tensor, h: torch.Tensor, stride: int) -> torch.Tensor:
        h.retain_grad()
        self.seen[name] = (x.detach(), h, stride)
        return h


def forward(tape: _Tape, x: torch.Tensor) -> torch.Tensor:
    """Inputs [n, 3, 32, 32] → logits [n, 10]."""
    x = F.relu(tape.batch_norm("bn1", tape.convolution("conv1", x)))
    for stage in (1, 2, 3):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in tape.state:
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            out = F.relu(tape.batch_norm(f"{name}.bn1", tape.convolution(f"{name}.conv1", x, stride)))
            out = tape.batch_norm(f"{name}.bn2", tape.convolution(f"{name}.conv2", out))
            if stride == 2:  # option A: every second pixel, and zero channels before and after
                zeros = torch.zeros_like(out[:, : x.shape[1] // 2])
                x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], 1)
            x = F.relu(out + x)
            block += 1
    return tape.linear(HEAD, x.mean((2, 3)))


def measure(state: Mapping[str, torch.Tensor], inputs: torch.Tensor, uniforms: np.ndarray) -> Measured:
    """Every layer's Σ_x, μ and Σ_g over ``inputs`` [n, 3, 32, 32] with the labels that ``uniforms`` [n] draw."""
    sums: dict[str, list[np.ndarray | int]] = {}
    predicted, drawn, margin = [], [], []
    for start in range(0, len(inputs), _AT_ONCE):
        tape = _Tape(state)
        logits = forward(tape, inputs[start : start + _AT_ONCE].requires_grad_(True))
        p = logits.detach().softmax(1)
        edges = p.cumsum(1)[:, :-1]
        u = torch.from_numpy(uniforms[start : start + _AT_ONCE])[:, None]
        labels = (edges <= u).sum(1)
        F.cross_entropy(logits, labels, reduction="sum").backward()
        predicted.append(p.argmax(1))
        drawn.append(labels)
        margin.append((edges - u).abs().amin(1))
        for name, (x, h, stride) in tape.seen.items():
            rows, gradient = (_convolution if stride else _head)(x, h, stride)
            live = rows.any(1).astype(int)  # any entry other than zero
            terms = [rows @ rows.T, rows.sum(1), gradient, live, rows.shape[1]]
            sums[name] = [a + b for a, b in zip(sums[name], terms, strict=True)] if name in sums else terms
    layers = {
        name: Factors(second / rows, mean / rows, gradient / len(inputs), live == 0)
        for name, (second, mean, gradient, live, rows) in sums.items()
    }
    return Measured(layers, *(torch.cat(parts).numpy() for parts in (predicted, drawn, margin)))


def _convolution(x: torch.Tensor, h: torch.Tensor, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches [d, rows], entries by channel, then kernel row, then column; Σ of g gᵀ over samples and positions."""
    assert h.grad is not None
    gradients = h.grad.transpose(0, 1).flatten(1).numpy()
    padded = F.pad(x, (1, 1, 1, 1)).transpose(0, 1)
    side = h.shape[-1] * stride
    taps = [padded[:, :, i : i + side : stride, j : j + side : stride] for i in range(3) for j in range(3)]
    return torch.stack(taps, 1).reshape(9 * len(padded), -1).numpy(), gradients @ gradients.T


def _head(x: torch.Tensor, h: torch.Tensor, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Features [d, rows] and Σ over samples of diag(p) − p pᵀ."""
    p = h.detach().softmax(1).numpy()
    return x.T.numpy(), np.diag(p.sum(0)) - p.T @ p


def figures(matrix: np.ndarray) -> Figures:
    """λmax, κ_p and rank of one symmetric matrix [d, d] over the directions above d · eps · λmax."""
    return _from_eigenvalues(_above(matrix))


def product_figures(left: np.ndarray, right: np.ndarray) -> Figures:
    """Of left ⊗ right: all products of one factor's directions above the floor with the other's."""
    products = np.multiply.outer(_above(left), _above(right))
    return _from_eigenvalues(np.sort(products, axis=None)[::-1])


def _above(matrix: np.ndarray) -> np.ndarray:
    """Descending eigenvalues above d · eps · λmax."""
    values = np.linalg.eigvalsh(matrix)[::-1]
    return values[values > len(values) * float(np.finfo(np.float64).eps) * values[0]]


def _from_eigenvalues(descending: np.ndarray) -> Figures:
    rank = len(descending)
    kappa = {str(p): float(descending[0] / descending[math.ceil(p * rank / 100) - 1]) for p in (50, 80, 90, 100)}
    return Figures(float(descending[0]), kappa, rank)
