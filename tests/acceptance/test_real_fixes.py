"""Fixes on publicly trained networks: applied, written, read back, measured again."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_material import EACH, JPEG, NETWORKS, TEST, Published, command, thorough

import lcaudit
from lcaudit.core.outcomes import Report
from lcaudit.core.serial import load, parse_json
from lcaudit.mend import mend
from tests.cases import needs_shared

pytestmark = [needs_shared, pytest.mark.slow]


@pytest.mark.parametrize("published", EACH)
def test_batch_norm_before_the_head(published: Published) -> None:
    """The function stays the same, and κ is what was predicted."""
    mended = mend(
        published.path, TEST, "fixed.safetensors", select=("batch-norm-before",), samples=400, layers=("linear",),
        batch_size=100,
    )  # fmt: skip
    found = mended.report.verification
    (applied,) = found.applied
    assert applied.layers == ("linear",) and applied.applicability == "safe"
    assert found.samples == 400 and found.held_out == 400
    assert max(found.logits_probe, found.logits_held_out) <= 1e-4
    assert found.error_probe_before == found.error_probe_after
    assert found.error_held_out_before == found.error_held_out_after
    assert found.gradient_change <= 1e-4, "Σ_g is unchanged"
    assert {one.metric for one in found.figures} >= {"κ_50 of Σ_x", "κ_80 of Σ_x ⊗ Σ_g"}
    for one in found.figures:
        assert one.measured == pytest.approx(one.predicted, rel=1e-4), one
    ratio = {one.metric: one.before / one.measured for one in found.figures}
    assert ratio["κ_80 of Σ_x"] > 5 and ratio["κ_50 of Σ_x"] > 5
    assert "LC301:linear" in found.gone


@thorough
def test_padded_convolutions_keep_their_function_at_the_borders() -> None:
    layers = ("layer1.1.conv1", "layer3.1.conv1")
    mended = mend(
        NETWORKS[0].path, TEST, "fixed.safetensors", select=("LC302",), samples=200, layers=layers, batch_size=100
    )
    found = mended.report.verification
    assert found.applied and found.applied[0].applicability == "safe"
    assert max(found.logits_probe, found.logits_held_out) <= 1e-5
    for one in found.figures:
        assert one.measured == pytest.approx(one.predicted, rel=1e-4), one


@thorough
def test_statistics_gathered_on_half_of_the_jpeg_copies_are_judged_on_the_other_half() -> None:
    mended = mend(
        NETWORKS[0].path,
        JPEG,
        "fixed.safetensors",
        select=("recalibrate-batch-norm",),
        unsafe=True,
        layers=("linear",),
        batch_size=100,
    )
    found = mended.report.verification
    assert found.samples == 500 and found.held_out == 500
    (judged,) = found.applied or found.refused
    assert judged.error_before.n == judged.error_after.n == 500, "both errors are of the half that was held out"
    assert bool(found.applied) == (judged.error_after.value < judged.error_before.value)
    print(f"held out: {judged.error_before.value:.3f} -> {judged.error_after.value:.3f}, applied {bool(found.applied)}")


@pytest.mark.parametrize("published", EACH)
def test_new_rules_are_quiet_on_ordinary_networks(published: Published) -> None:
    """The first convolutions of all blocks, which are half of the layers and all that read the stream."""
    report = lcaudit.audit(
        published.path, TEST, samples=100, layers="*.conv1", select=("LC201", "LC305", "LC306"), batch_size=100
    )
    assert not report.findings
    passed = [check.rule for check in report.checks if check.status == "pass"]
    assert passed.count("LC201") == (published.depth - 2) // 2 and passed.count("LC306") == 1


@thorough
def test_fix_then_check_from_files_alone(tmp_path: Path) -> None:
    out = tmp_path / "fixed.safetensors"
    options = ("--select", "LC301", "--samples", 400, "--batch-size", 100)
    done = command("fix", NETWORKS[0].path, "--data", TEST, *options, "-o", out)
    assert done.returncode == 0, done.stderr
    again = tmp_path / "again.json"
    done = command("check", out, "--data", TEST, "--samples", 400, "--no-output", "--export", f"json={again}")
    assert done.returncode == 0, done.stderr
    report = load(Report, parse_json(again.read_bytes()))
    assert ", changed by lcaudit fix" in report.measurements.network.title
    assert report.measurements.network.family == "resnet_cifar"
    assert "linear.1" in {one.layer.name for one in report.measurements.layers}
