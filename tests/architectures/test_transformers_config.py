"""What of transformers' config.json is read, refused or named, without the library."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcaudit.architectures import recognise
from lcaudit.architectures._transformers.config import Refusal, TransformersConfig, names_transformers, read
from lcaudit.architectures._transformers.families import FAMILIES
from lcaudit.architectures._transformers.pictures import shaping_of

BERT: dict[str, Any] = {
    "architectures": ["BertForSequenceClassification"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_size": 32,
    "id2label": {"0": "a", "1": "b", "2": "c"},
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 24,
    "model_type": "bert",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "transformers_version": "4.6.0",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 40,
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def good(config: dict[str, Any], tensors: int = 41) -> TransformersConfig:
    said = read(config, tensors)
    assert isinstance(said, TransformersConfig), said
    return said


def refused(config: dict[str, Any], wanted: str = "") -> Refusal:
    said = read(config, 41, wanted)
    assert isinstance(said, Refusal)
    return said


def test_a_whole_configuration() -> None:
    said = good(BERT)
    assert (said.name, said.model_type, said.purpose, said.classes) == (
        "BertForSequenceClassification", "bert", "sequence", 3,
    )  # fmt: skip
    assert set(said.values) == {
        "hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings",
        "num_attention_heads", "num_hidden_layers", "pad_token_id", "type_vocab_size", "vocab_size",
    }  # fmt: skip
    assert not said.unread


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000, which cannot be"),
        ({"num_hidden_layers": 500}, "num_hidden_layers = 500, and the file holds 41"),
        ({"hidden_size": -32}, "hidden_size = -32, which cannot be"),
        ({"hidden_size": "32"}, "hidden_size = 32, which cannot be"),
        ({"hidden_size": 32.0}, "hidden_size = 32.0, which cannot be"),
        ({"hidden_size": True}, "hidden_size = True, which cannot be"),
        ({"vocab_size": [40]}, "vocab_size = [40], which cannot be"),
        ({"layer_norm_eps": float("inf")}, "layer_norm_eps = inf"),
        ({"hidden_act": "os.system"}, "hidden_act = os.system"),
        ({"id2label": {}}, "number of classes"),
        ({"is_decoder": True}, "is_decoder = True, which lcaudit does not build"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = relative_key"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ({"quantization_config": {"quant_method": "gptq\x1b[31m"}}, r"quantised (gptq\x1b[31m)"),
        ({"auto_map": {"AutoModel": "evil--repo--code.Bert"}}, "never runs"),
        ({"architectures": ["BertForSequenceClassification", "BertModel"]}, "expected one class"),
        ({"architectures": None}, "names no class"),
        ({"architectures": ["../../evil"]}, "expected one class"),
        ({"architectures": ["BertForQuestionAnswering"]}, "no task for"),
        ({"architectures": ["BertLMHeadModel"]}, "from left to right"),
        ({"model_type": "nonsense"}, "(nonsense) is not among the networks"),
        ({"model_type": "t5", "architectures": ["T5ForSomething"], "is_encoder_decoder": True}, "one input"),
        ({"model_type": "bart", "architectures": ["BartModel"], "is_encoder_decoder": True}, "one input"),
        ({"model_type": "vit", "architectures": ["ViTForMaskedImageModeling"]}, "no task for"),
    ],
)  # fmt: skip
def test_what_cannot_be_or_is_not_read(change: dict[str, Any], reason: str) -> None:
    said = refused({**BERT, **change})
    assert reason in said.reason and said.hint


def test_the_users_word_stands_before_code_of_the_checkpoints_own() -> None:
    config = {**BERT, "auto_map": {"AutoModel": "code.Bert"}, "architectures": None}
    said = read(config, 41, "BertModel")
    assert isinstance(said, TransformersConfig) and said.purpose == "embedding"


def test_entries_that_are_not_in_the_list_are_named() -> None:
    said = good({**BERT, "scale_everything": 2, "directionality": "bidi", "nothing": None, "gradient_checkpointing": 1})
    assert said.unread == {"scale_everything": 2}


@pytest.mark.parametrize(
    ("value", "fine"),
    [
        ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1, "high_freq_factor": 4.0}, True),
        ({"type": "linear", "factor": 2.0}, True),
        ({"full_attention": {"rope_type": "default", "rope_theta": 1e6}, "sliding_attention": None}, True),
        (None, True),
        ({"rope_type": "mine"}, False),
        ({"rope_type": "linear", "factor": "2"}, False),
        ({"rope_type": "linear", "code": 1}, False),
        ([], False),
    ],
)  # fmt: skip
def test_rotary_positions(value: object, fine: bool) -> None:
    llama = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "rope_scaling": value}
    assert isinstance(read(llama, 9), TransformersConfig) is fine


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*BERT, "quantization_config", "auto_map", "x"]), ANYTHING, max_size=6))
def test_any_json_is_read_or_refused_with_a_sentence(changes: dict[str, Any]) -> None:
    config = {**BERT, **changes}
    if names_transformers(config):
        said = read(config, 41)
        if isinstance(said, Refusal):
            assert said.reason.isprintable()
        recognise({"a.weight": (40, 32)}, config)


def test_stages_count_as_layers() -> None:
    swin = {"model_type": "swin", "architectures": ["SwinForImageClassification"], "depths": [2, 10**6]}
    assert "and the file holds 41 tensors" in refused(swin).reason


def test_timms_configuration_is_not_taken_for_one() -> None:
    assert not names_transformers({"architecture": "resnet18", "model_type": "resnet", "architectures": ["x"]})
    assert not names_transformers({"depth": 3})


VIT = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3,
    "image_processor_type": "ViTImageProcessor", "resample": 2, "rescale_factor": 0.00392156862745098,
    "size": {"height": 48, "width": 40},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "size", "resize", "mode"),
    [
        ({}, (48, 40), (48, 40), "squash"),
        ({"size": 32}, (32, 32), (32, 32), "squash"),
        ({"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}, (32, 32), (48, 40), "squash"),
        ({"size": {"shortest_edge": 64}, "do_center_crop": True, "crop_size": 56}, (56, 56), (64, 64), "centre"),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, 224), (256, 256), "centre"),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 384), (384, 384), "squash"),
    ],
)  # fmt: skip
def test_how_pictures_are_prepared(change: dict[str, Any], size: object, resize: object, mode: str) -> None:
    shaping, doubt = shaping_of({**VIT, **change}, 3)
    assert shaping is not None and not doubt
    assert (shaping.size, shaping.resize, shaping.mode) == (size, resize, mode)
    assert shaping.interpolation == "bilinear" and shaping.declared
    assert (shaping.normalisation.mean, shaping.normalisation.std) == ((0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(
    "change",
    [
        {"image_mean": [0.5]}, {"image_std": [0, 0.5, 0.5]}, {"rescale_factor": 1}, {"do_rescale": False},
        {"resample": 9}, {"size": {"longest_edge": 3}}, {"size": {"height": 10**9, "width": 2}}, {"do_resize": False},
        {"size": {"shortest_edge": 32}}, {"do_center_crop": True, "crop_size": "x"}, {"size": {"shortest_edge": 32},
        "crop_pct": 0}, {"image_mean": [float("nan")] * 3},
    ],
)  # fmt: skip
def test_a_preparation_that_is_not_believed_is_named(change: dict[str, Any]) -> None:
    shaping, doubt = shaping_of({**VIT, **change}, 3)
    assert shaping is None and doubt.startswith("preprocessor_config.json ")


def test_without_a_file_nothing_is_said() -> None:
    assert shaping_of({}, 3) == (None, "")


SHAPES = {
    "bert.embeddings.word_embeddings.weight": (40, 32),
    "bert.encoder.layer.0.output.dense.weight": (32, 48),
    "bert.encoder.layer.1.output.dense.weight": (32, 48),
    "classifier.weight": (3, 32),
}


def test_recognised_from_names_and_shapes_alone() -> None:
    said = recognise(SHAPES, BERT)
    assert (said.confidence, said.arch, said.classes) == ("declared", "hf:BertForSequenceClassification", 3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"vocab_size": 41}, "a row for each of 41 tokens"),
        ({"hidden_size": 64}, "a side of 64"),
        ({"num_hidden_layers": 3}, "3 layers, the names number 2"),
        ({"id2label": {"0": "a"}}, "a row for each of 1 classes"),
        ({"model_type": "bart"}, "not among the networks"),
    ],
)
def test_a_configuration_that_the_shapes_do_not_bear_out(change: dict[str, Any], why: str) -> None:
    said = recognise(SHAPES, json.loads(json.dumps({**BERT, **change})))
    assert said.confidence == "unknown" and not said.recognised
    assert any(why in one.says for one in said.evidence)


def test_the_page_lists_what_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "transformers.md").read_text(encoding="utf-8")
    rows = [row for row in page.splitlines() if row.startswith(("| text, ", "| pictures "))]
    assert sorted(re.findall(r"`([^`]+)`", "".join(rows))) == sorted(FAMILIES)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"{len(FAMILIES)} kinds of networks of transformers" in readme
