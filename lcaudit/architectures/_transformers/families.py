"""The configurations of transformers that are read: which entries, of which kind, and what else may stand beside them.

An entry that is in none of these lists is never handed to the library. Adding a network is adding a row to
``FAMILIES``, and its new keys to ``_KINDS_BY_NAME``.

Source: the ``configuration_*.py`` of transformers 5.23, and older names of the same settings that they still read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lcaudit.architectures._transformers.values import words

_ENCODER = (
    "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act max_position_embeddings "
    "type_vocab_size layer_norm_eps pad_token_id tie_word_embeddings"
)
_DECODER = "vocab_size hidden_size num_hidden_layers num_attention_heads max_position_embeddings pad_token_id "
_DECODER += "tie_word_embeddings"
_ROTARY = "rope_parameters rope_scaling rope_theta"
_LLAMA = f"{_DECODER} {_ROTARY} intermediate_size num_key_value_heads hidden_act rms_norm_eps head_dim"
_SLIDING = "sliding_window layer_types"
_GEMMA = f"{_LLAMA} attention_bias hidden_activation use_bidirectional_attention"
_GEMMA2 = f"{_GEMMA} {_SLIDING} query_pre_attn_scalar final_logit_softcapping attn_logit_softcapping"
_GPT = "vocab_size n_positions n_embd n_layer n_head n_inner activation_function layer_norm_epsilon pad_token_id "
_GPT += "tie_word_embeddings"
_VIT = (
    "hidden_size num_hidden_layers num_attention_heads hidden_act layer_norm_eps image_size patch_size num_channels "
    "qkv_bias"
)
_SWIN = (
    "image_size patch_size num_channels embed_dim depths num_heads window_size mlp_ratio qkv_bias hidden_act "
    "use_absolute_embeddings layer_norm_eps"
)
_CONVNEXT = "num_channels patch_size num_stages hidden_sizes depths hidden_act layer_norm_eps image_size"
_RESNET = "num_channels embedding_size hidden_sizes depths layer_type hidden_act downsample_in_first_stage"

_KINDS_BY_NAME = {
    "side": (
        "vocab_size hidden_size intermediate_size max_position_embeddings n_positions n_embd dim hidden_dim "
        "embedding_size ffn_dim word_embed_proj_dim d_model d_kv d_ff head_dim n_inner num_channels embed_dim "
        "groups_width relative_attention_num_buckets relative_attention_max_distance window_size "
        "original_max_position_embeddings local_attention attention_head_size conv_kernel_size pooler_hidden_size "
        "pooler_output_size rotary_dim global_attn_every_n_layers no_rope_layer_interval"
    ),
    "count": (
        "type_vocab_size num_attention_heads num_heads n_head n_heads num_key_value_heads sliding_window "
        "max_window_layers"
    ),
    "layers": (
        "num_hidden_layers num_layers n_layer n_layers num_hidden_groups inner_group_num num_stages num_decoder_layers"
    ),
    "index": "pad_token_id max_relative_positions position_buckets",
    "real": (
        "layer_norm_eps layer_norm_epsilon rms_norm_eps norm_eps norm_epsilon rope_theta rotary_pct rotary_emb_base "
        "partial_rotary_factor query_pre_attn_scalar final_logit_softcapping attn_logit_softcapping "
        "embedding_multiplier logits_scaling residual_multiplier attention_multiplier global_rope_theta "
        "local_rope_theta rope_local_base_freq layer_scale_init_value layerscale_value mlp_ratio"
    ),
    "flag": (
        "tie_word_embeddings sinusoidal_pos_embds relative_attention position_biased_input legacy norm_bias "
        "attention_bias mlp_bias decoder_bias classifier_bias scale_attn_weights scale_attn_by_inverse_layer_idx "
        "reorder_and_upcast_attn use_parallel_residual do_layer_norm_before _remove_final_layer_norm enable_bias "
        "layer_norm_elementwise_affine apply_residual_connection_post_layernorm use_sliding_window "
        "use_bidirectional_attention qk_layernorm use_qkv_bias use_bias qkv_bias use_absolute_embeddings "
        "use_mask_token use_absolute_position_embeddings use_relative_position_bias "
        "use_shared_relative_position_bias use_mean_pooling downsample_in_first_stage downsample_in_bottleneck "
        "use_swiglu_ffn share_att_key summary_use_proj"
    ),
    "word": (
        "hidden_act activation activation_function hidden_activation classifier_activation classifier_pooling "
        "pooler_hidden_act pooler_act feed_forward_proj layer_type norm_rel_ebd summary_type summary_activation "
        "conv_act"
    ),
    "words": "layer_types pos_att_type",
    "sides": "image_size patch_size",
    "several": "depths hidden_sizes pretrained_window_sizes no_rope_layers",
    "kinds": "attention_types",
    "rope": "rope_parameters rope_scaling",
}
_KINDS = {key: kind for kind, keys in _KINDS_BY_NAME.items() for key in keys.split()}
#: Keys whose kind differs from one configuration to another.
_OWN_KINDS = {("swin", "num_heads"): "several", ("swinv2", "num_heads"): "several"}


@dataclass(frozen=True, slots=True)
class Family:
    """One ``model_type``.

    Attributes:
        keys: entries that are read, with their kind. sees: what a sample is.
        bidirectional: whether a token sees later ones.
        offset: whether positions are counted from the padding's index, so that fewer tokens have one.
        pretrained_as: class whose further heads may be stored beside the named one's.
        unused: entries that this class never read.
    """

    keys: Mapping[str, str]
    sees: Literal["text", "pictures"] = "text"
    bidirectional: bool = True
    offset: bool = False
    pretrained_as: str = ""
    unused: tuple[str, ...] = ()


def _family(model_type: str, keys: str, **more: object) -> Family:
    kinds = {key: _OWN_KINDS.get((model_type, key), _KINDS[key]) for key in keys.split()}
    return Family(kinds, **more)  # type: ignore[arg-type]  # the fields' own types


_ENCODERS = {
    "bert": (_ENCODER, {"pretrained_as": "BertForPreTraining"}),
    "distilbert": (
        "vocab_size max_position_embeddings sinusoidal_pos_embds n_layers n_heads dim hidden_dim activation "
        "pad_token_id tie_word_embeddings",
        {},
    ),
    "roberta": (_ENCODER, {"offset": True}),
    "xlm-roberta": (_ENCODER, {"offset": True}),
    "camembert": (_ENCODER, {"offset": True}),
    "albert": (
        f"{_ENCODER} embedding_size num_hidden_groups inner_group_num",
        {"pretrained_as": "AlbertForPreTraining"},
    ),
    "electra": (f"{_ENCODER} embedding_size summary_type summary_use_proj summary_activation", {}),
    "mpnet": (f"{_ENCODER} relative_attention_num_buckets", {"offset": True}),
    "deberta-v2": (
        f"{_ENCODER} relative_attention max_relative_positions position_buckets norm_rel_ebd share_att_key "
        "position_biased_input pos_att_type pooler_hidden_act pooler_hidden_size legacy attention_head_size "
        "conv_kernel_size conv_act embedding_size",
        {},
    ),
    "modernbert": (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads hidden_activation "
        "max_position_embeddings norm_eps norm_bias pad_token_id attention_bias layer_types rope_parameters "
        "local_attention mlp_bias decoder_bias classifier_pooling classifier_bias classifier_activation "
        "tie_word_embeddings global_rope_theta local_rope_theta global_attn_every_n_layers",
        {"unused": ("position_embedding_type",)},
    ),
    "t5": (
        "vocab_size d_model d_kv d_ff num_layers num_decoder_layers num_heads relative_attention_num_buckets "
        "relative_attention_max_distance layer_norm_epsilon feed_forward_proj pad_token_id n_positions "
        "tie_word_embeddings",
        {},
    ),
}
_DECODERS = {
    "gpt2": f"{_GPT} scale_attn_weights scale_attn_by_inverse_layer_idx reorder_and_upcast_attn",
    "gpt_neo": "vocab_size max_position_embeddings hidden_size num_layers attention_types num_heads "
    "intermediate_size window_size activation_function layer_norm_epsilon pad_token_id tie_word_embeddings",
    "gpt_neox": f"{_DECODER} {_ROTARY} intermediate_size hidden_act layer_norm_eps use_parallel_residual "
    "attention_bias rotary_pct rotary_emb_base partial_rotary_factor",
    "gptj": f"{_GPT} rotary_dim",
    "opt": "vocab_size hidden_size num_hidden_layers ffn_dim max_position_embeddings do_layer_norm_before "
    "_remove_final_layer_norm word_embed_proj_dim num_attention_heads activation_function pad_token_id enable_bias "
    "layer_norm_elementwise_affine tie_word_embeddings",
    "bloom": "vocab_size hidden_size n_layer n_head layer_norm_epsilon pad_token_id "
    "apply_residual_connection_post_layernorm tie_word_embeddings",
    "llama": f"{_LLAMA} attention_bias mlp_bias",
    "qwen2": f"{_LLAMA} {_SLIDING} use_sliding_window max_window_layers",
    "qwen3": f"{_LLAMA} {_SLIDING} use_sliding_window max_window_layers attention_bias",
    "mistral": f"{_LLAMA} sliding_window",
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3_text": f"{_GEMMA2} rope_local_base_freq",
    "phi": f"{_DECODER} {_ROTARY} intermediate_size num_key_value_heads hidden_act layer_norm_eps qk_layernorm "
    "partial_rotary_factor",
    "phi3": f"{_LLAMA} sliding_window original_max_position_embeddings partial_rotary_factor",
    "olmo2": f"{_LLAMA} attention_bias",
    "stablelm": f"{_DECODER} {_ROTARY} intermediate_size num_key_value_heads hidden_act layer_norm_eps use_qkv_bias "
    "qk_layernorm use_parallel_residual partial_rotary_factor",
    "starcoder2": f"{_DECODER} {_ROTARY} intermediate_size num_key_value_heads hidden_act norm_epsilon sliding_window "
    "use_bias",
    "granite": f"{_LLAMA} attention_bias mlp_bias embedding_multiplier logits_scaling residual_multiplier "
    "attention_multiplier",
    "smollm3": f"{_LLAMA} {_SLIDING} use_sliding_window no_rope_layers no_rope_layer_interval attention_bias mlp_bias",
}
#: Read by a class with two heads alone.
_MORE = {"gpt2": {"unused": ("summary_type", "summary_use_proj", "summary_activation")}}
_SEEING = {
    "vit": f"{_VIT} intermediate_size pooler_output_size pooler_act",
    "deit": f"{_VIT} intermediate_size pooler_output_size pooler_act",
    "beit": f"{_VIT} intermediate_size vocab_size use_mask_token use_absolute_position_embeddings "
    "use_relative_position_bias use_shared_relative_position_bias layer_scale_init_value use_mean_pooling",
    "dinov2": f"{_VIT} mlp_ratio layerscale_value use_swiglu_ffn use_mask_token",
    "swin": _SWIN,
    "swinv2": f"{_SWIN} pretrained_window_sizes",
    "convnext": f"{_CONVNEXT} layer_scale_init_value",
    "convnextv2": _CONVNEXT,
    "resnet": f"{_RESNET} downsample_in_bottleneck",
    "regnet": f"{_RESNET} groups_width",
}

#: By ``model_type``.
FAMILIES: Mapping[str, Family] = {
    **{name: _family(name, keys, **more) for name, (keys, more) in _ENCODERS.items()},
    **{name: _family(name, keys, bidirectional=False, **_MORE.get(name, {})) for name, keys in _DECODERS.items()},
    **{name: _family(name, keys, sees="pictures") for name, keys in _SEEING.items()},
}

#: Entries that change nothing of what a network computes in evaluation mode, whatever they say.
IRRELEVANT = words(
    "_attn_implementation n_ctx _attn_implementation_autoset _name_or_path architectures attn_implementation "
    "bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward cls_token_id decoder_start_token_id "
    "directionality diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size encoder_stride "
    "eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id "
    "gradient_checkpointing id2label init_std initializer_cutoff_factor initializer_factor initializer_range "
    "label2id length_penalty mask_token_id max_length min_length model_type no_repeat_ngram_size num_beam_groups "
    "num_beams num_labels num_return_sequences output_attentions output_hidden_states output_past output_scores "
    "prefix pretraining_tp problem_type reference_compile remove_invalid_values repetition_penalty return_dict "
    "return_dict_in_generate sep_token_id slow_but_exact sparse_pred_ignore_index sparse_prediction suppress_tokens "
    "task_specific_params temperature tokenizer_class top_k top_p torch_dtype torchscript transformers_version "
    "typical_p unsloth_version unsloth_fixed use_bfloat16 use_cache deterministic_flash_attn repad_logits_with_grad "
    "out_features out_indices stage_names _out_features _out_indices reshape_hidden_states "
    "semantic_loss_ignore_index pool_scales use_auxiliary_head auxiliary_loss_weight auxiliary_channels "
    "auxiliary_num_convs auxiliary_concat_input add_fpn apply_layernorm summary_proj_to_labels use_mup"
)
#: Parts of the names of entries that only training reads.
_TRAINING = ("dropout", "pdrop", "drop_path", "layerdrop")
#: Entries that must say this, or nothing: anything else is a network of another kind.
FIXED: Mapping[str, tuple[object, ...]] = {
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False, None),
    "pruned_heads": ({}, None),
    "position_embedding_type": ("absolute", None),
    "adapters": (None,),
    "embedding_size_per_layer": (None,),
}


def is_irrelevant(key: str) -> bool:
    """Whether the entry changes nothing of what a network computes in evaluation mode."""
    return key in IRRELEVANT or any(part in key for part in _TRAINING)
