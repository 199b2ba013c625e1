"""transformers' ``config.json`` beside the weights: what it says, as far as lcaudit reads it; without the library.

What it says is a claim: the weights decide whether they fit. ``auto_map``, code, paths and repositories that it names
are never followed.

Source: ``transformers.configuration_utils`` and the ``configuration_*.py`` of each model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lcaudit.architectures._transformers.families import FAMILIES, FIXED, Family, is_irrelevant
from lcaudit.architectures._transformers.values import CHECKS, is_whole
from lcaudit.core.text import display_name, one_line

_NAME = re.compile(r"[A-Z][A-Za-z0-9]{1,79}")
_TYPE = re.compile(r"[a-z][a-z0-9_-]{1,39}")
_MOST_CLASSES = 1_000_000
_READ_ELSEWHERE = ("is_encoder_decoder", "auto_map", "quantization_config")
#: Layers that cost nothing to build without numbers: some networks share the tensors of all of theirs.
_FEW = 64
#: transformers' own where a configuration is silent.
_USUAL_CLASSES = 2

#: What ``--arch`` takes before the name of a class.
PREFIX = "hf"

Purpose = Literal["causal", "masked", "sequence", "tokens", "embedding", "pictures", "features"]
#: Endings of the names of classes → what they give; the first that fits.
_ENDINGS: Mapping[str, Purpose] = {
    "ForImageClassificationWithTeacher": "pictures",
    "ForImageClassification": "pictures",
    "ForSequenceClassification": "sequence",
    "ForTokenClassification": "tokens",
    "ForMaskedLM": "masked",
    "ForPreTraining": "masked",
    "ForCausalLM": "causal",
    "LMHeadModel": "causal",
    "EncoderModel": "embedding",
    "Model": "embedding",
}
#: Classes that the endings misread: what stands in the way.
_ODD = {
    "ElectraForPreTraining": "tells replaced tokens from others, which lcaudit has no task for",
    "BertLMHeadModel": "reads from left to right with an encoder's weights",
    "T5Model": "is an encoder and a decoder, and lcaudit gives a network one input",
}
_TWO_PARTS = "is an encoder and a decoder, and lcaudit gives a network one input"
_FACTORY = "pass --arch file.py:factory, where factory() returns the nn.Module with the weights' own keys"
_QUANTISED = (
    "save the weights in a plain type: model = AutoModel….from_pretrained(…); model.dequantize(); "
    "model.save_pretrained(…), or audit the repository that they were quantised from"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the network that is named is not built, and what to do."""

    reason: str
    hint: str = _FACTORY


@dataclass(frozen=True, slots=True)
class TransformersConfig:
    """What a ``config.json`` of transformers' claims.

    Attributes:
        name: the class. model_type: of its configuration. purpose: what the class gives.
        values: checked entries, for the configuration's class. classes: of a classifying head.
        unread: entries that are not in the allowlist: they may make it another function.
    """

    name: str
    model_type: str
    purpose: Purpose
    values: Mapping[str, Any] = field(default_factory=dict)
    classes: int = 0
    unread: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        """What is known of its kind."""
        return FAMILIES[self.model_type]


def names_transformers(config: Mapping[str, Any]) -> bool:
    """Whether transformers wrote it."""
    model_type, names = config.get("model_type"), config.get("architectures")
    return isinstance(model_type, str) and (names is None or isinstance(names, list)) and "architecture" not in config


def read(config: Mapping[str, Any], tensors: int, wanted: str = "") -> TransformersConfig | Refusal:
    """Read it.

    Args:
        tensors: how many are stored: a network has no more layers.
        wanted: the class that the user names, in the place of the one that it names.
    """
    model_type = config.get("model_type")
    names = config.get("architectures") or []
    name = wanted or (names[0] if len(names) == 1 else None)
    said = wanted or one_line([str(one) for one in names]) or "no class"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return Refusal(f"config.json names {said}, expected one class of transformers", "choose with --arch hf:CLASS")
    if not isinstance(model_type, str) or not _TYPE.fullmatch(model_type) or model_type not in FAMILIES:
        whole = config.get("is_encoder_decoder") is True
        why = _TWO_PARTS if whole else "is not among the networks of transformers that lcaudit reads"
        return Refusal(f"{name} ({display_name(model_type, 40)}) {why}")
    reason = _quantised(config) or ("" if wanted else _own_code(config))
    if reason:
        return reason if isinstance(reason, Refusal) else Refusal(reason)
    purpose = _purpose(name, FAMILIES[model_type], config)
    if isinstance(purpose, Refusal):
        return purpose
    return _read(config, name, model_type, purpose, tensors)


def _quantised(config: Mapping[str, Any]) -> Refusal | None:
    said = config.get("quantization_config")
    if said is None:
        return None
    method = said.get("quant_method") if isinstance(said, Mapping) else said
    return Refusal(f"config.json says that the weights are quantised ({display_name(method, 40)})", _QUANTISED)


def _own_code(config: Mapping[str, Any]) -> Refusal | None:
    if not config.get("auto_map"):
        return None
    hint = "pass --arch hf:CLASS if transformers' own class computes the same, else --arch file.py:factory"
    return Refusal("config.json asks for code of its own (auto_map), which lcaudit never runs", hint)


def _purpose(name: str, family: Family, config: Mapping[str, Any]) -> Purpose | Refusal:
    encoder = name.endswith("EncoderModel")
    if name in _ODD:
        return Refusal(f"{name} {_ODD[name]}")
    if config.get("is_encoder_decoder") and not encoder:
        return Refusal(f"{name} {_TWO_PARTS}; of T5, T5EncoderModel is read")
    purpose = next((purpose for ending, purpose in _ENDINGS.items() if name.endswith(ending)), None)
    if purpose == "embedding" and family.sees == "pictures":
        purpose = "features"
    fits = purpose in ("pictures", "features") if family.sees == "pictures" else purpose not in ("pictures", None)
    if purpose is None or not fits:
        known = one_line([f"…{ending}" for ending in _ENDINGS], 12)
        return Refusal(f"{name} gives something that lcaudit has no task for; it reads classes named {known}")
    return purpose


def _read(
    config: Mapping[str, Any], name: str, model_type: str, purpose: Purpose, tensors: int
) -> TransformersConfig | Refusal:
    family = FAMILIES[model_type]
    values: dict[str, Any] = {}
    unread: dict[str, Any] = {}
    for key, value in config.items():
        if key in FIXED and key not in family.unused:
            if not any(value is one or (value == one and type(value) is type(one)) for one in FIXED[key]):
                return Refusal(f"config.json says {key} = {display_name(value, 40)}, which lcaudit does not build")
        elif key in family.keys:
            if value is not None and not CHECKS[family.keys[key]](value):
                return Refusal(f"config.json says {key} = {display_name(value, 40)}, which cannot be")
            if _layers(key, family.keys[key], value) > max(_FEW, tensors):
                told = display_name(value, 40)
                return Refusal(f"config.json says {key} = {told}, and the file holds {tensors} tensors")
            values[key] = None if key == "pad_token_id" and value == -1 else value
        elif not (_says_nothing(value) or is_irrelevant(key) or key in family.unused or key in _READ_ELSEWHERE):
            unread[key] = value
    classes = _classes(config) if purpose in ("sequence", "tokens", "pictures") else 0
    if classes is None:
        return Refusal("config.json says no possible number of classes in id2label")
    return TransformersConfig(name, model_type, purpose, values, classes, unread)


def _layers(key: str, kind: str, value: Any) -> int:
    """How many layers the entry asks for."""
    if value is None:
        return 0
    return int(value) if kind == "layers" else sum(value) if key == "depths" else 0


def _says_nothing(value: Any) -> bool:
    return value is None or value == {} or value == []


def _classes(config: Mapping[str, Any]) -> int | None:
    labels = config.get("id2label")
    number = len(labels) if isinstance(labels, (Mapping, list)) else config.get("num_labels", _USUAL_CLASSES)
    return number if is_whole(number, 1, _MOST_CLASSES) else None
