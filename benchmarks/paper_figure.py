"""Do the findings of Huang et al. (ECCV 2020) show up in networks trained here in minutes?

    python -m benchmarks.paper_figure                     # trains, audits, writes the JSON and docs/paper-figure.md
    python -m benchmarks.paper_figure --render            # the page and its plots again, from the committed JSON

Trains MLPs with and without batch norm (full-batch gradient descent over a grid of learning rates) and residual
networks of growing depth with and without a batch norm before the last layer, several seeds each, all on the 1000
training digits that ship with lcaudit. Every network is saved and audited by ``lcaudit.audit`` on those digits, in
lcaudit's own convention. Batch norms get the statistics of the whole training set before a network is saved, so
that evaluation mode is what training mode does on the full batch.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

import lcaudit
from benchmarks import paper_networks
from benchmarks.paper_page import write_page
from lcaudit.core.figures import number
from lcaudit.core.measurements import LayerSpectra, Measurements
from lcaudit.core.quantity import Quantity
from lcaudit.demo.train import shifted, split

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "paper_figure.json"
PAGE = ROOT / "docs" / "paper-figure.md"
#: Training batch of the residual networks, and the top of their one-cycle learning rate.
BATCH, RATE, DECAY = 100, 0.1, 1e-4


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train; the defaults are the committed run."""

    seeds: tuple[int, ...] = (0, 1, 2)
    layers: int = 20
    width: int = 64
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    steps: tuple[int, ...] = (0, 30, 200)
    depths: tuple[int, ...] = paper_networks.DEPTHS
    residual_steps: tuple[int, ...] = (50, 100, 200)


TOY = Plan(
    seeds=(0,), layers=3, width=8, rates=(0.1, 1.0), steps=(0, 2, 4), depths=(8,), residual_steps=(1, 2, 3)
)  # fmt: skip


def settled(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """A copy in evaluation mode whose batch norms hold the statistics of ``images``."""
    network = copy.deepcopy(network)
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.reset_running_stats()
            part.momentum = None
    network.train()
    with torch.no_grad():
        network(images)
    return network.eval()


def state_of(network: nn.Module) -> dict[str, float]:
    """Training loss (nats) and test error of a settled network, and ‖∂L/∂W‖ / ‖W‖ over all weights.

    The gradient is the one that training would take on the full batch: through the batch's own statistics.
    """
    images, labels = split("train")
    held_out, answers = split("test")
    training = copy.deepcopy(network).train()
    loss = functional.cross_entropy(training(images), labels)
    loss.backward()
    weights = [part.weight for part in training.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    with torch.no_grad():
        error = (network(held_out).argmax(1) != answers).double().mean()
        gradient = math.sqrt(sum(float(weight.grad.square().sum()) for weight in weights))
        norm = math.sqrt(sum(float(weight.square().sum()) for weight in weights))
    return {"loss": loss.item(), "error": error.item(), "weight_norm": norm, "relative_gradient": gradient / norm}


def train_mlp(plan: Plan, batch_norm: bool, he: bool, rate: float, seed: int) -> Iterator[tuple[int, nn.Module]]:
    """Full-batch gradient descent; yields settled copies at ``plan.steps`` and ends where the loss is not finite."""
    images, labels = split("train")
    torch.manual_seed(seed)
    network = paper_networks.mlp(plan.layers, plan.width, batch_norm)
    for part in network.modules():
        if he and isinstance(part, nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    optimiser = torch.optim.SGD(network.parameters(), lr=rate)
    for step in range(plan.steps[-1] + 1):
        if step in plan.steps:
            yield step, settled(network, images)
        optimiser.zero_grad()
        loss = functional.cross_entropy(network.train()(images), labels)
        if not math.isfinite(loss.item()):
            return
        loss.backward()
        optimiser.step()


def train_residual(plan: Plan, depth: int, last_bn: bool, seed: int) -> Iterator[tuple[int, nn.Module]]:
    """Momentum 0.9, one cycle of the learning rate, shifts by a pixel; yields settled copies."""
    images, labels = split("train")
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = paper_networks.residual(depth, last_bn).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=DECAY, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=plan.residual_steps[-1] + 1)
    order: list[torch.Tensor] = []
    for step in range(1, plan.residual_steps[-1] + 1):
        order = order or list(torch.randperm(len(images), generator=generator).split(BATCH))
        chosen = order.pop()
        optimiser.zero_grad()
        functional.cross_entropy(network(shifted(images[chosen], generator)), labels[chosen]).backward()
        optimiser.step()
        schedule.step()
        if step in plan.residual_steps:
            yield step, settled(network, images)


def audited(network: nn.Module, folder: Path, arch: str | None, dtype: str) -> Measurements:
    """Through the front door: a file on disk, and lcaudit's own digits."""
    path = folder / "network.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return lcaudit.audit(path, "digits", split="train", arch=arch, dtype=dtype, device="cpu").measurements


#: Columns of a network's table. κ_80 is the paper's maximum over the eigenvalue at 80 %.
COLUMNS: dict[str, Callable[[LayerSpectra], Quantity | float]] = {
    "x_max": lambda layer: layer.input.largest,
    "x_50": lambda layer: layer.input.condition_number["50"],
    "x_80": lambda layer: layer.input.condition_number["80"],
    "g_max": lambda layer: layer.gradient.largest,
    "g_50": lambda layer: layer.gradient.condition_number["50"],
    "g_80": lambda layer: layer.gradient.condition_number["80"],
    "gain": lambda layer: layer.what_if["batch_norm"].gain,
    "mean_energy": lambda layer: layer.mean_energy,
    "weight_norm": lambda layer: layer.weight_norm,
}


def table(measured: Measurements) -> dict[str, Any]:
    """A network's layers by column; figures that lcaudit calls unreliable are listed by layer, not left out."""
    layers = measured.layers
    columns: dict[str, Any] = {
        "name": [layer.layer.name for layer in layers],
        "inputs": [layer.layer.inputs for layer in layers],
        "outputs": [layer.layer.outputs for layer in layers],
        "x_rank": [layer.input.rank for layer in layers],
        "x_zero": [layer.input.zero for layer in layers],
        "g_rank": [layer.gradient.rank for layer in layers],
    }
    unreliable: dict[str, list[int]] = {}
    for name, read in COLUMNS.items():
        figures = [read(layer) for layer in layers]
        columns[name] = [rounded(one.value if isinstance(one, Quantity) else one) for one in figures]
        doubtful = [i for i, one in enumerate(figures) if isinstance(one, Quantity) and not one.reliable]
        if doubtful:
            unreliable[name] = doubtful
    head = layers[-1]
    assert head.layer.is_head, "the last layer gives the logits"
    interval = {
        name: [None if end is None else rounded(end) for end in (figure.low, figure.high, figure.plug_in)]
        for name in ("x_50", "x_80")
        for figure in [COLUMNS[name](head)]
        if isinstance(figure, Quantity)
    }
    return {"columns": columns, "unreliable": unreliable, "head_low_high_plug_in": interval}


def rounded(value: float) -> float | None:
    """Four digits; ``None`` for what is not a number."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def mlps(plan: Plan, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Traces of every variant, rate and seed; audits of each at its best rate, of batch norm at more."""
    traces: list[dict[str, Any]] = []
    kept: dict[tuple[str, float, int], dict[int, nn.Module]] = {}
    variants = {"plain": (False, True, plan.rates), "batch norm": (True, True, plan.rates)}
    variants["plain, default initialisation"] = (False, False, (0.1,))
    for variant, (batch_norm, he, rates) in variants.items():
        for rate in rates:
            for seed in plan.seeds:
                copies = dict(train_mlp(plan, batch_norm, he, rate, seed))
                facts = {str(step): state_of(network) for step, network in copies.items()}
                finite = all(math.isfinite(one["loss"]) for one in facts.values())
                facts = {step: {k: rounded(v) for k, v in one.items()} for step, one in facts.items()}
                finished = finite and plan.steps[-1] in copies
                traces.append({"variant": variant, "rate": rate, "seed": seed, "finished": finished, "at": facts})
                kept[variant, rate, seed] = copies
                loss = facts[str(plan.steps[-1])]["loss"] if finished else math.inf
                say(f"MLP {variant}, rate {rate:g}, seed {seed}: loss {number(loss or 0.0)}")
    best = {variant: best_rate(traces, variant) for variant in variants}
    chosen = [(variant, best[variant], step) for variant in variants for step in plan.steps]
    if best["plain"] != best["batch norm"]:  # the same steps of the same length
        chosen += [("batch norm", best["plain"], step) for step in plan.steps[1:]]
    too_large = [rate for rate in plan.rates if rate > best["batch norm"]]
    chosen += [("batch norm", rate, plan.steps[-1]) for rate in too_large]
    networks = []
    for variant, rate, step in chosen:
        for seed in plan.seeds:
            network = kept[variant, rate, seed].get(step)
            if network is None:
                continue
            measured = audited(network, folder, None, "float64")  # float32 would hide most of a collapsed spectrum
            networks.append({"variant": variant, "rate": rate, "seed": seed, "step": step} | table(measured))
            say(f"audited MLP {variant}, rate {rate:g}, step {step}, seed {seed}")
    return {"best_rate": best, "traces": traces, "networks": networks}


def best_rate(traces: list[dict[str, Any]], variant: str) -> float:
    """The rate with the lowest geometric mean of final losses over seeds, none of which diverged."""
    losses: dict[float, list[float]] = {}
    for trace in (one for one in traces if one["variant"] == variant):
        final = list(trace["at"].values())[-1]["loss"]
        losses.setdefault(trace["rate"], []).append(math.log(final) if trace["finished"] and final else math.inf)
    return min(losses, key=lambda rate: sum(losses[rate]))


def residuals(plan: Plan, folder: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Residual networks, trained and audited."""
    networks = []
    for depth in plan.depths:
        for last_bn in (False, True):
            for seed in plan.seeds:
                facts, network = {}, nn.Module()
                for step, network in train_residual(plan, depth, last_bn, seed):
                    facts[str(step)] = {key: rounded(value) for key, value in state_of(network).items()}
                arch = f"{paper_networks.__file__}:last_bn_{depth}" if last_bn else None
                measured = audited(network, folder, arch, "float32")
                networks.append({"depth": depth, "last_bn": last_bn, "seed": seed, "at": facts} | table(measured))
                head = networks[-1]["columns"]["x_80"][-1]
                say(f"ResNet-{depth}{' with a last batch norm' if last_bn else ''}, seed {seed}: head's κ_80 {head}")
    return networks


def run(plan: Plan, say: Callable[[str], None] = print, kept: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything, as one document free of NaN; residual networks and times of ``kept``, an earlier one, if given."""
    started, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as name, torch.random.fork_rng(devices=[]):
        folder = Path(name)
        multilayer = mlps(plan, folder, say)
        stacked = residuals(plan, folder, say) if kept is None else kept["residual"]
        probe = audited(paper_networks.mlp(2, 8, False).eval(), folder, None, "float32")
    return {
        "what": "layer-wise conditioning of networks trained on digits, after Huang et al. (ECCV 2020)",
        "environment": asdict(probe.environment),
        "probe": {"dataset": probe.probe.dataset, "split": probe.probe.split, "samples": probe.probe.samples,
                  "sha256": probe.probe.sha256},
        "plan": asdict(plan),
        "seconds": kept["seconds"] if kept else {
            "wall": round(time.perf_counter() - started), "processor": round(time.process_time() - cpu)
        },
        "mlp": multilayer,
        "residual": stacked,
    }  # fmt: skip


def dumps(document: dict[str, Any]) -> str:
    """JSON with one network or trace a line, so that a changed figure is a changed line."""

    def lines(items: list[Any]) -> str:
        return "[\n  " + ",\n  ".join(json.dumps(item, ensure_ascii=False, allow_nan=False) for item in items) + "\n ]"

    parts = []
    for key, value in document.items():
        if key == "mlp":
            inner = {name: lines(part) if isinstance(part, list) else json.dumps(part) for name, part in value.items()}
            text = "{" + ",".join(f'\n "{name}": {part}' for name, part in inner.items()) + "}"
        else:
            text = lines(value) if isinstance(value, list) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        parts.append(f'"{key}": {text}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--render", action="store_true", help="only the page, from the committed JSON")
    parser.add_argument("--mlp-only", action="store_true", help="keep the residual networks of the committed JSON")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    if not options.render:
        torch.set_num_threads(1)  # sums in another order would give other weights
        kept = json.loads(options.output.read_text(encoding="utf-8")) if options.mlp_only else None
        document = run(Plan(), lambda text: print(text, flush=True), kept)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(dumps(document), encoding="utf-8")
    for path in write_page(json.loads(options.output.read_text(encoding="utf-8")), options.page):
        print(path)


if __name__ == "__main__":
    main()
