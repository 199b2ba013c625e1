"""Audits of publicly trained networks, against literal computations of the same numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from real_material import NETWORKS, SEED, TEST, TRAIN, Published, arrays, by_definition
from torch import nn

import lcaudit
from lcaudit import Report, architectures, capture, checkpoints, spectra
from lcaudit.core.measurements import FactorSpectrum, LayerSpectra
from tests.cases import needs_shared, network, probe
from tests.oracles import unfolded

pytestmark = [needs_shared, pytest.mark.slow]

#: Directions with a smaller share of λmax do not count: ε of float32, as lcaudit.core.convention states.
AGREEMENT = 1e-4


@pytest.mark.parametrize("published", NETWORKS, ids=lambda published: f"resnet{published.depth}")
def test_a_published_network(published: Published, record_property) -> None:
    """One audit and one literal computation, looked at from all sides."""
    report = lcaudit.audit(published.path, str(TEST), seed=SEED, precision=0)
    oracle = by_definition(published, arrays(TEST)[0])
    is_named_and_audited_whole(report, published)
    for name, deviation in agrees(report, oracle, published).items():
        record_property(name, f"{deviation:.1e}")
        print(f"ResNet-{published.depth} {name}: worst relative deviation {deviation:.1e}")
    findings_are_few_and_list_their_layers(report)
    dead_features_are_those(report, oracle)
    the_head_is_an_opportunity(report, oracle)
    low, high = (getattr(report.measurements.layers[-1].input.condition_number["80"], end) for end in ("low", "high"))
    print(f"ResNet-{published.depth} head: κ_80 within {low:.0f} and {high:.0f}")
    if published.head:
        assert low <= published.head["now"][1] <= high, "846 images must not rule out what 4,660 show"


def is_named_and_audited_whole(report: Report, published: Published) -> None:
    measured = report.measurements
    assert measured.network.title.startswith(f"ResNet-{published.depth} ")
    assert measured.network.confidence == "identified"
    assert measured.probe.samples == 846
    assert measured.fit is not None and measured.fit.error is not None
    assert round(measured.fit.error.value * 846, 6) == published.wrong
    assert [spectrum.layer.name for spectrum in measured.layers] == [*published.convolutions, "linear"]
    assert [spectrum.layer.name for spectrum in measured.layers if spectrum.layer.is_head] == ["linear"]
    assert {module.kind for module in measured.not_audited} == {"BatchNorm2d"}


def agrees(report: Report, oracle: unfolded.Measured, published: Published) -> dict[str, float]:
    """Every layer's Σ_x, Σ_g and Σ_x ⊗ Σ_g; the worst relative deviation of each figure."""
    assert int((oracle.predicted != arrays(TEST)[1]).sum()) == published.wrong
    assert oracle.margin.min() > 1e-5, "every label must be drawn alike in float32 and float64"
    worst: dict[str, float] = {}
    for spectrum in report.measurements.layers:
        factors = oracle.layers[spectrum.layer.name]
        parts = {
            "Σ_x": (spectrum.input, unfolded.figures(factors.second)),
            "Σ_g": (spectrum.gradient, unfolded.figures(factors.gradient)),
            "Σ_x ⊗ Σ_g": (spectrum.fisher, unfolded.product_figures(factors.second, factors.gradient)),
        }
        for part, (measured, want) in parts.items():
            where = f"{spectrum.layer.name} {part}"
            assert measured.rank == want.rank, where
            for name, deviation in deviations(measured, want).items():
                assert deviation < AGREEMENT, f"{where} {name}: off by {deviation:.1e}"
                worst[f"{part} {name}"] = max(worst.get(f"{part} {name}", 0.0), deviation)
        energy = float(factors.mean @ factors.mean / np.trace(factors.second))
        assert spectrum.mean_energy.raw == pytest.approx(energy, rel=AGREEMENT), spectrum.layer.name
    return worst


def deviations(measured: FactorSpectrum, want: unfolded.Figures) -> dict[str, float]:
    """Relative, of the figures on this very probe, before any bias was removed."""
    got = {f"κ_{p}": measured.condition_number[p].raw for p in ("50", "80")} | {"λmax": measured.largest.raw}
    wanted = {f"κ_{p}": want.condition_number[p] for p in ("50", "80")} | {"λmax": want.largest}
    return {name: abs(got[name] / wanted[name] - 1) for name in got}


def findings_are_few_and_list_their_layers(report: Report) -> None:
    layers = report.measurements.layers
    per_rule = Counter(finding.rule for finding in report.findings)
    assert max(per_rule.values()) <= 3, per_rule
    for rule in per_rule:
        listed = [layer for finding in report.findings if finding.rule == rule for layer in finding.layers]
        assert len(set(listed)) == len(listed), f"{rule} names a layer twice"
    (stream,) = [finding for finding in report.findings if finding.id == "LC302:uncentred-residual-stream"]
    assert len(stream.layers) > 1
    assert {spectrum.layer.reads for spectrum in layers if spectrum.layer.name in stream.layers} == {"sum of branches"}
    accused = {check.layer for check in report.checks if (check.rule, check.status) == ("LC302", "fail")}
    assert accused == {layer for finding in report.findings if finding.rule == "LC302" for layer in finding.layers}
    assert len(accused) < len(layers) / 2
    assert "conv1" not in accused, "no normalisation helps against the spectrum of natural images"
    assert not any(finding.severity == "error" for finding in report.findings)
    assert report.gate.exit_code == 0


def dead_features_are_those(report: Report, oracle: unfolded.Measured) -> None:
    dead = {name: int(factors.dead.sum()) for name, factors in oracle.layers.items()}
    assert {spectrum.layer.name: spectrum.input.zero for spectrum in report.measurements.layers} == dead
    assert any(dead.values())
    (finding,) = [finding for finding in report.findings if finding.rule == "LC303"]
    assert list(finding.layers) == [name for name, entries in dead.items() if entries]


def the_head_is_an_opportunity(report: Report, oracle: unfolded.Measured) -> None:
    (head,) = [finding for finding in report.findings if finding.rule == "LC301"]
    assert (head.kind, head.layers, head.severity) == ("opportunity", ("linear",), "warning")
    (fix,) = [fix for fix in head.fixes if fix.id == "batch-norm-before"]
    (effect,) = [effect for effect in fix.effects if "80" in effect.metric]
    spectrum = report.measurements.layers[-1]
    assert effect.before == spectrum.input.condition_number["80"]
    assert effect.after == spectrum.what_if["batch_norm"].condition_number["80"]
    assert effect.before.raw / effect.after.raw == pytest.approx(effect.gain.raw, rel=1e-6)
    # the literal BatchNorm: γ = 1, β = 0, ε = 1e-5, statistics of the probe
    factors = oracle.layers["linear"]
    centred = factors.second - np.outer(factors.mean, factors.mean)
    scale = 1 / np.sqrt(np.diag(centred) + 1e-5)
    after = unfolded.figures(centred * np.outer(scale, scale))
    assert effect.after.raw == pytest.approx(after.condition_number["80"], rel=AGREEMENT)


def test_in_float64_too_and_on_the_heads_product_formed_whole(tmp_path: Path) -> None:
    images, labels = (array[:60] for array in arrays(TEST))
    np.savez(tmp_path / "cifar10-first.npz", images=images, labels=labels)
    report = lcaudit.audit(
        NETWORKS[0].path, str(tmp_path / "cifar10-first.npz"), seed=SEED, dtype="float64", precision=0
    )
    oracle = by_definition(NETWORKS[0], images)
    for spectrum in report.measurements.layers:
        factors = oracle.layers[spectrum.layer.name]
        parts = [
            (spectrum.input, unfolded.figures(factors.second)),
            (spectrum.gradient, unfolded.figures(factors.gradient)),
            (spectrum.fisher, unfolded.product_figures(factors.second, factors.gradient)),
        ]
        if spectrum.layer.is_head:
            parts.append((spectrum.fisher, unfolded.figures(np.kron(factors.second, factors.gradient))))
        for measured, want in parts:
            assert measured.rank == want.rank, spectrum.layer.name
            assert max(deviations(measured, want).values()) < AGREEMENT, spectrum.layer.name


@pytest.mark.parametrize(
    "published", [one for one in NETWORKS if one.head], ids=lambda published: f"resnet{published.depth}"
)
def test_heads_have_their_known_condition_numbers_on_the_training_images(published: Published) -> None:
    images, _ = arrays(TRAIN)
    assert len(images) == 4660
    spectrum = head_on(published, images)
    kappas = {"now": spectrum.input.condition_number}
    kappas |= {change: what_if.condition_number for change, what_if in spectrum.what_if.items()}
    for change, (half, most) in published.head.items():
        assert kappas[change]["50"].raw == pytest.approx(half, rel=0.02), change
        assert kappas[change]["80"].raw == pytest.approx(most, rel=0.02), change


def head_on(published: Published, images: np.ndarray) -> LayerSpectra:
    """The head by itself, measured on the features that the network computes for ``images``."""
    module = architectures.resolve(checkpoints.open_checkpoint(published.path)).module
    linear = module.get_submodule("linear")
    assert isinstance(linear, nn.Linear)
    features: list[torch.Tensor] = []
    handle = linear.register_forward_pre_hook(lambda _, args: features.append(args[0]))
    with torch.no_grad():
        for part in unfolded.normalised(images).float().split(100):
            module(part)
    handle.remove()
    moments = capture.measure(
        network(nn.Sequential(linear)), probe(torch.cat(features)), device=torch.device("cpu"), dtype=torch.float32,
        batch_size=500, seed=SEED,
    )  # fmt: skip
    return spectra.analyse(moments.layers[0], float32=True)
