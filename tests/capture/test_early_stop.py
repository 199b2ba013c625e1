"""An input that is summed no further: its sums are those of the first samples of every group, all else of all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit import spectra
from lcaudit.capture import run as capture_run
from lcaudit.capture._batches import parted, spans
from lcaudit.capture.tasks import Fisher
from lcaudit.core.types import InputSums, KeptRows
from tests.capture.test_lanes import Convolutions, measured, same, threads
from tests.capture.test_shared_inputs import Attention
from tests.cases import probe

__all__ = ["threads"]
SAMPLES, FIRST, GROUPS = 603, 250, 10


class Wide(nn.Module):
    """A convolution, then a layer too wide for sums."""

    def __init__(self):
        super().__init__()
        self.first, self.wide = nn.Conv2d(2, 18, 3, padding=1), nn.Linear(1152, 3)

    def forward(self, x):
        return self.wide(self.first(x).relu().flatten(1))


CASES = {
    "convolutions": (Convolutions, (3, 8, 8), {"first", "third"}),
    "strided": (Convolutions, (3, 8, 8), {"second"}),
    "one tensor read thrice": (Attention, (5, 6), {"query", "key", "value"}),
    "kept rows": (Wide, (2, 8, 8), {"first"}),
}


def made(name):
    torch.manual_seed(0)
    build, shape, stopped = CASES[name]
    return build().double(), probe(torch.randn(SAMPLES, *shape, dtype=torch.float64)), stopped


def some(data):
    """The samples of the first look alone."""
    first, _ = parted(spans(SAMPLES, GROUPS), FIRST)
    places = np.concatenate([np.arange(start, stop) for _, start, stop in first])
    inputs = data.batch(0, SAMPLES)[torch.from_numpy(places)]
    return replace(probe(inputs), keys=data.keys[places])


def in_order(moments):
    """Kept rows come in the order of running, which within a group is that of the samples."""

    def sort(second):
        if not isinstance(second, KeptRows):
            return second
        order = second.group.argsort(stable=True)
        return replace(second, rows=second.rows[:, order], group=second.group[order])

    gradient, inputs = sort(moments.gradient), replace(moments.inputs, second=sort(moments.inputs.second))
    return replace(moments, gradient=gradient, inputs=inputs)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_only_the_stopped_inputs_are_of_fewer_samples(threads, monkeypatch, name, lanes):
    monkeypatch.setattr("lcaudit.capture._layer._WORTH", 0)
    model, data, stopped = made(name)
    threads(lanes)
    asked: list[InputSums] = []

    def narrow(sums):
        asked.append(sums)
        return sums.layer.name in stopped

    found = measured(model, data, narrow=narrow)
    whole, fewer = measured(model, data), measured(model, some(data))
    assert {layer.layer.name for layer in found.layers if layer.input_samples is not None} == stopped
    assert all(sums.samples.tolist() == [FIRST // GROUPS] * GROUPS for sums in asked)
    by_name = {layer.layer.name: layer for layer in fewer.layers}
    for layer, full in zip(found.layers, whole.layers, strict=True):
        layer, full, alone = map(in_order, (layer, full, by_name[layer.layer.name]))
        if layer.layer.name in stopped:
            same(alone.of_input, layer.of_input)
            assert layer.layer == full.layer, "rows and elements of a sample, whatever the number of samples"
            assert int(layer.inputs.rows.sum()) < int(full.inputs.rows.sum())
        else:
            same(full.of_input, layer.of_input)
        same((full.gradient, full.samples, full.block), (layer.gradient, layer.samples, layer.block))
    same(replace(whole, layers=()), replace(found, layers=()))
    kept = [layer for layer in found.layers if isinstance(layer.inputs.second, KeptRows)]
    assert bool(kept) == (name == "kept rows")
    assert not {layer.layer.name for layer in kept} & {sums.layer.name for sums in asked}


def test_it_is_asked_once_and_only_where_there_are_samples_enough(monkeypatch):
    monkeypatch.setattr("lcaudit.capture._layer._WORTH", 0)
    model, data, _ = made("convolutions")
    asked = []
    measured(model, data, narrow=lambda sums: asked.append(sums.layer.name))
    assert sorted(asked) == ["first", "head", "second", "third"]
    labelled = replace(data, labels=np.zeros(SAMPLES, np.int64))
    inputs = data.batch(0, 2 * capture_run.FIRST_LOOK - 1)
    for one, options in (
        (probe(inputs), {}),
        (labelled, {"convention": "huang2020", "fisher": Fisher("empirical", 1)}),
    ):
        measured(model, one, narrow=lambda sums: pytest.fail("asked"), **options)


def test_what_costs_more_to_ask_than_to_sum_is_not_asked(monkeypatch):
    model, data, _ = made("convolutions")
    monkeypatch.setattr("lcaudit.capture._layer._WORTH", 1e9)
    measured(model, data, narrow=lambda sums: pytest.fail("asked"))


def test_nothing_is_asked_where_settling_the_sums_twice_costs_more_than_stopping_saves(monkeypatch):
    monkeypatch.setattr("lcaudit.capture._layer._WORTH", 1e-3)
    model, data, _ = made("convolutions")
    asked = []
    measured(model, data, narrow=lambda sums: asked.append(sums.layer.name))
    assert asked
    monkeypatch.setattr("lcaudit.capture._layer._SETTLING", 1e9)
    measured(model, data, narrow=lambda sums: pytest.fail("asked"))


def test_a_backed_off_run_begins_anew(monkeypatch):
    """What was stopped before memory ran out belongs to sums that are gone."""
    monkeypatch.setattr("lcaudit.capture._layer._WORTH", 0)
    model, data, _ = made("convolutions")
    early = spectra.Early(10.0, (), float32=False)
    calls = []

    def narrow(sums):
        calls.append(sums)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("no more")
        return early(sums)

    found = measured(model, data, narrow=narrow, batch_size="auto")
    layers = [layer for layer in found.layers if layer.input_samples is not None]
    assert layers, "some stop"
    for layer in layers:
        (again,) = spectra.analyse_together([layer], float32=False)
        (once,) = early.analyse([layer])
        assert once == again


def pictures(n, spread):
    """Pictures whose patches' spectrum differs from one to the next by ``spread``."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.exp(spread * torch.randn(n, 3, 1, 1, generator=generator, dtype=torch.float64))
    return 0.5 + sizes * torch.randn(n, 3, 8, 8, generator=generator, dtype=torch.float64)


def sums_of(spread, **options):
    found = []
    torch.manual_seed(0)
    measured(
        Convolutions().double(), probe(pictures(SAMPLES, spread)),
        narrow=lambda sums: found.append(sums) if sums.layer.name == "first" else False, **options,
    )  # fmt: skip
    return found[0]


def test_narrow_intervals_stop_and_wide_ones_do_not(monkeypatch):
    monkeypatch.setattr("lcaudit.capture._layer._WORTH", 0)
    calm, wild = sums_of(0.05), sums_of(2.0)
    assert spectra.Early(0.1, (), False)(calm) and not spectra.Early(0.1, (), False)(wild)
    assert not spectra.Early(1e-4, (), False)(calm)
    early = spectra.Early(0.1, (), False)
    early(calm)
    gain = max((early.sides[0][1].what_if[one].gain for one in ("centring", "batch_norm")), key=lambda one: one.value)
    for limit, stops in (
        (gain.value, False),
        (gain.low * 0.5, True),
        (gain.high * 2, True),
        (gain.high * 1.001, False),
    ):
        assert spectra.Early(0.1, (limit,), False)(calm) == stops


def test_an_input_with_much_that_was_never_active_goes_on(monkeypatch):
    monkeypatch.setattr("lcaudit.capture._layer._WORTH", 0)
    calm = sums_of(0.05)
    dead = calm.inputs.channel == 0
    second, first = calm.inputs.second.clone(), calm.inputs.first.clone()
    second[..., dead, :] = 0
    second[..., :, dead] = 0
    first[..., dead] = 0
    channel = [one.clone() for one in (calm.inputs.channel_sum, calm.inputs.channel_square)]
    for one in channel:
        one[..., 0] = 0
    inputs = replace(calm.inputs, second=second, first=first, channel_sum=channel[0], channel_square=channel[1])
    assert not spectra.Early(0.1, (), False)(replace(calm, inputs=inputs))
