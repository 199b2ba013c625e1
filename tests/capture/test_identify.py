"""Which network, fed how: against the literal definitions, and on networks whose training is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trained import TRUTH, Small, images, probe, small, train

from lcaudit.capture import identify
from lcaudit.capture._as_found import as_found
from lcaudit.capture._trial import GROUPS, Hypothesis, Trials
from lcaudit.capture._verdict import Judged, decide
from lcaudit.capture.augmentation import AUGMENTATIONS, augmented
from lcaudit.capture.replay import METHOD
from lcaudit.capture.stationarity import between_groups, method
from lcaudit.core.errors import AmbiguousArchitecture
from lcaudit.core.measurements import Normalisation
from lcaudit.core.types import Network, Preprocessing, Probe
from lcaudit.probes import preprocessings
from tests import cases
from tests.oracles import replayed

CPU = torch.device("cpu")
WRONG = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "wrong")


def named(module: nn.Module, title: str) -> Network:
    network = cases.network(module, (3, 16, 16), 10)
    return replace(network, record=replace(network.record, title=title, family=title, confidence="assumed"))


def settle(networks: list[Network], given: Probe, known: list[Normalisation], **options: Any) -> Any:
    ways = (Preprocessing(given.record.normalisation), *map(Preprocessing, known))
    ways += tuple(replace(ways[0], reversed_channels=True) for _ in "x")
    ways += tuple(replace(ways[0], transposed=True) for _ in "x")
    return identify(networks, given, ways, device=CPU, dtype=torch.float32, batch_size=64, seed=0, **options)


def trials(given: Probe, batch_size: int = 64, dtype: torch.dtype = torch.float64, how: Any = METHOD) -> Trials:
    return Trials(how, given, CPU, dtype, batch_size, 0)


def grouped(samples: int) -> list[list[int]]:
    bounds = [int(edge) for edge in np.linspace(0, samples, GROUPS + 1)]
    return [list(range(low, high)) for low, high in pairwise(bounds)]


@pytest.mark.parametrize("batch_size", [7, 64])
def test_replay_is_the_literal_distance(batch_size: int) -> None:
    torch.manual_seed(1)
    module = Small("max")
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    given = probe()
    hypothesis = Hypothesis(named(module, "net"), Preprocessing(TRUTH, True, True), "random crop and flip")
    found = trials(given, batch_size).run(hypothesis, 43)
    pixels = images("test")[0][:43].flip(1).transpose(2, 3).contiguous()
    shown = augmented(pixels, "random crop and flip", given.keys[:43], 0)
    inputs = (shown - torch.tensor(TRUTH.mean).reshape(3, 1, 1)) / torch.tensor(TRUTH.std).reshape(3, 1, 1)
    literal = replayed.squared_distance(module.double(), inputs.double(), grouped(43))
    assert float(found[0]) == pytest.approx(literal, rel=1e-6)


def test_replay_of_the_training_statistics_themselves_is_nothing_but_noise() -> None:
    """Statistics gathered over one half, measured on the other: 0 within a few standard errors, whatever its sign."""
    torch.manual_seed(2)
    module, given = Small(), probe()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the plain average
    inputs = Preprocessing(TRUTH).apply(images("train")[0])
    for _ in range(4):  # each layer's statistics settle once those before it have
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.reset_running_stats()
        module.train()
        with torch.no_grad():
            module(inputs)
    module.eval()
    found = trials(given).run(Hypothesis(named(module, "net"), Preprocessing(TRUTH), "none"), 300)
    error = ((GROUPS - 1) / GROUPS * (found[1:] - found[1:].mean()).square().sum()).sqrt()
    assert abs(float(found[0])) < 5 * float(error) + 1e-3
    assert float(found[0]) ** 2 < 0.02**2


def test_a_scale_before_a_batch_norm_changes_nothing() -> None:
    module, given = small(), probe()
    base = trials(given).run(Hypothesis(named(module, "net"), Preprocessing(WRONG), "none"), 60)
    scaled = Small()
    scaled.load_state_dict(module.state_dict())
    with torch.no_grad():
        scaled.b.weight *= 3
        scaled.bn_b.running_mean *= 3
        scaled.bn_b.running_var *= 9
        scaled.bn_b.eps *= 9
    again = trials(given).run(Hypothesis(named(scaled.eval(), "net"), Preprocessing(WRONG), "none"), 60)
    torch.testing.assert_close(base, again, rtol=1e-5, atol=1e-8)


def test_stationarity_is_the_literal_mean_over_pairs() -> None:
    torch.manual_seed(3)
    module, given = nn.Sequential(nn.Flatten(), nn.Linear(768, 12), nn.Tanh(), nn.Linear(12, 10)), probe()
    how = method(given, "auto", -100, 10)
    found = trials(given, 16, how=how).run(Hypothesis(named(module, "net"), Preprocessing(TRUTH), "none"), 40)
    shown, labels = images("test")
    inputs = Preprocessing(TRUTH).apply(shown[:40]).double()
    literal = replayed.squared_gradient(module.double(), inputs, torch.from_numpy(labels[:40]), grouped(40))
    assert float(found[0]) == pytest.approx(literal, rel=1e-4)


def test_pairs_without_a_group_are_the_pairs_of_the_others() -> None:
    means = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    found = between_groups(means)
    for left in range(5):
        torch.testing.assert_close(found[1 + left], between_groups(means[[i for i in range(5) if i != left]])[0])


def test_the_module_comes_back_as_it_was() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 10)).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    settle([named(module.train(), "net")], probe(), [WRONG])
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert all(one.requires_grad and one.grad is None for one in module.parameters())


@pytest.mark.parametrize("own", [TRUTH, WRONG], ids=["truth first", "wrong first"])
def test_the_true_normalisation_wins_whichever_was_assumed(own: Normalisation) -> None:
    others = [WRONG, Normalisation((0.0,) * 3, (1.0,) * 3, "unit"), Normalisation((0.0,) * 3, (1 / 255,) * 3, "255")]
    _, chosen, found = settle([named(small(), "net")], probe(own=own), [TRUTH, *others])
    assert found.decision == "chosen by probe"
    assert chosen.record.normalisation.mean == TRUTH.mean
    assert chosen.record.confidence == "chosen by probe"
    torch.testing.assert_close(chosen.batch(2, 5), Preprocessing(TRUTH).apply(images("test")[0][2:5]))
    assert found.scores[0].augmentation == "random crop"
    assert [one.used for one in found.scores].count(True) == 1 and found.scores[0].used


def test_exchanged_channels_and_axes_are_seen() -> None:
    pixels, _ = images("test")
    for changed, name in ((pixels.flip(1), "last channel first"), (pixels.transpose(2, 3), "exchanged")):
        given = replace(probe(), pixels=lambda start, stop, changed=changed: changed[start:stop].contiguous())
        _, chosen, found = settle([named(small(), "net")], given, [WRONG])
        assert found.decision == "chosen by probe" and name in found.scores[0].preprocessing
        torch.testing.assert_close(chosen.batch(0, 3), Preprocessing(TRUTH).apply(pixels[:3]))


def test_what_was_declared_stays_and_is_contradicted() -> None:
    _, kept, found = settle([named(small(), "net")], probe(confidence="declared", own=WRONG), [TRUTH])
    assert found.decision == "contradicted" and found.open == ()
    assert kept.record.normalisation == WRONG
    used = next(one for one in found.scores if one.used)
    assert "mean 0.5" in used.preprocessing and used.ratio > 2
    assert found.reason.startswith(f"What was declared does not fit: net, {used.preprocessing} is off by ")
    assert f"the best (net, {found.scores[0].preprocessing}) by " in found.reason


def test_what_was_declared_and_fits_is_not_compared_further() -> None:
    given = probe(confidence="declared")
    _, kept, found = settle([named(small(), "net")], given, [WRONG])
    assert (found.decision, len(found.scores), kept) == ("agrees", 1, given)
    assert found.passes == 300 + 40 * len(AUGMENTATIONS)


@pytest.mark.parametrize("trained", ["none", "max", "average"])
def test_networks_with_the_same_tensors_are_told_apart(trained: str) -> None:
    networks = []
    for pool in ("none", "max", "average"):
        module = Small(pool)
        module.load_state_dict(small(trained).state_dict())
        networks.append(named(module.eval(), pool))
    chosen, _, found = settle(networks, probe(confidence="declared"), [WRONG])
    assert chosen.record.title == trained
    assert (chosen.record.confidence, found.decision) == ("chosen by probe", "chosen by probe")


def test_networks_that_cannot_be_told_apart_are_an_error_with_their_names() -> None:
    twin = Small()
    twin.load_state_dict(small().state_dict())
    with pytest.raises(AmbiguousArchitecture, match="cannot be told") as caught:
        settle([named(small(), "one"), named(twin.eval(), "other")], probe(), [WRONG])
    assert caught.value.candidates == ("one", "other")


def test_an_untrained_network_is_ambiguous() -> None:
    torch.manual_seed(0)
    module = Small()
    _, given, found = settle([named(module, "net")], probe(), [WRONG])
    assert found.decision == "ambiguous" and "No reading" in found.reason
    assert given.record.confidence == "assumed"


def test_too_few_samples_decide_nothing() -> None:
    given = probe()
    given = replace(given, keys=given.keys[:30])
    _, _, found = settle([named(small(), "net")], given, [WRONG])
    assert found.decision == "not tested" and "30 samples" in found.reason
    with pytest.raises(AmbiguousArchitecture, match="30 samples"):
        settle([named(small(), "one"), named(Small(), "other")], given, [WRONG])


def test_a_network_that_cannot_be_run_is_left_for_the_audit_to_refuse() -> None:
    class Pair(nn.Linear):
        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x.flatten(1)), x

    _, _, found = settle([named(Pair(768, 10), "net")], probe(), [WRONG])
    assert (found.decision, found.scores[0].score.reliable) == ("ambiguous", False)
    assert "could be run" in found.reason


def test_without_batch_norm_the_smallest_gradient_wins() -> None:
    def make(activation: type[nn.Module]) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(768, 32), activation(), nn.Linear(32, 10))

    trained = train(lambda: make(nn.Tanh), 12, crop=False, rate=0.05)
    networks = []
    for activation in (nn.ReLU, nn.Tanh, nn.Sigmoid):
        module = make(activation)
        module.load_state_dict(trained.state_dict())
        networks.append(named(module.eval(), activation.__name__))
    given = probe("train", confidence="declared")
    chosen, _, found = settle(networks, given, [])
    assert (chosen.record.title, found.method) == ("Tanh", "gradient stationarity")
    with pytest.raises(AmbiguousArchitecture, match="labels"):
        settle(networks, replace(given, labels=None), [])


def test_draws_depend_on_seed_and_sample_alone() -> None:
    pixels = images("test")[0][:6]
    keys = np.arange(6)
    for name in AUGMENTATIONS:
        whole = augmented(pixels, name, keys, 0)
        assert whole.shape == pixels.shape and float(whole.min()) >= 0 and float(whole.max()) <= 1
        assert torch.equal(whole[4:], augmented(pixels[4:], name, keys[4:], 0))
        assert torch.equal(whole, augmented(pixels, name, keys, 0))
        assert (name == "none") == torch.equal(whole, augmented(pixels, name, keys, 1))


def test_crops_reach_every_shift_and_come_in_black() -> None:
    ramp = (1 + torch.arange(64.0).reshape(1, 1, 8, 8)).expand(500, 1, 8, 8) / 64
    cropped = augmented(ramp, "random crop", np.arange(500), 0)
    corners = {round(float(one[0, 0, 0]) * 64) for one in cropped}
    assert corners == {0, 1, 2, 9, 10}
    flipped = augmented(ramp, "random flip", np.arange(500), 0)
    assert 200 < sum(torch.equal(a, b) for a, b in zip(flipped, ramp, strict=True)) < 300


def judged(title: str, square: float, spread: float = 0.0, way: Normalisation = TRUTH) -> Judged:
    squares = torch.full((1 + GROUPS,), square, dtype=torch.float64)
    squares[1:] += spread * torch.linspace(-1, 1, GROUPS, dtype=torch.float64)
    return Judged(Hypothesis(NETWORKS[title], Preprocessing(way), "none"), squares, 300)


NETWORKS = {title: named(nn.Identity(), title) for title in "ab"}
TAKEN = NETWORKS["a"], Preprocessing(TRUTH)


@pytest.mark.parametrize(
    ("rows", "unknown", "confidence", "decision"),
    [
        ([judged("a", 0.0)], (), "declared", "agrees"),
        ([judged("a", 0.0), judged("a", 0.04, way=WRONG)], ("preprocessing",), "assumed", "chosen by probe"),
        ([judged("a", 0.0), judged("a", 8e-4, way=WRONG)], ("preprocessing",), "assumed", "ambiguous"),
        ([judged("a", 0.0), judged("a", 0.04, 0.1, way=WRONG)], ("preprocessing",), "assumed", "ambiguous"),
        ([judged("a", 0.05), judged("a", 0.5, way=WRONG)], ("preprocessing",), "assumed", "ambiguous"),
        ([judged("a", 0.04), judged("a", 0.0, way=WRONG)], (), "declared", "contradicted"),
        ([judged("a", 0.04), judged("a", 0.0, way=WRONG)], (), "identified", "chosen by probe"),
        ([judged("a", 0.0025), judged("a", 0.0014, way=WRONG)], (), "declared", "agrees"),
        ([judged("a", 0.0049), judged("a", 0.0014, way=WRONG)], (), "declared", "ambiguous"),
        ([judged("a", 0.04), judged("b", 0.0)], ("network",), "declared", "chosen by probe"),
        ([judged("a", 0.04), judged("b", 0.0, way=WRONG)], ("network",), "declared", "contradicted"),
    ],
)
def test_the_rules_of_decision(rows: list[Judged], unknown: tuple[str, ...], confidence: str, decision: str) -> None:
    verdict = decide(rows, METHOD, TAKEN, unknown, confidence, 0)
    assert verdict.record.decision == decision
    assert verdict.record.scores[0].ratio == 1.0
    assert ("does not fit: a, " in verdict.record.reason) == (decision == "contradicted" or confidence == "identified")
    assert (verdict.preprocessing is None) == (decision != "chosen by probe" or verdict.record.open == ("network",))


def test_the_rivals_begin_with_the_probes_own_and_hold_no_doubles() -> None:
    given = probe()
    ways = preprocessings(given, [])
    assert ways[0].normalisation == TRUTH
    assert len(set(ways)) == len(ways)
    assert sum(one.reversed_channels for one in ways) == sum(one.transposed for one in ways) == len(ways) // 3
    assert preprocessings(replace(given, pixels=None), []) == ()


def test_hypotheses_leave_precision_and_modes_alone() -> None:
    module = small()
    with as_found(module, CPU, torch.float64):
        pass
    trials(probe()).run(Hypothesis(named(module, "net"), Preprocessing(TRUTH), "none"), 40)
    assert next(module.parameters()).dtype == torch.float32
