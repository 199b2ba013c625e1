"""The command line on real files: a probe that does not fit, another container, many samples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from real_material import JPEG, NETWORKS, TEST, TRAIN, arrays, command

import lcaudit
from lcaudit.core import serial
from tests.cases import needs_shared

pytestmark = [needs_shared, pytest.mark.slow]
RESNET20 = NETWORKS[0].path

#: Runs a command and prints its exit code and its peak of resident memory. It stands between because a
#: child's peak counts from the memory of the process that starts it.
WATCH = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


def test_a_probe_that_does_not_fit_is_said_first_with_the_reason(tmp_path: Path) -> None:
    """The same images re-encoded as JPEG: the error more than doubles."""
    done = command("check", RESNET20, "--data", JPEG, "-o", tmp_path, "--color", "never")
    assert done.returncode == 1, done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    first = report["findings"][0]
    assert first["rule"] == "LC901"
    assert first["severity"] == "error"
    error = report["measurements"]["fit"]["error"]["value"]
    recorded = 1 - report["measurements"]["checkpoint"]["recorded"]["value"]
    assert report["measurements"]["probe"]["samples"] == 1000
    assert 0.17 < error < 0.21
    for share in (error, recorded):
        assert f"{100 * share:.1f} %" in first["title"]
        assert f"{100 * share:.1f} %" in done.stdout
    assert "preprocessing" in first["message"]
    assert first["fixes"]
    others = {finding["rule"] for finding in report["findings"][1:]}
    assert others
    assert all(done.stdout.index("LC901") < done.stdout.index(rule) for rule in others)


def test_a_safetensors_copy_gives_the_same_report(tmp_path: Path) -> None:
    stored = torch.load(RESNET20, weights_only=True, map_location="cpu")
    copy = tmp_path / "copy.safetensors"
    tensors = {name: tensor.contiguous() for name, tensor in stored["state_dict"].items()}
    safetensors.torch.save_file(tensors, copy, {"best_prec1": str(float(stored["best_prec1"]))})
    reports = [serial.plain(lcaudit.audit(path, str(TEST), samples=100, max_memory=2**31)) for path in (RESNET20, copy)]
    records = [report["measurements"].pop("checkpoint") for report in reports]
    for report in reports:
        del report["run"]  # when, and how long
    assert reports[0] == reports[1]
    assert records[0]["recorded"] == records[1]["recorded"]
    assert records[0]["sha256"] != records[1]["sha256"]


def _peak(line: list[str]) -> int:
    """Peak of resident memory of a command, in the system's own unit."""
    watched = subprocess.run(line, capture_output=True, text=True, check=True)
    code, peak = map(int, watched.stdout.split())
    assert code == 0, watched.stderr
    return peak


@pytest.mark.skipif(
    "LCAUDIT_MEMORY" not in os.environ,
    reason="four whole audits, two of 5,000 images: minutes; set LCAUDIT_MEMORY=1 to run it",
)
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="this platform does not tell a child's peak memory")
def test_peak_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path, record_property) -> None:
    parts = [arrays(path) for path in (TRAIN, TEST)]
    images, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    peaks = []
    for samples in (500, 5000):
        data = tmp_path / f"cifar10-{samples}.npz"
        np.savez(data, images=images[:samples], labels=labels[:samples])
        line = [sys.executable, "-c", WATCH, sys.executable, "-m", "lcaudit"]
        line += ["check", str(RESNET20), "--data", str(data), "--no-output", "--device", "cpu", "--format", "json"]
        # identical runs differ by some percent with the order in which threads ask for memory: the smaller
        # of two is what the run needs
        peaks.append(min(_peak(line) for _ in range(2)))
    record_property("peak memory, 5,000 samples / 500", f"{peaks[1] / peaks[0]:.3f}")
    print(f"\npeak memory for 500 and 5,000 samples: {peaks}, ratio {peaks[1] / peaks[0]:.3f}")
    assert peaks[1] <= 1.1 * peaks[0]
