"""docs/does-it-matter.md is what its JSON says, and the experiment does what the page says of it."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks import matter_heads, matter_training
from benchmarks.does_it_matter import PAGE, RESULTS
from benchmarks.matter_page import BEGIN, END, PLOT, Estimate, over_seeds, plot, render, resampled

FOUND = json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_page_and_its_plot_are_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    reading = text.partition(BEGIN + "\n")[2].partition("\n" + END)[0]
    assert len(reading) > 500, "a conclusion in words"
    again = "run: python -m benchmarks.does_it_matter --render"
    assert text == render(FOUND, reading), again
    assert (PAGE.parent / PLOT).read_text(encoding="utf-8") == plot(FOUND), again


def test_the_committed_run_has_its_seeds_and_variants() -> None:
    assert FOUND["seeds"] >= 5
    for head in FOUND["heads"]:
        assert [seed["seed"] for seed in head["seeds"]] == list(range(len(head["seeds"]))) and len(head["seeds"]) >= 6
        assert all(set(seed["variants"]) == set(matter_heads.VARIANTS) for seed in head["seeds"])
    for task in FOUND["training"].values():
        assert {"plain", "batch norm before the head", "head centred"} <= set(task["variants"])
        for variant in task["variants"].values():
            assert [run["seed"] for run in variant["runs"]] == list(range(FOUND["seeds"]))


def features(n: int = 90, d: int = 5, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (n,), generator=generator)
    rows = torch.randn(n, d, dtype=torch.float64, generator=generator) * torch.logspace(0, 1, d).double() + 2
    rows[:, 0] += labels
    return rows, labels


def test_all_variants_have_the_optimum_that_another_method_finds() -> None:
    rows, labels = features()
    targets = functional.one_hot(labels, 3).double() * 0.9 + 0.1 / 3
    found = [
        matter_heads.optimum(matter_heads.changed(rows, rows, name)[0], targets)[0] for name in matter_heads.VARIANTS
    ]
    layer = nn.Linear(5, 3).double()
    optimiser = torch.optim.LBFGS(
        layer.parameters(), max_iter=2000, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(layer(rows), targets)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert found == pytest.approx([closure().item()] * len(found), abs=1e-8)


@pytest.mark.parametrize("adam", [False, True])
def test_every_step_size_goes_the_way_of_the_plain_optimiser(adam: bool) -> None:
    rows, labels = features()
    rows = torch.cat([rows, torch.ones(len(rows), 1).double()], 1)
    targets, sizes = functional.one_hot(labels, 3).double(), torch.tensor([0.001, 0.01]).double()
    seen = {step: (losses, weights) for step, losses, weights in matter_heads.descend(rows, targets, sizes, adam)}
    for place, size in enumerate(sizes.tolist()):
        weight = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
        optimiser = (torch.optim.Adam if adam else torch.optim.SGD)([weight], lr=size)
        for step in range(max(matter_heads.STEPS) + 1):
            loss = functional.cross_entropy(rows @ weight, labels)
            if step in seen:
                assert float(seen[step][0][place]) == pytest.approx(loss.item(), rel=1e-9)
                torch.testing.assert_close(seen[step][1][place], weight.detach(), rtol=1e-7, atol=1e-10)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def test_the_change_is_put_where_it_is_said_and_draws_nothing() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    inputs = torch.randn(50, 2, 4, 4) + 1
    for variant in ("batch norm", "centred"):
        state = torch.get_rng_state()
        network = matter_training.changed(copy.deepcopy(plain), variant, ["0", "3"])
        assert torch.equal(state, torch.get_rng_state()) and torch.equal(network[3][1].weight, plain[3].weight)
        read = []
        network[3][1].register_forward_pre_hook(lambda _, given, read=read: read.append(given[0]))
        network.train()(inputs)
        assert read[0].mean(0).abs().max() < 1e-5
        assert (read[0].std(0, correction=0)[read[0].std(0) > 0.1].sub(1).abs().max() < 1e-3) == (
            variant == "batch norm"
        )
    centred = matter_training.changed(copy.deepcopy(plain), "centred", ["3"]).eval()
    torch.testing.assert_close(centred(inputs), plain(inputs))  # nothing was gathered yet


def test_a_tiny_run_learns_and_is_reported() -> None:
    task = matter_training.tasks(None, share=0.1)[0]
    found = matter_training.run_task(task, 2, told=lambda text: None)
    for variant in found["variants"].values():
        assert [run["seed"] for run in variant["runs"]] == [0, 1]
        assert all(run["curve"][0][1] > run["loss"] for run in variant["runs"])
    assert "times faster" in render(FOUND | {"training": {task.name: found}, "seeds": 2}, "")


def test_intervals_and_verdicts() -> None:
    assert over_seeds([1.0, 1.2, 0.8, 1.1, 0.9], 0).verdict == "better"
    assert over_seeds([1.0, -1.2, 0.8, -1.1, 0.9], 0).verdict == "no difference shown"
    assert Estimate(-1, -2, -0.5, 0).verdict == "worse"
    one = resampled([0.5, 0.4, 0.6, 0.5], 0)
    assert one.value == 0.5 and one.high - one.value == pytest.approx(0.1 * 4.30265, rel=1e-4)
