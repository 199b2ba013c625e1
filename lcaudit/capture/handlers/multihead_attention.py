"""Input projections of ``torch.nn.MultiheadAttention``: a row is one token.

Self-attention applies the packed ``in_proj_weight`` whole: one layer with 3·E outputs, whose Σ_g holds the
correlations between queries, keys and values. Cross-attention applies its parts to different inputs:
each part is a layer of its own, named by its rows. The output projection is a linear layer like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from lcaudit.capture.handlers import linear
from lcaudit.capture.handlers._base import Call, Handler, arguments


def _read(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    given = arguments("input weight bias", args, kwargs)
    return Call(given["input"], given["weight"], given.get("bias"))


HANDLER = Handler(
    functions=(F.linear,),
    owner=torch.nn.MultiheadAttention,
    modules=(torch.nn.MultiheadAttention,),
    read=_read,
    refuse=lambda call: "",
    shape=linear.shape,
    geometry=lambda call: "",
    accumulator=linear.accumulator,
    rows=lambda call: tuple(call.inputs.shape[:-1]),
    gradient_rows=linear.gradient_rows,
)
