"""Small invented measurements on which rules, fixes and formats show what they do.

Rules carry examples built with these functions, and the contract tests run them; nothing here
reaches a user's report. Defaults describe a healthy two-layer network; override what matters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lcaudit.core.measurements import (
    PERCENTILES,
    BatchNormReplay,
    CheckpointRecord,
    Environment,
    Evidence,
    FactorSpectrum,
    FileRecord,
    LayerRecord,
    LayerSpectra,
    Measurements,
    NetworkRecord,
    Normalisation,
    ProbeFit,
    ProbeRecord,
    Settings,
    WhatIf,
)
from lcaudit.core.quantity import Quantity, wilson


def quantity(value: float, spread: float = 0.1, unit: str = "1", n: int = 1000, reliable: bool = True) -> Quantity:
    """A positive number whose interval is ``value`` ÷ and × (1 + spread)."""
    low, high = value / (1 + spread), value * (1 + spread)
    return Quantity(value, unit, low, high, method="grouped jackknife", n=n, reliable=reliable)


def spectrum(
    dimension: int = 64,
    condition_number: float = 100.0,
    zero: int = 0,
    rank: int | None = None,
    largest: float = 1.0,
    reliable: bool = True,
) -> FactorSpectrum:
    """A spectrum that falls exponentially, κ_80 being ``condition_number``."""
    kappas = {p: quantity(condition_number ** (float(p) / 80), reliable=reliable) for p in PERCENTILES}
    full = dimension - zero if rank is None else rank
    step = condition_number ** (-1 / max(1.0, 0.8 * full))
    values = [largest * step**i for i in range(full)]
    stride = max(1, full // 32)
    return FactorSpectrum(
        dimension,
        zero,
        full,
        1.2e-7,
        quantity(largest),
        quantity(sum(values)),
        kappas,
        quantity(sum(values) / largest, reliable=reliable),
        quantity(max(1.0, full / 2), reliable=reliable),
        tuple((i + 1, values[i]) for i in range(0, full, stride)),
    )


def layer(
    name: str = "layer",
    kind: str = "linear",
    *,
    gain: float = 1.5,
    condition_number: float = 100.0,
    dimension: int = 64,
    outputs: int = 10,
    zero: int = 0,
    rank: int | None = None,
    samples: int = 1000,
    mean_energy: float = 0.3,
    reliable: bool = True,
    spread: float = 0.1,
    depth: int = 0,
    **wiring: Any,
) -> LayerSpectra:
    """One layer whose κ_80 falls from ``condition_number`` by the factor ``gain`` under batch norm.

    ``wiring`` overrides fields of its :class:`LayerRecord` (``reads``, ``through``, ``is_head``, …).
    """
    record = LayerRecord(
        name=name,
        kind=kind,
        depth=depth,
        parameters=dimension * outputs + outputs,
        inputs=dimension,
        outputs=outputs,
        groups=1,
        positions=1 if kind == "linear" else 64,
        geometry="" if kind == "linear" else "3×3, padding 1",
        reads="layer",
        through="ReLU",
        is_head=False,
    )
    inputs = spectrum(dimension, condition_number, zero, rank, reliable=reliable)
    gradient = spectrum(outputs, 20.0)
    what_if = {
        change: WhatIf(
            change,
            {
                p: replace(q, value=q.value / factor, low=q.low / factor, high=q.high / factor)
                for p, q in inputs.condition_number.items()
                if q.low and q.high
            },
            quantity(factor, spread, unit="×", reliable=reliable),
            inputs.curve,
            "exact for this layer's own input",
        )
        for change, factor in (("centring", gain**0.7), ("batch_norm", gain))
    }
    return LayerSpectra(
        layer=replace(record, **wiring),
        samples=samples,
        input=inputs,
        centred=inputs,
        gradient=gradient,
        fisher=spectrum(dimension * outputs, condition_number * 20),
        mean_energy=quantity(mean_energy, unit="share"),
        what_if=what_if,
        weight_norm=3.0,
        scaled_curvature=quantity(9.0),
        gradient_label="expected, one draw",
        enough_samples=4 * dimension,
        least_samples=4 * dimension,
        fisher_largest=quantity(1.0 if kind == "linear" else 20.0, 0.5, "nat", n=128),
        kronecker_ratio=quantity(1.0 if kind == "linear" else 0.05, 0.4, "×", n=128),
    )


def batch_norm(name: str = "bn", shift: float = 0.02, spread: float = 0.01, depth: int = 0) -> BatchNormReplay:
    """A batch-norm layer whose probe statistics differ from the running ones by ``shift``."""
    value = Quantity(shift, "1", max(0.0, shift - spread), shift + spread, method="grouped jackknife", n=1000)
    return BatchNormReplay(name, depth, 16, value, replace(value, unit="nat"))


def fit(wrong: int = 83, of: int = 1000, classes: int = 10, loss: float = 0.3) -> ProbeFit:
    """A probe on which ``wrong`` of ``of`` balanced samples are misclassified."""
    interval = Quantity(loss, "nat", loss - 0.05, loss + 0.05, method="normal", n=of)
    return ProbeFit(
        wilson(wrong, of), interval, 1 - 1 / classes, Quantity(0.2, "nat", 0.18, 0.22, method="normal", n=of)
    )


def measurements(**changes: Any) -> Measurements:
    """A healthy small network; any field of :class:`Measurements` can be replaced by name."""
    base = Measurements(
        checkpoint=CheckpointRecord(
            "model.safetensors", "safetensors", "0" * 64, (FileRecord("model.safetensors", 1_000_000, "0" * 64),)
        ),
        network=NetworkRecord(
            "resnet_cifar",
            "ResNet-8 (CIFAR)",
            {"depth": 8, "classes": 10},
            "identified",
            (Evidence("keys and shapes", "all tensors fit"),),
            (),
            2000,
            (3, 32, 32),
            10,
            "float32",
        ),
        probe=ProbeRecord(
            "cifar10",
            "test",
            "test.npz",
            "1" * 64,
            10000,
            1000,
            "0-999",
            0,
            True,
            tuple(str(i) for i in range(10)),
            (3, 32, 32),
            Normalisation((0.5,) * 3, (0.25,) * 3, "data set default"),
        ),
        fit=fit(),
        layers=(layer("body", "conv2d", dimension=27, outputs=16), layer("head", is_head=True, depth=1)),
        batch_norms=(batch_norm(),),
        not_audited=(),
        non_finite=(),
        settings=Settings(0, 1000, 100, "float32", "cpu"),
        environment=Environment("0", "3.11", "2.13", "2.4", "Linux", "cpu", 2),
        tensors=20,
    )
    return replace(base, **changes)
