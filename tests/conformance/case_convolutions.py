"""Convolutions and transposed convolutions."""

from __future__ import annotations

from torch import nn

from tests.conformance.case_base import Case, floats, stack

_SIDES = {1: (9,), 2: (6, 5), 3: (4, 3, 4)}
_CONVOLUTIONS: dict[str, dict] = {
    "plain": {},
    "stride": {"stride": 2},
    "padding": {"padding": 1},
    "padding, stride": {"padding": 1, "stride": 2},
    "padding 'same'": {"padding": "same"},
    "padding 'reflect'": {"padding": 1, "padding_mode": "reflect"},
    "padding 'replicate'": {"padding": 1, "padding_mode": "replicate"},
    "padding 'circular'": {"padding": 1, "padding_mode": "circular"},
    "dilation": {"dilation": 2, "padding": 1},
    "groups": {"groups": 2, "padding": 1},
    "depthwise": {"groups": 4, "padding": 1, "stride": 2},
    "pointwise": {"kernel_size": 1},
    "unequal sides": {"kernel_size": (3, 1, 2), "padding": (1, 0, 1), "stride": (2, 1, 1)},
}


def convolutions() -> list[Case]:
    """Rows of the table."""
    cases = []
    for dimensions, module in ((1, nn.Conv1d), (2, nn.Conv2d), (3, nn.Conv3d)):
        inputs = floats(4, *_SIDES[dimensions])
        for option, given in _CONVOLUTIONS.items():
            chosen = {"kernel_size": 3 if dimensions == 1 else 2} | given
            chosen = {key: v[:dimensions] if isinstance(v, tuple) else v for key, v in chosen.items()}

            def build(bias, module=module, chosen=chosen, inputs=inputs):
                deep = "stride" not in chosen and chosen["kernel_size"] != 1
                return stack(inputs, *(module(4, 4, bias=bias, **chosen) for _ in range(1 + deep)))

            plain = not {"groups", "padding_mode"} & set(chosen) and chosen.get("padding") != "same"
            cases.append(Case(f"Conv{dimensions}d", option, build, inputs, curvlinops=dimensions == 2 and plain))
    return cases


_TRANSPOSED: dict[str, dict] = {
    "plain": {},
    "stride": {"stride": 2},
    "padding": {"padding": 1},
    "output padding": {"stride": 2, "padding": 1, "output_padding": 1},
    "output padding beyond stride": {"stride": 2, "dilation": 3, "output_padding": 2},
    "dilation": {"dilation": 2, "padding": 1},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4, "stride": 2},
    "unequal sides": {"kernel_size": (3, 1, 2), "padding": (1, 0, 0), "stride": (1, 2, 1)},
}


def transposed() -> list[Case]:
    """Rows of the table."""
    cases = []
    for dimensions, module in ((1, nn.ConvTranspose1d), (2, nn.ConvTranspose2d), (3, nn.ConvTranspose3d)):
        inputs = floats(4, *{1: (6,), 2: (3, 4), 3: (2, 3, 2)}[dimensions])
        for option, given in _TRANSPOSED.items():
            chosen = {"kernel_size": 3 if dimensions == 1 else 2} | given
            chosen = {key: v[:dimensions] if isinstance(v, tuple) else v for key, v in chosen.items()}

            def build(bias, module=module, chosen=chosen, inputs=inputs):
                return stack(inputs, module(4, 4, bias=bias, **chosen))

            cases.append(Case(f"ConvTranspose{dimensions}d", option, build, inputs))
    return cases
