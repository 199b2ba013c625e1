"""How a transformers network reads text: its longest sample, and which token fills up and which hides another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from lcaudit.architectures._transformers.config import TransformersConfig
from lcaudit.architectures._transformers.values import is_whole
from lcaudit.core.errors import AuditError, UnknownArchitecture
from lcaudit.core.files import read_regular
from lcaudit.core.serial import parse_json
from lcaudit.core.types import TextInput

_MOST_BYTES = 128_000_000
#: Where a network has no limit of its own: T5's usual length in training.
_NO_LIMIT = 512
_MASKS = ("[MASK]", "<mask>")


def text_input(
    config: TransformersConfig, native: Any, beside: Mapping[str, Mapping[str, Any]], tokenizer: Path | None
) -> TextInput | None:
    """What a probe of text needs to know; ``None`` for a class whose labels are of tokens.

    Args:
        native: the library's configuration. beside: files beside the weights by name, unchecked.
    """
    if config.purpose == "tokens":
        return None
    objective = cast("Literal['causal', 'masked', 'sequence', 'embedding']", config.purpose)
    hidden = _hidden(beside, tokenizer, native.vocab_size) if objective == "masked" else None
    return TextInput(objective, longest(config, native), padding(config, native), hidden, tokenizer)


def padding(config: TransformersConfig, native: Any) -> int | None:
    """Index of the token that fills up, where the network takes no notice of it.

    A network that reads from left to right needs none, and takes none that also ends or begins a text.

    Raises:
        UnknownArchitecture: it has none, and finds a sample's end by it.
    """
    index = getattr(native, "pad_token_id", None)
    known = is_whole(index, 0, native.vocab_size - 1)
    if config.family.bidirectional:
        return index if known else None
    if config.purpose == "sequence":
        if not known:
            raise UnknownArchitecture(
                f"{config.name} finds a sample's last token by the padding, and config.json has no pad_token_id",
                "add pad_token_id to config.json, as the tokenizer has it",
            )
        return int(index)
    ends = getattr(native, "eos_token_id", None)
    others = [*(ends if isinstance(ends, (list, tuple)) else [ends]), getattr(native, "bos_token_id", None)]
    return index if known and index not in others else None


def longest(config: TransformersConfig, native: Any) -> int:
    """Most tokens that a sample may have."""
    if config.model_type == "t5":
        return config.values.get("n_positions") or _NO_LIMIT
    most = getattr(native, "max_position_embeddings", None) or _NO_LIMIT
    offset = (native.pad_token_id or 0) + 1 if config.family.offset else 0
    return max(1, most - offset)


def _hidden(beside: Mapping[str, Mapping[str, Any]], tokenizer: Path | None, vocabulary: int) -> int | None:
    """Index of the token that hides another, as the tokenizer's files have it."""
    said = [beside.get(name, {}).get("mask_token") for name in ("special_tokens_map.json", "tokenizer_config.json")]
    texts = [one.get("content") if isinstance(one, Mapping) else one for one in said]
    wanted = next((one for one in texts if isinstance(one, str)), None)
    added = beside.get("tokenizer_config.json", {}).get("added_tokens_decoder")
    pairs = [(one.get("content"), key) for key, one in _items(added) if isinstance(one, Mapping)]
    pairs += _added(tokenizer)
    for text, index in pairs:
        index = int(index) if isinstance(index, str) and index.isascii() and index.isdigit() else index
        if text in ((wanted,) if wanted else _MASKS) and is_whole(index, 0, vocabulary - 1):
            return int(index)
    return None


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _added(tokenizer: Path | None) -> list[tuple[Any, Any]]:
    if tokenizer is None:
        return []
    try:
        data = parse_json(read_regular(tokenizer, _MOST_BYTES))
    except AuditError:  # whoever tokenizes says what is wrong with it
        return []
    added = data.get("added_tokens") if isinstance(data, dict) else None
    return [(one.get("content"), one.get("id")) for one in added or () if isinstance(one, Mapping)]
