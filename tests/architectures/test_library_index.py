"""The index of published networks: what it holds, and what it finds without any of the libraries."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch
from architecture_cases import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit.architectures import _libraries, _library_networks, recognise, resolve
from lcaudit.architectures._index._fingerprint import of_shapes, of_tensor, total
from lcaudit.architectures._index.lookup import FILE, Candidate, index, look_up
from lcaudit.core.errors import AmbiguousArchitecture, EnvironmentFailure
from tests.library_cases import alexnet, gigantic, vit

GIGANTIC = "timm:vit_gigantic_patch14_224"
SHAPES = st.dictionaries(st.text(max_size=8), st.lists(st.integers(0, 2**40), max_size=4).map(tuple), max_size=6)


def names(found: tuple[Candidate, ...]) -> list[str]:
    return [one.full_name for one in found]


def test_the_index_is_small_and_says_what_it_was_made_of() -> None:
    known = index()
    assert FILE.stat().st_size < 60_000
    assert set(known.libraries) == {"timm", "torchvision", "torch"}
    assert len(known.rows) > 1400
    for row in known.rows:
        assert re.fullmatch(r"[a-z0-9_]+", row.candidate.name)
        assert row.candidate.library in ("timm", "torchvision")
    assert all(reason for reason in known.left_out.values())


def test_functions_of_one_body_differ_in_words() -> None:
    """Every network that the index calls different from another with its tensors says what tells it apart."""
    for rows in index().bodies.values():
        for head in {row.head for row in rows}:
            mine = [row.candidate for row in rows if row.head == head]
            functions = {one.function: one.differs for one in mine}
            assert len(functions) == 1 or sum(map(bool, functions.values())) >= len(functions) - 1, mine


@settings(deadline=None)
@given(SHAPES)
def test_the_sum_does_not_depend_on_order_and_gives_back_what_is_taken_out(shapes: dict[str, tuple[int, ...]]) -> None:
    whole = of_shapes(shapes)
    assert of_shapes(dict(reversed(shapes.items()))) == whole
    for key, shape in shapes.items():
        rest = {other: value for other, value in shapes.items() if other != key}
        assert total((whole, -of_tensor(key, shape))) == of_shapes(rest)
        assert of_shapes(rest | {key: (*shape, 1)}) != whole


@pytest.mark.parametrize(
    ("shapes", "classes", "channels"),
    [
        (gigantic(), 1000, 3),
        (gigantic(classes=7), 7, 3),
        (gigantic(classes=0), 0, 3),
        (gigantic(channels=1), 1000, 1),
        ({f"backbone.encoder.{key}": shape for key, shape in gigantic().items()}, 1000, 3),
    ],
    ids=["as published", "other classes", "no head", "grey", "prefix"],
)
def test_a_network_is_found_whatever_its_head_stem_and_prefix(
    shapes: dict[str, tuple[int, ...]], classes: int, channels: int
) -> None:
    (found,) = look_up(shapes)
    assert (found.full_name, found.classes, found.channels, found.agree) == (GIGANTIC, classes, channels, "shapes")
    assert found.size == (224, 224)


def test_another_image_size_is_told_from_another_width() -> None:
    (found,) = look_up(gigantic(size=280))
    assert (found.full_name, found.agree) == (GIGANTIC, "positions")
    related = look_up(vit(48, 1600, 8192, 14))
    assert related and all(one.agree == "names" for one in related)


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_one_tensor_less_more_or_other_is_not_found(change: str) -> None:
    shapes = gigantic()
    if change == "missing":
        del shapes["blocks.3.norm1.bias"]
    elif change == "more":
        shapes["blocks.3.ls1.gamma"] = (1664,)
    else:
        shapes["blocks.3.norm1.bias"] = (1665,)
    assert not any(one.agree != "names" for one in look_up(shapes))


def test_torchvision_is_in_it_too() -> None:
    assert names(look_up(alexnet(classes=12))) == ["torchvision:alexnet"]


@settings(deadline=None)
@given(SHAPES)
def test_anything_else_is_not_found(shapes: dict[str, tuple[int, ...]]) -> None:
    assert look_up(shapes) == ()


def test_looking_up_needs_none_of_the_libraries() -> None:
    code = (
        "import sys\n"
        "from tests.library_cases import gigantic\n"
        "from lcaudit.architectures import recognise\n"
        "print(recognise(gigantic(), {}).arch)\n"
        "print([m for m in ('torch', 'timm', 'torchvision', 'numpy', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == [GIGANTIC, "[]"]


def zeros(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


@pytest.mark.parametrize("config", [{}, {"architecture": "vit_tiny_patch16_224"}], ids=["weights alone", "config.json"])
def test_a_missing_library_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, str]
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EnvironmentFailure, match=r"timm:\w+ is built by timm; timm is not installed") as raised:
        resolve(checkpoint(zeros(vit(12, 192, 768, 16)), config=config))
    assert raised.value.hint == "type: pip install 'lcaudit[vision]'"


def candidate(name: str, function: int, differs: str) -> Candidate:
    return Candidate("timm", name, 10, 3, (224, 224), function, differs)


def test_several_functions_are_an_error_that_lists_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    both = (candidate("plain_b0", 0, "BatchNorm2d eps=1e-05"), candidate("tf_plain_b0", 1, "Conv2dSame"))
    monkeypatch.setattr(_library_networks, "look_up", lambda shapes: both)
    with pytest.raises(AmbiguousArchitecture) as raised:
        resolve(checkpoint(zeros({"stem.weight": (4, 3, 3, 3)})))
    assert "timm:plain_b0 (BatchNorm2d eps=1e-05); timm:tf_plain_b0 (Conv2dSame)" in raised.value.message
    assert "--arch timm:plain_b0 or --arch timm:tf_plain_b0" in raised.value.hint


def test_a_stray_configuration_does_not_stand_in_the_way() -> None:
    shapes = {"0.weight": (32, 64), "0.bias": (32,), "2.weight": (10, 32), "2.bias": (10,)}
    network = resolve(checkpoint(zeros(shapes), config={"architecture": "vit_tiny_patch16_224"}))
    assert network.record.family == "sequential"
    contradicted = [evidence.says for evidence in network.record.evidence if evidence.step == "contradicted"]
    assert len(contradicted) == 1 and "config.json says vit_tiny_patch16_224" in contradicted[0]


def test_recognition_without_loading_holds_a_configuration_against_the_weights() -> None:
    tiny = vit(12, 192, 768, 16)
    said = recognise(tiny, {"architecture": "vit_tiny_patch16_224", "num_classes": 10})
    assert (said.confidence, said.arch, said.classes) == ("declared", "timm:vit_tiny_patch16_224", 1000)
    assert any("10 classes, the weights 1000" in evidence.says for evidence in said.evidence)
    wrong = recognise(gigantic(), {"architecture": "vit_tiny_patch16_224"})
    assert (wrong.confidence, wrong.arch) == ("identified", GIGANTIC)
    assert wrong.evidence[0].step == "contradicted"
    assert recognise({"a": (3,)}, {}).confidence == "unknown"


def test_networks_of_clips_are_told_by_their_first_convolution() -> None:
    flat, deep = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv3d(3, 4, 3)
    linear = torch.nn.Linear(4, 4)
    assert _libraries.sees_clips(torch.nn.Sequential(linear, deep, flat))
    for parts in ((flat, deep), (linear,), ()):
        assert not _libraries.sees_clips(torch.nn.Sequential(*parts))
