"""The operators that an exported program may call, and how each is called here.

A name that is not listed is refused: some of torch's own operators read files, write to tensors that are shared, or
trust indices that nobody checked. Layers are called through the functions of ``torch.nn.functional``, so that they
are measured as in any other network.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from lcaudit.core.errors import UnknownArchitecture
from lcaudit.core.text import display_name

#: Elementwise, reductions, shapes, indexing, normalisation, pooling, attention: pure functions with checked arguments.
#: A name with an underscore at its end writes to its first argument.
_ATEN = frozenset(
    """
    abs acos acosh add addcdiv addcmul all amax amin aminmax any argmax argmin argsort asin asinh atan atan2 atanh
    bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min cos cosh div elu eq erf erfc exp
    exp2 expm1 floor floor_divide fmod frac ge gelu glu gt hardshrink hardsigmoid hardswish hardtanh heaviside isfinite
    isinf isnan le leaky_relu lerp log log10 log1p log2 log_sigmoid logaddexp logical_and logical_not logical_or
    logical_xor logit logsumexp lt maximum max mean min minimum mish mul ne neg nan_to_num pow prelu prod reciprocal
    relu relu6 remainder round rsqrt rsub selu sgn sigmoid sign silu sin sinc sinh softplus softshrink softsign sqrt
    square std std_mean sub sum tan tanh tanhshrink threshold trunc true_divide var var_mean where xlogy
    add_ sub_ mul_ div_ relu_ relu6_ silu_ gelu_ elu_ celu_ selu_ leaky_relu_ hardtanh_ hardswish_ hardsigmoid_ mish_
    sigmoid_ tanh_ clamp_ clamp_min_ clamp_max_ exp_ neg_ sqrt_ masked_fill_ fill_ zero_ copy_ pow_ threshold_ square_
    rsqrt_ reciprocal_ floor_ ceil_ round_ abs_
    softmax _softmax log_softmax _log_softmax cumsum cumprod norm linalg_vector_norm frobenius_norm cosine_similarity
    alias atleast_1d atleast_2d atleast_3d broadcast_tensors broadcast_to cat chunk clone concat concatenate
    constant_pad_nd contiguous detach diagonal dstack expand expand_as flatten flip hstack lift_fresh_copy movedim
    moveaxis narrow numpy_T pad permute pixel_shuffle pixel_unshuffle channel_shuffle ravel reflection_pad1d
    reflection_pad2d repeat repeat_interleave replication_pad1d replication_pad2d reshape reshape_as resolve_conj
    resolve_neg roll rot90 select slice split split_with_sizes squeeze stack swapaxes swapdims t tile transpose tril
    triu unbind unflatten unfold unsqueeze view view_as vstack _unsafe_view im2col
    gather index index_select masked_fill masked_select scatter scatter_add take_along_dim topk sort one_hot
    tensor_split select_scatter slice_scatter diff isin __and__ __or__ __xor__ index_put index_fill index_copy
    index_add kthvalue unsafe_split
    arange empty empty_like eye full full_like linspace new_empty new_full new_ones new_zeros ones ones_like
    scalar_tensor zeros zeros_like
    to type_as _to_copy
    layer_norm native_layer_norm group_norm native_group_norm rms_norm instance_norm batch_norm
    _native_batch_norm_legit_no_training _batch_norm_no_update
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d
    max_pool2d_with_indices max_pool3d_with_indices lp_pool2d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_linear1d upsample_bicubic2d
    upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa grid_sampler grid_sampler_2d
    affine_grid_generator
    scaled_dot_product_attention einsum baddbmm bmm matmul mm mv dot outer addmm addbmm linear bilinear
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution embedding
    dropout feature_dropout alpha_dropout dropout_ native_dropout
    sym_size sym_numel size numel is_same_size
    """.split()  # noqa: SIM905  a table reads better than 300 quoted names
)
#: Batch norms that take the batch's own statistics.
_TRAINING = ("_native_batch_norm_legit", "_native_batch_norm_legit_functional", "native_batch_norm", "cudnn_batch_norm")
#: Checks of sizes and types that the exporter noted; the audit chooses its own precision.
_CHECKS = frozenset(
    (
        "_assert_tensor_metadata",
        "_assert_async",
        "_assert_scalar",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
    )
)
_PYTHON: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in (
        "add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge", "and_", "or_",
        "getitem",
    )},
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    **{f"torch.{name}": getattr(torch, name) for name in (
        "sym_float", "sym_int", "sym_max", "sym_min", "sym_not", "sym_ite",
    )},
}  # fmt: skip
_TARGET = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]{1,80})\.([A-Za-z0-9_]{1,80})")
WRAPPERS = {
    "torch.ops.higher_order.wrap_with_set_grad_enabled": 1,
    "torch.ops.higher_order.wrap_with_autocast": 4,
}
_HINT = "export the model without it, or audit its weights: --arch file.py:factory"


def check(label: str, target: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Refuse what may not run, before anything does.

    Raises:
        UnknownArchitecture: naming the operator.
    """
    if target in WRAPPERS or target in _PYTHON:
        return
    name = name_of(target)
    if not name:
        raise _refused(label, target, "an operator that is not torch's own")
    if name in _TRAINING:
        raise _training(label, "a batch norm")
    if name not in _ATEN and name not in _CHECKS:
        raise _refused(label, target, "an operator that lcaudit does not run")
    if name in _ATEN and _overload(target) is None:
        raise _refused(label, target, "an operator that this torch does not have")
    if name == "batch_norm" and _argument(args, options, 5, "training") is not False:
        raise _training(label, "a batch norm")
    if name == "instance_norm" and _argument(args, options, 5, "use_input_stats") is not True:
        raise _refused(label, target, "an instance norm with stored statistics")
    if "dropout" in name:
        active = _argument(args, options, 2, "train")
        if active is not False and _argument(args, options, 1, "p") != 0:
            raise _training(label, "a dropout")


def name_of(target: str) -> str:
    """``conv2d`` of ``torch.ops.aten.conv2d.default``; ``""`` for what is not of this kind."""
    match = _TARGET.fullmatch(target)
    return match[1] if match and "out" not in match[2].split("_") else ""


def function_of(target: str) -> Callable[..., Any]:
    """What runs an operator of torch's that :func:`check` has accepted."""
    name = name_of(target)
    if name in _CHECKS:
        return lambda *args, **options: None
    return _FUNCTIONS.get(name) or _overload(target)


def python_of(target: str) -> Callable[..., Any] | None:
    """The operator of Python's that a target on sizes names; ``None`` for torch's own."""
    return _PYTHON.get(target)


def writes(target: str) -> bool:
    """Whether it changes an argument."""
    overload = _overload(target)
    return overload is not None and bool(overload._schema.is_mutable)


def _overload(target: str) -> Any:
    match = _TARGET.fullmatch(target)
    packet = getattr(torch.ops.aten, match[1], None) if match else None
    return getattr(packet, match[2], None) if match and packet is not None else None


def _argument(args: tuple[Any, ...], options: Mapping[str, Any], place: int, name: str) -> Any:
    return options.get(name) if name in options or len(args) <= place else args[place]


def _refused(label: str, target: str, why: str) -> UnknownArchitecture:
    return UnknownArchitecture(f"{label}: its graph calls {display_name(target, 80)}, {why}", _HINT)


def _training(label: str, what: str) -> UnknownArchitecture:
    return UnknownArchitecture(
        f"{label}: exported in training mode: {what} in its graph is active",
        "call model.eval() before torch.export.export, and export again",
    )


def _embedding(weight: torch.Tensor, indices: torch.Tensor, padding_idx: int = -1, *_: Any) -> torch.Tensor:
    return F.embedding(indices, weight, padding_idx if padding_idx >= 0 else None)


def _convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int,
) -> torch.Tensor:  # fmt: skip
    sides = weight.dim() - 3
    if transposed:
        call = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[sides]
        return call(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return (F.conv1d, F.conv2d, F.conv3d)[sides](x, weight, bias, stride, padding, dilation, groups)


def _bmm(x: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """One matrix for all of the batch is a weight: what lowering makes of a linear layer over scattered inputs."""
    if matrices.dim() == 3 and len(matrices) and matrices.stride(0) == 0:
        return torch.matmul(x, matrices[0])
    return torch.bmm(x, matrices)


#: Where the audit looks for layers and what lies between them, with the arguments of the operators.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "conv1d": F.conv1d,
    "conv2d": F.conv2d,
    "conv3d": F.conv3d,
    "conv_transpose1d": F.conv_transpose1d,
    "conv_transpose2d": F.conv_transpose2d,
    "conv_transpose3d": F.conv_transpose3d,
    "convolution": _convolution,
    "linear": F.linear,
    "embedding": _embedding,
    "addmm": torch.addmm,
    "mm": torch.mm,
    "matmul": torch.matmul,
    "bmm": _bmm,
    "relu": F.relu,
    "relu_": F.relu_,
    "flatten": torch.flatten,
    "view": torch.Tensor.view,
    "reshape": torch.Tensor.reshape,
    "avg_pool2d": F.avg_pool2d,
    "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
}
