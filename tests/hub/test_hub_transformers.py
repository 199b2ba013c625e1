"""Repositories as transformers and sentence-transformers write them: fetched, recognised, audited, again offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hub_material
import numpy as np
import pytest
import torch
from conftest import Machine, Ran
from fake_hub import FakeHub
from safetensors.torch import save

from tests import text_cases

pytest.importorskip("transformers", reason="the extra 'text' is not installed")

QUIET = ("--no-output", "--format", "json")
BERT = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 16,
}  # fmt: skip
VIT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 16,
    "patch_size": 8, "num_labels": 4,
}  # fmt: skip
PICTURES = {
    "do_resize": True, "size": {"height": 16, "width": 16}, "resample": 2, "do_rescale": True, "do_normalize": True,
    "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4],
}  # fmt: skip


def written(folder: Path, name: str, config: dict[str, Any], **options: Any) -> dict[str, bytes]:
    """Files of a network with random weights, by their paths."""
    import transformers

    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = getattr(transformers, name)
        found(found.config_class(**config)).save_pretrained(folder, **options)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def repositories(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("transformers")
    files = written(folder / "single", "BertForSequenceClassification", {**BERT, "num_labels": 3})
    files |= {"tokenizer.json": b'{"added_tokens": []}', "vocab.txt": b"x", "modeling_evil.py": b"1 / 0"}
    hub.add("text/single", files)
    hub.add("text/sharded", written(folder / "sharded", "BertModel", BERT, max_shard_size="10KB") | {
        "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}', "tokenizer_config.json": b"{}",
    })  # fmt: skip
    described = json.loads(files["config.json"]) | {"auto_map": {"AutoModel": "modeling_evil.Bert"}}
    hub.add("text/own", files | {"config.json": json.dumps(described).encode()})
    key = "base_model.model.bert.encoder.layer.1.output.dense.lora_{}.weight"
    change = {key.format("A"): torch.randn(2, 24), key.format("B"): torch.randn(16, 2)}
    said = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "text/single"}
    for name, base in (("text/adapter", "text/single"), ("text/lost", "../../etc")):
        described = json.dumps(said | {"base_model_name_or_path": base}).encode()
        hub.add(name, {"adapter_model.safetensors": save(change), "adapter_config.json": described})
    hub.add("text/pictures", written(folder / "pictures", "ViTForImageClassification", VIT) | {
        "preprocessor_config.json": json.dumps(PICTURES).encode(),
    })  # fmt: skip


@pytest.fixture(scope="module")
def reviews(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A network of texts with its tokenizer, and a data set of them as the Hub converts it."""
    pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    folder = tmp_path_factory.mktemp("reviews")
    hub.add("text/reads", {
        **written(folder / "reads", "BertForSequenceClassification", {**BERT, "num_labels": 2}),
        "tokenizer.json": text_cases.save_tokenizer(folder / "tokenizer.json").read_bytes(),
    })  # fmt: skip
    columns = {"text": text_cases.texts(60), "label": np.arange(60) % 2}
    described = {"text": {"_type": "Value"}, "label": {"_type": "ClassLabel", "names": ["bad", "good"]}}
    table = hub_material.table(columns, described)
    revisions = {"refs/convert/parquet": {"default/test/0000.parquet": table, "default/train/0000.parquet": table}}
    hub.add("text/reviews", {"README.md": b""}, kind="dataset", revisions=revisions)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probe") / "tokens.npz"
    np.savez(path, input_ids=np.random.default_rng(0).integers(1, 40, (24, 8)))
    return path


def measured(ran: Ran) -> Any:
    assert ran.code in (0, 1), ran.err
    return json.loads(ran.out)["measurements"]


def asked(hub: FakeHub, start: int) -> set[str]:
    """Paths of the files that were asked for since."""
    paths = (request.path for request in hub.requests[start:] if "/resolve/" in request.path)
    return {path.partition("/resolve/")[2][41:] for path in paths}


def test_one_file(hub: FakeHub, machine: Machine, away: Machine, tokens: Path) -> None:
    start = len(hub.requests)
    online = measured(machine("check", "text/single", "--data", tokens, *QUIET))
    assert asked(hub, start) == {"model.safetensors", "config.json", "tokenizer.json"}
    assert online["network"]["title"] == "BertForSequenceClassification (transformers, 3 classes)"
    assert online["checkpoint"]["hub"]["commit"] == hub.repositories["model", "text/single"].commit("main")
    start = len(hub.requests)
    offline = measured(away("check", "text/single", "--data", tokens, *QUIET))
    assert len(hub.requests) == start
    assert offline["layers"] == online["layers"]


def test_texts_of_the_hub_for_a_network_of_the_hub(
    hub: FakeHub, machine: Machine, away: Machine, reviews: None
) -> None:
    start = len(hub.requests)
    online = measured(machine("check", "text/reads", "--data", "hf:text/reviews", *QUIET))
    assert asked(hub, start) == {"model.safetensors", "config.json", "tokenizer.json", "default/test/0000.parquet"}
    assert online["network"]["title"] == "BertForSequenceClassification (transformers, 2 classes)"
    probe = online["probe"]
    assert (probe["split"], probe["labelled"], probe["classes"]) == ("test", True, ["bad", "good"])
    assert 50 <= probe["samples"] <= 60 and probe["hub"]["name"] == "text/reviews"
    assert any("text from column text" in step for step in probe["preprocessing"])
    start = len(hub.requests)
    offline = measured(away("check", "text/reads", "--data", "hf:text/reviews", *QUIET))
    assert len(hub.requests) == start
    assert offline["layers"] == online["layers"]


def test_shards_and_pooling(hub: FakeHub, machine: Machine, tokens: Path) -> None:
    start = len(hub.requests)
    found = measured(machine("check", "text/sharded", "--data", tokens, "--task", "regression", *QUIET))
    fetched = asked(hub, start)
    assert {"1_Pooling/config.json", "tokenizer_config.json", "config.json"} < fetched
    assert sum(name.startswith("model-") for name in fetched) > 1
    assert "(cls): 1_Pooling/config.json" in found["network"]["assumptions"][0]


def test_an_adapters_base_is_the_repository_that_it_names(hub: FakeHub, machine: Machine, tokens: Path) -> None:
    start = len(hub.requests)
    found = measured(machine("check", "text/adapter", "--data", tokens, *QUIET))
    assert {"adapter_model.safetensors", "adapter_config.json"} <= asked(hub, start)  # the base is in the cache
    assert found["network"]["title"] == "BertForSequenceClassification (transformers, 3 classes)"
    assert found["checkpoint"]["unwrapped"] == ["merged 1 low-rank change of rank 2, scaled by 2, into text/single"]
    assert found["checkpoint"]["hub"]["name"] == found["checkpoint"]["name"] == "text/adapter"
    ran = machine("check", "text/lost", "--data", tokens, *QUIET)
    assert ran.code == 2 and "--base FOLDER" in ran.err


def test_code_of_the_repositorys_own_is_not_fetched(hub: FakeHub, machine: Machine, tokens: Path) -> None:
    start = len(hub.requests)
    ran = machine("check", "text/own", "--data", tokens, *QUIET)
    assert ran.code == 2 and "auto_map" in ran.err and "never runs" in ran.err
    assert "modeling_evil.py" not in asked(hub, start)
    found = measured(
        machine("check", "text/own", "--arch", "hf:BertForSequenceClassification", "--data", tokens, *QUIET)
    )
    assert found["network"]["confidence"] == "declared"


def test_pictures_are_prepared_as_the_repository_says(hub: FakeHub, machine: Machine, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, 20, 24, 3), dtype=np.uint8)
    for number, image in enumerate(images):
        folder = tmp_path / "images" / f"class{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(hub_material.png(image))
    found = measured(machine("check", "text/pictures", "--data", tmp_path / "images", *QUIET))
    assert found["network"]["input_shape"] == [3, 16, 16]
    assert found["probe"]["normalisation"]["mean"] == [0.4, 0.5, 0.6]
    assert "preprocessor_config.json" in found["probe"]["normalisation"]["source"]
