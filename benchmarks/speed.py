"""What does an audit cost? Time and memory as multiples of one plain forward and backward pass.

    python benchmarks/speed.py --output benchmarks/results/speed.json
    python benchmarks/speed.py --quick     a few samples and no peers: does everything run? (ratios mean nothing:
                                           what is done once per group of samples outweighs the rest)
    python benchmarks/speed.py --device cuda               the same on a GPU
    python benchmarks/speed.py --networks resnet20,gpt --checkpoint resnet20=FILE

For each network one process times everything on the same data, repetitions interleaved: a plain pass
(all parameters' gradients of the summed cross-entropy, as a training step without its update; once more
channels-last where there are convolutions), the audit's capture, its spectra with intervals, and the
peers on the same linear and convolution layers: curvlinops' K-FAC, nngeometry's K-FAC and PyHessian's
largest eigenvalue. Peers run on fewer samples, and are compared with a plain pass over those. Given are
ratios of medians, and the smallest and largest ratio of one repetition (one less for peers); wall time,
and beside it the ratio of processor time, which a busy machine disturbs less (threads that spin count in
it). Peak memory is another process for each, less what the process held with model and data in place.

Weights and images are random: speed does not depend on them, except that PyHessian iterates to a tolerance and
that narrow spectra may need fewer exact replicates. A peer that cannot be had is named with the reason.
Set OMP_NUM_THREADS to choose the number of threads; OpenBLAS gets one, as ``lcaudit check`` sets it.
Results: ``results/speed.json`` with two threads, ``results/speed_one_thread.json`` with one.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import lcaudit
from lcaudit import rules, spectra
from lcaudit.audit import audit
from lcaudit.capture import measure
from lcaudit.core.machine import single_products
from lcaudit.core.measurements import NetworkRecord, Normalisation, ProbeRecord
from lcaudit.core.types import Moments, Network, Probe

#: As ``lcaudit check`` has it by default.
PRECISION = inspect.signature(audit).parameters["precision"].default
PEERS = ("curvlinops K-FAC", "nngeometry K-FAC", "PyHessian top eigenvalue")
TOKENS, VOCABULARY = 64, 256


class Block(nn.Module):
    """Two 3×3 convolutions; where the shape changes the shortcut drops pixels and adds channels of zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return F.relu(x + y)


def residual(blocks: int, width: int = 16, classes: int = 10) -> nn.Module:
    """ResNet-(6·blocks + 2) for CIFAR."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    before = width
    for stage in range(3):
        for block in range(blocks):
            layers.append(Block(before, width * 2**stage, 2 if stage and not block else 1))
            before = width * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def perceptron() -> nn.Module:
    """784 – 1024 – 1024 – 1024 – 10."""
    sides = [784, 1024, 1024, 1024]
    layers = [part for a, b in pairwise(sides) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sides[-1], 10))


class Attention(nn.Module):
    """Causal self-attention, then two linear layers, both normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    """Predicts the token after the last one."""

    def __init__(self, width: int = 192, depth: int = 4) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(VOCABULARY, width), nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        self.blocks = nn.Sequential(*(Attention(width, 6) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.embed(tokens) + self.place)[:, -1]))


class ViT(nn.Module):
    """ViT-S/16: width 384, 12 blocks, 6 heads (attention not causal, which costs the same here)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 384, 16, 16)
        self.place = nn.Parameter(torch.randn(196, 384) * 0.02)
        self.blocks = nn.Sequential(*(Attention(384, 6) for _ in range(12)))
        self.norm, self.head = nn.LayerNorm(384), nn.Linear(384, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.patches(x).flatten(2).mT + self.place)).mean(1))


def resnet50() -> nn.Module:
    """torchvision's."""
    import torchvision

    return torchvision.models.resnet50()


@dataclass(frozen=True, slots=True)
class Case:
    """A network; ``samples`` for the audit, ``fewer`` for peers; shape of one sample, () for tokens."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    samples: int
    fewer: int
    batch: int
    classes: int = 10


IMAGE, LARGE = (3, 32, 32), (3, 224, 224)
CASES = {
    "resnet20": Case(lambda: residual(3), IMAGE, 1000, 100, 100),
    "resnet44": Case(lambda: residual(7), IMAGE, 1000, 50, 100),
    "mlp": Case(perceptron, (784,), 2000, 200, 200),
    "gpt": Case(GPT, (), 500, 50, 50, VOCABULARY),
    "vit_s": Case(ViT, LARGE, 40, 4, 4, 1000),
    "resnet50": Case(resnet50, LARGE, 40, 4, 4, 1000),
}


class Bench:
    """One network with its data, and what can be measured on it."""

    def __init__(self, name: str, case: Case, device: str, quick: bool, checkpoint: str | None = None) -> None:
        torch.manual_seed(0)
        self.name, self.case, self.device = name, case, torch.device(device)
        self.model = case.build()
        if checkpoint:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
            self.model.load_state_dict(dict(zip(self.model.state_dict(), state.values(), strict=True)))
        self.model.eval()
        self.samples = max(20, case.samples // 20) if quick else case.samples
        self.fewer = min(case.fewer, self.samples)
        if case.shape:
            self.inputs = torch.randn(self.samples, *case.shape)
        else:
            self.inputs = torch.randint(VOCABULARY, (self.samples, TOKENS))
        self.labels = torch.randint(case.classes, (self.samples,))
        self.model.to(self.device)
        shown = NetworkRecord("user", name, {}, "declared", (), (), 0, case.shape, case.classes, "float32")
        self.network = Network(shown, self.model, {})
        n = self.samples
        record = ProbeRecord(
            "random", "test", "random", "0" * 64, n, n, f"0-{n - 1}", 0, True, (), case.shape,
            Normalisation((0.0,), (1.0,), "none"),
        )  # fmt: skip
        self.probe = Probe(record, lambda start, stop: self.inputs[start:stop], self.labels.numpy(), np.arange(n))
        self.moments: Moments | None = None
        self.limits = rules.limits_of_gains(rules.select((), ()))

    def wait(self) -> None:
        """For the device to finish."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def plain(self, samples: int, layout: torch.memory_format = torch.contiguous_format) -> None:
        """Forward and backward over ``samples``, every parameter's gradient."""
        self.model.requires_grad_(True).to(memory_format=layout)
        for start in range(0, samples, self.case.batch):
            stop = min(start + self.case.batch, samples)
            inputs = self.inputs[start:stop].to(self.device)
            if layout != torch.contiguous_format:
                inputs = inputs.contiguous(memory_format=layout)
            F.cross_entropy(self.model(inputs), self.labels[start:stop].to(self.device), reduction="sum").backward()
        self.model.zero_grad()
        self.model.to(memory_format=torch.contiguous_format)

    def capture(self) -> None:
        """As ``lcaudit check`` does it."""
        self.early = spectra.Early(PRECISION, self.limits, True)
        self.moments = measure(
            self.network, self.probe, device=self.device, dtype=torch.float32, batch_size=self.case.batch, seed=0,
            narrow=self.early if PRECISION else None,
        )  # fmt: skip

    def spectra(self) -> None:
        """As ``lcaudit check`` does it, two layers at a time."""
        assert self.moments
        with single_products(), ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(self.early.analyse, spectra.by_input(self.moments.layers)))

    def loader(self) -> Any:
        """The peers' data."""
        data = torch.utils.data.TensorDataset(self.inputs[: self.fewer], self.labels[: self.fewer])
        return torch.utils.data.DataLoader(data, batch_size=self.case.batch)

    def peer(self, name: str) -> None:
        """Run one; raises where it cannot be had."""
        model = copy.deepcopy(self.model).requires_grad_(True)  # one that fails may leave its hooks behind
        layers = [part for part in model.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]  # known to every K-FAC
        data = [(x.to(self.device), y.to(self.device)) for x, y in self.loader()]
        if name == PEERS[0]:
            import curvlinops

            wanted = [p for layer in layers for p in layer.parameters(recurse=False)]
            curvlinops.KFACLinearOperator(
                model, nn.CrossEntropyLoss(reduction="sum"), wanted, data, fisher_type="mc", mc_samples=1,
                check_deterministic=False, separate_weight_and_bias=True,
            ).compute_kronecker_factors()  # fmt: skip
        elif name == PEERS[1]:
            from nngeometry.layercollection import LayerCollection
            from nngeometry.metrics import FIM_MonteCarlo
            from nngeometry.object import PMatKFAC

            known = LayerCollection()
            for layer in layers:
                known.add_layer_from_model(model, layer)
            FIM_MonteCarlo(
                model, self.loader(), PMatKFAC, variant="classif_logits", trials=1, device=self.device,
                layer_collection=known,
            )  # fmt: skip
        else:
            from pyhessian import hessian

            cuda = self.device.type == "cuda"
            hessian(model, nn.CrossEntropyLoss(), dataloader=data, cuda=cuda).eigenvalues(top_n=1)

    def peak(self, what: str) -> float:
        """MiB above what model and data take, on the device (or in the process)."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        else:
            self.plain(1)  # libraries take their share at the first call
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        {"plain": lambda: self.plain(self.samples), "capture": self.capture}.get(what, lambda: self.peer(what))()
        if self.device.type == "cuda":
            return (torch.cuda.max_memory_allocated() - before) / 2**20
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    def moment_bytes(self) -> int:
        """Of everything that the capture hands on."""
        assert self.moments
        held = 0
        for layer in self.moments.layers:
            held += layer.gradient.nbytes + sum(
                getattr(layer.inputs, name).nbytes for name in ("second", "first", "channel_sum", "channel_square")
            )
        return held


def interleaved(bench: Bench, runs: dict[str, Callable[[], None]], repetitions: int) -> dict[str, list[list[float]]]:
    """[wall, processor] seconds by run and repetition, the first round not counted."""
    found: dict[str, list[list[float]]] = {name: [] for name in runs}
    for turn in range(repetitions + 1):
        for name, run in runs.items():
            if turn == 0 and name != "plain" and name != "capture":
                continue  # only what is first to touch the libraries needs warming up
            bench.wait()
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            bench.wait()
            if turn:
                found[name].append([time.perf_counter() - wall, time.process_time() - cpu])
    return found


def ratios(found: dict[str, list[list[float]]], name: str, base: str = "plain") -> dict[str, float]:
    """Of medians; least and most of one repetition."""
    walls = [[pair[0] for pair in found[one]] for one in (name, base)]
    cpus = [[pair[1] for pair in found[one]] for one in (name, base)]
    each = [a / b for a, b in zip(*walls, strict=True)]
    return {
        "ratio": statistics.median(walls[0]) / statistics.median(walls[1]),
        "least": min(each),
        "most": max(each),
        "processor_ratio": statistics.median(cpus[0]) / max(1e-9, statistics.median(cpus[1])),
        "seconds": statistics.median(walls[0]),
    }


def time_network(bench: Bench, repetitions: int, peers: bool) -> dict[str, Any]:
    """The table's rows for one network."""
    runs: dict[str, Callable[[], None]] = {"plain": lambda: bench.plain(bench.samples)}
    images = len(bench.case.shape) == 3
    if images:
        runs["plain, channels last"] = lambda: bench.plain(bench.samples, torch.channels_last)
    runs |= {"capture": bench.capture, "spectra": bench.spectra}
    found = interleaved(bench, runs, repetitions)
    found["audit"] = [
        [a + b for a, b in zip(*pair, strict=True)] for pair in zip(found["capture"], found["spectra"], strict=True)
    ]
    rows: dict[str, Any] = {name: ratios(found, name) for name in found}
    if images:
        rows["audit"]["to_plain_channels_last"] = ratios(found, "audit", "plain, channels last")["ratio"]
    assert bench.moments
    rows["audit"]["layers"] = len(bench.moments.layers)
    rows["audit"]["moments_mib"] = bench.moment_bytes() / 2**20
    bench.moments = None
    for peer in PEERS if peers else ():
        if peer == PEERS[2] and bench.case.shape == LARGE and bench.device.type == "cpu":
            rows[peer] = {"not_measured": "over a hundred passes at 224² take too long on a CPU"}
            continue
        base: dict[str, Callable[[], None]] = {"plain": lambda: bench.plain(bench.fewer)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = interleaved(bench, base | {peer: lambda peer=peer: bench.peer(peer)}, max(1, repetitions - 1))
            rows[peer] = ratios(theirs, peer)
        except Exception as error:
            rows[peer] = {"not_measured": f"{type(error).__name__}: {error}"[:200]}
    return {"samples": bench.samples, "samples_of_peers": bench.fewer, "batch": bench.case.batch, "rows": rows}


def growth(device: str, quick: bool) -> dict[str, Any]:
    """Fitted exponents of the audit's time, on small residual networks."""

    def seconds(samples: int, width: int, blocks: int) -> list[float]:
        bench = Bench("growth", Case(lambda: residual(blocks, width), IMAGE, samples, 0, 50), device, False)
        walls = []
        for turn in range(2 if quick else 4):
            bench.wait()
            start, cpu = time.perf_counter(), time.process_time()
            bench.capture()
            bench.wait()
            if turn:
                walls.append((time.perf_counter() - start, time.process_time() - cpu))
        return [min(one) for one in zip(*walls, strict=True)]

    base = {"samples": 100, "width": 16, "blocks": 1} if quick else {"samples": 500, "width": 16, "blocks": 1}
    steps = {"samples": (1, 2, 4), "width": (1, 2, 4), "blocks": (1, 2, 4)}
    found: dict[str, Any] = {}
    for name, factors in steps.items():
        places = [base[name] * factor for factor in factors]
        times = [seconds(**(base | {name: place, "samples": place if name == "samples" else 200})) for place in places]
        fits = [np.polyfit(np.log(places), np.log([one[kind] for one in times]), 1)[0] for kind in (0, 1)]
        found[name] = {
            "at": places, "capture_seconds": [one[0] for one in times], "exponent": float(fits[0]),
            "processor_exponent": float(fits[1]),
        }  # fmt: skip
    return found


def _child(arguments: list[str], repetitions: int, device: str, quick: bool) -> Any:
    """Another process of this file; its answer, or why there is none."""
    command = [sys.executable, __file__, "--child", *arguments, "--repetitions", str(repetitions), "--device", device]
    done = subprocess.run([*command, *(["--quick"] if quick else [])], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"not_measured": last[:200]}
    return json.loads(done.stdout.splitlines()[-1])


def environment(device: str) -> dict[str, Any]:
    """Of the machine, as far as it matters here."""
    name = next((p for p in Path("/proc/cpuinfo").read_text().splitlines() if p.startswith("model name")), "") \
        if Path("/proc/cpuinfo").exists() else platform.processor()  # fmt: skip
    return {
        "lcaudit": lcaudit.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": name.split(":")[-1].strip(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": [round(one, 2) for one in os.getloadavg()],
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "date": time.strftime("%Y-%m-%d"),
    }


def table(result: dict[str, Any]) -> str:
    """In Markdown: ratio to a plain pass (least – most), processor time, memory above model and data."""
    lines = ["| network | what | wall, × plain | processor, × plain | peak memory, MiB |", "|---|---|---|---|---|"]
    for name, one in result["networks"].items():
        if "not_measured" in one:
            lines.append(f"| {name} | | not measured: {one['not_measured']} | | |")
            continue
        for what, row in one["rows"].items():
            memory = one.get("memory", {}).get("capture" if what == "audit" else what)
            shown = f"{memory:.0f}" if isinstance(memory, float) else ""
            if "not_measured" in row:
                lines.append(f"| {name} | {what} | not measured: {row['not_measured']} | | |")
                continue
            spread = f"{row['ratio']:.2f} ({row['least']:.2f} – {row['most']:.2f})"
            lines.append(f"| {name} | {what} | {spread} | {row['processor_ratio']:.2f} | {shown} |")
    for what, one in result.get("growth", {}).items():
        fitted = f"exponent {one['exponent']:.2f}, of processor time {one['processor_exponent']:.2f}"
        lines.append(f"\nCapture's growth with {what} {one['at']}: {fitted}")
    return "\n".join(lines)


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(CASES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-growth", action="store_true")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NETWORK=FILE")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, name, file = given.child
        if what == "growth":
            print(json.dumps(growth(given.device, given.quick)))
            return
        bench = Bench(name, CASES[name], given.device, given.quick, file or None)
        if what in ("time", "time without peers"):
            print(json.dumps(time_network(bench, given.repetitions, what == "time")))
        else:
            print(json.dumps(bench.peak(what)))
        return
    files = dict(one.split("=", 1) for one in given.checkpoint)
    result: dict[str, Any] = {"environment": environment(given.device), "networks": {}}
    begun = time.perf_counter()

    def child(*arguments: str) -> Any:
        print(f"{time.perf_counter() - begun:5.0f} s  {' '.join(arguments[:2])}", file=sys.stderr, flush=True)
        return _child(list(arguments), given.repetitions, given.device, given.quick)

    def save() -> None:
        result["seconds"] = round(time.perf_counter() - begun)
        if given.output:
            given.output.parent.mkdir(parents=True, exist_ok=True)
            given.output.write_text(json.dumps(_rounded(result), indent=1) + "\n")

    for name in given.networks.split(","):
        found = child("time without peers" if given.no_peers or given.quick else "time", name, files.get(name, ""))
        result["networks"][name] = found
        if "not_measured" not in found:
            found["memory"] = {what: child(what, name, files.get(name, "")) for what in ("plain", "capture")}
        save()
    if not given.no_growth:
        result["growth"] = child("growth", "resnet", "")
        save()
    print(table(result))


def _rounded(value: Any) -> Any:
    """Four digits are more than the noise leaves."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) and math.isfinite(value) else value


if __name__ == "__main__":
    main()
