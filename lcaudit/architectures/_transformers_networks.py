"""From ``config.json`` and tensors to a network of transformers with the weights in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lcaudit.architectures import _libraries, _strict
from lcaudit.architectures._transformers import adapt, build, keys, pictures, tokens
from lcaudit.architectures._transformers.config import PREFIX, Refusal, TransformersConfig, names_transformers, read
from lcaudit.core.errors import AuditError, EnvironmentFailure, MalformedInput, UnknownArchitecture
from lcaudit.core.measurements import Evidence, NetworkRecord
from lcaudit.core.text import count, display_name, one_line
from lcaudit.core.types import Checkpoint, Network

#: Last parts of names that only quantised weights have.
_QUANTISED = ("qweight", "qzeros", "absmax", "SCB", "weight_scale_inv", "weight_scale", "quant_state")
_PLAIN = "audit the repository that they were quantised from, or save the weights in a plain type"


def named(checkpoint: Checkpoint, arch: str) -> Network:
    """The network that ``--arch hf:CLASS`` declares, its sizes from the ``config.json`` beside the weights.

    Raises:
        UnknownArchitecture: no such class, or the weights are not this network's. EnvironmentFailure: no transformers.
    """
    name = arch.partition(":")[2]
    if not names_transformers(checkpoint.config):
        raise UnknownArchitecture(
            f"--arch {display_name(arch, 100)} takes its sizes from a config.json of transformers' beside the weights; "
            "there is none",
            "put the config.json there that was saved with the weights",
        )
    config = _read(checkpoint, name)
    return _network(checkpoint, config, [Evidence("declared", f"--arch {display_name(arch, 100)}")])


def from_config(checkpoint: Checkpoint) -> tuple[Network | None, list[Evidence], AuditError | None]:
    """The network that the ``config.json`` beside the weights names, if they bear it out.

    Returns:
        The network; else what stands in the way, as evidence and as what to say if nothing else fits either.

    Raises:
        EnvironmentFailure: transformers is not installed. MalformedInput: weights that cannot be loaded as they are.
    """
    if not checkpoint.config or not names_transformers(checkpoint.config):
        return None, [], None
    try:
        config = _read(checkpoint, "")
        said = f"config.json says {config.name}, whose names and shapes the weights have"
        return _network(checkpoint, config, [Evidence("declared", f"{said}; {_version()}")]), [], None
    except (EnvironmentFailure, MalformedInput):
        raise
    except AuditError as error:
        return None, [Evidence("contradicted", error.message)], error


def _read(checkpoint: Checkpoint, name: str) -> TransformersConfig:
    config = read(checkpoint.config, len(checkpoint.tensors), name)
    quantised = [key for key in checkpoint.tensors if key.rsplit(".", 1)[-1] in _QUANTISED]
    if quantised:
        raise MalformedInput(f"{display_name(quantised[0], 80)} belongs to quantised weights", _PLAIN)
    if isinstance(config, Refusal):
        raise UnknownArchitecture(config.reason, config.hint)
    return config


def _network(checkpoint: Checkpoint, config: TransformersConfig, evidence: Sequence[Evidence]) -> Network:
    found = build.class_of(config)
    native = build.native_config(config, found)
    ignored = build.unread(config, found, native)
    sketch = build.shapes_of(config, found, native)
    names = keys.match(config, checkpoint.tensors, sketch)
    keys.leave_other_heads(names, checkpoint.tensors, sketch, build.also_stored(config, native))
    _strict.check_fit(sketch, checkpoint.tensors, names.rename, config.name)
    module = build.whole(config, found, native)
    keys.check_constants(names, checkpoint.tensors, module)
    kept = {key: checkpoint.tensors[key] for key in names.rename}
    loaded = _strict.load(module, kept, names.rename, config.name)
    notes = [*evidence, *names.evidence, *_left(config, names), *loaded]
    if ignored:
        words = f"config.json also says {one_line(ignored)}, which {_version()} never reads"
        notes.append(Evidence("unread", words))
    return _adapted(checkpoint, config, native, module, notes)


def _adapted(
    checkpoint: Checkpoint, config: TransformersConfig, native: Any, module: nn.Module, notes: list[Evidence]
) -> Network:
    text = shaping = None
    pooling: adapt.Pooling = "mean"
    assumptions: list[str] = []
    shape: tuple[int, ...] = ()
    if config.purpose in ("embedding", "features"):
        pooling, source = adapt.pooling_of(config, checkpoint.beside.get("1_Pooling/config.json", {}))
        assumptions.append(f"a sample's vector is pooled from the last hidden states ({pooling}): {source}")
    if config.family.sees == "pictures":
        shaping, doubt = pictures.shaping_of(checkpoint.beside.get(pictures.NAME, {}), native.num_channels)
        if doubt:
            notes.append(Evidence("contradicted", doubt))
        shape = (native.num_channels, *(shaping.size if shaping else _image(config)))
        fill = None
    else:
        text = tokens.text_input(config, native, checkpoint.beside, checkpoint.tokenizer)
        fill = tokens.padding(config, native)
    adapt.adapt(module, adapt.Call(config.purpose, fill, pooling))
    record = NetworkRecord(
        family=PREFIX,
        title=f"{config.name} (transformers{_classes(config)})",
        variant={"class": config.name, "model_type": config.model_type},
        confidence="declared",
        evidence=tuple(notes),
        assumptions=tuple(assumptions),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        input_shape=shape,
        classes=_outputs(config, native),
        dtype=_strict.stored_dtype(checkpoint.tensors),
    )
    return Network(record, module, {}, shaping, text)


def _image(config: TransformersConfig) -> tuple[int, int]:
    """(height, width) that positions were made for; zeros where any will do."""
    said = config.values.get("image_size")
    if said is None or config.model_type in ("convnext", "convnextv2"):
        return (0, 0)
    return (said[0], said[1]) if isinstance(said, list) else (said, said)


def _outputs(config: TransformersConfig, native: Any) -> int:
    if config.purpose in ("causal", "masked"):
        return int(native.vocab_size)
    return config.classes


def _classes(config: TransformersConfig) -> str:
    return f", {count(config.classes, 'class', 'classes')}" if config.classes else ""


def _left(config: TransformersConfig, names: keys.Names) -> list[Evidence]:
    if not names.left:
        return []
    words = f"{count(len(names.left), 'tensor')} of {config.family.pretrained_as} that {config.name} does not use"
    return [Evidence("other head", f"{words}: {one_line(names.left, 4)}")]


def _version() -> str:
    return f"{build.LIBRARY} {_libraries.version(build.LIBRARY)}"
