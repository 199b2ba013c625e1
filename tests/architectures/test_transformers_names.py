"""The same network under the names that older releases, other classes and wrappers gave its tensors."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="the extra 'text' is not installed")

import transformers_cases as cases
from safetensors.torch import load_file, save_file

from lcaudit import architectures, checkpoints
from lcaudit.architectures._transformers.families import FAMILIES
from lcaudit.core.errors import AuditError, EnvironmentFailure, MalformedInput, UnknownArchitecture
from lcaudit.core.types import Network

State = dict[str, torch.Tensor]
IDS = torch.tensor([[5, 9, 3, 7, 11, 2, 8, 4], [6, 3, 12, 0, 0, 0, 0, 0]])


def opened(folder: Path, arch: str | None = None) -> Network:
    return architectures.resolve(checkpoints.open_checkpoint(folder), arch)


def saved(folder: Path, name: str, edit: Callable[[State], State] = lambda state: state, **config: Any) -> Any:
    """The network as transformers has it, its file and its configuration changed."""
    own = cases.save(folder, name)
    file, described = folder / "model.safetensors", folder / "config.json"
    save_file({key: value.contiguous() for key, value in edit(load_file(file)).items()}, file)
    described.write_text(json.dumps({**json.loads(described.read_text()), **config}))
    return own


def says(network: Network, step: str) -> str:
    return "; ".join(one.says for one in network.record.evidence if one.step == step)


def same(network: Network, own: Any, ids: torch.Tensor = IDS) -> None:
    with torch.no_grad(), cases.quiet():
        expected = own(input_ids=ids, attention_mask=(ids != 0).long())
        given = network.module(ids)
    expected = expected.logits if hasattr(expected, "logits") else expected.prediction_logits
    torch.testing.assert_close(given[0], expected[0], rtol=1e-4, atol=1e-5)


def old_bert(state: State) -> State:
    """As published in 2018: other names of scale and shift, and the positions stored."""
    renamed = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in state.items()
    }
    return {**renamed, "bert.embeddings.position_ids": torch.arange(24).unsqueeze(0)}


def test_berts_first_names(tmp_path: Path) -> None:
    own = saved(tmp_path, "BertForMaskedLM", old_bert)
    network = opened(tmp_path)
    same(network, own)
    assert says(network, "names") == "12 keys renamed as transformers does when it loads"
    assert says(network, "constants").startswith("1 stored constant equal to what the network computes")


def test_weights_of_a_pretraining_with_two_heads(tmp_path: Path) -> None:
    """As google-bert/bert-base-uncased: the file has a pooler and a second head, config.json a class without them."""
    with cases.quiet() as transformers, torch.random.fork_rng():
        torch.manual_seed(1)
        config = transformers.BertConfig(**cases.TEXT["BertForMaskedLM"])
        both = transformers.BertForPreTraining(config).eval()
        both.save_pretrained(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**described, "architectures": ["BertForMaskedLM"]}))
    network = opened(tmp_path)
    same(network, both)
    assert "4 tensors of BertForPreTraining that BertForMaskedLM does not use" in says(network, "other head")
    base = opened(tmp_path, "hf:BertModel")
    assert base.text is not None and base.text.objective == "embedding"
    assert "7 tensors of BertForPreTraining that BertModel does not use" in says(base, "other head")


def test_gpt2s_first_names(tmp_path: Path) -> None:
    """As openai-community/gpt2: the base's names in a file whose configuration names the language model."""

    def edit(state: State) -> State:
        masks = {f"h.{n}.attn.bias": torch.ones(1, 1, 24, 24).tril() for n in range(2)}
        return {key.removeprefix("transformer."): value for key, value in state.items()} | masks

    own = saved(tmp_path, "GPT2LMHeadModel", edit, n_ctx=24, task_specific_params={"text-generation": {}})
    network = opened(tmp_path)
    same(network, own)
    assert "put transformer. before 28 keys" in says(network, "prefix")
    assert network.text is not None and network.text.padding is None


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod."])
def test_prefixes_of_wrappers(tmp_path: Path, prefix: str) -> None:
    own = saved(tmp_path, "GemmaForCausalLM", lambda state: {prefix + key: value for key, value in state.items()})
    same(opened(tmp_path), own)


def test_a_base_model_with_the_prefix_of_a_head(tmp_path: Path) -> None:
    saved(tmp_path, "BertModel", lambda state: {f"bert.{key}": value for key, value in state.items()})
    network = opened(tmp_path)
    assert "removed bert. from 39 keys" in says(network, "prefix")


def test_stored_rotary_frequencies(tmp_path: Path) -> None:
    frequencies = 1 / 500.0 ** (torch.arange(0, 8, 2) / 8)

    def edit(state: State, factor: float = 1.0) -> State:
        return {**state, "model.layers.0.self_attn.rotary_emb.inv_freq": frequencies * factor}

    own = saved(tmp_path / "a", "LlamaForCausalLM", edit)
    same(opened(tmp_path / "a"), own)
    saved(tmp_path / "b", "LlamaForCausalLM", lambda state: edit(state, 0.5))
    with pytest.raises(UnknownArchitecture, match="is not what LlamaForCausalLM computes"):
        opened(tmp_path / "b")


def test_half_precision_and_shards(tmp_path: Path) -> None:
    with cases.quiet():
        cases.make("Qwen3ForCausalLM").bfloat16().save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    network = opened(tmp_path)
    assert network.record.dtype == "bfloat16"
    assert next(network.module.parameters()).dtype == torch.float32


def _without(key: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("edit", "config", "message"),
    [
        (_without("classifier.bias"), {}, "1 tensor missing (classifier.bias)"),
        (lambda state: {**state, "extra.weight": torch.ones(2)}, {}, "1 tensor with no place (extra.weight)"),
        (lambda state: state, {"hidden_size": 64}, "do not fit BertForSequenceClassification"),
        (lambda state: state, {"num_hidden_layers": 1}, "with no place"),
        (lambda state: state, {"num_attention_heads": 5}, "cannot build BertForSequenceClassification"),
        (lambda state: state, {"id2label": {"0": "a"}}, "classifier.weight is 3×32, expected 1×32"),
        (lambda state: state, {"is_causal": True}, "is_causal = True, which lcaudit does not set"),
        (lambda state: state, {"architectures": ["LlamaForCausalLM"]}, "has no LlamaForCausalLM of bert"),
        (lambda state: state, {"vocab_size": None}, "cannot build"),
        (lambda s: {**s, "bert.embeddings.position_ids": torch.ones(1, 24).long()}, {}, "is not what"),
        (lambda state: state, {"max_position_embeddings": 1 << 24}, "do not fit"),
    ],
)  # fmt: skip
def test_weights_that_are_not_this_networks(
    tmp_path: Path, edit: Callable[[State], State], config: dict[str, Any], message: str
) -> None:
    saved(tmp_path, "BertForSequenceClassification", edit, **config)
    with pytest.raises(UnknownArchitecture) as caught:
        opened(tmp_path)
    assert message in caught.value.message and caught.value.hint


def test_positions_beyond_reason_are_not_computed(tmp_path: Path) -> None:
    """They are no part of the file, so that nothing else bounds them."""
    saved(tmp_path, "GPTNeoForCausalLM", max_position_embeddings=1 << 23)
    with pytest.raises(AuditError, match=r"do not fit|computes .* numbers for itself"):
        opened(tmp_path)


def test_an_entry_that_transformers_never_reads_is_named(tmp_path: Path) -> None:
    saved(tmp_path, "BertForSequenceClassification", our_own_note="x")
    network = opened(tmp_path)
    assert says(network, "unread").startswith("config.json also says our_own_note, which transformers ")


def test_tied_weights_that_differ(tmp_path: Path) -> None:
    saved(tmp_path, "GPT2LMHeadModel", lambda state: {**state, "lm_head.weight": torch.ones(40, 32)})
    with pytest.raises(MalformedInput, match="are one tensor in the network, two in the file"):
        opened(tmp_path)


@pytest.mark.parametrize("last", ["qweight", "SCB", "weight_scale_inv"])
def test_quantised_weights(tmp_path: Path, last: str) -> None:
    key = f"bert.encoder.layer.0.output.dense.{last}"
    saved(tmp_path, "BertForSequenceClassification", lambda state: {**state, key: torch.ones(4)})
    with pytest.raises(MalformedInput, match="belongs to quantised weights"):
        opened(tmp_path)


def test_the_users_word(tmp_path: Path) -> None:
    own = saved(tmp_path, "BertForMaskedLM", architectures=None)
    with pytest.raises(UnknownArchitecture, match="names no class"):
        opened(tmp_path)
    same(opened(tmp_path, "hf:BertForMaskedLM"), own)
    with pytest.raises(UnknownArchitecture, match="has no BertNonsenseModel of bert"):
        opened(tmp_path, "hf:BertNonsenseModel")
    (tmp_path / "config.json").unlink()
    with pytest.raises(UnknownArchitecture, match="there is none"):
        opened(tmp_path, "hf:BertForMaskedLM")


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, "BertForMaskedLM")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        EnvironmentFailure, match=r"BertForMaskedLM is built by transformers; .*not installed"
    ) as caught:
        opened(tmp_path)
    assert caught.value.hint == "type: pip install 'lcaudit[text]'"


def test_a_copy_of_the_network_runs_with_its_own_weights(tmp_path: Path) -> None:
    saved(tmp_path, "BertForSequenceClassification")
    module = opened(tmp_path).module
    other = copy.deepcopy(module)
    before = module(IDS)
    other.classifier.weight.zero_()  # type: ignore[union-attr]
    assert torch.equal(module(IDS), before) and not torch.equal(other(IDS), before)


@pytest.mark.parametrize(
    ("said", "pool"),
    [
        ({}, "mean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_pooling(tmp_path: Path, said: dict[str, Any], pool: str) -> None:
    own = saved(tmp_path, "BertModel")
    if said:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **said}))
    network = opened(tmp_path)
    with torch.no_grad():
        states = own(input_ids=IDS, attention_mask=(IDS != 0).long()).last_hidden_state
        given = network.module(IDS)
    rows = [states[n, : int((IDS[n] != 0).sum())] for n in range(2)]
    pooled = {"mean": lambda x: x.mean(0), "cls": lambda x: x[0], "max": lambda x: x.amax(0), "last": lambda x: x[-1]}
    expected = torch.stack([pooled[pool](row) for row in rows])
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)
    assert any(f"({pool})" in words for words in network.record.assumptions)


def test_another_pooling_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "BertModel")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_weightedmean_tokens": true}')
    with pytest.raises(UnknownArchitecture, match="another pooling"):
        opened(tmp_path)


def test_what_a_probe_of_text_is_told(tmp_path: Path) -> None:
    saved(tmp_path, "RobertaForMaskedLM")
    tokens = [{"id": 1, "content": "<pad>"}, {"id": 39, "content": "<mask>"}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens, "model": {}}))
    (tmp_path / "special_tokens_map.json").write_text('{"mask_token": {"content": "<mask>", "lstrip": true}}')
    text = opened(tmp_path).text
    assert text is not None and (text.objective, text.longest, text.padding, text.hidden) == ("masked", 22, 1, 39)
    assert text.tokenizer == tmp_path / "tokenizer.json"


def test_a_tokenizer_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    saved(tmp_path / "a", "BertForMaskedLM")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "a" / "tokenizer.json").symlink_to(tmp_path / "tokenizer.json")
    text = opened(tmp_path / "a").text
    assert text is not None and text.tokenizer is None


def test_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, "BertForSequenceClassification", _name_or_path="somebody/else", tokenizer_class="Evil")

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert opened(tmp_path).record.confidence == "declared"


NUMBERS = st.one_of(
    st.integers(-2, 70),
    st.sampled_from([96, 1 << 12, 1 << 20, 1 << 24]),
    st.floats(-2, 2),
    st.none() | st.booleans(),
    st.lists(st.integers(0, 9), max_size=3),
    st.sampled_from(["gelu", "relu", "first", "x", "sliding_attention"]),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of networks whose configurations will be changed."""
    names = (
        "BertModel", "AlbertForMaskedLM", "DistilBertForMaskedLM", "LlamaForCausalLM", "SwinForImageClassification",
        "GPTNeoForCausalLM", "ResNetForImageClassification", "DebertaV2ForSequenceClassification",
    )  # fmt: skip
    folders = {name: tmp_path_factory.mktemp(name) for name in names}
    for name, folder in folders.items():
        cases.save(folder, name)
    return folders


@settings(deadline=20_000, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_numbers_give_a_network_or_a_sentence(written: dict[str, Path], data: st.DataObject) -> None:
    """No configuration brings down the run, or makes it allocate what the file does not hold."""
    folder = written[data.draw(st.sampled_from(sorted(written)))]
    checkpoint = checkpoints.open_checkpoint(folder)
    keys = sorted(FAMILIES[checkpoint.config["model_type"]].keys)
    changes = data.draw(st.dictionaries(st.sampled_from(keys), NUMBERS, min_size=1, max_size=3))
    try:
        network = architectures.resolve(replace(checkpoint, config={**checkpoint.config, **changes}))
    except AuditError as error:
        assert error.message.isprintable() and error.hint
    else:
        assert network.record.parameters <= sum(tensor.numel() for tensor in checkpoint.tensors.values())
