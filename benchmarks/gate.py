"""Does the gate stay calm, and does it bark? One network against its baseline, and made worse, many times.

    python benchmarks/gate.py --runs 200 --output benchmarks/results/gate.json

The network that ships with lcaudit, on random samples of 16,173 images: all 1,797 digits, each moved by up to one
pixel either way, as in training. Of a population of that size a sample of a tenth is nearly independent of the next.
The head is made worse without changing what the network computes: its input is turned by a matrix that raises every
eigenvalue of Σ_x, over the largest, to the power 1 + γ, and its weight is turned back. γ is such that κ_80 over the
whole population is 1.5 times what it was.

* *unchanged*: audited with each seed, against the baseline of seed 0; and against those of the first 20 seeds.
* *made worse*, unpaired: against the same baseline. Paired: `lcaudit diff` of both networks on the same samples.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import lcaudit
from lcaudit import comparisons
from lcaudit.core import serial
from lcaudit.core.comparison import Baseline, Comparison
from lcaudit.core.measurements import Measurements
from lcaudit.demo import WEIGHTS
from lcaudit.probes import digits

FACTOR = 1.5
HEAD = "body.linear"
#: Baselines, of the first seeds, that every seed is held against besides the first one.
BASELINES = 20
NETWORK = '''
import torch

from lcaudit.architectures.resnet_cifar import FAMILY
from lcaudit.demo.train import VARIANT


class Turned(torch.nn.Module):
    """The demonstration network with its head's input turned by a constant matrix."""

    def __init__(self):
        super().__init__()
        self.body = FAMILY.build(VARIANT)
        self.register_buffer("turn", torch.eye(64))
        self.body.linear.register_forward_pre_hook(lambda module, inputs: (inputs[0] @ self.turn,))

    def forward(self, images):
        return self.body(images)


def make():
    return Turned()


make.input_shape = (1, 8, 8)
'''


def population() -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [16173, 8, 8] in [0, 1], and labels."""
    images, labels = [], []
    for split in ("train", "test"):
        found, named = digits.load(split)
        padded = np.pad(found, ((0, 0), (1, 1), (1, 1)))
        for y in range(3):
            for x in range(3):
                images.append(padded[:, y : y + 8, x : x + 8] / np.float32(digits.SCALE))
                labels.append(named)
    return np.concatenate(images).astype(np.float32), np.concatenate(labels)


def head_moment(folder: Path, images: np.ndarray) -> np.ndarray:
    """Σ_x of the head over the whole population, float64 [64, 64]."""
    found: dict[str, Any] = {}
    exec(NETWORK, found)
    network = found["make"]().eval()
    network.load_state_dict(load_file(folder / "base.safetensors"))
    seen: list[torch.Tensor] = []
    network.body.linear.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].double()))
    scaled = (torch.from_numpy(images)[:, None] - digits.MEAN[0]) / digits.STD[0]
    with torch.no_grad():
        for part in scaled.split(1000):
            network(part)
    features = torch.cat(seen)
    return (features.T @ features / len(features)).numpy()


def kappa_80(moment: np.ndarray) -> float:
    """λmax / λ_⌈0.8·r⌉."""
    values = np.linalg.eigvalsh(moment)[::-1]
    rank = int((values > 64 * 1.2e-7 * values[0]).sum())
    return float(values[0] / values[int(np.ceil(0.8 * rank)) - 1])


def prepare(folder: Path) -> dict[str, float]:
    """Both networks and the population in ``folder``; κ_80 of the head in each, over the population."""
    (folder / "network.py").write_text(NETWORK)
    images, labels = population()
    np.savez(folder / "population.npz", images=images, labels=labels)
    state = {f"body.{key}": value for key, value in load_file(WEIGHTS).items()} | {"turn": torch.eye(64)}
    save_file(state, folder / "base.safetensors")
    moment = head_moment(folder, images)
    values, vectors = np.linalg.eigh(moment)
    gamma = np.log(FACTOR) / np.log(kappa_80(moment))
    floor = 64 * 1.2e-7 * values[-1]
    scale = np.where(values > floor, (np.maximum(values, floor) / values[-1]) ** (gamma / 2), 1.0)
    turn, back = (vectors * scale) @ vectors.T, (vectors / scale) @ vectors.T
    state["turn"] = torch.from_numpy(turn).float()
    state[f"{HEAD}.weight"] = (state[f"{HEAD}.weight"].double() @ torch.from_numpy(back)).float()
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "worse.safetensors")
    return {"base": kappa_80(moment), "worse": kappa_80(turn @ moment @ turn)}


def measured(folder: Path, name: str, seed: int, samples: int, layers: tuple[str, ...]) -> Measurements:
    """One audit, read back where an earlier run of this script left it in ``folder``."""
    kept = folder / f"{name}-{seed}.json"
    if kept.exists():
        return serial.load(Measurements, json.loads(kept.read_text()))
    report = lcaudit.audit(
        folder / f"{name}.safetensors", folder / "population.npz", arch=f"{folder / 'network.py'}:make",
        samples=samples, seed=seed, device="cpu", mean=digits.MEAN, std=digits.STD,
        layers=layers, batch_size=200, select="LC301",
    )  # fmt: skip
    kept.write_text(serial.dumps(report.measurements))
    return report.measurements


def red(found: Comparison) -> bool:
    """Whether the gate would fail."""
    return bool(found.having("worse"))


def caught(found: Comparison) -> bool:
    """Whether it would fail for κ_80 of the head's input."""
    return any((one.layer, one.metric) == (HEAD, "input.kappa_80") for one in found.having("worse"))


def share(flags: list[bool]) -> dict[str, Any]:
    """How many, of how many."""
    return {"yes": sum(flags), "of": len(flags), "share": round(sum(flags) / len(flags), 4)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--samples", type=int, default=1600)
    parser.add_argument("--layers", default="body.conv1,body.layer1*,body.linear")
    parser.add_argument("--keep", type=Path, help="folder of measurements, to continue a run that was stopped")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "gate.json")
    options = parser.parse_args()
    started = time.perf_counter()
    folder = options.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    truth = prepare(folder)
    layers = tuple(options.layers.split(","))
    before, after = [], []
    for seed in range(options.runs + 1):
        before.append(measured(folder, "base", seed, options.samples, layers))
        after.append(measured(folder, "worse", seed, options.samples, layers))
        print(f"{seed} of {options.runs}, {time.perf_counter() - started:.0f} s", flush=True)
    baselines: list[Baseline] = [comparisons.read(comparisons.dump(comparisons.create(one))) for one in before]
    calm = [comparisons.against(one, baselines[0]) for one in before[1:]]
    found = {
        (i, j): comparisons.against(one, other)
        for i, one in enumerate(before)
        for j, other in enumerate(baselines[:BASELINES])
        if i != j
    }
    every = [red(one) for one in found.values()]
    unlucky = Counter(j for (_, j), one in found.items() if red(one))
    accused = Counter(change.metric for one in found.values() for change in one.having("worse"))
    worse = [comparisons.against(one, baselines[0]) for one in after[1:]]
    each = [
        caught(comparisons.against(one, other))
        for i, one in enumerate(after)
        for j, other in enumerate(baselines[:BASELINES])
        if i != j
    ]
    pairs = [comparisons.paired(one, other) for one, other in zip(before[1:], after[1:], strict=True)]
    elsewhere = [any(one.layer != HEAD for one in found.having("worse")) for found in pairs]
    document = {
        "what": "one network against its baseline on random samples, unchanged and with its head made worse",
        "environment": asdict(replace(before[0].environment)),
        "model": {"name": WEIGHTS.name, "layers": [one.layer.name for one in before[0].layers]},
        "population": 16173,
        "samples": options.samples,
        "runs": options.runs,
        "kappa_80 of the head over the population": {**truth, "ratio": truth["worse"] / truth["base"]},
        "alpha": comparisons.ALPHA,
        "margin": comparisons.MARGIN,
        "comparisons": [min(one.comparisons for one in calm), max(one.comparisons for one in calm)],
        "unchanged, red": share([red(one) for one in calm]),
        f"unchanged, red, every seed against {BASELINES} baselines": share(every),
        "figures called worse there": dict(accused.most_common()),
        "red against the least lucky of them": max(unlucky.values(), default=0),
        "made worse, caught against the baseline": share([caught(one) for one in worse]),
        f"made worse, caught, every seed against {BASELINES} baselines": share(each),
        "made worse, caught by diff": share([caught(one) for one in pairs]),
        "diff, another layer called worse": share(elsewhere),
        "ratio of the head by diff": spread(pairs),
        "ratio of the head against the baseline": spread(worse),
        "smallest change seen": {
            "baseline": round(median([one.detectable or 0 for one in calm]), 3),
            "diff": round(median([one.detectable or 0 for one in pairs]), 3),
        },
        "seconds": round(time.perf_counter() - started, 1),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    print(json.dumps(document, ensure_ascii=False, indent=1))


def spread(found: list[Comparison]) -> dict[str, float]:
    """Least, median and most of the head's ratio of κ_80, and how often its 95 % interval holds the truth."""
    ratios = [one.ratio for each in found for one in each.changes
              if (one.layer, one.metric) == (HEAD, "input.kappa_80") and one.ratio]  # fmt: skip
    values = sorted(one.value for one in ratios)
    held = sum((one.low or 0) <= FACTOR <= (one.high or 0) for one in ratios) / len(ratios)
    return {
        "least": values[0],
        "median": median(values),
        "most": values[-1],
        "95 % interval holds the truth": round(held, 4),
    }


def median(values: list[float]) -> float:
    """The middle one."""
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()
