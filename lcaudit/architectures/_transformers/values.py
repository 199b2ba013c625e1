"""What single entries of a transformers ``config.json`` may be; anything else is not handed to the library.

A check takes a value and says whether it is possible; ``None`` (JSON's null) always is: the library's own classes say
what it means, or refuse it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

#: No tensor that is looked at has a longer side.
MOST_SIDE = 1 << 24
MOST_LAYERS = 4096
_MOST_LISTED = 4096


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


ACTIVATIONS = words(
    "gelu gelu_10 gelu_accurate gelu_fast gelu_new gelu_python gelu_pytorch_tanh hardswish laplace leaky_relu linear "
    "mish quick_gelu relu relu2 relu6 sigmoid silu swish tanh"
)
_WORDS = ACTIVATIONS | words(
    "absolute basic bottleneck c2p cls cls_index first full_attention gated-gelu gated-relu gated-silu global last "
    "layer_norm local mean none p2c p2p sliding_attention x y"
)
_ROPE_KINDS = words("default linear dynamic yarn longrope llama3 proportional su")
_ROPE_NUMBERS = words(
    "attention_factor beta_fast beta_slow factor high_freq_factor low_freq_factor mscale mscale_all_dim "
    "original_max_position_embeddings partial_rotary_factor rope_theta"
)
_ROPE_LISTS = frozenset({"long_factor", "short_factor"})
_ATTENTION_KINDS = ("full_attention", "sliding_attention")

Check = Callable[[Any], bool]


def is_whole(value: Any, low: int, high: int) -> bool:
    """A whole number from ``low`` to ``high``; true and false are none."""
    return type(value) is int and low <= value <= high


def is_number(value: Any) -> bool:
    """A finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def _side(value: Any) -> bool:
    return is_whole(value, 1, MOST_SIDE)


def _count(value: Any) -> bool:
    return is_whole(value, 0, MOST_SIDE)


def _layers(value: Any) -> bool:
    return is_whole(value, 0, MOST_LAYERS)


def _index(value: Any) -> bool:
    return is_whole(value, -1, MOST_SIDE)


def _real(value: Any) -> bool:
    return is_number(value) and abs(value) <= 1e12


def _flag(value: Any) -> bool:
    return type(value) is bool


def _word(value: Any) -> bool:
    return isinstance(value, str) and value in _WORDS


def _words(value: Any) -> bool:
    """One word, several in a list, or several joined by ``|`` as DeBERTa has them."""
    several = value.split("|") if isinstance(value, str) else value
    return isinstance(several, list) and len(several) <= _MOST_LISTED and all(map(_word, several))


def _sides(value: Any) -> bool:
    return _side(value) or (isinstance(value, list) and len(value) == 2 and all(map(_side, value)))


def _several(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_LISTED and all(map(_count, value))


def _one_or_several(value: Any) -> bool:
    return _count(value) or _several(value)


def _kinds(value: Any) -> bool:
    """GPT-Neo's ``[[["global", "local"], 12]]``."""
    return (
        isinstance(value, list)
        and len(value) <= 16
        and all(isinstance(one, list) and len(one) == 2 and _words(one[0]) and _layers(one[1]) for one in value)
    )


def _rope(value: Any) -> bool:
    """Settings of rotary positions, or one such for each kind of attention."""
    if not isinstance(value, Mapping):
        return False
    if value and all(key in _ATTENTION_KINDS for key in value):
        return all(_rope(one) or one is None for one in value.values())
    return all(_rope_entry(key, one) for key, one in value.items())


def _rope_entry(key: Any, value: Any) -> bool:
    if key in ("rope_type", "type"):
        return isinstance(value, str) and value in _ROPE_KINDS
    if key in _ROPE_LISTS:
        return isinstance(value, list) and len(value) <= _MOST_LISTED and all(map(is_number, value))
    return key in _ROPE_NUMBERS and (value is None or _real(value))


#: Kind of entry → its check; :mod:`~lcaudit.architectures._transformers.families` says which key is of which kind.
CHECKS: Mapping[str, Check] = {
    "side": _side,
    "count": _count,
    "layers": _layers,
    "index": _index,
    "real": _real,
    "flag": _flag,
    "word": _word,
    "words": _words,
    "sides": _sides,
    "several": _several,
    "one or several": _one_or_several,
    "kinds": _kinds,
    "rope": _rope,
}
