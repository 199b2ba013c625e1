"""Small networks written the plain way, without lcaudit: what the families must recognise and equal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import block_cases as blocks
import torch
from torch import nn
from torch.nn import functional

from lcaudit.core.measurements import CheckpointRecord
from lcaudit.core.types import Checkpoint

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A state dict, the family it belongs to, and its function written out literally."""

    family: str
    state: Callable[[], State]
    function: Callable[[State, torch.Tensor], torch.Tensor]
    shape: tuple[int, ...]
    classes: int


def checkpoint(
    state: Mapping[str, torch.Tensor], name: str = "weights.safetensors", config: Mapping[str, object] | None = None
) -> Checkpoint:
    return Checkpoint(CheckpointRecord(name, "safetensors", "", ()), state, config=config or {})


def normed(state: State, key: str, x: torch.Tensor) -> torch.Tensor:
    names = ("running_mean", "running_var", "weight", "bias")
    mean, var, weight, bias = (state[f"{key}.{name}"].reshape(1, -1, *[1] * (x.dim() - 2)) for name in names)
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def put_norm(state: State, key: str, width: int) -> None:
    state[f"{key}.weight"] = torch.rand(width) + 0.5
    state[f"{key}.bias"] = torch.randn(width) * 0.1
    state[f"{key}.running_mean"] = torch.randn(width) * 0.1
    state[f"{key}.running_var"] = torch.rand(width) + 0.5


def put_conv(state: State, key: str, inputs: int, outputs: int, kernel: int, bias: bool = False) -> None:
    state[f"{key}.weight"] = torch.randn(outputs, inputs, kernel, kernel) * (2 / (inputs * kernel**2)) ** 0.5
    if bias:
        state[f"{key}.bias"] = torch.randn(outputs) * 0.1


def put_linear(state: State, key: str, inputs: int, outputs: int) -> None:
    state[f"{key}.weight"] = torch.randn(outputs, inputs) / inputs**0.5
    state[f"{key}.bias"] = torch.randn(outputs) * 0.1


def resnet_state(
    *,
    blocks: tuple[int, ...],
    widths: tuple[int, ...],
    shortcut: str | None,
    head: str,
    bottleneck: bool = False,
    channels: int = 3,
    stem: int = 3,
    counters: bool = True,
    groups: int = 1,
) -> State:
    torch.manual_seed(0)
    state: State = {}
    put_conv(state, "conv1", channels, widths[0], stem)
    put_norm(state, "bn1", widths[0])
    inputs, expansion = widths[0], 4 if bottleneck else 1
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        for index in range(count):
            name, outputs = f"layer{stage + 1}.{index}", width * expansion
            put_conv(state, f"{name}.conv1", inputs, width, 1 if bottleneck else 3)
            put_norm(state, f"{name}.bn1", width)
            put_conv(state, f"{name}.conv2", width // groups, width, 3)
            put_norm(state, f"{name}.bn2", width)
            if bottleneck:
                put_conv(state, f"{name}.conv3", width, outputs, 1)
                put_norm(state, f"{name}.bn3", outputs)
            if shortcut and (inputs != outputs or (stage and not index)):
                put_conv(state, f"{name}.{shortcut}.0", inputs, outputs, 1)
                put_norm(state, f"{name}.{shortcut}.1", outputs)
            inputs = outputs
    put_linear(state, head, inputs, 7)
    if counters:
        means = [key for key in state if key.endswith("running_mean")]
        state.update({key.replace("running_mean", "num_batches_tracked"): torch.tensor(5) for key in means})
    return state


def resnet_function(state: State, x: torch.Tensor, max_pool: bool = False) -> torch.Tensor:
    """A residual network straight from its state dict, block by block."""
    stem = state["conv1.weight"].shape[-1]
    x = functional.conv2d(x, state["conv1.weight"], stride=2 if stem == 7 else 1, padding=stem // 2)
    x = torch.relu(normed(state, "bn1", x))
    if max_pool:
        x = functional.max_pool2d(x, 3, 2, 1)
    names = sorted({tuple(map(int, key[5:].split(".")[:2])) for key in state if key.startswith("layer")})
    for stage, index in names:
        name, stride = f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1
        convs = [c for c in ("conv1", "conv2", "conv3") if f"{name}.{c}.weight" in state]
        strided = "conv2" if len(convs) == 3 else "conv1"
        y = x
        for conv in convs:
            weight = state[f"{name}.{conv}.weight"]
            step, groups = stride if conv == strided else 1, y.shape[1] // weight.shape[1]
            y = functional.conv2d(y, weight, stride=step, padding=weight.shape[-1] // 2, groups=groups)
            y = normed(state, f"{name}.{conv.replace('conv', 'bn')}", y)
            y = torch.relu(y) if conv != convs[-1] else y
        projection = next((s for s in ("shortcut", "downsample") if f"{name}.{s}.0.weight" in state), None)
        if projection:
            x = functional.conv2d(x, state[f"{name}.{projection}.0.weight"], stride=stride)
            x = normed(state, f"{name}.{projection}.1", x)
        elif stride == 2:
            zeros = torch.zeros_like(x[:, : (y.shape[1] - x.shape[1]) // 2, ::2, ::2])
            x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], 1)
        x = torch.relu(x + y)
    names = (key.removesuffix(".weight") for key, tensor in state.items() if tensor.dim() == 2)
    head = next(name for name in names if "." not in name)
    return x.mean((2, 3)) @ state[f"{head}.weight"].T + state[f"{head}.bias"]


def resnet_case(family: str = "resnet_cifar", shape: tuple[int, ...] = (3, 32, 32), **options: object) -> Case:
    max_pool = family == "resnet_torchvision"
    state = functools.partial(resnet_state, **options)  # type: ignore[arg-type]
    return Case(family, state, functools.partial(resnet_function, max_pool=max_pool), shape, 7)


imagenet_case = functools.partial(resnet_case, "resnet_torchvision", (3, 64, 64), shortcut="downsample", stem=7)


def sequential_case(family: str, make: Callable[[], nn.Module], shape: tuple[int, ...], classes: int) -> Case:
    """A case whose literal form is torch's own Sequential."""

    def state() -> State:
        torch.manual_seed(0)
        module = make()
        for part in module.modules():
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 1.5)
        return dict(module.state_dict())

    def function(state: State, x: torch.Tensor) -> torch.Tensor:
        module = make()
        module.load_state_dict(state)
        module.eval()
        if isinstance(module, nn.Sequential):
            return module(x)
        return module.classifier(module.features(x).flatten(1))

    return Case(family, state, function, shape, classes)


def vgg(layout: str, norm: bool, classifier: Callable[[], nn.Module]) -> nn.Module:
    """``layout``: a width per convolution and M per pooling, separated by spaces."""
    features: list[nn.Module] = []
    inputs = 3
    for word in layout.split():
        if word == "M":
            features.append(nn.MaxPool2d(2))
            continue
        features += [nn.Conv2d(inputs, int(word), 3, padding=1), *([nn.BatchNorm2d(int(word))] if norm else [])]
        features.append(nn.ReLU())
        inputs = int(word)
    module = nn.Module()
    module.features, module.classifier = nn.Sequential(*features), classifier()
    return module


VGG11 = "8 M 12 M 16 16 M 16 16 M 16 16 M"

CASES: dict[str, Case] = {
    "akamaster": resnet_case(blocks=(2, 2, 2), widths=(8, 16, 32), shortcut=None, head="linear", counters=False),
    "grey 8×8": resnet_case(
        shape=(1, 8, 8), blocks=(3, 3, 3), widths=(4, 8, 16), shortcut=None, head="linear", channels=1
    ),
    "option A with fc": resnet_case(blocks=(1, 2, 3), widths=(4, 8, 16), shortcut=None, head="fc"),
    "another head": resnet_case(blocks=(1, 1, 1), widths=(4, 8, 16), shortcut=None, head="classifier"),
    "torchvision, another head": imagenet_case(blocks=(1, 1, 1, 1), widths=(4, 8, 16, 32), head="head"),
    "three stages, option B": resnet_case(blocks=(1, 1, 1), widths=(8, 16, 32), shortcut="shortcut", head="linear"),
    "kuangliu": resnet_case(blocks=(2, 2, 2, 2), widths=(8, 16, 32, 64), shortcut="shortcut", head="linear"),
    "kuangliu bottleneck": resnet_case(
        blocks=(1, 2, 1, 1), widths=(4, 8, 16, 32), shortcut="shortcut", head="linear", bottleneck=True
    ),
    "bearpaw": resnet_case(blocks=(3, 3, 3), widths=(16, 32, 64), shortcut="downsample", head="fc"),
    "bearpaw bottleneck": resnet_case(
        blocks=(2, 2, 2), widths=(4, 8, 16), shortcut="downsample", head="fc", bottleneck=True
    ),
    "torchvision": imagenet_case(blocks=(2, 2, 2, 2), widths=(4, 8, 16, 32), head="fc"),
    "torchvision groups": imagenet_case(
        blocks=(1, 1, 1, 1), widths=(8, 16, 32, 64), head="fc", bottleneck=True, groups=4
    ),
    "vgg": sequential_case("vgg_cifar", lambda: vgg(VGG11, True, lambda: nn.Linear(16, 10)), (3, 32, 32), 10),
    "vgg three layers": sequential_case(
        "vgg_cifar",
        lambda: vgg(
            VGG11,
            False,
            lambda: nn.Sequential(
                nn.Linear(16, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 5)
            ),
        ),
        (3, 32, 32),
        5,
    ),
    "vgg dropout first": sequential_case(
        "vgg_cifar",
        lambda: vgg(VGG11, True, lambda: nn.Sequential(nn.Dropout(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 5))),
        (3, 32, 32),
        5,
    ),
    "vgg without last pooling": sequential_case(
        "vgg_cifar", lambda: vgg("8 M 8 M 8 M 8", True, lambda: nn.Linear(8 * 16, 4)), (3, 32, 32), 4
    ),
    "preact": Case(
        "preact_resnet_cifar",
        functools.partial(blocks.preact_state, "shortcut", "", "linear"),
        blocks.preact_function,
        (3, 32, 32),
        7,
    ),
    "preact bottleneck": Case(
        "preact_resnet_cifar",
        functools.partial(blocks.preact_state, "shortcut", "", "linear", bottleneck=True),
        blocks.preact_function,
        (3, 32, 32),
        7,
    ),
    "preact last norm": Case(
        "preact_resnet_cifar",
        functools.partial(blocks.preact_state, "shortcut", "bn", "linear"),
        blocks.preact_function,
        (3, 32, 32),
        7,
    ),
    "preact bearpaw": Case(
        "preact_resnet_cifar",
        functools.partial(blocks.preact_state, "downsample", "bn", "fc", 3),
        blocks.preact_function,
        (3, 32, 32),
        7,
    ),
    "preact bearpaw bottleneck": Case(
        "preact_resnet_cifar",
        functools.partial(blocks.preact_state, "downsample", "bn", "fc", 3, True),
        blocks.preact_function,
        (3, 32, 32),
        7,
    ),
    "wide": Case("wide_resnet_cifar", blocks.wide_state, blocks.wide_function, (3, 32, 32), 7),
    "resnext": Case("resnext_cifar", blocks.resnext_state, blocks.resnext_function, (3, 32, 32), 7),
    "densenet kuangliu": Case(
        "densenet_cifar",
        functools.partial(blocks.dense_state, "linear", True),
        blocks.dense_function,
        (3, 32, 32),
        7,
    ),
    "densenet bearpaw": Case(
        "densenet_cifar", functools.partial(blocks.dense_state, "fc", True), blocks.dense_function, (3, 32, 32), 7
    ),
    "densenet of single convolutions": Case(
        "densenet_cifar", functools.partial(blocks.dense_state, "fc", False), blocks.dense_function, (3, 32, 32), 7
    ),
    "mobilenet": Case("mobilenet_v2_cifar", blocks.mobile_state, blocks.mobile_function, (3, 32, 32), 7),
    "perceptron": sequential_case(
        "sequential", lambda: nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3)), (20,), 3
    ),
    "perceptron with all": sequential_case(
        "sequential",
        lambda: nn.Sequential(
            nn.Flatten(),
            nn.Linear(16, 8, bias=False),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(8, 8),
            nn.ReLU(),
            nn.BatchNorm1d(8),
            nn.Linear(8, 3),
        ),
        (1, 4, 4),
        3,
    ),
    "one layer": sequential_case("sequential", lambda: nn.Sequential(nn.Linear(6, 2)), (6,), 2),
    "convolutions": sequential_case(
        "sequential",
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 5, padding=2, groups=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(6 * 64, 3),
        ),
        (1, 8, 8),
        3,
    ),
}
