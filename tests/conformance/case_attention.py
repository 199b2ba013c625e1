"""Attention, written with torch's modules and written out."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tests.conformance.case_base import Case, floats, holding, padded, real


class Attention(nn.Module):
    """Attention among tokens, or of the first two to the others, written with ``nn.MultiheadAttention``."""

    def __init__(self, bias: bool, way: str, masked: bool = False, **options) -> None:
        super().__init__()
        self.way, self.masked = way, masked
        self.attn = nn.MultiheadAttention(6, 2, bias=bias, **options)
        self.head = nn.Linear(6, 3)
        with torch.no_grad():
            for parameter in self.attn.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys, values."""
        if self.way == "self":
            return x, x, x
        memory = x[:, 2:]
        if self.way == "three":
            return x[:, :2], memory, memory.roll(1, -1)
        if self.way == "sizes":
            return x[:, :2], memory[..., :5], memory[..., :4]
        return x[:, :2], memory, memory

    def pool(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        if not self.masked:
            return self.head(attended.tanh().mean(1))
        keep = real(x).unsqueeze(-1).to(attended.dtype)
        return self.head((attended.tanh() * keep).sum(1) / keep.sum(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.parts(x)
        ignored = ~real(x) if self.masked else None
        if not self.attn.batch_first:
            parts = tuple(part.transpose(0, 1) for part in parts)
            if self.way == "self":
                parts = parts[:1] * 3
        elif self.way != "three" and self.way != "sizes":
            parts = (parts[0], parts[1], parts[1])
        attended, _ = self.attn(*parts, key_padding_mask=ignored, need_weights=self.way != "self")
        return self.pool(x, attended if self.attn.batch_first else attended.transpose(0, 1))


class WrittenOut(nn.Module):
    """The same attention head by head, its projections as modules."""

    def __init__(self, model: Attention) -> None:
        super().__init__()
        self.model = model
        attn, bias = model.attn, model.attn.in_proj_bias is not None
        self.packed = model.way in ("self", "cross")
        if attn.in_proj_weight is None:
            weights = [attn.q_proj_weight, attn.k_proj_weight, attn.v_proj_weight]
        else:
            sizes = {"self": [18], "cross": [6, 12]}.get(model.way, [6, 6, 6])
            weights = list(attn.in_proj_weight.split(sizes))
        biases = attn.in_proj_bias.split([len(w) for w in weights]) if bias else [None] * len(weights)
        self.projections = nn.ModuleList(holding(w, b) for w, b in zip(weights, biases, strict=True))
        self.out = holding(attn.out_proj.weight, attn.out_proj.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.model.parts(x)
        if self.model.way == "self":
            q, k, v = self.projections[0](x).chunk(3, -1)
        elif self.model.way == "cross":
            q, (k, v) = self.projections[0](q), self.projections[1](k).chunk(2, -1)
        else:
            q, k, v = (project(part) for project, part in zip(self.projections, (q, k, v), strict=True))
        heads = []
        for head in range(2):
            part = slice(3 * head, 3 * head + 3)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / 3**0.5
            if self.model.masked:
                scores = scores.masked_fill(~real(x)[:, None, :], -torch.inf)
            heads.append(scores.softmax(-1) @ v[..., part])
        return self.model.pool(x, self.out(torch.cat(heads, -1)))


def _attention_twin(model: Attention) -> tuple[nn.Module, dict[str, nn.Module]]:
    twin = WrittenOut(copy.deepcopy(model))
    names = {
        "self": ["attn.in_proj_weight"],
        "cross": ["attn.in_proj_weight[0:6]", "attn.in_proj_weight[6:18]"],
        "three": [f"attn.in_proj_weight[{low}:{low + 6}]" for low in (0, 6, 12)],
        "sizes": [f"attn.{part}_proj_weight" for part in "qkv"],
    }[model.way]
    return twin, {**dict(zip(names, twin.projections, strict=True)), "attn.out_proj": twin.out, "head": twin.model.head}


class EncoderLayer(nn.Module):
    """``nn.TransformerEncoderLayer``, written out where ``plain``."""

    def __init__(self, bias: bool, plain: bool = False) -> None:
        super().__init__()
        self.plain = plain
        self.block = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, bias=bias)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.plain:
            return self.head(self.block(x).mean(1))
        block = self.block
        x = block.norm1(x + self.attend(x))
        return self.head(block.norm2(x + block.linear2(block.linear1(x).relu())).mean(1))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.projection(x).chunk(3, -1)
        heads = []
        for head in range(2):
            part = slice(3 * head, 3 * head + 3)
            heads.append((q[..., part] @ k[..., part].transpose(1, 2) / 3**0.5).softmax(-1) @ v[..., part])
        return self.out(torch.cat(heads, -1))


def _encoder_twin(model: EncoderLayer) -> tuple[nn.Module, dict[str, nn.Module]]:
    twin = copy.deepcopy(model)
    twin.plain, attn = True, model.block.self_attn
    twin.projection, twin.out = (
        holding(attn.in_proj_weight, attn.in_proj_bias),
        holding(attn.out_proj.weight, attn.out_proj.bias),
    )
    return twin, {
        "block.self_attn.in_proj_weight": twin.projection,
        "block.self_attn.out_proj": twin.out,
        "block.linear1": twin.block.linear1,
        "block.linear2": twin.block.linear2,
        "head": twin.head,
    }


def attention() -> list[Case]:
    """Rows of the table."""
    kind, tokens = "MultiheadAttention", (7, 6)

    def case(option, way, inputs=None, **options):
        mask = options.pop("mask", None)
        build = lambda bias: Attention(bias, way, masked=mask is not None, **options)  # noqa: E731
        return Case(kind, option, build, inputs or floats(*tokens), twin=_attention_twin, mask=mask)

    return [
        case("self-attention", "self", batch_first=True),
        case("self-attention, tokens first", "self", batch_first=False),
        case("self-attention with padding mask", "self", padded(*tokens), batch_first=True, mask=real),
        case("self-attention with padding mask, tokens first", "self", padded(*tokens), batch_first=False, mask=real),
        case("cross-attention", "cross", batch_first=True),
        case("cross-attention, keys unlike values", "three", batch_first=True),
        case("cross-attention, kdim and vdim", "sizes", batch_first=True, kdim=5, vdim=4),
        Case(kind, "in nn.TransformerEncoderLayer", EncoderLayer, floats(*tokens), twin=_encoder_twin),
    ]
