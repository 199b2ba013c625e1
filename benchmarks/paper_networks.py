"""The networks of ``benchmarks/paper_figure.py``; also an ``--arch`` file: ``paper_networks.py:last_bn_56``.

Plain MLPs and plain residual networks are recognised by lcaudit from their tensors. A residual network with
a batch norm before its last linear layer is no public code base's, so it is named to lcaudit by a factory.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from lcaudit.architectures.resnet_cifar import FAMILY
from lcaudit.demo.train import VARIANT

PIXELS, CLASSES = 64, 10
#: Channels of the three stages: half of the usual 16-32-64, so that 1000 digits suffice for every layer.
WIDTHS = "8-16-32"
DEPTHS = (8, 20, 32, 56)


def mlp(layers: int, width: int, batch_norm: bool) -> nn.Sequential:
    """``layers`` linear layers, ReLU between them, and a batch norm before each ReLU if asked for."""
    parts: list[nn.Module] = [nn.Flatten()]
    for index in range(layers):
        last = index == layers - 1
        inputs, outputs = width if index else PIXELS, CLASSES if last else width
        parts.append(nn.Linear(inputs, outputs, bias=last or not batch_norm))
        parts += [] if last else [nn.BatchNorm1d(outputs), nn.ReLU()] if batch_norm else [nn.ReLU()]
    return nn.Sequential(*parts)


def residual(depth: int, last_bn: bool, widths: str = WIDTHS) -> nn.Module:
    """A CIFAR-style residual network of 6n + 2 layers on grey images, option A shortcuts.

    With ``last_bn`` a batch norm stands between the pooled features and the last linear layer.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth {depth} is not 6n + 2")
    stem = int(widths.split("-")[0])
    network = FAMILY.build(VARIANT | {"stem_width": stem, "widths": widths, "blocks": "-".join([str(blocks)] * 3)})
    if last_bn:
        head = network.get_submodule("linear")
        network.add_module("linear", nn.Sequential(nn.BatchNorm1d(int(widths.split("-")[-1])), head))
    network.input_shape = (1, 8, 8)  # what --arch cannot read off the tensors
    return network


last_bn_8 = partial(residual, 8, True)
last_bn_20 = partial(residual, 20, True)
last_bn_32 = partial(residual, 32, True)
last_bn_56 = partial(residual, 56, True)
