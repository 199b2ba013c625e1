"""``torch.nn.Linear`` on vectors [b, d] or sequences [b, …, d]: a row is one vector or token."""

from __future__ import annotations

import torch

from lcaudit.capture.handlers._base import Accumulator, Handler, Shape, add_product
from lcaudit.core.types import InputMoments


class _Sums:
    """See :class:`Accumulator`."""

    def __init__(self, module: torch.nn.Linear, inputs: torch.Tensor, groups: int, device: torch.device) -> None:
        d = module.in_features
        self.second = torch.zeros(groups, 1, d, d, dtype=torch.float64, device=device)
        self.first = torch.zeros(groups, 1, d, dtype=torch.float64, device=device)
        self.rows = torch.zeros(groups, dtype=torch.int64)

    def add(self, inputs: torch.Tensor, group: int) -> None:
        rows = inputs.reshape(-1, inputs.shape[-1])
        add_product(self.second[group], rows.T.unsqueeze(0))
        self.first[group, 0] += rows.sum(0, dtype=self.first.dtype)
        self.rows[group] += rows.shape[0]

    def finish(self) -> InputMoments:
        second, first = self.second.cpu(), self.first.cpu()
        d = first.shape[-1]
        return InputMoments(
            second=second,
            cross=first.unsqueeze(-1),
            overlap=torch.ones(1, 1, dtype=torch.float64),
            tap=torch.zeros(d, dtype=torch.int64),
            channel=torch.arange(d),
            channel_sum=first,
            channel_square=second.diagonal(dim1=-2, dim2=-1).clone(),
            rows=self.rows,
            elements=self.rows,
        )


def _accumulator(module: torch.nn.Linear, inputs: torch.Tensor, groups: int, device: torch.device) -> Accumulator:
    return _Sums(module, inputs, groups, device)


HANDLER = Handler(
    module=torch.nn.Linear,
    refuse=lambda module, inputs: "" if inputs.dim() >= 2 else "its input has no batch dimension",
    shape=lambda module: Shape(module.in_features, module.out_features, 1),
    geometry=lambda module: "",
    accumulator=_accumulator,
    gradient_rows=lambda module, gradient: gradient.reshape(-1, gradient.shape[-1]).T.unsqueeze(0),
    positions=lambda module, output: output[0].numel() // output.shape[-1],
)
