"""What a layer would read behind a normalisation that works on each sample by itself.

No closed form in Σ_x and μ gives that: every row has a mean and a scale of its own. So the normalised input is summed
beside the input itself, in the same pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch.nn.modules.conv import _ConvNd

from lcaudit.capture.handlers._base import Call, Handler

#: Side of Σ_x up to which a head's normalised input is summed unasked: two matrices of at most 32 MiB.
MOST_SIDE = 2048
#: ε of torch's LayerNorm and GroupNorm; that of its RMSNorm in float32.
LAYER_EPS, RMS_EPS = 1e-5, float(torch.finfo(torch.float32).eps)


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


def behind(norm: str, handler: Handler, call: Call) -> Call | None:
    """The call with its input normalised, before any padding; ``None`` where it reads indices."""
    if not call.inputs.is_floating_point():
        return None
    image = any(issubclass(module, _ConvNd) for module in handler.modules)
    return replace(call, inputs=NORMS[norm](call.inputs, image))
