"""For each fix a network that needs it, which it cures, and one that does not, to which nothing is offered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import lcaudit
from lcaudit.core import plugins
from lcaudit.core.text import count
from lcaudit.mend import TOLERANCE, Mended, mend
from tests.mend import mend_networks as networks

HERE = Path(networks.__file__)


@dataclass(frozen=True, slots=True)
class Case:
    """``sick`` needs ``fix`` for a finding of ``rule``; ``healthy`` is of the same architecture or like it."""

    fix: str
    rule: str
    factory: str
    sick: Callable[[], nn.Module]
    healthy: Callable[[], nn.Module]
    healthy_factory: str = ""
    unsafe: bool = False


CASES = {
    "head": Case(
        "batch-norm-before", "LC301", "mlp", networks.uncentred_head, lambda: networks.seeded(networks.normalised_mlp),
        "normalised_mlp",
    ),
    "padded convolution": Case(
        "batch-norm-before", "LC302", "conv", networks.uncentred_conv, lambda: networks.seeded(networks.normalised_mlp),
        "normalised_mlp",
    ),
    "centred head": Case(
        "centre-input", "LC301", "mlp", networks.uncentred_head, lambda: networks.seeded(networks.normalised_mlp),
        "normalised_mlp",
    ),
    "centred convolution": Case(
        "centre-input", "LC302", "conv", networks.uncentred_conv, lambda: networks.seeded(networks.normalised_mlp),
        "normalised_mlp",
    ),
    "weights": Case(
        "rescale-weights", "LC201", "conv_norm", networks.dominated, lambda: networks.seeded(networks.conv_norm)
    ),
    "pair": Case("equalise-curvature", "LC305", "mlp", networks.imbalanced, lambda: networks.seeded(networks.mlp)),
    "dead units": Case(
        "prune-dead-features", "LC303", "mlp", networks.with_dead_units, lambda: networks.seeded(networks.mlp)
    ),
    "dead channels": Case(
        "prune-dead-features", "LC303", "conv_norm", networks.with_dead_channels,
        lambda: networks.seeded(networks.conv_norm),
    ),
    "statistics": Case(
        "recalibrate-batch-norm", "LC401", "conv_norm", networks.stale, lambda: networks.trained(networks.conv_norm),
        unsafe=True,
    ),
}  # fmt: skip
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def run(network: nn.Module, factory: str, folder: Path, *select: str, unsafe: bool = False, **options) -> Mended:
    path = folder / "model.pt"
    torch.save(network.state_dict(), path)
    arch = f"{HERE}:{factory}"
    return mend(path, "digits", "fixed.safetensors", select=select, unsafe=unsafe, arch=arch, **options)


def test_every_fix_that_can_be_made_has_its_case() -> None:
    made = {fix.id for fix in plugins.load_all("lcaudit.fixes", "FIX") if fix.plan}
    assert made == {case.fix for case in CASES.values()}


@each
def test_the_fix_cures_it_and_the_finding_is_gone(case: Case, tmp_path: Path) -> None:
    dtype = "float64"  # small eigenvalues of these few-sample probes lie near float32's rounding
    mended = run(case.sick(), case.factory, tmp_path, case.fix, unsafe=case.unsafe, dtype=dtype)
    found = mended.report.verification
    assert found is not None and {one.fix for one in found.applied} == {case.fix}, found.refused
    answered = [one.answers for one in found.applied if one.answers.startswith(case.rule)]
    assert answered and set(answered) <= set(found.gone) and not set(answered) & set(found.left)
    assert not any(finding.rule == case.rule for finding in mended.report.findings)
    assert found.samples == 398 and found.held_out == 398
    if case.unsafe:
        assert found.error_held_out_after.value < found.error_held_out_before.value
        assert found.applied[0].error_after == found.error_held_out_after and found.gradient_change is None
        return
    assert max(found.logits_probe, found.logits_held_out) <= TOLERANCE
    assert found.error_held_out_after == found.error_held_out_before
    assert found.figures and found.gradient_change is not None and found.gradient_change < 1e-4
    for one in found.figures:
        assert one.measured == pytest.approx(one.predicted, rel=1e-4, nan_ok=True), one


@each
def test_nothing_is_offered_where_nothing_is_needed(case: Case, tmp_path: Path) -> None:
    network = case.healthy()
    mended = run(network, case.healthy_factory or case.factory, tmp_path, case.rule, unsafe=case.unsafe)
    assert mended.weights == b"" and mended.recipe == ""
    found = mended.report.verification
    assert found is not None and not found.applied and not found.refused
    assert not any(finding.rule == case.rule for finding in mended.report.findings)


@each
def test_the_recipe_does_the_same_to_the_users_own_network(case: Case, tmp_path: Path) -> None:
    network = case.sick()
    mended = run(network, case.factory, tmp_path, case.fix, unsafe=case.unsafe)
    (tmp_path / "fixed.recipe.json").write_text(mended.recipe)
    (tmp_path / "fixed.safetensors").write_bytes(mended.weights)
    inputs, _ = networks.images("test")
    with torch.no_grad():
        before = network(inputs)
        assert lcaudit.apply_recipe(network, tmp_path / "fixed.recipe.json") is network
        after = network(inputs)
        if not case.unsafe:
            assert (after - before).abs().max() <= TOLERANCE * before.abs().max()
    from safetensors.torch import load_file

    stored = load_file(tmp_path / "fixed.safetensors")
    own = network.state_dict()
    assert stored.keys() == own.keys()
    for key, value in own.items():
        torch.testing.assert_close(stored[key], value, rtol=1e-6, atol=1e-7)
    again = lcaudit.apply_recipe(case.sick(), str(tmp_path / "fixed.safetensors"))
    assert all(torch.equal(value, own[key]) for key, value in again.state_dict().items())


def test_dead_features_are_taken_out_of_every_tensor(tmp_path: Path) -> None:
    network = networks.with_dead_channels()
    mended = run(network, "conv_norm", tmp_path, "prune-dead-features")
    (tmp_path / "out.recipe.json").write_text(mended.recipe)
    lcaudit.apply_recipe(network, tmp_path / "out.recipe.json")
    assert network[0].weight.shape[0] == network[1].num_features == network[3].weight.shape[1] == 4
    assert network[0].out_channels == network[3].in_channels == 4
    applied = mended.report.verification.applied[0]
    assert applied.what.startswith(count(2, "dead channel"))


def test_a_fix_that_changes_outputs_is_refused_with_the_reason(tmp_path: Path, monkeypatch) -> None:
    """Features that sleep on one half of the samples and wake on the other."""
    network = networks.with_dead_units()
    inputs, _ = networks.images("test")
    torch.save(network.state_dict(), tmp_path / "model.pt")
    import numpy as np

    rng = np.random.default_rng(0).permutation(40)
    values = inputs[:40].numpy().copy()
    for held_out in rng[20:]:
        values[held_out] *= 1000  # wakes what the measuring half never does
    np.savez(tmp_path / "probe.npz", x=values, y=np.zeros(40, np.int64))
    mended = mend(
        tmp_path / "model.pt", tmp_path / "probe.npz", "fixed.safetensors", select=("prune-dead-features",),
        arch=f"{HERE}:mlp", mean=(0.0,), std=(1.0,),
    )  # fmt: skip
    found = mended.report.verification
    assert not found.applied and mended.weights == b""
    (refused,) = found.refused
    assert refused.fix == "prune-dead-features" and "on held-out samples, at most 0.0001 is safe" in refused.reason


def test_recalibration_that_does_not_help_is_refused_with_both_errors(tmp_path: Path) -> None:
    mended = run(
        networks.trained(networks.conv_norm), "conv_norm", tmp_path, "recalibrate-batch-norm", unsafe=True, samples=100
    )
    found = mended.report.verification
    if found.applied:  # a lucky draw: then the error must have fallen on samples it never saw
        assert found.error_held_out_after.value < found.error_held_out_before.value
    else:
        (refused,) = found.refused
        assert "does not fall" in refused.reason and refused.error_before.n == refused.error_after.n == 100
        assert refused.error_after.value >= refused.error_before.value


def test_unsafe_fixes_need_to_be_asked_for(tmp_path: Path) -> None:
    mended = run(networks.stale(), "conv_norm", tmp_path, "LC401")
    (refused,) = mended.report.verification.refused
    assert refused.fix == "recalibrate-batch-norm" and "--unsafe-fixes" in refused.reason and not mended.weights


def test_several_fixes_at_once_are_each_judged_and_predicted_together(tmp_path: Path) -> None:
    network = networks.dominated()
    with torch.no_grad():
        network[1].bias[[1, 4]] = -100
    networks.gathered(network)
    mended = run(network, "conv_norm", tmp_path, dtype="float64")
    found = mended.report.verification
    made = [one.fix for one in found.applied]
    assert made[:2] == ["prune-dead-features", "rescale-weights"]
    assert {"LC303:dead-features", "LC201:weights-before-normalisation"} - {"LC303:dead-features"} <= set(found.gone)
    assert found.gradient_change < 1e-4
    for one in found.figures:
        assert one.measured == pytest.approx(one.predicted, rel=1e-4, nan_ok=True), one


@pytest.mark.parametrize("name", ["head", "padded convolution", "centred convolution"])
def test_what_a_report_proposes_is_what_is_measured(name: str, tmp_path: Path) -> None:
    """Borders included: the fix puts the zeros first, and so does the proposal."""
    case = CASES[name]
    mended = run(case.sick(), case.factory, tmp_path, case.fix, dtype="float64")
    report = lcaudit.audit(tmp_path / "model.pt", "digits", arch=f"{HERE}:{case.factory}", dtype="float64", samples=398)
    proposed = {
        (effect.layer, effect.metric): effect
        for finding in report.findings if finding.rule == case.rule
        for fix in finding.fixes if fix.id == case.fix
        for effect in fix.effects
    }  # fmt: skip
    figures = [one for one in mended.report.verification.figures if (one.layer, one.metric) in proposed]
    assert figures
    for one in figures:
        effect = proposed[one.layer, one.metric]
        assert effect.before.raw == pytest.approx(one.before, rel=1e-4)
        assert effect.after.raw == pytest.approx(one.measured, rel=1e-4)
