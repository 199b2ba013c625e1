"""How a weight's uses are found, told apart and counted."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lcaudit.capture import measure
from lcaudit.capture._batches import batches, edges, spans
from lcaudit.capture._rows import kept
from lcaudit.capture._weights import Weights
from lcaudit.core.types import Counts
from tests.cases import network, probe
from tests.conformance.case_attention import EncoderLayer
from tests.conformance.case_wiring import Checkpointed, Functional, Shared, Tied

CPU = torch.device("cpu")


def run(module, inputs, batch_size=5, mask=None):
    given = probe(inputs)
    if mask is not None:
        given = replace(given, mask=lambda start, stop: mask[start:stop])
    return measure(network(module), given, device=CPU, dtype=torch.float64, batch_size=batch_size, seed=3)


def layers(moments):
    return {one.layer.name: one.layer for one in moments.layers}


def test_what_feeds_each_layer_of_an_encoder():
    got = layers(run(EncoderLayer(True), torch.randn(20, 5, 6)))
    wired = {name.removeprefix("block."): (one.reads, one.through) for name, one in got.items()}
    assert wired == {
        "self_attn.in_proj_weight": ("network input", ""),
        "self_attn.out_proj": ("layer", "attention"),
        "linear1": ("normalisation", ""),
        "linear2": ("layer", "ReLU"),
        "head": ("normalisation", "average pooling"),
    }
    assert got["block.self_attn.in_proj_weight"].kind == "multihead_attention"
    assert [one.positions for one in got.values()] == [5, 5, 5, 5, 1]


def test_a_layer_that_reads_two_things_reads_something_unknown():
    torch.manual_seed(0)
    got = layers(run(Shared(True), torch.randn(20, 3, 6, 6)))
    assert (got["conv"].reads, got["conv"].positions) == ("unknown", 36 + 9)
    assert got["conv"].geometry == "3×3, padding 1, used 2 times"
    assert layers(run(Tied(True), torch.randn(20, 4)))["left"].geometry == "used 2 times, shared with right"


def test_a_weight_that_no_module_of_its_own_applies_says_so():
    torch.manual_seed(0)
    alone = "not applied by a module of its own"
    got = layers(run(Functional(True), torch.randn(20, 2, 5, 5)))
    assert {name: one.geometry for name, one in got.items()} == {
        "kernel": f"3×3, stride 2, {alone}",
        "first": alone,
        "second": alone,
        "third": alone,
    }
    got = layers(run(EncoderLayer(True), torch.randn(20, 5, 6)))
    assert [name for name, one in got.items() if one.geometry] == ["block.self_attn.out_proj"]


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_counts_nothing_twice(reentrant):
    torch.manual_seed(1)
    model = Checkpointed(True, reentrant, stem=True)
    plain = copy.deepcopy(model)
    plain.checkpointed = False
    inputs = torch.randn(20, 2, 5, 5)
    one, two = run(model, inputs), run(plain, inputs)
    for a, b in zip(one.layers, two.layers, strict=True):
        assert torch.equal(a.inputs.rows, b.inputs.rows) and a.layer.depth == b.layer.depth
        torch.testing.assert_close(a.gradient, b.gradient)
    assert one.batch_norms == two.batch_norms
    # where recording starts anew, what came before cannot be told
    assert one.layers[1].layer.reads == ("unknown" if reentrant else "layer")
    assert one.layers[2].layer.reads == "normalisation"


def test_a_head_that_is_used_twice_has_no_closed_form():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 4)

        def forward(self, x):
            return self.head(self.head(x).tanh())

    (one,) = run(Twice(), torch.randn(20, 4)).layers
    assert not one.layer.is_head and one.gradient_label == "expected, one draw per sample"


def test_only_zeros_of_a_layers_padding_count_in_its_inputs_statistics():
    inputs = torch.randn(20, 2, 5, 5) + 1
    for mode in ("zeros", "reflect", "circular"):
        model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode), nn.Flatten(), nn.Linear(75, 2))
        moments = run(model, inputs).layers[0]
        torch.testing.assert_close(moments.inputs.channel_sum.sum(0)[0], inputs.double().sum((0, 2, 3)))
        # zeros are elements, for a fix puts them there first; what other paddings repeat is in the image already
        sides = 7 if mode == "zeros" else 5
        assert int(moments.inputs.elements.sum()) == len(inputs) * sides**2
        assert moments.layer.geometry == "3×3, padding 1" + ("" if mode == "zeros" else f" {mode}")


def test_a_weight_that_acts_for_some_samples_only_is_refused():
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.usual, self.rare, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            x = self.usual(x).tanh()
            return self.head(self.rare(x) if bool(x.shape[0] > 2) else x)

    class Routed(Moody):
        def forward(self, x):
            x = self.usual(x).tanh()
            chosen = x[:, 0] > 0
            return self.head(
                torch.where(chosen[:, None], x, 0).index_add(0, chosen.nonzero()[:, 0], self.rare(x[chosen]))
            )

    torch.manual_seed(2)
    for model, why in ((Moody(), "it runs for some samples only"), (Routed(), "its rows do not grow with the batch")):
        moments = run(model, torch.randn(60, 4), batch_size=6)
        assert [n.name for n in moments.not_audited] == ["rare"]
        assert moments.not_audited[0].reason.startswith(why)


def test_every_token_padded_leaves_nothing_to_measure():
    model = nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(18, 2))
    mask = torch.zeros(20, 6, dtype=torch.bool)
    moments = run(model, torch.randn(20, 6, 4), mask=mask)
    assert {n.name: n.reason for n in moments.not_audited} == {"0": "all its rows are padding"}


def test_as_many_samples_as_tokens_are_still_told_apart():
    torch.manual_seed(3)
    inputs = torch.randn(50, 5, 4)
    mask = torch.rand(50, 5) > 0.4
    mask[:, 0] = True

    class TokensFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.layer(x.transpose(0, 1)).tanh().mean(0))

    model = TokensFirst()
    one, two = run(model, inputs, mask=mask, batch_size=5), run(model, inputs, mask=mask, batch_size=4)
    torch.testing.assert_close(one.layers[0].inputs.second, two.layers[0].inputs.second)
    real = inputs[mask].double()
    torch.testing.assert_close(one.layers[0].inputs.second.sum((0, 1)), real.T @ real)


def test_masks_are_spread_over_every_layout_of_rows():
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    flat = [True, True, False, True, False, False]
    assert kept((2,), mask, False) is None
    assert kept((2, 3), mask, False).tolist() == flat == kept((6,), mask, False).tolist()
    first = [True, True, True, False, False, False]
    assert kept((3, 2), mask, False).tolist() == first == kept((6,), mask, True).tolist()
    assert kept((2, 3, 2), mask, False).tolist() == [value for value in flat for _ in range(2)]
    assert "line up" in kept((2, 4), mask, False)
    single = torch.tensor([[True], [False]])
    assert kept((2,), single, False).tolist() == kept((2, 1), single, False).tolist() == [True, False]


def test_batches_are_even_and_never_as_many_as_tokens():
    planned = batches(spans(103, 10), 4, tokens=3)
    assert [start for _, start, _ in planned] == [0, *[stop for _, _, stop in planned[:-1]]]
    assert planned[-1][2] == 103 and all(stop - start in (1, 2, 4) for _, start, stop in planned)
    low = edges(103, 10)
    assert all(low[group] <= start and stop <= low[group + 1] for group, start, stop in planned)
    assert {stop - start for _, start, stop in batches(spans(130, 1), 128, tokens=0)} == {65}


def test_parts_of_parameters_are_recognised_by_their_storage():
    owner = nn.Module()
    owner.inner = nn.Linear(4, 6, bias=False)
    weights, weight = Weights(owner), owner.inner.weight
    assert weights.find(weight).name == "inner" and not weights.find(weight).flipped
    assert weights.find(weight.detach()).block == weights.find(weight).block
    assert weights.find(weight.T).flipped and weights.find(weight.mT).block == weights.find(weight).block
    assert weights.find(weight.chunk(3)[1]).name == "inner[2:4]"
    assert weights.find(weight[:, :2]) is None, "no run of elements"
    assert weights.find(weight * 1) is None and weights.find(torch.zeros(6, 4)) is None
    parts = [weights.find(weight[low:high]).block for low, high in ((0, 2), (2, 4), (3, 6))]
    assert weights.overlapping(parts) == {parts[1], parts[2]}


def test_a_wide_vocabulary_takes_no_matrix():
    model = nn.Sequential(nn.Embedding(50_000, 3), nn.Flatten(), nn.Linear(6, 2))
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 50_000, (20, 2)))
    moments = run(model, tokens)
    assert [one.layer.name for one in moments.layers] == ["0", "2"] and not moments.not_audited
    counts = moments.layers[0].inputs.second
    assert isinstance(counts, Counts) and counts.squares.shape[1:] == (1, 50_000) and counts.squares.sum() == 40
