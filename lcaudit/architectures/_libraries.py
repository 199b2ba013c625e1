"""Libraries of networks; those of timm and torchvision, built with random weights and without the network.

Names are checked against the library's own list first: a name can hold neither a path nor a Hub address.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.metadata
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from lcaudit.architectures._index.lookup import index
from lcaudit.core.errors import EnvironmentFailure, UsageError
from lcaudit.core.measurements import Normalisation
from lcaudit.core.text import display_name
from lcaudit.core.types import INTERPOLATIONS, Shaping

LIBRARIES = ("timm", "torchvision")
#: timm's ways to crop that are not a cut out of the centre.
_CROPS: dict[str, Literal["squash", "border"]] = {"squash": "squash", "border": "border"}
_EXTRAS = {"transformers": "text"}

Built = TypeVar("Built")


def library(name: str, why: str) -> Any:
    """The library's module.

    Args:
        why: what it is wanted for, for the message.

    Raises:
        EnvironmentFailure: it is not installed, or does not fit the installed torch.
    """
    install = f"type: pip install 'lcaudit[{_EXTRAS.get(name, 'vision')}]'"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        absent = error.name or name
        raise EnvironmentFailure(f"{why}; {display_name(absent, 40)} is not installed", install) from None
    except Exception as error:  # a build for another torch fails in as many ways as there are
        said = display_name(str(error).strip().split("\n")[0], 120)
        reason = f"{name} cannot be imported: {type(error).__name__}: {said}"
        raise EnvironmentFailure(f"{why}; {reason}", install) from None


def version(name: str) -> str:
    """The installed version, ``""`` where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_name(library_name: str, name: str) -> None:
    """Refuse what the installed library does not list.

    Raises:
        UsageError: there is no such network. EnvironmentFailure: no such library.
    """
    home = library(library_name, f"{library_name}:{display_name(name, 80)} is built by {library_name}")
    listed = home.list_models() if library_name == "timm" else home.models.list_models()
    if name not in listed:
        lists = {"timm": "timm.list_models", "torchvision": "torchvision.models.list_models"}
        raise UsageError(
            f"{library_name} {version(library_name)} has no network {display_name(name, 80)}",
            f"{_question(name, {one: f'{library_name}:{one}' for one in listed})}"
            f"names: python -c 'import {library_name}; print({lists[library_name]}())'",
        )


def did_you_mean(name: str, families: Sequence[str]) -> str:
    """A question with the families and the networks of libraries that are called so, or nearly so; or ``""``."""
    known = {family: family for family in families}
    for row in index().rows:
        other = row.candidate
        typed = known.get(other.name, "")
        known[other.name] = f"{typed} or {other.full_name}" if typed else other.full_name
    near = name.lower()
    return f"did you mean {known[near]}? " if near in known else _question(near, known)


def _question(name: str, known: Mapping[str, str]) -> str:
    """Whether one of the nearest was meant, and how it is typed; ``""`` where none is near."""
    near = difflib.get_close_matches(name[:80], known, n=2)
    return f"did you mean {' or '.join(known[one] for one in near)}? " if near else ""


def on_meta(build: Callable[[], Built]) -> Built:
    """``build()`` on the meta device, or with numbers where that computes with them while it is built."""
    try:
        with torch.device("meta"):
            return build()
    except (RuntimeError, NotImplementedError):  # what torch raises where a meta tensor's numbers are asked for
        return build()


def make(
    library_name: str, name: str, *, classes: int | None = None, channels: int = 3, size: Sequence[int] = (),
    auxiliary: bool = False,
) -> nn.Module:  # fmt: skip
    """The network with random weights, on the device of the context.

    Args:
        classes: of the head; 0 leaves it out, ``None`` is the library's own number.
        channels: of the input. size: (height, width) to build it for; ``()`` for its own.
        auxiliary: with the second head that torchvision's segmentation networks are trained with.

    Raises:
        UsageError, EnvironmentFailure: as :func:`check_name`. Whatever the library raises.
    """
    check_name(library_name, name)
    with warnings.catch_warnings(), numbers_kept():
        warnings.simplefilter("ignore")
        if library_name == "timm":
            return _timm(name, classes, channels, size)
        return _torchvision(name, classes, channels, size, auxiliary)


def _timm(name: str, classes: int | None, channels: int, size: Sequence[int]) -> nn.Module:
    import timm

    more: dict[str, Any] = {}
    if classes is not None:
        more["num_classes"] = classes
    if channels != 3:
        more["in_chans"] = channels
    if size:
        more["img_size"] = tuple(size)
    module: nn.Module = timm.create_model(name, pretrained=False, **more)
    return module


def _torchvision(
    name: str, classes: int | None, channels: int, size: Sequence[int], auxiliary: bool = False
) -> nn.Module:
    import torchvision

    models = torchvision.models
    accepted = inspect.signature(models.get_model_builder(name)).parameters
    more: dict[str, Any] = {"weights_backbone": None} if "weights_backbone" in accepted else {}
    if classes:
        more["num_classes"] = classes
    if size:
        more["image_size"] = size[0]
    if auxiliary and "aux_loss" in accepted:
        more["aux_loss"] = True
    module: nn.Module = models.get_model(name, weights=None, **more)
    if channels != 3:
        stem = next(path for path, part in module.named_modules() if isinstance(part, nn.Conv2d))
        module.set_submodule(stem, _with_channels(module.get_submodule(stem), channels))
    if classes == 0:
        module.set_submodule(_last_linear(module), nn.Identity())
    if "segmentation" in type(module).__module__:
        module.register_forward_hook(_main_output)
    return module


def _main_output(module: nn.Module, args: Any, outputs: Any) -> Any:
    """Segmentation networks give a dictionary: the scores of the pixels, and of a second head used in training."""
    return outputs["out"] if isinstance(outputs, Mapping) and "out" in outputs else outputs


def _with_channels(stem: nn.Module, channels: int) -> nn.Conv2d:
    assert isinstance(stem, nn.Conv2d)
    return nn.Conv2d(
        channels, stem.out_channels, stem.kernel_size, stem.stride, stem.padding, stem.dilation,
        bias=stem.bias is not None,
    )  # fmt: skip


def _last_linear(module: nn.Module) -> str:
    return [path for path, part in module.named_modules() if isinstance(part, nn.Linear)][-1]


@contextlib.contextmanager
def numbers_kept() -> Iterator[None]:
    """Weights are about to be overwritten: the global generator stays as it was."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def takes_any_size(module: nn.Module) -> bool:
    """Whether timm says that the network takes pictures of any size; torchvision does not say."""
    config = getattr(module, "pretrained_cfg", None)
    return isinstance(config, Mapping) and not config.get("fixed_input_size", False)


def sees_clips(module: nn.Module) -> bool:
    """Whether the input has frames: the first convolution slides along them too."""
    first = next((part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Conv3d))), None)
    return isinstance(first, nn.Conv3d)


def torchvision_transforms(name: str) -> Any:
    """The preset of the default weights, or ``None``."""
    import torchvision

    try:
        return torchvision.models.get_model_weights(name).DEFAULT.transforms()
    except (ValueError, AttributeError):  # networks without published weights
        return None


def usual_preprocessing(library_name: str, name: str, module: nn.Module) -> Shaping | None:
    """What the library does to pictures for its own default weights of this network, or ``None``."""
    if library_name == "timm":
        config = dict(module.pretrained_cfg)
        tag = config.get("tag") or "default"
        published = f"timm's weights {name}.{tag}" if config.get("hf_hub_id") or config.get("url") else "timm's default"
        return timm_preprocessing(config, published, declared=False)
    preset = torchvision_transforms(name)
    if not hasattr(preset, "crop_size") or not hasattr(preset, "resize_size"):
        return None
    side, shorter = preset.crop_size[0], preset.resize_size[0]
    source = f"torchvision's default weights of {name}"
    return Shaping(
        size=(side, side),
        resize=(shorter, shorter),
        mode="centre",
        interpolation=preset.interpolation.value,
        normalisation=Normalisation(tuple(preset.mean), tuple(preset.std), source),
        declared=False,
        source=source,
    )


def published_normalisations(library_name: str, name: str) -> dict[tuple[tuple[float, ...], ...], list[str]]:
    """Names of the library's own weights of this network, by the (mean, std) that they want."""
    found: dict[tuple[tuple[float, ...], ...], list[str]] = {}
    if library_name == "timm":
        import timm

        for weights in timm.list_pretrained(f"{name}.*"):
            config = timm.get_pretrained_cfg(weights)
            found.setdefault((tuple(config.mean), tuple(config.std)), []).append(weights)
    elif hasattr(preset := torchvision_transforms(name), "mean"):
        found[tuple(preset.mean), tuple(preset.std)] = [f"torchvision's {name}"]
    return found


def timm_preprocessing(config: Mapping[str, Any], source: str, *, declared: bool) -> Shaping | None:
    """A ``pretrained_cfg`` of timm's, with timm's defaults; ``None`` where it says nothing of use.

    Source: ``timm.data.transforms_imagenet_eval``.
    """
    shape = config.get("input_size")
    if not (isinstance(shape, (tuple, list)) and len(shape) == 3):
        return None
    height, width = int(shape[1]), int(shape[2])
    share = float(config.get("crop_pct") or 0.875)
    scaled = (math.floor(height / share), math.floor(width / share))
    mode: Literal["centre", "squash", "border"] = _CROPS.get(str(config.get("crop_mode")), "centre")
    interpolation = str(config.get("interpolation") or "bicubic")
    return Shaping(
        size=(height, width),
        resize=scaled,
        mode=mode,
        interpolation=interpolation if interpolation in INTERPOLATIONS else "bilinear",
        normalisation=Normalisation(
            tuple(config.get("mean") or (0.485, 0.456, 0.406)),
            tuple(config.get("std") or (0.229, 0.224, 0.225)),
            source,
        ),
        declared=declared,
        source=source,
    )
