"""What a layer would read behind a normalisation that works on each sample by itself.

No closed form in Σ_x and μ gives that: every row has a mean and a scale of its own. So the normalised input is summed
beside the input itself, in the same pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch.nn.modules.conv import _ConvNd

from lcaudit.capture.handlers._base import Call, Handler, product_operations
from lcaudit.core.types import InputMoments

if TYPE_CHECKING:
    from lcaudit.capture._survey import Found
    from lcaudit.capture.budget import Forms

#: Side of Σ_x up to which a head's normalised input is summed unasked: two matrices of at most 32 MiB.
MOST_SIDE = 2048
#: Share of a plain pass that a head's normalised inputs may cost unasked.
MOST_SHARE = 0.02
#: ε of torch's LayerNorm and GroupNorm; that of its RMSNorm in float32.
LAYER_EPS, RMS_EPS = 1e-5, float(torch.finfo(torch.float32).eps)


def possible(layer: Found, forms: Forms) -> bool:
    """Whether the sums fit: not those of a wide layer, nor of one whose own moments are kept in another form."""
    return not layer.refused and not forms.why and layer.shape.inputs <= MOST_SIDE


def wanted(layer: Found, forms: Forms, layers: Iterable[Found]) -> bool:
    """Whether a last layer's normalised inputs are summed unasked: under ``MOST_SHARE`` of a plain pass's operations.

    Counted from shapes: forward and backward, 6 · d_in · d_out for each row of each layer, against the products here.
    """
    plain = sum(6 * one.shape.inputs * one.shape.outputs * one.shape.groups * one.rows for one in layers)
    cheap = operations(layer, layer.rows, torch.device("cpu")) <= MOST_SHARE * plain
    return layer.kind == "linear" and possible(layer, forms) and cheap


def operations(layer: Found, rows: int, device: torch.device) -> int:
    """That the products take."""
    return len(NORMS) * product_operations(layer.shape.inputs, rows, device)


def layer_norm(inputs: torch.Tensor, image: bool) -> torch.Tensor:
    """(x − mean) / σ over the features of a row; over channels and positions of a sample, where it is an image."""
    if image:
        return F.group_norm(inputs, 1, eps=LAYER_EPS)
    return F.layer_norm(inputs, inputs.shape[-1:], eps=LAYER_EPS)


def rms_norm(inputs: torch.Tensor, image: bool) -> torch.Tensor:
    """x / root mean square, over the same."""
    over = tuple(range(1, inputs.dim())) if image else (-1,)
    return inputs * (inputs.square().mean(over, keepdim=True) + RMS_EPS).rsqrt()


NORMS: Mapping[str, Callable[[torch.Tensor, bool], torch.Tensor]] = {"layer_norm": layer_norm, "rms_norm": rms_norm}


def joined(parts: Sequence[InputMoments]) -> InputMoments:
    """What several threads have summed, each a group of its own."""
    names = ("second", "first", "channel_sum", "channel_square", "rows", "elements")
    return replace(parts[0], **{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def behind(norm: str, handler: Handler, call: Call) -> Call | None:
    """The call with its input normalised, before any padding; ``None`` where it reads indices."""
    if not call.inputs.is_floating_point():
        return None
    image = any(issubclass(module, _ConvNd) for module in handler.modules)
    return replace(call, inputs=NORMS[norm](call.inputs, image))
