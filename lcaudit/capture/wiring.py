"""What feeds a layer, read off the graph that autograd records.

Names in the checkpoint cannot tell a residual stream from a branch; the recorded graph can, for any
network. Walking back from a layer's input, functions that act on each element or pool are noted,
reshapes are passed over, and the first producer is named.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch

NETWORK_INPUT = "network input"
SUM = "sum of branches"
NORMALISATION = "normalisation"
LAYER = "layer"
UNKNOWN = "unknown"

#: Starts of node names. Functions to mention, then nodes that only move numbers about.
_FUNCTIONS = {
    "Relu": "ReLU", "Hardtanh": "clipped ReLU", "LeakyRelu": "leaky ReLU", "Gelu": "GELU", "Silu": "SiLU",
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Elu": "ELU", "Hardswish": "hard swish", "Softplus": "softplus",
    "Mean": "average pooling", "AvgPool": "average pooling", "AdaptiveAvgPool": "average pooling",
    "MkldnnAdaptiveAvgPool": "average pooling", "MaxPool": "max pooling", "AdaptiveMaxPool": "max pooling",
    "Softmax": "softmax", "ScaledDotProduct": "attention",
}  # fmt: skip
_MOVES = (
    "View", "UnsafeView", "Reshape", "ReshapeAlias", "Squeeze", "Unsqueeze", "Permute", "Transpose", "T", "Clone",
    "Slice", "Select", "ConstantPadNd", "Alias", "Expand", "ToCopy", "Dropout", "NativeDropout",
)  # fmt: skip
_PRODUCERS = {
    "NativeBatchNorm": NORMALISATION, "CudnnBatchNorm": NORMALISATION, "MiopenBatchNorm": NORMALISATION,
    "NativeLayerNorm": NORMALISATION, "NativeGroupNorm": NORMALISATION, "FusedRmsNorm": NORMALISATION,
    "Convolution": LAYER, "Addmm": LAYER, "Mm": LAYER, "Linear": LAYER, "Bmm": LAYER, "Embedding": LAYER,
}  # fmt: skip
_MOST_STEPS = 64


def trace(tensor: torch.Tensor, network_input: torch.Tensor, leaves: Container[int]) -> tuple[str, str]:
    """(what produced ``tensor``, the functions since, in order of execution, joined by commas).

    Args:
        leaves: ids of tensors at which recording starts although a layer made them. At any other start
            but the network's input, such as a reentrant checkpoint's, the producer is unknown.
    """
    if not tensor.requires_grad:
        return NETWORK_INPUT, ""

    def start(leaf: torch.Tensor) -> str:
        return LAYER if id(leaf) in leaves else NETWORK_INPUT if leaf is network_input else UNKNOWN

    if tensor.grad_fn is None:
        return start(tensor), ""
    node: Any = tensor.grad_fn
    through: list[str] = []
    for _ in range(_MOST_STEPS):
        stem = type(node).__name__.split("Backward")[0]
        if stem == "AccumulateGrad":
            return start(node.variable), _said(through)
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        producer = next((what for name, what in _PRODUCERS.items() if stem == name), None)
        if producer:
            return producer, _said(through)
        if stem == "Add" and len(parents) > 1:
            return SUM, _said(through)
        function = next((said for name, said in _FUNCTIONS.items() if stem.startswith(name)), None)
        if function:
            through.append(function)
        elif stem not in _MOVES and not (stem in ("Add", "Mul") and len(parents) == 1):
            return UNKNOWN, _said(through)
        if not parents:
            return UNKNOWN, _said(through)
        node = parents[0]
    return UNKNOWN, _said(through)


def _said(through: list[str]) -> str:
    return ", ".join(reversed(through))
