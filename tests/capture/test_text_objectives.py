"""What counts in a text: every figure against a literal oracle, and none of them moved by padding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit.capture import evaluate, measure
from lcaudit.capture.tasks import Fisher
from lcaudit.core.types import LayerMoments, Moments, Network, Probe
from lcaudit.probes import open_probe
from lcaudit.spectra.second_moment import GroupedMoments
from tests.oracles import texts as oracle
from tests.text_cases import HIDDEN, PADDING, WORDS, reader

CPU = torch.device("cpu")
EXACT = Fisher("expected", "exact")
OBJECTIVES = ("causal", "masked", "sequence", "embedding")


def saved(path: Path, rows: list[list[int]], width: int, **more: np.ndarray) -> Path:
    """Token ids of several lengths, filled up at the right to ``width``, as an ``.npz`` file."""
    real = np.array([[place < len(row) for place in range(width)] for row in rows])
    ids = np.array([[*row, *[PADDING] * (width - len(row))] for row in rows])
    np.savez(path, input_ids=ids, attention_mask=real.astype(np.int64), **more)
    return path


def some_rows(count: int = 11, seed: int = 0, least: int = 2) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, len(WORDS), size).tolist() for size in rng.integers(least, 7, count)]


def opened(path: Path, network: Network, **options) -> Probe:
    defaults = {"root": None, "split": None, "samples": None, "seed": 0, "mean": None, "std": None}
    return open_probe(str(path), network, **{**defaults, **options})


def measured(network: Network, probe: Probe, fisher: Fisher = EXACT, **options) -> Moments:
    arguments = {"device": CPU, "dtype": torch.float64, "batch_size": 5, "seed": 3} | options
    return measure(network, probe, fisher=fisher, **arguments)


def factors(layer: LayerMoments) -> tuple[np.ndarray, np.ndarray]:
    inputs = GroupedMoments(layer.inputs).whole().uncentred()
    return inputs, layer.gradient.sum(0).numpy() / int(layer.samples.sum())


def samples_of(network: Network, probe: Probe, ignore: int = -100) -> list[oracle.Sample]:
    """What the probe holds, without padding. That its targets are right is tested on its own below."""
    ids = probe.batch(0, len(probe.keys))
    real = torch.ones_like(ids, dtype=torch.bool) if probe.mask is None else probe.mask(0, len(probe.keys))
    found = []
    for number, (row, places) in enumerate(zip(ids, real, strict=True)):
        targets = [0] if probe.labels is None else [int(probe.labels[number])] if probe.labels.ndim == 1 else None
        if targets is None:
            targets = [None if label == ignore else int(label) for label in probe.labels[number][places.numpy()]]
        found.append((row[places].tolist(), targets))
    return found


def agree(moments: Moments, want: dict[str, dict], layers: int = 2) -> None:
    found = {one.layer.name: one for one in moments.layers if one.layer.name in want}
    assert len(found) == layers
    for name, one in found.items():
        inputs, gradients = factors(one)
        np.testing.assert_allclose(inputs[0], want[name]["x"], rtol=1e-10, atol=1e-11, err_msg=name)
        np.testing.assert_allclose(gradients[0], want[name]["g"], rtol=1e-9, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_figure_of_the_expected_fisher(tmp_path: Path, objective: str) -> None:
    network, rows = reader(objective), some_rows()
    more = {"labels": np.arange(len(rows)) % 4} if objective == "sequence" else {}
    probe = opened(saved(tmp_path / "a.npz", rows, 9, **more), network)
    samples = samples_of(network, probe)
    ways = oracle.every_direction if objective == "embedding" else oracle.every_label
    want, fit = oracle.figures(network.module, samples, ways)
    moments = measured(network, probe)
    agree(moments, want)
    assert moments.task.name == ("regression" if objective == "embedding" else "classification")
    if objective == "embedding":
        assert (
            moments.fit.loss is None and moments.fit.error is None and "no scores of classes" in moments.task.evidence
        )
        return
    assert moments.fit.loss.value == pytest.approx(fit["loss"], rel=1e-12)
    assert moments.fit.entropy.value == pytest.approx(fit["entropy"], rel=1e-12)
    assert moments.fit.error.value == pytest.approx(fit["wrong"] / fit["counted"], rel=1e-12)
    outputs, again = evaluate(network.module, probe, classes=network.record.classes, task="auto", ignore_index=-100,
                              device=CPU, dtype=torch.float64, batch_size=4)  # fmt: skip
    assert len(outputs) == len(samples) and again.loss.value == pytest.approx(fit["loss"], rel=1e-12)
    head = next(one for one in moments.layers if one.layer.is_head)
    assert head.layer.name == "head" or objective in ("sequence", "embedding")


@pytest.mark.parametrize("objective", ["causal", "masked", "sequence"])
def test_every_figure_of_the_given_labels(tmp_path: Path, objective: str) -> None:
    network, rows = reader(objective), some_rows(seed=1)
    more = {"labels": np.arange(len(rows)) % 4} if objective == "sequence" else {}
    probe = opened(saved(tmp_path / "a.npz", rows, 9, **more), network)
    samples = samples_of(network, probe)
    want, _ = oracle.figures(network.module, samples, oracle.given(samples))
    agree(measured(network, probe, Fisher("empirical")), want)


def test_targets_of_a_causal_network_are_the_next_tokens(tmp_path: Path) -> None:
    network, rows = reader("causal"), some_rows()
    probe = opened(saved(tmp_path / "a.npz", rows, 9), network)
    for row, key in zip(samples_of(network, probe), probe.keys, strict=True):
        assert row == oracle.causal(rows[key])
    assert int((probe.labels != -100).sum()) == sum(len(row) - 1 for row in rows)
    assert any("the last token and those before padding have none" in word for word in probe.record.preprocessing)
    assert not any("without the mask" in word for word in probe.record.preprocessing)


def test_hidden_tokens_are_real_ones_and_the_only_ones_that_count(tmp_path: Path) -> None:
    network, rows = reader("masked"), some_rows(300, least=5)
    probe = opened(saved(tmp_path / "a.npz", rows, 9), network)
    shown = probe.batch(0, 300).numpy()
    hidden, total = 0, 0
    for number, key in enumerate(probe.keys):
        row, targets = rows[key], probe.labels[number]
        places = targets != -100
        assert 1 <= places.sum() <= len(row) and not places[len(row) :].any()
        assert (targets[places] == np.array([*row, *[0] * 9])[:9][places]).all()
        assert (shown[number][places] == HIDDEN).all()
        assert (shown[number][: len(row)][~places[: len(row)]] == np.array(row)[~places[: len(row)]]).all()
        hidden, total = hidden + int(places.sum()), total + len(row)
    # each of 5 or 6 tokens with probability 0.15, and one where that hides none
    expected = sum(0.15 * len(row) + 0.85 ** len(row) for row in rows) / total
    assert hidden / total == pytest.approx(expected, abs=0.02)
    assert any("hidden by token 3" in word for word in probe.record.preprocessing)
    again = opened(tmp_path / "a.npz", network, seed=1)
    assert not np.array_equal(again.labels[np.argsort(again.keys)], probe.labels[np.argsort(probe.keys)])


@settings(max_examples=16, deadline=None)
@given(st.sampled_from(OBJECTIVES), st.integers(0, 6), st.integers(0, 100), st.booleans())
def test_more_padding_changes_no_figure(tmp_path_factory, objective: str, more: int, seed: int, drawn: bool) -> None:
    network, rows = reader(objective), some_rows(11, seed)
    folder = tmp_path_factory.mktemp("padded")
    fisher = Fisher() if drawn else EXACT if objective in ("sequence", "embedding") else Fisher("expected", 3)
    found = []
    for width in (max(map(len, rows)), max(map(len, rows)) + more):
        probe = opened(saved(folder / "a.npz", rows, width), network)
        found.append(measured(network, probe, fisher))
    assert found[0].fit.entropy.value == pytest.approx(found[1].fit.entropy.value, rel=1e-12)
    if found[0].fit.loss:
        assert found[0].fit.loss.value == pytest.approx(found[1].fit.loss.value, rel=1e-12)
        assert found[0].fit.error == found[1].fit.error
    for one, other in zip(found[0].layers, found[1].layers, strict=True):
        for left, right in zip(factors(one), factors(other), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-11)
        assert torch.equal(one.inputs.rows, other.inputs.rows)


def test_drawn_labels_fall_only_where_targets_are(tmp_path: Path) -> None:
    """Σ_g of the head has as many rows as there are targets: its trace is Σ (1 − p²) over them in expectation."""
    network = reader("causal")
    network.module.head.weight.data.zero_()
    network.module.head.bias.data.zero_()
    rows = some_rows()
    probe = opened(saved(tmp_path / "a.npz", rows, 9), network)
    head = next(one for one in measured(network, probe, Fisher()).layers if one.layer.is_head)
    counted, classes = sum(len(row) - 1 for row in rows), len(WORDS)
    trace = float(head.gradient.sum(0)[0].trace())
    assert trace == pytest.approx(counted * (1 - 1 / classes), rel=1e-12)  # uniform predictions: Σ p (1 − p)
    assert int(head.inputs.rows.sum()) == sum(map(len, rows))


def test_the_padding_token_is_padding_where_no_mask_says_so(tmp_path: Path) -> None:
    network, rows = reader("causal"), some_rows()
    masked = measured(network, opened(saved(tmp_path / "a.npz", rows, 9), network), Fisher())
    with np.load(tmp_path / "a.npz") as file:
        np.savez(tmp_path / "b.npz", input_ids=file["input_ids"])
    bare = opened(tmp_path / "b.npz", network)
    assert any("hold token 0 are padding" in word for word in bare.record.preprocessing)
    assert measured(network, bare, Fisher()).fit == masked.fit


def test_masked_positions_hold_the_padding_token_whatever_the_file_has_there(tmp_path: Path) -> None:
    network, rows = reader("sequence"), some_rows()
    saved(tmp_path / "a.npz", rows, 9)
    with np.load(tmp_path / "a.npz") as file:
        ids, mask = file["input_ids"], file["attention_mask"]
    np.savez(tmp_path / "b.npz", input_ids=np.where(mask == 1, ids, 9), attention_mask=mask)
    one, other = (opened(tmp_path / f"{name}.npz", network) for name in "ab")
    assert torch.equal(one.batch(0, 11), other.batch(0, 11))


def test_a_vocabulary_as_wide_as_the_text_is_long_does_not_confuse_the_axes(tmp_path: Path) -> None:
    """Outputs [b, T, V] with T = V: the network has said which axis is which."""
    network = reader("causal")
    network = replace(network, text=replace(network.text, longest=64))
    rows = [[5] * len(WORDS), [6] * len(WORDS), [7] * len(WORDS)]
    probe = opened(saved(tmp_path / "a.npz", rows, len(WORDS)), network)
    assert measured(network, probe, Fisher()).fit.error is not None
