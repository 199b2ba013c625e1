"""One network, one answer: whatever the container, however often asked, and within rounding whatever the batches."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lcaudit.architectures.resnet_cifar import FAMILY
from lcaudit.demo.train import VARIANT

Run = Callable[..., Any]
ON_DIGITS = ("--data", "digits", "--samples", "100", "-qq")
RECORDED = 0.123
#: What a container may change: the record of the file itself.
OF_THE_FILE = {"name", "container", "sha256", "files", "unwrapped"}


def audited(lcaudit: Run, *arguments: object) -> dict[str, Any]:
    """The report.json, without when and how long."""
    ran = lcaudit("check", *arguments)
    assert ran.code in (0, 1), ran.err
    report = json.loads(Path("lcaudit-report/report.json").read_text(encoding="utf-8"))
    assert set(report.pop("run")) == {"started_at", "seconds"}
    return report


def without_the_file(report: dict[str, Any]) -> str:
    """Everything but the record of the file, as text: equal texts are equal bits."""
    checkpoint = report["measurements"]["checkpoint"]
    kept = {key: value for key, value in checkpoint.items() if key not in OF_THE_FILE}
    return json.dumps({**report, "measurements": {**report["measurements"], "checkpoint": kept}}, indent=1)


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, f"{path}.{key}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from numbers(item, f"{path}[{i}]")
    else:
        yield path, value


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small residual network, untrained, recognised from its tensors."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FAMILY.build({**VARIANT, "blocks": "1-1-1", "widths": "4-8-16", "stem_width": 4})
    path = tmp_path_factory.mktemp("residual") / "small.safetensors"
    state = {key: tensor for key, tensor in network.state_dict().items() if "num_batches" not in key}
    save_file(state, path, {"best_acc": str(RECORDED)})
    return path


def test_the_container_changes_nothing_but_the_record_of_the_file(lcaudit: Run, tmp_path: Path, weights: Path) -> None:
    tensors = load_file(weights)
    backwards = dict(reversed(tensors.items()))
    prefixed = {f"module.{key}": tensor for key, tensor in backwards.items()}
    counters = {
        key.replace("running_mean", "num_batches_tracked"): torch.tensor(7) for key in tensors if "running_mean" in key
    }
    torch.save({"state_dict": prefixed, "best_acc": RECORDED, "epoch": 3}, tmp_path / "a.pt")
    torch.save({"model": tensors, "best_acc": RECORDED}, tmp_path / "b.th", _use_new_zipfile_serialization=False)
    save_file(backwards, tmp_path / "c.bin", {"best_acc": str(RECORDED), "other": "x"})
    torch.save({"model": {**tensors, **counters}, "best_acc": 100 * RECORDED}, tmp_path / "with_counters.pt")
    first = audited(lcaudit, weights, *ON_DIGITS)
    assert len(first["measurements"]["layers"]) == 8
    assert first["measurements"]["checkpoint"]["recorded"] == {"key": "best_acc", "value": RECORDED}
    for name in ("a.pt", "b.th", "c.bin"):
        again = audited(lcaudit, tmp_path / name, *ON_DIGITS)
        assert again["measurements"]["checkpoint"]["name"] == name
        assert again["measurements"]["checkpoint"]["sha256"] != first["measurements"]["checkpoint"]["sha256"]
        assert without_the_file(again) == without_the_file(first)

    # counters are further tensors of the file; no figure of the network changes
    more = audited(lcaudit, tmp_path / "with_counters.pt", *ON_DIGITS)
    assert more["measurements"]["tensors"] == first["measurements"]["tensors"] + len(counters)
    assert len(counters) == 7 and more["measurements"]["layers"] == first["measurements"]["layers"]
    assert (more["findings"], more["checks"], more["gate"]) == (first["findings"], first["checks"], first["gate"])


def test_a_copy_of_the_file_gives_the_same_report_but_for_its_name(lcaudit: Run, tmp_path: Path, weights: Path) -> None:
    (tmp_path / "copy.bin").write_bytes(weights.read_bytes())
    first, again = (audited(lcaudit, path, *ON_DIGITS) for path in (weights, tmp_path / "copy.bin"))
    for report, name in ((first, weights.name), (again, "copy.bin")):
        checkpoint = report["measurements"]["checkpoint"]
        assert checkpoint.pop("name") == checkpoint["files"][0].pop("name") == name
    assert json.dumps(first) == json.dumps(again)


def test_the_same_command_gives_the_same_bytes(lcaudit: Run, kit) -> None:
    texts = []
    for _ in range(2):
        lcaudit(*kit.wrong)
        texts.append(Path("lcaudit-report/report.json").read_text())
    first, second = (json.loads(text)["run"] for text in texts)
    for written in (first, second):
        texts = [text.replace(json.dumps(written["started_at"]), '"when"') for text in texts]
    bare = [
        text.replace(text[text.index('"seconds"') : text.index("}", text.index('"seconds"'))], "") for text in texts
    ]
    assert bare[0] == bare[1]


@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-5), ("float64", 1e-9)])
def test_the_batch_size_changes_rounding_only(lcaudit: Run, weights: Path, dtype: str, close: float) -> None:
    """λ_p is known to rounding of λmax, so a κ_p to rounding times itself: κ above 1e3 may move more."""
    one, other = (audited(lcaudit, weights, *ON_DIGITS, "--dtype", dtype, "--batch-size", size) for size in (128, 3))
    assert one["measurements"]["settings"].pop("batch_size") == 128
    assert other["measurements"]["settings"].pop("batch_size") == 3
    compared = 0
    for (path, left), (there, right) in zip(numbers(one), numbers(other), strict=True):
        assert path == there
        if isinstance(left, float) and math.isfinite(left) and ".curve" not in path:
            compared += 1
            assert left == pytest.approx(right, rel=close * max(1.0, abs(left) / 1e3), abs=1e-12), path
        elif not isinstance(left, float):
            assert left == right, path
    assert compared > 500
    assert one["gate"] == other["gate"]
