"""What of a configuration that nobody vouches for is read, and what of it is believed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit.architectures._config import read

GOOD: dict[str, Any] = {
    "architecture": "resnet18",
    "num_classes": 10,
    "num_features": 512,
    "model_args": {"img_size": 96},
    "pretrained_cfg": {
        "tag": "a1_in1k",
        "input_size": [3, 96, 96],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "custom_load": True,
        "hf_hub_id": "somebody/something",
        "url": "https://example.com/weights.pth",
    },
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def test_a_whole_configuration() -> None:
    said = read(GOOD)
    assert said is not None
    assert (said.architecture, said.classes, said.size) == ("resnet18", 10, (96, 96))
    assert set(said.pictures) == {"tag", "input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode"}
    assert (said.doubts, said.unread) == ((), ())


def test_the_oldest_ones_are_flat() -> None:
    said = read({"architecture": "resnet18", **GOOD["pretrained_cfg"]})
    assert said is not None and said.pictures["mean"] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    "name",
    ["hf-hub:somebody/net", "local-dir:/etc", "../resnet18", "resnet18\x1b[31m", "", 18, None, ["resnet18"], "R" * 200],
)
def test_a_name_is_a_plain_name_or_nothing(name: object) -> None:
    assert read({**GOOD, "architecture": name}) is None


def test_what_it_says_twice_differently_is_not_believed() -> None:
    said = read({**GOOD, "input_size": [3, 32, 32], "mean": [0.4914, 0.4822, 0.4465]})
    assert said is not None and not said.pictures
    assert "two things of input_size, mean" in said.doubts[0]


def test_arguments_that_change_the_function_are_named() -> None:
    said = read({**GOOD, "model_args": {"img_size": 96, "act_layer": "gelu", "auto_map\x1b": "x"}})
    assert said is not None and said.unread == ("act_layer", "auto_map\\x1b")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_size", [3, 0, 96]),
        ("input_size", [3, 10**9, 96]),
        ("input_size", "3x96x96"),
        ("mean", [float("nan")] * 3),
        ("std", [0, 0.2, 0.2]),
        ("crop_pct", 1e-9),
        ("crop_pct", True),
        ("interpolation", "os.system"),
        ("crop_mode", {"a": 1}),
        ("tag", "../x"),
    ],
)
def test_nonsense_is_named_and_left_out(key: str, value: object) -> None:
    said = read({**GOOD, "pretrained_cfg": {**GOOD["pretrained_cfg"], key: value}})
    assert said is not None and key not in said.pictures and said.doubts[0].startswith(f"its {key} is ")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*GOOD, *GOOD["pretrained_cfg"]]), ANYTHING, max_size=6))
def test_any_json_is_read_or_not_a_configuration(changes: dict[str, Any]) -> None:
    said = read({**GOOD, **changes})
    assert said is None or said.classes is None or said.classes >= 0
    nested = read({**GOOD, "pretrained_cfg": changes})
    assert nested is not None
