"""Measuring some layers only never shifts a number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lcaudit.capture import fisher_block
from lcaudit.core.errors import UsageError
from tests.cases import Residual
from tests.spectra.test_analyse import moments


def test_a_layer_by_itself_has_the_numbers_it_has_among_all(monkeypatch):
    monkeypatch.setattr(fisher_block, "MOST_BYTES", 200_000)  # too little for as many gradients as are wanted
    torch.manual_seed(0)
    model, inputs = Residual(channels=5), torch.randn(40, 2, 6, 6)
    whole = {one.layer.name: one for one in moments(model, inputs).layers}
    for name, want in whole.items():
        (got,) = moments(model, inputs, layers=[name]).layers
        assert got.layer == want.layer and got.gradient_label == want.gradient_label
        assert torch.equal(got.inputs.second, want.inputs.second)
        assert torch.equal(got.gradient, want.gradient)
        assert torch.equal(got.block.gram, want.block.gram)


def test_the_rest_is_named_as_not_asked_for():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    found = moments(model, torch.randn(30, 3), layers=["[24]"])
    assert [one.layer.name for one in found.layers] == ["2", "4"]
    assert [(one.name, one.reason) for one in found.not_audited] == [("0", "not asked for by --layers")]


def test_a_pattern_that_matches_nothing_is_an_error_that_names_near_ones():
    with pytest.raises(UsageError, match=r"--layers 'layer9' matches no layer"):
        moments(nn.Sequential(nn.Linear(3, 2)), torch.randn(30, 3), layers=["layer9"])
