"""``python -m lcaudit.architectures._index.survey FILE``: write down every network of timm and torchvision.

One JSON line for each: its keys and shapes, which of them are the head's and the stem's, and its input. Nothing
is allocated (meta device) where the network allows it. A network that cannot be built is a line with the
reason. Names already in FILE are passed over, so that an interrupted survey goes on where it stopped. Takes
some fifteen minutes on one core; ``build`` makes the index from FILE.
"""

from __future__ import annotations

import gc
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn

from lcaudit.architectures._index._wiring import digest, wiring
from lcaudit.architectures._libraries import on_meta

_COUNTER = "num_batches_tracked"
#: Number of classes that no network has by itself: what follows it is the head.
_ODD = 7


def main(path: Path) -> None:
    """Survey both libraries; append to ``path``."""
    done = {(row["library"], row["name"]) for row in rows(path)} if path.exists() else set()
    with path.open("a", encoding="utf-8") as stream:
        for library, name, look in (*_torchvision(), *_timm()):
            if (library, name) in done:
                continue
            row: dict[str, Any] = {"library": library, "name": name}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    row |= look(name)
            except Exception as error:  # a survey goes on
                traceback.print_exc()
                row["error"] = f"{type(error).__name__}: {error}"[:300]
            stream.write(json.dumps(row) + "\n")
            stream.flush()
            gc.collect()


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a survey."""
    with path.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def _timm() -> list[tuple[str, str, Callable[[str], dict[str, Any]]]]:
    import timm

    return [("timm", name, _look_timm) for name in timm.list_models()]


def _torchvision() -> list[tuple[str, str, Callable[[str], dict[str, Any]]]]:
    import torchvision

    return [("torchvision", name, _look_torchvision) for name in torchvision.models.list_models()]


def _look_timm(name: str) -> dict[str, Any]:
    import timm

    module = on_meta(lambda **more: timm.create_model(name, pretrained=False, **more))
    config = module.pretrained_cfg
    shapes = _shapes(module)
    head = _classifier(module) if hasattr(module, "get_classifier") else []
    wide = int(getattr(module, "num_classes", 0) or 0)
    loose = [key for key, shape in shapes.items() if wide and shape[:1] == [wide] and key not in head]
    if wide and (loose or not head):
        other = _shapes(on_meta(lambda **more: timm.create_model(name, pretrained=False, num_classes=_ODD, **more)))
        head = sorted(key for key in shapes if other.get(key) != shapes[key])
    first = config.get("first_conv") or []
    stems = [first] if isinstance(first, str) else list(first)
    return {
        "keys": shapes,
        "head": sorted(head) if wide else [],
        "classes": wide,
        "stem": [f"{stem}.weight" for stem in stems if f"{stem}.weight" in shapes],
        "input": list(config["input_size"]),
        "fixed": bool(config.get("fixed_input_size")),
        "wiring": digest(wiring(module)),
    }


def _look_torchvision(name: str) -> dict[str, Any]:
    import torchvision

    def make(**more: Any) -> nn.Module:
        builder = torchvision.models.get_model_builder(name)
        module: nn.Module = torchvision.models.get_model(name, weights=None, **more, **_no_backbone(builder))
        return module

    module = on_meta(make)
    shapes = _shapes(module)
    other = _shapes(on_meta(lambda **more: make(num_classes=_ODD, **more)))
    head = sorted(key for key in shapes if other.get(key) != shapes[key])
    stem = next((key for key, shape in shapes.items() if len(shape) == 4 and shape[1] == 3), "")
    return {
        "keys": shapes,
        "head": head,
        "classes": shapes[head[0]][0] if head else 0,
        "stem": [stem] if stem else [],
        "wiring": digest(wiring(module)),
    }


def _no_backbone(builder: Callable[..., Any]) -> dict[str, None]:
    import inspect

    return {"weights_backbone": None} if "weights_backbone" in inspect.signature(builder).parameters else {}


def _shapes(module: nn.Module) -> dict[str, list[int]]:
    state = module.state_dict()
    return {key: list(value.shape) for key, value in state.items() if not key.endswith(_COUNTER)}


def _classifier(module: nn.Module) -> list[str]:
    head = module.get_classifier()
    parts = head if isinstance(head, (tuple, list)) else [head]
    mine = {id(value) for part in parts if isinstance(part, nn.Module) for value in part.parameters()}
    return [key for key, value in module.state_dict(keep_vars=True).items() if id(value) in mine]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
