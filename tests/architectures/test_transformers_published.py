"""Configurations in the layouts of published networks, old and new: what is handed on is all that the library reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra 'text' is not installed")

import transformers_cases as cases

from lcaudit.architectures._transformers import build
from lcaudit.architectures._transformers.config import TransformersConfig, read
from lcaudit.architectures._transformers.families import is_irrelevant

PUBLISHED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("transformers_published.json").read_text(encoding="utf-8")
)
#: What no file of transformers' mentions, of each.
UNREAD = {
    "bert-multilingual": [
        "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
    ],
    "distilbert-sst2": ["tie_weights_"],
    "llama-7b-old": ["max_sequence_length"],
    "qwen2.5-0.5b": ["use_mrope"],
    "modernbert": ["layer_norm_eps"],
    "swin": ["path_norm"],
    "albert": ["down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks"],
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_librarys_own_reading_is_the_same(name: str) -> None:
    config = PUBLISHED[name]
    said = read(config, 150)
    assert isinstance(said, TransformersConfig)
    found = build.class_of(said)
    native = build.native_config(said, found)
    unread = build.unread(said, found, native)
    assert unread == UNREAD.get(name, [])
    with cases.quiet():
        theirs = found.config_class.from_dict(config).to_dict()
    if theirs.get("pad_token_id") == -1:  # as Llama's first conversion has it: none, and no token of the vocabulary
        theirs["pad_token_id"] = None
    ours = native.to_dict()
    apart = {"id2label", "label2id", "position_embedding_type", "auto_map", *unread}
    relevant = {key for key in theirs if not is_irrelevant(key) and key not in apart and not key.startswith("summary_")}
    assert len(relevant) > 5
    assert {key: ours.get(key) for key in relevant} == {key: theirs[key] for key in relevant}
    assert build.shapes_of(said, found, native).state_dict()
