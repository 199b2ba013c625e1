"""What a measuring run costs, counted and not timed: operations, calls and bytes relative to a plain pass.

Limits stand some way above what was counted when they were set (given beside each), and well below what
the slow ways cost; one that is exceeded on purpose is raised here, with the reason in the commit.
"""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lcaudit.capture import _stream, fisher_block, measure
from lcaudit.capture.handlers import _convolution
from lcaudit.capture.handlers._base import add_product
from lcaudit.capture.normed import NORMS
from lcaudit.spectra import analyse
from tests.cases import mlp, network, probe

SAMPLES, BATCH = 200, 20
aten = torch.ops.aten


class Work(TorchDispatchMode):
    """Counts calls, floating-point operations of products and convolutions, and bytes of results, views left out."""

    def __init__(self):
        super().__init__()
        self.calls, self.operations, self.bytes = Counter(), 0, 0

    def __enter__(self):
        self.matmul, np.matmul = np.matmul, self.product
        return super().__enter__()

    def __exit__(self, *failure):
        np.matmul = self.matmul
        return super().__exit__(*failure)

    def product(self, left, right):
        """NumPy's; of a matrix times its own transpose one triangle is computed."""
        mirror = left.swapaxes(-1, -2)
        own = (right.shape, right.strides, right.ctypes.data) == (mirror.shape, mirror.strides, mirror.ctypes.data)
        result = self.matmul(left, right)
        self.calls["matmul"] += 1
        self.operations += (1 if own else 2) * result.size * left.shape[-1]
        self.bytes += result.nbytes
        return result

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        packet = function._overloadpacket
        self.calls[str(packet).removeprefix("aten.")] += 1
        if packet is aten.baddbmm_:
            self.operations += 2 * args[1].numel() * args[2].shape[2]
        elif packet is aten.convolution_backward and args[9] > 1:  # groups, which the registry does not know of
            self.operations += 2 * args[0].numel() * args[2][0].numel()
        elif packet in flop_registry:
            self.operations += flop_registry[packet](*args, **(kwargs or {}), out_val=result)
        if not function.is_view:
            self.bytes += sum(one.nbytes for one in tree_leaves(result) if isinstance(one, torch.Tensor))
        return result


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x):
        return (self.skip(x) + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()


def residual(stride=1):
    blocks = [Block(16, 16, 1), Block(16, 16 * stride, stride)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(10))


def plain(model, inputs):
    model.eval().requires_grad_(True)
    with Work() as work:
        for part in inputs.split(BATCH):
            nn.functional.cross_entropy(model(part), torch.zeros(len(part), dtype=torch.long)).backward()
    model.zero_grad()
    return work


def audit(model, inputs):
    with Work() as work:
        moments = measure(
            network(model), probe(inputs), device=torch.device("cpu"), dtype=torch.float32, batch_size=BATCH, seed=0
        )
    return work, moments


@pytest.fixture
def moments_only(monkeypatch):
    """Leaves out the small run that forms single samples' gradients: its size does not depend on the probe's."""
    monkeypatch.setattr(_stream.Run, "sample_grams", lambda *arguments: {})


def both(model, *shape):
    torch.manual_seed(0)
    inputs = torch.randn(SAMPLES, *shape)
    model(inputs[:1])
    return plain(model, inputs), audit(model, inputs)[0]


@pytest.mark.usefixtures("moments_only")
@pytest.mark.parametrize(("stride", "counted"), [(1, 1.00), (2, 1.05)])
def test_operations_of_a_residual_network(stride, counted):
    usual, ours = both(residual(stride), 3, 16, 16)
    layers = 5 if stride == 1 else 6
    assert ours.operations < 1.1 * counted * usual.operations  # 2.9 where every patch is unfolded
    assert ours.bytes < 6 * usual.bytes  # counted: 4.0, 5.0
    assert ours.calls.total() < 22 * usual.calls.total()  # 18.1, 16.5, with one batch to a group
    assert ours.calls["im2col"] <= 2 * layers  # once per layer the sum of its images, and what padding hides
    assert ours.calls["_local_scalar_dense"] <= 12 * SAMPLES // BATCH + 20 * layers, (
        "no number of a layer read per batch"
    )


def test_unfolding_would_be_noticed(monkeypatch):
    monkeypatch.setattr(_convolution, "_correlated", lambda call, groups: False)
    usual, ours = both(residual(), 3, 16, 16)
    assert ours.operations > 2.5 * usual.operations


@pytest.mark.usefixtures("moments_only")
def test_operations_of_linear_layers():
    usual, ours = both(mlp(512, 512, 512, 512, 10), 512)
    assert ours.operations < 1.2 * usual.operations  # counted: 1.06, two full and two half products for three


def test_norms_of_a_head_cost_next_to_nothing_or_are_left_out(monkeypatch):
    torch.manual_seed(0)
    inputs = torch.randn(SAMPLES, 3, 16, 16)
    model = residual()
    model(inputs[:1])
    work, moments = audit(model, inputs)
    assert set(moments.layers[-1].normed) == set(NORMS) and not any(one.normed for one in moments.layers[:-1])
    _, found = audit(mlp(64, 64, 64, 10), torch.randn(SAMPLES, 64))
    assert not any(one.normed for one in found.layers), "where the head is a large part of the network"
    monkeypatch.setattr(_stream.Run, "sum_normed", lambda *arguments: None)
    without, _ = audit(model, inputs)
    assert without.operations < work.operations < 1.01 * without.operations


def test_a_wide_symmetric_product_is_made_once():
    rows, total = torch.randn(1, 1024, 2048), torch.zeros(1, 1024, 1024, dtype=torch.float64)
    with Work() as work:
        add_product(total, rows)
    assert work.operations < 0.65 * 2 * 2048 * 1024**2
    torch.testing.assert_close(total, (rows.double() @ rows.double().mT), rtol=1e-4, atol=1e-2)


def test_work_grows_with_samples_as_a_plain_pass_does():
    model, inputs = residual(), torch.randn(2 * SAMPLES, 3, 16, 16)
    model(inputs[:1])
    few, many = (audit(model, inputs[:n])[0] for n in (SAMPLES, 2 * SAMPLES))
    assert many.operations < 2 * few.operations and many.calls.total() < 2 * few.calls.total()


def test_single_samples_gradients_cost_what_so_many_samples_do(monkeypatch):
    model, inputs = residual(), torch.randn(SAMPLES, 3, 16, 16)
    model(inputs[:1])
    usual, with_them = plain(model, inputs), audit(model, inputs)[0]
    monkeypatch.setattr(_stream.Run, "sample_grams", lambda *arguments: {})
    without = audit(model, inputs)[0]
    share = fisher_block.WANTED / SAMPLES
    assert 0 < with_them.operations - without.operations < 1.35 * share * usual.operations  # counted: 1.15
    assert with_them.bytes - without.bytes < 2.5 * share * usual.bytes  # 1.9; 3.3 where inputs are unfolded
    assert with_them.calls["im2col"] == without.calls["im2col"]


@pytest.mark.usefixtures("moments_only")
def test_eigenvalue_problems(monkeypatch):
    """Σ d³ over all of them: four of a wide layer's own, three for every group left out of a narrow one.

    And one more for each of the four matrices with directions that rounding could have made.
    """
    torch.manual_seed(0)
    model, inputs = residual(), torch.randn(SAMPLES, 3, 16, 16)
    model(inputs[:1])
    moments = audit(model, inputs)[1]
    cubes = Counter()
    for name in ("eigh", "eigvalsh"):
        solve = getattr(np.linalg, name)

        def counted(matrix, solve=solve, name=name):
            cubes[name] += matrix[..., 0, 0].size * matrix.shape[-1] ** 3
            cubes["problems"] += 1
            return solve(matrix)

        monkeypatch.setattr(np.linalg, name, counted)
    for layer in moments.layers:
        cubes.clear()
        analyse(layer, float32=True)
        wide = layer.inputs.second.shape[-1] > 96
        own = layer.inputs.second.shape[-1] ** 3 + layer.gradient.shape[-1] ** 3
        assert cubes["eigh"] + cubes["eigvalsh"] <= (8.5 if wide else 3 * (1 + len(layer.samples)) + 5.5) * own
