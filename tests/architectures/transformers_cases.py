"""Small networks of transformers with random weights, by class: what their configurations say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

VOCABULARY = 40
_BODY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_TEXT = {**_BODY, "vocab_size": VOCABULARY}
_SHORT = {**_TEXT, "max_position_embeddings": 24}
_GROUPED = {**_SHORT, "num_key_value_heads": 2}
_ENDS = {"bos_token_id": 1, "eos_token_id": 2}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24, "vocab_size": VOCABULARY, **_ENDS}
_DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "vocab_size": VOCABULARY}
_VIT = {**_BODY, "image_size": 32, "patch_size": 8}
_SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4}
_STAGES = {"hidden_sizes": [8, 16], "depths": [1, 2]}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": VOCABULARY}

#: Class → entries of its configuration.
TEXT: dict[str, dict[str, Any]] = {
    "BertForSequenceClassification": {**_SHORT, "num_labels": 3},
    "BertForMaskedLM": _SHORT,
    "BertModel": _SHORT,
    "BertForTokenClassification": {**_SHORT, "num_labels": 5},
    "DistilBertForSequenceClassification": {**_DISTIL, "num_labels": 3},
    "DistilBertForMaskedLM": _DISTIL,
    "RobertaForMaskedLM": _SHORT,
    "RobertaForSequenceClassification": {**_SHORT, "num_labels": 3},
    "XLMRobertaForMaskedLM": _SHORT,
    "AlbertForMaskedLM": {**_SHORT, "embedding_size": 16},
    "ElectraForSequenceClassification": {**_SHORT, "embedding_size": 16, "num_labels": 3},
    "MPNetModel": _SHORT,
    "DebertaV2ForSequenceClassification": {
        **_SHORT, "num_labels": 3, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False,
    },
    "ModernBertForMaskedLM": {
        **_SHORT, **_ENDS, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 4,
    },
    "T5EncoderModel": _T5,
    "GPT2LMHeadModel": _GPT,
    "GPT2ForSequenceClassification": {**_GPT, "num_labels": 3, "pad_token_id": 0},
    "GPTNeoForCausalLM": {
        "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
        "vocab_size": VOCABULARY, "max_position_embeddings": 24, "window_size": 4, **_ENDS,
    },
    "GPTNeoXForCausalLM": _SHORT,
    "GPTJForCausalLM": {**_GPT, "rotary_dim": 4},
    "OPTForCausalLM": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48, "vocab_size": VOCABULARY,
        "word_embed_proj_dim": 16, "max_position_embeddings": 24,
    },
    "BloomForCausalLM": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY},
    "LlamaForCausalLM": {**_GROUPED, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "LlamaForSequenceClassification": {**_GROUPED, "num_labels": 3, "pad_token_id": 0},
    "Qwen2ForCausalLM": _GROUPED,
    "Qwen3ForCausalLM": {**_GROUPED, "head_dim": 8},
    "Qwen3Model": {**_GROUPED, "head_dim": 8},
    "MistralForCausalLM": {**_GROUPED, "sliding_window": 4},
    "GemmaForCausalLM": {**_GROUPED, "head_dim": 8},
    "Gemma2ForCausalLM": {**_GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4},
    "Gemma3ForCausalLM": {**_GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4},
    "PhiForCausalLM": _SHORT,
    "Phi3ForCausalLM": {**_GROUPED, **_ENDS, "pad_token_id": 0},
    "Olmo2ForCausalLM": {**_GROUPED, "eos_token_id": 2},
    "StableLmForCausalLM": _GROUPED,
    "Starcoder2ForCausalLM": {**_GROUPED, **_ENDS},
    "GraniteForCausalLM": {**_GROUPED, "logits_scaling": 2.0, "embedding_multiplier": 3.0},
    "SmolLM3ForCausalLM": {**_GROUPED, **_ENDS, "pad_token_id": 0},
}  # fmt: skip
PICTURES: dict[str, dict[str, Any]] = {
    "ViTForImageClassification": {**_VIT, "num_labels": 4},
    "ViTModel": _VIT,
    "DeiTForImageClassification": {**_VIT, "num_labels": 4},
    "DeiTForImageClassificationWithTeacher": {**_VIT, "num_labels": 4},
    "BeitForImageClassification": {**_VIT, "num_labels": 4, "use_relative_position_bias": True},
    "Dinov2ForImageClassification": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
        "num_labels": 4,
    },
    "SwinForImageClassification": {**_SWIN, "num_labels": 4},
    "Swinv2ForImageClassification": {**_SWIN, "num_labels": 4},
    "ConvNextForImageClassification": {**_STAGES, "num_stages": 2, "num_labels": 4},
    "ConvNextV2ForImageClassification": {**_STAGES, "num_stages": 2, "num_labels": 4},
    "ResNetForImageClassification": {**_STAGES, "embedding_size": 8, "num_labels": 4},
    "RegNetForImageClassification": {**_STAGES, "embedding_size": 8, "groups_width": 8, "num_labels": 4},
}  # fmt: skip
ALL = {**TEXT, **PICTURES}


@contextlib.contextmanager
def quiet() -> Iterator[Any]:
    """transformers, without its advice and progress."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        level = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        try:
            yield transformers
        finally:
            transformers.logging.set_verbosity(level)


def make(name: str, **more: Any) -> Any:
    """A network of the class ``name`` with random weights, in evaluation mode."""
    with quiet() as transformers, torch.random.fork_rng():
        torch.manual_seed(0)
        found = getattr(transformers, name)
        network = found(found.config_class(**ALL[name], **more)).eval()
        for parameter in network.parameters():  # no layer scale or bias stays at a value that hides a mistake
            parameter.data += 0.02 * torch.randn_like(parameter)
        return network


def save(folder: Path, name: str, **more: Any) -> Any:
    """Write it as transformers does, and return it."""
    network = make(name, **more)
    with quiet():
        network.save_pretrained(folder)
    return network
