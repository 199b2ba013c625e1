"""Batch-norm replay on published CIFAR-10 networks: the reading they were trained with wins against wrong ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import real_material
import torch
from real_material import JPEG, NETWORKS, TEST, TRAIN, Published
from torch import nn
from torch.nn import functional

from lcaudit import architectures, capture, checkpoints, probes
from lcaudit.capture import identification
from lcaudit.core.identification import Identification
from lcaudit.core.types import Network, Preprocessing, Probe
from tests.cases import needs_shared

pytestmark = needs_shared
TRUTH = (0.485, 0.456, 0.406)
EACH = pytest.mark.parametrize("published", real_material.EACH)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def opened(published: Published, path: Path, mean: float | None = None) -> tuple[Network, Probe]:
    network = architectures.resolve(checkpoints.open_checkpoint(published.path))
    given = None if mean is None else (mean,) * 3
    probe = probes.open_probe(
        str(path), network, root=None, split=None, samples=400, seed=0, mean=given, std=given
    )  # fmt: skip
    return network, probe


def settled(
    networks: list[Network], probe: Probe, ways: tuple[Preprocessing, ...] = ()
) -> tuple[Network, Probe, Identification]:
    network, probe, found = capture.identify(
        networks, probe, ways or probes.preprocessings(probe, networks), device=torch.device("cpu"),
        dtype=torch.float32, batch_size=50, seed=0,
    )  # fmt: skip
    assert found is not None
    for one in found.scores:  # the table of docs/identification.md, with pytest -s
        print(f"| {one.network} | {one.preprocessing} | {one.augmentation} | {one.score.value:.3f} | {one.ratio:.1f} |")
    return network, probe, found


@EACH
@pytest.mark.parametrize("path", [TEST, TRAIN], ids=["test", "train"])
def test_the_true_normalisation_wins_where_another_was_assumed(published: Published, path: Path) -> None:
    network, probe = opened(published, path, 0.5)
    probe = replace(probe, record=replace(probe.record, confidence="assumed"))
    _, chosen, found = settled([network], probe)
    assert (found.decision, chosen.record.normalisation.mean) == ("chosen by probe", TRUTH)
    assert found.scores[0].score.value < 0.03
    assert all(one.ratio > 2.3 and one.clear for one in found.scores[1:])
    assert "crop" in found.scores[0].augmentation


@EACH
def test_value_range_channel_order_orientation_and_normalisation_each_win(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identification, "REPLAY", replace(identification.REPLAY, finalists=50))
    network, probe = opened(published, TEST)
    truth, *others = probes.preprocessings(probe, [network])
    wrong = [one for one in others if one.normalisation == truth.normalisation]  # exchanged channels, exchanged axes
    wrong += [one for one in others if not (one.reversed_channels or one.transposed)]
    assert {one.normalisation.std[0] for one in wrong} > {0.5, 1.0, 1 / 255, 0.2023, 0.2470}
    probe = replace(probe, record=replace(probe.record, confidence="assumed"))
    _, chosen, found = settled([network], probe, (wrong[0], truth, *wrong[1:]))
    assert found.decision == "chosen by probe" and found.scores[0].preprocessing == truth.title
    assert len(found.scores) == 1 + len(wrong) and all(one.ratio > 2.3 and one.clear for one in found.scores[1:])
    torch.testing.assert_close(chosen.batch(0, 4), probe.batch(0, 4))


@EACH
def test_the_code_bases_own_normalisation_agrees_at_once(published: Published) -> None:
    network, probe = opened(published, TEST)
    _, kept, found = settled([network], probe)
    assert (found.decision, found.passes, kept) == ("agrees", 500, probe)


def test_a_wrong_declaration_is_contradicted_and_kept() -> None:
    network, probe = opened(NETWORKS[0], TEST, 0.5)
    _, kept, found = settled([network], probe)
    assert found.decision == "contradicted"
    assert kept.record.normalisation.mean == (0.5,) * 3
    assert "0.485" in found.scores[0].preprocessing


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda pixels: pixels.flip(1), "last channel first"),
        (lambda pixels: pixels.transpose(2, 3), "rows and columns exchanged"),
    ],
    ids=["channel order", "orientation"],
)
def test_images_saved_the_wrong_way_round_are_read_the_right_way(
    spoil: Callable[[torch.Tensor], torch.Tensor], words: str
) -> None:
    network, probe = opened(NETWORKS[0], TEST)
    pixels = probe.pixels
    assert pixels is not None
    spoilt = replace(probe, pixels=lambda start, stop: spoil(pixels(start, stop)).contiguous())
    _, chosen, found = settled([network], spoilt)
    assert found.decision == "chosen by probe" and words in found.scores[0].preprocessing
    torch.testing.assert_close(chosen.batch(0, 4), probe.batch(0, 4))


def test_re_encoded_images_fit_no_reading() -> None:
    network, probe = opened(NETWORKS[0], JPEG)
    _, kept, found = settled([network], probe)
    assert found.decision == "ambiguous" and "No reading" in found.reason
    assert kept is probe


class Shortcut(nn.Module):
    """A shortcut without parameters, other than option A."""

    def __init__(self, extra: int, kind: str) -> None:
        super().__init__()
        self.extra, self.kind = extra, kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = functional.avg_pool2d(x, 2) if self.kind == "average" else x[:, :, ::2, ::2]
        if self.kind == "odd pixels":
            small = x[:, :, 1::2, 1::2]
        before = 0 if self.kind == "zeros last" else self.extra // 2
        return functional.pad(small, (0, 0, 0, 0, before, self.extra - before))


def with_shortcut(kind: str) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        for name in ("layer2.0", "layer3.0"):
            block = module.get_submodule(name)
            block.shortcut = Shortcut(block.shortcut.extra, kind)

    return change


def with_max_pool(module: nn.Module) -> None:
    module.maxpool = nn.MaxPool2d(3, 2, 1)


def with_stem_stride(module: nn.Module) -> None:
    module.conv1.stride = (2, 2)


def with_unpadded_stem(module: nn.Module) -> None:
    module.conv1.padding = (0, 0)


def with_late_stride(module: nn.Module) -> None:
    for name in ("layer2.0", "layer3.0"):
        block = module.get_submodule(name)
        block.conv1.stride, block.conv2.stride = (1, 1), (2, 2)


WRONG = {
    "zeros last": with_shortcut("zeros last"),
    "average": with_shortcut("average"),
    "odd pixels": with_shortcut("odd pixels"),
    "max pool": with_max_pool,
    "stem stride": with_stem_stride,
    "unpadded stem": with_unpadded_stem,
    "late stride": with_late_stride,
}


@EACH
def test_the_true_shortcut_and_stem_win_against_seven_wrong_ones(published: Published) -> None:
    network, probe = opened(published, TEST)
    candidates = []
    for title, change in {**WRONG, "true": lambda module: None}.items():
        module = copy.deepcopy(network.module)
        change(module)
        candidates.append(replace(network, module=module, record=replace(network.record, title=title)))
    chosen, _, found = settled(candidates, probe, probes.preprocessings(probe, [network])[:1])
    assert (chosen.record.title, chosen.record.confidence) == ("true", "chosen by probe")
    assert {one.network for one in found.scores} == {"true", *WRONG}
    assert all(one.ratio > 2.3 and one.clear for one in found.scores[1:])
