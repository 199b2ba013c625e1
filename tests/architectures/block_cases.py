"""Residual networks with pre-activation, a ResNeXt and DenseNets, written out block by block from their state dicts."""

from __future__ import annotations

import torch
from torch.nn import functional

State = dict[str, torch.Tensor]


def norm(state: State, key: str, x: torch.Tensor) -> torch.Tensor:
    return functional.batch_norm(
        x, *(state[f"{key}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")), False, 0.0, 1e-5
    )


def add_norm(state: State, key: str, width: int) -> None:
    state[f"{key}.weight"], state[f"{key}.bias"] = torch.rand(width) + 0.5, torch.randn(width) * 0.1
    state[f"{key}.running_mean"], state[f"{key}.running_var"] = torch.randn(width) * 0.1, torch.rand(width) + 0.5


def add_conv(state: State, key: str, outputs: int, inputs: int, kernel: int) -> None:
    state[f"{key}.weight"] = torch.randn(outputs, inputs, kernel, kernel) * (2 / (inputs * kernel**2)) ** 0.5


def wide_state() -> State:
    """WRN-16-2 of stem width 4: two blocks in each stage."""
    torch.manual_seed(0)
    state: State = {}
    add_conv(state, "conv1", 4, 3, 3)
    inputs = 4
    for stage, width in enumerate((8, 16, 32), 1):
        for index in range(2):
            block = f"block{stage}.layer.{index}"
            add_norm(state, f"{block}.bn1", inputs)
            add_conv(state, f"{block}.conv1", width, inputs, 3)
            add_norm(state, f"{block}.bn2", width)
            add_conv(state, f"{block}.conv2", width, width, 3)
            if inputs != width:
                add_conv(state, f"{block}.convShortcut", width, inputs, 1)
            inputs = width
    add_norm(state, "bn1", 32)
    state["fc.weight"], state["fc.bias"] = torch.randn(7, 32) / 6, torch.randn(7)
    return state


def wide_function(state: State, x: torch.Tensor) -> torch.Tensor:
    x = functional.conv2d(x, state["conv1.weight"], padding=1)
    for stage in (1, 2, 3):
        for index in (0, 1):
            block = f"block{stage}.layer.{index}"
            active = norm(state, f"{block}.bn1", x).relu()
            step = 2 if stage > 1 and index == 0 else 1
            out = functional.conv2d(active, state[f"{block}.conv1.weight"], stride=step, padding=1)
            out = functional.conv2d(norm(state, f"{block}.bn2", out).relu(), state[f"{block}.conv2.weight"], padding=1)
            if f"{block}.convShortcut.weight" in state:
                x = functional.conv2d(active, state[f"{block}.convShortcut.weight"], stride=step)
            x = x + out
    x = norm(state, "bn1", x).relu().mean((2, 3))
    return functional.linear(x, state["fc.weight"], state["fc.bias"])


def preact_state(shortcut: str, last: str, head: str, stages: int = 4, bottleneck: bool = False) -> State:
    torch.manual_seed(0)
    state: State = {}
    add_conv(state, "conv1", 8, 3, 3)
    inputs, expansion = 8, 4 if bottleneck else 1
    for stage in range(1, stages + 1):
        width = 4 * 2**stage
        for index in range(2):
            block, outputs = f"layer{stage}.{index}", width * expansion
            add_norm(state, f"{block}.bn1", inputs)
            add_conv(state, f"{block}.conv1", width, inputs, 1 if bottleneck else 3)
            add_norm(state, f"{block}.bn2", width)
            add_conv(state, f"{block}.conv2", width, width, 3)
            if bottleneck:
                add_norm(state, f"{block}.bn3", width)
                add_conv(state, f"{block}.conv3", outputs, width, 1)
            if index == 0 and (stage > 1 or inputs != outputs):
                add_conv(state, f"{block}.{shortcut}.0", outputs, inputs, 1)
            inputs = outputs
    if last:
        add_norm(state, last, inputs)
    state[f"{head}.weight"], state[f"{head}.bias"] = torch.randn(7, inputs) / inputs**0.5, torch.randn(7)
    return state


def preact_function(state: State, x: torch.Tensor) -> torch.Tensor:
    """kuangliu's and bearpaw's, told apart by their own names: the latter's shortcut reads the raw input."""
    x = functional.conv2d(x, state["conv1.weight"], padding=1)
    blocks = sorted({tuple(key.split(".")[:2]) for key in state if key.startswith("layer")})
    for stage, index in blocks:
        block, step = f"{stage}.{index}", 2 if stage != "layer1" and index == "0" else 1
        active = norm(state, f"{block}.bn1", x).relu()
        if f"{block}.conv3.weight" in state:
            out = functional.conv2d(active, state[f"{block}.conv1.weight"])
            out = norm(state, f"{block}.bn2", out).relu()
            out = functional.conv2d(out, state[f"{block}.conv2.weight"], stride=step, padding=1)
            out = functional.conv2d(norm(state, f"{block}.bn3", out).relu(), state[f"{block}.conv3.weight"])
        else:
            out = functional.conv2d(active, state[f"{block}.conv1.weight"], stride=step, padding=1)
            out = functional.conv2d(norm(state, f"{block}.bn2", out).relu(), state[f"{block}.conv2.weight"], padding=1)
        if f"{block}.shortcut.0.weight" in state:
            x = functional.conv2d(active, state[f"{block}.shortcut.0.weight"], stride=step)
        elif f"{block}.downsample.0.weight" in state:
            x = functional.conv2d(x, state[f"{block}.downsample.0.weight"], stride=step)
        x = x + out
    if "bn.weight" in state:
        x = norm(state, "bn", x).relu()
    head = "fc" if "fc.weight" in state else "linear"
    return functional.linear(x.mean((2, 3)), state[f"{head}.weight"], state[f"{head}.bias"])


def resnext_state() -> State:
    """Two blocks in each of three stages, four groups, a block's output twice its inner width."""
    torch.manual_seed(0)
    state: State = {}
    add_conv(state, "conv1", 8, 3, 1)
    add_norm(state, "bn1", 8)
    inputs = 8
    for stage, width in enumerate((8, 16, 32), 1):
        for index in range(2):
            block = f"layer{stage}.{index}"
            for i, (outputs, ins, kernel) in enumerate(
                ((width, inputs, 1), (width, width // 4, 3), (2 * width, width, 1)), 1
            ):
                add_conv(state, f"{block}.conv{i}", outputs, ins, kernel)
                add_norm(state, f"{block}.bn{i}", outputs)
            if index == 0:
                add_conv(state, f"{block}.shortcut.0", 2 * width, inputs, 1)
                add_norm(state, f"{block}.shortcut.1", 2 * width)
            inputs = 2 * width
    state["linear.weight"], state["linear.bias"] = torch.randn(7, 64) / 8, torch.randn(7)
    return state


def resnext_function(state: State, x: torch.Tensor) -> torch.Tensor:
    x = norm(state, "bn1", functional.conv2d(x, state["conv1.weight"])).relu()
    for stage in (1, 2, 3):
        for index in (0, 1):
            block, step = f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1
            out = norm(state, f"{block}.bn1", functional.conv2d(x, state[f"{block}.conv1.weight"])).relu()
            out = functional.conv2d(out, state[f"{block}.conv2.weight"], stride=step, padding=1, groups=4)
            out = norm(state, f"{block}.bn2", out).relu()
            out = norm(state, f"{block}.bn3", functional.conv2d(out, state[f"{block}.conv3.weight"]))
            if index == 0:
                x = functional.conv2d(x, state[f"{block}.shortcut.0.weight"], stride=step)
                x = norm(state, f"{block}.shortcut.1", x)
            x = (x + out).relu()
    return functional.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])


def dense_state(head: str, bottleneck: bool) -> State:
    """Three blocks of two layers, or four where there are bottlenecks under kuangliu's names."""
    torch.manual_seed(0)
    state: State = {}
    norm_name, conv_name = ("bn", "conv") if head == "linear" else ("bn1", "conv1")
    add_conv(state, "conv1", 6, 3, 3)
    width, stages = 6, 4 if head == "linear" else 3
    for stage in range(1, stages + 1):
        for index in range(2):
            layer = f"dense{stage}.{index}"
            add_norm(state, f"{layer}.bn1", width)
            if bottleneck:
                add_conv(state, f"{layer}.conv1", 12, width, 1)
                add_norm(state, f"{layer}.bn2", 12)
            add_conv(state, f"{layer}.conv{2 if bottleneck else 1}", 3, 12 if bottleneck else width, 3)
            width += 3
        if stage < stages:
            add_norm(state, f"trans{stage}.{norm_name}", width)
            add_conv(state, f"trans{stage}.{conv_name}", width // 2, width, 1)
            width //= 2
    add_norm(state, "bn", width)
    state[f"{head}.weight"], state[f"{head}.bias"] = torch.randn(7, width), torch.randn(7)
    return state


def dense_function(state: State, x: torch.Tensor) -> torch.Tensor:
    """kuangliu's puts new channels first, bearpaw's last."""
    kuangliu = "linear.weight" in state
    x = functional.conv2d(x, state["conv1.weight"], padding=1)
    for stage in range(1, 5 if kuangliu else 4):
        for index in (0, 1):
            layer = f"dense{stage}.{index}"
            out = norm(state, f"{layer}.bn1", x).relu()
            if f"{layer}.conv2.weight" in state:
                out = norm(state, f"{layer}.bn2", functional.conv2d(out, state[f"{layer}.conv1.weight"])).relu()
                out = functional.conv2d(out, state[f"{layer}.conv2.weight"], padding=1)
            else:
                out = functional.conv2d(out, state[f"{layer}.conv1.weight"], padding=1)
            x = torch.cat([out, x] if kuangliu else [x, out], 1)
        if f"trans{stage}.conv.weight" in state:
            x = functional.conv2d(norm(state, f"trans{stage}.bn", x).relu(), state[f"trans{stage}.conv.weight"])
        elif f"trans{stage}.conv1.weight" in state:
            x = functional.conv2d(norm(state, f"trans{stage}.bn1", x).relu(), state[f"trans{stage}.conv1.weight"])
        if stage < (4 if kuangliu else 3):
            x = functional.avg_pool2d(x, 2)
    x = norm(state, "bn", x).relu().mean((2, 3))
    head = "linear" if kuangliu else "fc"
    return functional.linear(x, state[f"{head}.weight"], state[f"{head}.bias"])
