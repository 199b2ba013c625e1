"""Writes docs/layer-kinds.md from the conformance suite: ``python -m tests.conformance.layer_kinds_page``."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from tests.conformance.compare import worst_errors
from tests.conformance.conformance_cases import CASES, REFUSED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "layer-kinds.md"

INTRODUCTION = """\
# Layer kinds

What lcaudit measures, option by option, and how far it is from a slow computation that shares nothing with it.
This page is written by `python -m tests.conformance.layer_kinds_page`; a test keeps it in step with the suite.

**What is compared.** Σ_x, μ and Σ_g of every layer in a small network, and κ_50 and κ_80 of Σ_x, of Σ_g and of
their products. The figure is the worst relative error of all of these, rounded up to a power of ten: in Frobenius
norm for matrices, of the value for condition numbers. The networks have 24 samples, and every layer that can have a
bias is tried with and without one.

**With what.** *Autograd*: one sample at a time in float64, rows by explicit indices. For every sample the gradient
of the weight that autograd returns must equal Σ g xᵀ over the rows, which proves that these are the rows whose
second moments belong in the two factors. *curvlinops*: the K-FAC factors of curvlinops-for-pytorch under matched
conventions, for the kinds that it supports; on a trained ResNet-20 and 100 CIFAR-10 images they agree to 1e-5 at
every layer.

**How a weight is found.** By its use (`F.linear`, `F.conv2d`, `x @ W`, …), not by its module: a packed, shared,
repeated or checkpointed weight is measured where it acts, and rows of several uses add up.

"""
ROWS = """\
## Rows

| kind | a row of the input | a row of the gradient | positions |
|---|---|---|---|
| Linear, `x @ W` | a vector or token [d_in] | ∂ℓ/∂output [d_out] | tokens |
| Conv1d, 2d, 3d | an unfolded patch [c_in/groups · taps] | ∂ℓ/∂output at it [c_out/groups] | of the output |
| ConvTranspose1d, 2d, 3d | the channels at one place [c_in/groups] \
| the patch of ∂ℓ/∂output around it [c_out/groups · taps] | of the input |
| Embedding | a one-hot vector [entries] | ∂ℓ/∂output [width] | tokens |
| MultiheadAttention | a token [width] | ∂ℓ/∂projection: queries, keys and values together where packed | tokens |

Σ_x is the mean over rows, Σ_g the sum over rows averaged over samples. Convolutions with groups have one pair of
factors per group. Padding tokens, as told by the probe's mask, and entries at an embedding's `padding_idx` leave
both factors.
"""


def decade(error: float) -> str:
    """``3.1e-15`` → ``1e-14``; nothing is claimed below 1e-15."""
    return f"1e{max(-15, math.ceil(math.log10(error))) if error > 0 else -15:d}"


def measured_rows() -> list[tuple[str, ...]]:
    """Kind, option, bias, status, float64, float32, compared with."""
    rows = []
    for case in CASES:
        runs = [worst_errors(case, bias) for bias in case.biases]
        worst = [decade(max(run[dtype] for run in runs)) for dtype in (torch.float64, torch.float32)]
        against = "autograd, curvlinops" if case.curvlinops else "autograd"
        bias = "with, without" if len(case.biases) > 1 else "–"
        rows.append((case.kind, case.option, bias, "audited", *worst, against))
    return rows


def refused_rows() -> list[tuple[str, ...]]:
    """Kind, option, reason."""
    return [(case.kind, case.option, case.reason) for case in REFUSED]


def page() -> str:
    """The whole page. Cost: about a minute."""
    audited = _table(("kind", "option", "bias", "status", "float64", "float32", "compared with"), measured_rows())
    refused = _table(("kind", "option", "not audited, because"), refused_rows())
    return f"{INTRODUCTION}## Audited\n\n{audited}\n## Not audited\n\n{refused}\n{ROWS}"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '∣') for cell in line)} |\n" for line in lines)


def tables(text: str) -> list[list[tuple[str, ...]]]:
    """The rows of each table of a page, header left out."""
    found: list[list[tuple[str, ...]]] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("|"):
            if not inside:
                found.append([])
            found[-1].append(tuple(cell.strip() for cell in line.strip("|").split(" | ")))
        inside = line.startswith("|")
    return [rows[2:] for rows in found]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
