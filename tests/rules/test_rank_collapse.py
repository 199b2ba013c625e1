"""How many directions LC304 expects of a head."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lcaudit.capture import measure
from lcaudit.core import specimen
from lcaudit.core.outcomes import Fail, Pass
from lcaudit.rules.rank_collapse import RULE, needed
from lcaudit.spectra import analyse
from tests.cases import network, probe


def judged(classes, **options):
    found = specimen.measurements(layers=(specimen.layer("head", is_head=True, dimension=64, **options),))
    (outcome,) = RULE.check(replace(found, network=replace(found.network, classes=classes)))
    return type(outcome)


@pytest.mark.parametrize(
    ("classes", "reads", "rank", "kind"),
    [
        (10, "layer", 9, Pass),
        (10, "layer", 8, Fail),
        (1000, "layer", 64, Pass),
        (1000, "layer", 63, Fail),
        (1000, "normalisation", 63, Pass),
        (1000, "normalisation", 62, Fail),
        (1000, "unknown", 63, Pass),
        (10, "normalisation", 8, Fail),
    ],
)
def test_a_normalisation_may_take_one_direction(classes, reads, rank, kind):
    assert judged(classes, reads=reads, rank=rank) is kind


def test_a_layer_norm_takes_exactly_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 8), nn.LayerNorm(8), nn.Linear(8, 20)).double()
    nn.init.uniform_(model[3].weight, 0.5, 2)
    nn.init.normal_(model[3].bias)
    moments = measure(
        network(model, classes=20), probe(torch.randn(300, 6)), device=torch.device("cpu"), dtype=torch.float64,
        batch_size=50, seed=0,
    )  # fmt: skip
    head = analyse(moments.layers[-1], float32=False)
    assert head.layer.is_head and head.layer.reads == "normalisation"
    assert head.centred.rank == 7 == needed(head, 20) and head.input.rank == 8
