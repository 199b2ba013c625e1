"""``lcaudit check --exact``: chosen layers, the head by default, and clear refusals."""

import json

import pytest


def exact(ran, folder):
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert ran.code == 0, ran.err
    return report["measurements"]["exact"]


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_the_head_is_checked_unless_layers_are_named(lcaudit, kit, tmp_path, kind):
    ran = lcaudit(*kit.arguments, "--exact", kind, "-o", tmp_path / "one")
    (found,) = exact(ran, tmp_path / "one")
    assert (found["layer"], found["kind"], found["converged"]) == ("3", kind, True)
    assert "3: λmax of the" in ran.out and "Lanczos" in ran.out
    assert "Cross-check" in (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    ran = lcaudit(*kit.arguments, "--exact", kind, "--exact-layer", "0", "--exact-layer", "3", "-o", tmp_path / "two")
    assert [one["layer"] for one in exact(ran, tmp_path / "two")] == ["0", "3"]


def test_own_fisher_and_trust_are_told(lcaudit, kit, tmp_path):
    ran = lcaudit(*kit.arguments, "-v", "-o", tmp_path / "run")
    assert "λmax(F)" in ran.out and "verdicts about conditioning rest on Σ_x and Σ_g" in " ".join(ran.out.split())
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    for layer in report["measurements"]["layers"]:
        own, ratio = layer["fisher_largest"], layer["kronecker_ratio"]
        assert own["low"] <= own["value"] <= own["high"] and ratio["unit"] == "×"
    assert "λmax of F itself" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "says", "hint"),
    [
        (("--exact", "ggn", "--exact-layer", "00"), "--exact-layer: the network has no layer '00'", "did you mean 0"),
        (("--exact", "ggn", "--exact-layer", "head\n"), "--exact-layer: the network has no layer", "did you mean"),
        (("--exact-layer", "0"), "--exact-layer needs --exact", None),
    ],
)
def test_a_layer_that_is_not_there_is_one_line(lcaudit, kit, options, says, hint):
    ran = lcaudit(*kit.arguments, *options, "--no-output")
    lines = ran.err.splitlines()
    assert ran.code == 2 and ran.out == "" and lines[0].startswith(f"lcaudit: error[usage]: {says}")
    assert len(lines) == (2 if hint else 1) and (not hint or hint in lines[1])


def test_a_hessian_needs_labels(lcaudit, kit, tmp_path):
    import numpy as np

    np.save(tmp_path / "images.npy", np.load(kit.folder / "right.npz")["images"])
    ran = lcaudit(*kit.arguments[:-1], tmp_path / "images.npy", "--exact", "hessian", "--no-output")
    assert ran.code == 2 and "needs labels" in ran.err and "--exact ggn" in ran.err
