"""Batch sizes that back off where memory runs out."""

import pytest
import torch
from torch import nn

from lcaudit.capture import measure
from lcaudit.capture._back_off import sizes
from lcaudit.core.errors import EnvironmentFailure
from tests.cases import network, probe

CPU = torch.device("cpu")


class Small(nn.Module):
    """Takes so many samples and no more; ``said`` as torch says it on different devices."""

    def __init__(self, most, said):
        super().__init__()
        self.layer, self.most, self.said, self.tried = nn.Linear(4, 3), most, said, []

    def forward(self, x):
        self.tried.append(len(x))
        if len(x) > self.most:
            raise self.said
        return self.layer(x)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    MemoryError(),
]


def measured(model, batch_size, samples=200):
    torch.manual_seed(0)
    inputs = torch.randn(samples, 4)
    return measure(network(model), probe(inputs), device=CPU, dtype=torch.float32, batch_size=batch_size, seed=0)


@pytest.mark.parametrize("said", ERRORS, ids=lambda error: type(error).__name__)
def test_half_as_many_are_tried_until_they_fit(said):
    model = Small(7, said)
    found = measured(model, "auto")
    assert found.batch_size == 6  # 50, 25, 12, 6; a tenth of the samples, 20, is the most there is in one pass
    assert max(model.tried[-20:]) <= 6
    usual = measured(Small(1000, said), "auto")
    assert usual.batch_size == 50
    model.most = 1000
    again = measured(model, 6)
    torch.testing.assert_close(found.layers[0].inputs.second, again.layers[0].inputs.second, rtol=0, atol=0)


def test_what_was_asked_for_is_kept_or_refused():
    with pytest.raises(EnvironmentFailure, match="with 20 samples a pass") as caught:
        measured(Small(7, ERRORS[0]), 20)
    assert "auto" in caught.value.hint
    with pytest.raises(EnvironmentFailure, match="with 1 sample a pass"):
        measured(Small(0, ERRORS[0]), "auto")


def test_other_failures_are_not_tried_again():
    model = Small(7, ValueError("no"))
    with pytest.raises(Exception, match="the network failed on an input"):
        measured(model, "auto")
    assert len(model.tried) == 2  # the survey's few samples fit


def test_sizes():
    assert sizes("auto", CPU, 10_000) == [50, 25, 12, 6, 3, 1]
    assert sizes("auto", torch.device("cuda"), 10_000)[0] == 512
    assert sizes("auto", CPU, 3) == [3, 1]
    assert sizes(80, CPU, 3) == [80]
