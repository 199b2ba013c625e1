"""Networks of timm and torchvision from their weights alone: the same outputs, or no answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lcaudit.architectures import resolve
from lcaudit.checkpoints import open_checkpoint
from lcaudit.core.errors import AmbiguousArchitecture, UnknownArchitecture, UsageError
from lcaudit.core.types import Network

REASON = "needs timm and torchvision: pip install 'lcaudit[vision]'"
timm = pytest.importorskip("timm", reason=REASON)
torchvision = pytest.importorskip("torchvision", reason=REASON)

pytestmark = pytest.mark.filterwarnings("ignore")


def from_timm(name: str, **more: Any) -> Callable[[], torch.nn.Module]:
    return lambda: timm.create_model(name, pretrained=False, **more)


def from_torchvision(name: str, **more: Any) -> Callable[[], torch.nn.Module]:
    return lambda: torchvision.models.get_model(name, weights=None, **more)


def saved(make: Callable[[], torch.nn.Module], path: Path, prefix: str = "") -> torch.nn.Module:
    torch.manual_seed(0)
    module = make().eval()
    save_file({prefix + key: value.clone() for key, value in module.state_dict().items()}, path)
    return module


def same_outputs(network: Network, module: torch.nn.Module) -> None:
    pictures = torch.randn(2, *network.record.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(network.module(pictures), module(pictures), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "title", "shape"),
    [
        (from_timm("test_convnext", num_classes=10), "test_convnext (timm, 10 classes)", (3, 160, 160)),
        (from_timm("test_efficientnet", in_chans=1), "test_efficientnet (timm, 1000 classes)", (1, 160, 160)),
        (from_timm("levit_128s", num_classes=3), "levit_128s (timm, 3 classes)", (3, 224, 224)),
        (from_timm("test_vit", num_classes=0), "test_vit (timm, without a head)", (3, 160, 160)),
        (from_timm("test_vit", img_size=96), "test_vit (timm, 96×96 pixels, 1000 classes)", (3, 96, 96)),
        (from_torchvision("mobilenet_v3_small"), "mobilenet_v3_small (torchvision, 1000 classes)", (3, 224, 224)),
        (from_torchvision("mnasnet0_5"), "mnasnet0_5 (torchvision, 1000 classes)", (3, 224, 224)),
        (from_torchvision("squeezenet1_1", num_classes=5), "squeezenet1_1 (torchvision, 5 classes)", (3, 224, 224)),
    ],
)
def test_recognised(make: Callable[[], torch.nn.Module], title: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    module = saved(make, tmp_path / "model.safetensors", "module.backbone.")
    network = resolve(open_checkpoint(tmp_path / "model.safetensors"))
    assert (network.record.title, network.record.input_shape) == (title, shape)
    assert network.record.confidence == ("assumed" if "pixels" in title else "identified")
    same_outputs(network, module)


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_b0"])
def test_what_weights_do_not_show_is_ambiguous_and_can_be_chosen(name: str, tmp_path: Path) -> None:
    module = saved(from_timm(name, num_classes=4), tmp_path / "model.safetensors")
    opened = open_checkpoint(tmp_path / "model.safetensors")
    with pytest.raises(AmbiguousArchitecture) as raised:
        resolve(opened)
    assert "timm:efficientnet_b0 (" in raised.value.message and "timm:tf_efficientnet_b0 (" in raised.value.message
    assert "Conv2dSame" in raised.value.message
    network = resolve(opened, f"timm:{name}")
    assert network.record.confidence == "declared"
    assert any("another function" in evidence.says for evidence in network.record.evidence)
    same_outputs(network, module)


def test_the_configuration_beside_the_weights_settles_it(tmp_path: Path) -> None:
    module = saved(from_timm("tf_efficientnet_b0", num_classes=4), tmp_path / "model.safetensors")
    pictures = {
        "input_size": [3, 96, 128],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "crop_pct": 0.8,
        "crop_mode": "squash",
    }
    config = {"architecture": "tf_efficientnet_b0", "num_classes": 1000, "pretrained_cfg": pictures}
    (tmp_path / "config.json").write_text(json.dumps(config))
    network = resolve(open_checkpoint(tmp_path))
    assert (network.record.confidence, network.record.classes) == ("declared", 4)
    assert "config.json says 1000 classes, the weights 4" in [evidence.says for evidence in network.record.evidence]
    shaping = network.shaping
    assert shaping is not None and shaping.declared
    assert (shaping.size, shaping.resize, shaping.mode) == ((96, 128), (120, 160), "squash")
    assert shaping.normalisation.mean == (0.5,) * 3
    same_outputs(network, module)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architecture": "resnet18"}, "but the weights do not fit timm:resnet18"),
        ({"architecture": "no_such_network"}, "has no network no_such_network"),
        ({"architecture": "test_convnext", "model_args": {"act_layer": "relu"}}, "with act_layer"),
    ],
)
def test_a_configuration_that_the_weights_contradict_is_not_believed(
    config: dict[str, Any], says: str, tmp_path: Path
) -> None:
    module = saved(from_timm("test_convnext"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    network = resolve(open_checkpoint(tmp_path))
    assert (network.record.title, network.record.confidence) == ("test_convnext (timm, 1000 classes)", "identified")
    (contradicted,) = [one.says for one in network.record.evidence if one.step == "contradicted"]
    assert says in contradicted
    same_outputs(network, module)


def test_no_file_makes_a_library_fetch_or_run_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(from_timm("test_convnext"), tmp_path / "model.safetensors")
    config = {"architecture": "hf-hub:somebody/net", "auto_map": {"AutoModel": "evil.Net"}, "trust_remote_code": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("socket.socket.connect", lambda *given: pytest.fail("the network was asked"))
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve(open_checkpoint(tmp_path)).record.confidence == "identified"
    assert "evil" not in sys.modules


def test_a_named_network_that_is_another_says_what_differs(tmp_path: Path) -> None:
    saved(from_timm("test_convnext"), tmp_path / "model.safetensors")
    opened = open_checkpoint(tmp_path)
    with pytest.raises(UnknownArchitecture, match=r"do not fit timm:test_resnet: \d+ tensors missing"):
        resolve(opened, "timm:test_resnet")
    for name in ("nothing", "hf-hub:a/b", "local-dir:/etc", ""):
        with pytest.raises(UsageError, match="has no network"):
            resolve(opened, f"timm:{name}")


def test_building_leaves_the_generator_as_it_was(tmp_path: Path) -> None:
    saved(from_timm("test_convnext"), tmp_path / "model.safetensors")
    opened = open_checkpoint(tmp_path)
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    resolve(opened)
    assert torch.equal(torch.randn(3), expected)


def picture(height: int, width: int) -> Any:
    from PIL import Image

    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(260, 300), (300, 217), (160, 160), (40, 900), (33, 31)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("shape", [(3, 160, 160), (3, 96, 128)])
def test_pictures_are_prepared_as_timm_does(size: tuple[int, int], mode: str, shape: tuple[int, ...]) -> None:
    from timm.data import create_transform

    from lcaudit.architectures._libraries import timm_preprocessing
    from lcaudit.probes._shaping import shaped

    config = {
        "input_size": shape,
        "crop_pct": 0.9,
        "crop_mode": mode,
        "interpolation": "bicubic",
        "mean": (0.2, 0.5, 0.7),
    }
    transform = create_transform(**config, std=(1.0, 1.0, 1.0), is_training=False, normalize=False)
    shaping = timm_preprocessing(config, "", declared=True)
    assert shaping is not None
    ours = np.asarray(shaped(picture(*size), shaping))
    np.testing.assert_array_equal(ours, transform(picture(*size)).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("size", [(260, 300), (300, 217), (700, 33)])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "swin_t", "efficientnet_b3", "vit_h_14"])
def test_pictures_are_prepared_as_torchvision_does(size: tuple[int, int], name: str) -> None:
    from lcaudit.architectures._libraries import usual_preprocessing
    from lcaudit.probes._shaping import shaped

    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    shaping = usual_preprocessing("torchvision", name, torch.nn.Identity())
    assert shaping is not None
    ours = np.asarray(shaped(picture(*size), shaping), np.float32).transpose(2, 0, 1) / 255
    mean, std = (
        np.array(value, np.float32)[:, None, None] for value in (shaping.normalisation.mean, shaping.normalisation.std)
    )
    np.testing.assert_allclose((ours - mean) / std, preset(picture(*size)).numpy(), atol=1e-5)


def test_an_audit_from_the_weights_and_a_folder_of_pictures(tmp_path: Path) -> None:
    import lcaudit

    saved(from_timm("test_convnext", num_classes=10), tmp_path / "model.safetensors")
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        picture(180 + number, 200).save(tmp_path / "pictures" / f"{number}.png")
    report = lcaudit.audit(tmp_path / "model.safetensors", tmp_path / "pictures", interpolation="bilinear")
    measured = report.measurements
    assert measured.network.family == "timm" and measured.coverage > 0.5
    assert measured.probe.shape == (3, 160, 160)
    said = " ".join(measured.probe.preprocessing)
    assert "resized so that the shorter side has 168: bilinear, antialiased; the middle 160 × 160 taken" in said
    assert "assumed: timm's" in said and measured.probe.normalisation.source.startswith("assumed: timm's")
