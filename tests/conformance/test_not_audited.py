"""What is not audited is named, with its reason and its size, and the rest is measured all the same."""

import copy

import pytest
import torch

from tests.conformance.compare import measured
from tests.conformance.conformance_cases import REFUSED


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_named_with_its_reason(case):
    torch.manual_seed(2)
    inputs, model = case.inputs(), case.build().eval()
    mask = case.mask(inputs) if case.mask else None
    moments = measured(model, inputs, mask, torch.float64)
    assert {one.name: one.reason for one in moments.not_audited}[case.name] == case.reason
    sizes = sum(one.layer.parameters for one in moments.layers) + sum(one.parameters for one in moments.not_audited)
    assert sizes == sum(parameter.numel() for parameter in copy.deepcopy(model).parameters())
    assert case.name not in {one.layer.name for one in moments.layers}
