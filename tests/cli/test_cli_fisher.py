"""``--task``, ``--fisher``, ``--mc-samples``, ``--ignore-index``: what they change, and what a report says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lcaudit.audit import audit
from lcaudit.capture.tasks import tasks
from lcaudit.cli.check import COMMAND

Run = Callable[..., object]

PIXELS = """
import torch


def make():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, OUTPUTS, 1)
    )


make.input_shape = (1, 6, 6)
"""


def report() -> dict:
    return json.loads(Path("lcaudit-report/report.json").read_text(encoding="utf-8"))


def told(found: dict) -> str:
    return " ".join(found["convention"])


def gradients(found: dict) -> list[str]:
    return [one["gradient_label"] for one in found["measurements"]["layers"]]


CLOSED = "expected, closed form"


@pytest.mark.parametrize(
    ("options", "labels", "says", "settings"),
    [
        ([], ["expected, one draw per sample", CLOSED], "(one seeded draw per sample); in closed form, diag(p)", {}),
        (["--mc-samples", "3"], ["expected, 3 draws per sample", CLOSED], "(3 seeded draws", {"mc_samples": 3}),
        (
            ["--mc-samples", "exact"],
            ["expected, exact over classes", CLOSED],
            "taken over all labels exactly",
            {"mc_samples": "exact"},
        ),
        (
            ["--fisher", "empirical"],
            ["empirical, given labels"] * 2,
            "empirical, with the given labels",
            {"fisher": "empirical", "mc_samples": 0},
        ),
        (["--task", "classification", "--ignore-index", "255"], None, "the label 255 do not", {"ignore_index": 255}),
    ],
)
def test_the_report_says_what_was_measured(
    lcaudit: Run, kit, options: list[str], labels: list[str] | None, says: str, settings: dict
) -> None:
    assert lcaudit(*kit.arguments, *options).code == 0
    found = report()
    assert says in told(found)
    assert ("noise of the draws" in told(found)) == (settings.get("mc_samples", 1) not in ("exact", 0))
    assert labels is None or gradients(found) == labels
    defaults = {"fisher": "expected", "mc_samples": 1, "task": "classification", "ignore_index": -100}
    measured = found["measurements"]["settings"]
    assert {key: measured[key] for key in defaults} == defaults | settings
    assert measured["task_evidence"].startswith("integer labels") and measured["loss"].startswith("ℓ = ")
    assert measured["task_evidence"] in told(found) and measured["loss"] in told(found)


def test_more_draws_come_nearer_to_the_exact_expectation(lcaudit: Run, kit) -> None:
    traces = {}
    for draws in ("1", "16", "exact"):
        lcaudit(*kit.arguments, "--mc-samples", draws)
        traces[draws] = report()["measurements"]["layers"][0]["gradient"]["trace"]["value"]
    assert abs(traces["16"] - traces["exact"]) < abs(traces["1"] - traces["exact"]) < 0.5 * traces["exact"]


def given(folder: Path, labels: np.ndarray | None, outputs: int = 3) -> list[str]:
    """A network that answers for each of 36 pixels, and 40 images with ``labels``."""
    (folder / "pixels.py").write_text(PIXELS.replace("OUTPUTS", str(outputs)))
    found: dict[str, Callable[[], torch.nn.Module]] = {}
    exec((folder / "pixels.py").read_text(), found)
    torch.manual_seed(0)
    save_file(found["make"]().state_dict(), folder / "pixels.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8)
    np.savez(folder / "pixels.npz", images=images, **({} if labels is None else {"labels": labels}))
    arguments = ["check", str(folder / "pixels.safetensors"), "--arch", f"{folder / 'pixels.py'}:make"]
    return [*arguments, "--data", str(folder / "pixels.npz"), "--fail-on", "never"]


def test_labels_of_pixels(lcaudit: Run, tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 3, (40, 6, 6))
    labels[:, 0] = 255
    arguments = given(tmp_path, labels)
    ran = lcaudit(*arguments)
    assert ran.code == 2 and "labels run from 0 to 255" in ran.err
    ran = lcaudit(*arguments, "--ignore-index", "255", "--fisher", "empirical")
    assert ran.code in (0, 3) and "error 6" in ran.out
    found = report()["measurements"]
    assert found["fit"]["error"]["n"] == 40 and len(found["layers"]) == 2
    assert lcaudit(*given(tmp_path, None)).code in (0, 3)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_answers_and_values_of_pixels(lcaudit: Run, tmp_path: Path, kind: str) -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 2, (40, 1, 6, 6)) if kind == "binary" else generator.normal(size=(40, 1, 6, 6))
    arguments = given(tmp_path, labels, outputs=1)
    for options in ([], ["--task", kind]):
        ran = lcaudit(*arguments, *options, "-v")
        assert ran.code in (0, 3), ran.err
        found = report()
        assert found["measurements"]["settings"]["task"] == kind and f"Task: {kind}" in told(found)
        assert (found["measurements"]["fit"]["error"] is None) == (kind == "regression")
        assert "diag(p)" not in told(found) and "no labels" not in ran.out
    (fits,) = [check for check in report()["checks"] if check["rule"] == "LC901"]
    if kind == "regression":
        assert fits["status"] == "skip" and "real values" in str(fits)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--mc-samples", "0"], "'0': expected a whole number from 1, or exact"),
        (["--mc-samples", "-3"], "'-3': expected a whole number from 1, or exact"),
        (["--mc-samples", "1.5"], "'1.5': expected a whole number from 1, or exact"),
        (["--mc-samples", "all"], "'all': expected a whole number from 1, or exact"),
        (["--fisher", "true"], "Invalid value for '--fisher'"),
        (["--fisher", "empirical", "--mc-samples", "4"], "4 label draws per sample, but the empirical Fisher takes"),
        (["--fisher", "empirical", "--mc-samples", "exact"], "exact label draws per sample, but the empirical"),
        (["--task", "segmentation"], "Invalid value for '--task'"),
        (["--task", "regression"], "do not belong together"),
        (["--task", "binary"], "do not belong together"),
        (["--ignore-index", "void"], "Invalid value for '--ignore-index'"),
    ],
)
def test_mistakes_are_one_line(lcaudit: Run, kit, options: list[str], says: str) -> None:
    ran = lcaudit(*kit.arguments, *options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("lcaudit: error[") and says in ran.err.splitlines()[0]


def test_the_empirical_fisher_needs_labels(lcaudit: Run, kit, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.load(kit.folder / "right.npz")["images"])
    ran = lcaudit(*kit.arguments[:-1], str(tmp_path / "images.npy"), "--fisher", "empirical")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "lcaudit: error[usage]: the empirical Fisher needs labels, and this probe has none",
        "  hint: leave --fisher empirical or --convention huang2020 out",
    ]


def test_one_output_and_no_labels_ask_for_the_task(lcaudit: Run, tmp_path: Path) -> None:
    arguments = given(tmp_path, None, outputs=1)
    ran = lcaudit(*arguments)
    assert ran.code == 2 and "hint: name it: --task binary" in ran.err
    assert lcaudit(*arguments, "--task", "binary").code in (0, 3)


def test_the_function_takes_the_same_options(kit) -> None:
    model, factory, data = kit.arguments[1], kit.arguments[3], kit.arguments[-1]
    options = {"arch": factory, "mean": (0.5,), "std": (0.25,), "samples": 100}
    found = audit(model, data, fisher="expected", mc_samples="exact", task="classification", ignore_index=9, **options)
    settings = found.measurements.settings
    assert (settings.mc_samples, settings.task, settings.ignore_index) == ("exact", "classification", 9)
    assert found.measurements.layers[0].gradient_label == "expected, exact over classes"


def test_the_choices_are_the_tasks_there_are() -> None:
    (option,) = [one for one in COMMAND.params if one.name == "task"]
    assert set(option.type.choices) == {"auto", *tasks()}


def test_the_convention_of_huang2020(lcaudit: Run, kit, tmp_path: Path) -> None:
    ran = lcaudit(*kit.arguments, "--convention", "huang2020", "--batch-size", "20")
    assert ran.code == 0, ran.err
    found = report()
    measured = found["measurements"]
    settings = measured["settings"]
    assert (settings["convention"], settings["fisher"], settings["mc_samples"]) == ("huang2020", "empirical", 0)
    assert [(one["layer"]["inputs"], one["layer"]["positions"]) for one in measured["layers"]] == [(1, 64), (64, 1)]
    assert measured["layers"][1]["input"]["floor"] < 1e-10 and set(gradients(found)) == {"empirical, given labels"}
    text = told(found)
    assert "C × C, no patches" in text and "depends on the batch size: here at most 20 samples" in text
    assert "Evaluation mode" not in text and "empirical, with the given labels" in text
    skipped = {one["rule"]: str(one) for one in found["checks"] if one["status"] == "skip"}
    assert {"LC301", "LC401", "LC901"} <= set(skipped) and "LC101" not in skipped
    assert "not calibrated for the convention huang2020" in skipped["LC301"]

    lcaudit(*kit.arguments, "--convention", "kfac")
    default = report()
    assert "huang2020" not in told(default) and "Evaluation mode" in told(default)
    assert "LC301" not in {one["rule"] for one in default["checks"] if "not calibrated" in str(one)}

    unlabelled = tmp_path / "images.npy"
    np.save(unlabelled, np.load(kit.folder / "right.npz")["images"])
    for more, says in (
        (["--fisher", "expected"], "whose authors take the given labels"),
        (["--mc-samples", "4"], "but the empirical Fisher takes"),
        (["--data", unlabelled], "the empirical Fisher needs labels"),
    ):
        ran = lcaudit(*kit.arguments, "--convention", "huang2020", *more)
        assert ran.code == 2 and says in ran.err
    assert lcaudit(*kit.arguments, "--convention", "paper").code == 2
