"""A native class of transformers, built from checked values; nothing is fetched and no code but the library's runs."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from lcaudit.architectures import _libraries
from lcaudit.architectures._transformers.config import TransformersConfig
from lcaudit.core.errors import UnknownArchitecture
from lcaudit.core.text import display_name, one_line

LIBRARY = "transformers"
#: Numbers that a network computes for itself when it is built, and stores nowhere.
_MOST_COMPUTED = 1 << 28
#: The library's own files in which an entry of a configuration can have a meaning, beside those of the model.
_GENERAL = (
    "configuration_utils",
    "modeling_utils",
    "modeling_rope_utils",
    "modeling_layers",
    "masking_utils",
    "pytorch_utils",
)
_FACTORY = "pass --arch file.py:factory, where factory() returns the nn.Module that the weights were saved from"


def class_of(config: TransformersConfig) -> Any:
    """The class that is named, if it is one of the library's own for this kind of configuration.

    Raises:
        UnknownArchitecture: it is none. EnvironmentFailure: transformers is not installed.
    """
    library = _libraries.library(LIBRARY, f"{config.name} is built by transformers")
    with quiet():
        listed = _listed(config.model_type)
        found = getattr(library, config.name, None) if config.name in listed | _UNLISTED else None
    native = getattr(getattr(found, "config_class", None), "model_type", None)
    if native != config.model_type:
        known = one_line(sorted(listed), 12)
        raise UnknownArchitecture(
            f"transformers {_libraries.version(LIBRARY)} has no {config.name} of {config.model_type}; it has {known}",
            _FACTORY,
        )
    return found


#: Classes of the library that stand in none of its tables.
_UNLISTED = frozenset({"T5EncoderModel"})


def _listed(model_type: str) -> set[str]:
    """The classes that the library's own tables have for this kind of configuration."""
    from transformers.models.auto import modeling_auto

    tables = [table for name, table in vars(modeling_auto).items() if name.endswith("_MAPPING_NAMES")]
    found: set[str] = set()
    for table in tables:
        names = table.get(model_type, ())
        found.update([names] if isinstance(names, str) else names)
    return found


def unread(config: TransformersConfig, found: Any, native: Any) -> list[str]:
    """Entries that lcaudit does not set and transformers never reads.

    An entry has a meaning if any of the library's files that build this network mentions it by name, unless the
    library's configuration, made without it, says the same.

    Raises:
        UnknownArchitecture: an entry that may make it another function.
    """
    absent = object()
    said = {key: value for key, value in config.unread.items() if not _equal(getattr(native, key, absent), value)}
    if not said:
        return []
    text = _sources(found)
    meant = [key for key in said if hasattr(native, key) or re.search(rf"\b{re.escape(key)}\b", text)]
    if meant:
        told = one_line([f"{key} = {display_name(said[key], 40)}" for key in sorted(meant)], 4)
        raise UnknownArchitecture(f"config.json says {told}, which lcaudit does not set", _FACTORY)
    return sorted(said)


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other) or (isinstance(one, tuple) and list(one) == other)


def _sources(found: Any) -> str:
    import importlib

    names = [f"{LIBRARY}.{name}" for name in _GENERAL] + [found.__module__, found.config_class.__module__]
    texts = []
    for name in names:
        try:
            texts.append(inspect.getsource(importlib.import_module(name)))
        except (ImportError, OSError):  # another release has it elsewhere
            continue
    return "\n".join(texts)


def native_config(config: TransformersConfig, found: Any) -> Any:
    """The library's configuration, from the checked values and nothing else.

    Raises:
        UnknownArchitecture: the library's own checks refuse them.
    """
    more: dict[str, Any] = {"num_labels": config.classes} if config.classes else {}
    try:
        with quiet():
            made = found.config_class(**config.values, **more)
            # Seen by the watch call for call, and differentiable twice, as fused attention is not everywhere.
            made._attn_implementation = "eager"
            if hasattr(made, "use_cache"):
                made.use_cache = False
    except Exception as error:
        raise _refused(config, error) from None
    return made


def shapes_of(config: TransformersConfig, found: Any, native: Any) -> nn.Module:
    """The network without numbers, to compare names and shapes.

    Raises:
        UnknownArchitecture: it cannot be built from these values.
    """
    from transformers.initialization import no_init_weights

    try:
        with quiet(), no_init_weights(), torch.device("meta"):
            module: nn.Module = found(native)
        module.tie_weights()  # type: ignore[operator]  # left out with the initialisation
    except Exception as error:
        raise _refused(config, error) from None
    stored = {id(one) for one in module.state_dict(keep_vars=True).values()}
    computed = sum(one.numel() for one in module.buffers() if id(one) not in stored)
    if computed > _MOST_COMPUTED:
        raise UnknownArchitecture(
            f"{config.name} as config.json has it computes {computed:,} numbers for itself, "
            f"at most {_MOST_COMPUTED:,} are allowed",
            _FACTORY,
        )
    return module


def whole(config: TransformersConfig, found: Any, native: Any) -> nn.Module:
    """The network with its memory, parameters not yet set, buffers computed; sizes have been held against the file's.

    Raises:
        UnknownArchitecture: as :func:`shapes_of`.
    """
    from transformers.initialization import no_init_weights

    try:
        with quiet(), _libraries.numbers_kept(), no_init_weights():
            module: nn.Module = found(native)
        module.tie_weights()  # type: ignore[operator]  # left out with the initialisation
    except Exception as error:
        raise _refused(config, error) from None
    return module


def _refused(config: TransformersConfig, error: Exception) -> UnknownArchitecture:
    said = display_name(" ".join(str(error).split()), 200)
    return UnknownArchitecture(
        f"transformers {_libraries.version(LIBRARY)} cannot build {config.name} from config.json: "
        f"{type(error).__name__}: {said}",
        _FACTORY,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the library's own advice on standard error: what matters is in the report."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def renamings(module: nn.Module) -> tuple[list[Any], list[Any]]:
    """The library's own rules from names in files to names in its modules: (renamings, conversions of numbers)."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter
    except ImportError:  # a release whose modules have the files' names
        return [], []
    with quiet():
        rules = get_model_conversion_mapping(module)
    return (
        [one for one in rules if not isinstance(one, WeightConverter)],
        [one for one in rules if isinstance(one, WeightConverter)],
    )


def also_stored(config: TransformersConfig, native: Any) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of the class that these weights may have been pretrained as."""
    name = config.family.pretrained_as
    if not name or name == config.name:
        return {}
    module = shapes_of(config, class_of(dataclasses.replace(config, name=name)), native)
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}
