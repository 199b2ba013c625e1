"""The order in which a network is looked for, and what is said when none or several are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from lcaudit.architectures import (
    _declared,
    _libraries,
    _library_networks,
    _program,
    _strict,
    _transformers_networks,
    _user,
)  # fmt: skip
from lcaudit.architectures._reading import COUNTER, RIVAL, Reader, removed, without_prefixes
from lcaudit.architectures._transformers.config import PREFIX
from lcaudit.core import declared, plugins
from lcaudit.core.errors import AmbiguousArchitecture, AuditError, MalformedInput, UnknownArchitecture, UsageError
from lcaudit.core.measurements import Evidence, NetworkRecord
from lcaudit.core.text import count, display_name, one_line
from lcaudit.core.types import Checkpoint, Family, Match, Network

_PACKAGE = "lcaudit.architectures"
_FACTORY_HINT = "pass --arch file.py:factory, where factory() returns the nn.Module that the weights were saved from"


def resolve_checkpoint(checkpoint: Checkpoint, arch: str | None) -> Network:
    """See :func:`lcaudit.architectures.resolve`."""
    if not checkpoint.tensors:
        raise MalformedInput(f"{display_name(checkpoint.record.name)} holds no tensors")
    _strict.check_stored(checkpoint.tensors)
    if checkpoint.program and arch is None:
        return _program.network(checkpoint)
    said, wrong = declared.read(checkpoint.texts)
    network, doubts = None, []
    if said and said.arch and arch is None:
        network, doubts = _declared.network(checkpoint, said, _find)
    network = network or _find(checkpoint, arch, doubts)
    return _declared.prepared(network, said, wrong) if said else network


def _find(checkpoint: Checkpoint, arch: str | None, doubts: Sequence[Evidence] = ()) -> Network:
    """The network, by every means but the file's own metadata; ``doubts``: what that got wrong."""
    shapes = {key: tuple(tensor.shape) for key, tensor in checkpoint.tensors.items()}
    if arch is not None and arch.partition(":")[0] in _libraries.LIBRARIES:
        with _looking_like(shapes):
            return _library_networks.named(checkpoint, arch)
    if arch is not None and arch.partition(":")[0] == PREFIX:
        return _transformers_networks.named(checkpoint, arch)
    if arch is not None and arch not in plugins.names(_PACKAGE):
        with _looking_like(shapes):
            return _from_factory(checkpoint, arch)
    doubts = [*doubts]
    refusal: AuditError | None = None
    if arch is None:
        network, more = _library_networks.from_config(checkpoint)
        if network is None and not more:
            network, more, refusal = _transformers_networks.from_config(checkpoint)
        doubts += more
        if network:
            return network
    families: dict[str, Family] = {
        name: plugins.load(_PACKAGE, name, "FAMILY") for name in ([arch] if arch else plugins.names(_PACKAGE))
    }
    matches = {name: match for name, family in families.items() if (match := family.match(shapes))}
    if not matches and arch is None:
        network = _library_networks.from_index(checkpoint, doubts)
        if network:
            return network
    if not matches:
        raise refusal or _unknown(families, shapes, arch, doubts)
    family, match, confidence = _choose(matches, arch)
    with torch.device("meta"):
        module = plugins.load(_PACKAGE, family, "FAMILY").build(match.variant)
    loaded = _strict.load(module, checkpoint.tensors, match.rename or {}, match.title)
    record = NetworkRecord(
        family=family,
        title=match.title,
        variant=match.variant,
        confidence=confidence,
        evidence=(_tensors(checkpoint), *doubts, *match.evidence, *_in_libraries(shapes), *loaded),
        assumptions=match.assumptions,
        parameters=_parameters(module),
        input_shape=match.input_shape,
        classes=match.classes,
        dtype=_strict.stored_dtype(checkpoint.tensors),
    )
    return Network(record, module, match.normalisation, match.shaping)


def _from_factory(checkpoint: Checkpoint, arch: str) -> Network:
    path, _, factory = arch.rpartition(":")
    if not path or not factory:
        raise UsageError(
            f"--arch {display_name(arch)} is neither a family nor file.py:factory nor a library's network",
            f"{_libraries.did_you_mean(arch, plugins.names(_PACKAGE))}families: {', '.join(plugins.names(_PACKAGE))}; "
            f"libraries: timm:NAME, torchvision:NAME, hf:CLASS; or {_FACTORY_HINT}",
        )
    built = _user.build(Path(path), factory)
    module = built.module
    title = f"{display_name(factory)} in {display_name(Path(path).name)}"
    evidence = Evidence("declared", f"ran the user's file {display_name(Path(path).name)} and called {title}")
    rename, renamed = _as_named_by(module, checkpoint)
    loaded = _strict.load(module, checkpoint.tensors, rename, title)
    record = NetworkRecord(
        family="user",
        title=title,
        variant={"class": type(module).__name__, "factory": factory},
        confidence="declared",
        evidence=(_tensors(checkpoint), evidence, *renamed, *loaded),
        assumptions=(),
        parameters=_parameters(module),
        input_shape=built.input_shape,
        classes=built.classes,
        dtype=_strict.stored_dtype(checkpoint.tensors),
    )
    text = built.text
    if text and text.tokenizer is None:
        text = replace(text, tokenizer=checkpoint.tokenizer)
    return Network(record, module, {}, text=text)


def _as_named_by(module: torch.nn.Module, checkpoint: Checkpoint) -> tuple[dict[str, str], list[Evidence]]:
    """(stored key → the module's, and that it was done): a wrapper's name may stand before all keys of either."""
    shapes = {key: tuple(tensor.shape) for key, tensor in checkpoint.tensors.items()}
    own = {key: tuple(value.shape) for key, value in module.state_dict().items() if torch.is_tensor(value)}
    for prefix, plain in without_prefixes(shapes):
        if plain.keys() <= own.keys():
            return {prefix + key: key for key in plain}, removed(prefix)
    for prefix, plain in without_prefixes(own):
        if shapes.keys() <= plain.keys():
            words = f"put {display_name(prefix, 80)} before every key, as the network has it"
            return {key: prefix + key for key in shapes}, [Evidence("prefix", words)]
    return {}, []


def _choose(
    matches: Mapping[str, Match], wanted: str | None
) -> tuple[str, Match, Literal["declared", "identified", "assumed"]]:
    """The one family that has these tensors, or the one the user wants."""
    if len(matches) > 1:
        candidates = "; ".join(f"{name}: {match.title}" for name, match in matches.items())
        raise AmbiguousArchitecture(
            f"{len(matches)} networks that compute different functions have exactly these tensors: {candidates}",
            f"choose with {' or '.join(f'--arch {name}' for name in matches)}, or pass --arch file.py:factory",
            tuple(matches),
        )
    ((name, match),) = matches.items()
    if any(evidence.step == RIVAL for evidence in match.evidence):
        return name, match, "assumed"
    return name, match, "declared" if wanted else "identified"


def _unknown(
    families: Mapping[str, Family],
    shapes: Mapping[str, tuple[int, ...]],
    wanted: str | None,
    doubts: Sequence[Evidence] = (),
) -> UnknownArchitecture:
    """What was seen, and what the nearest family lacked."""
    reasons = {
        name: reason
        for name, family in families.items()
        if isinstance(family.match, Reader) and (reason := family.match.why_not(shapes))
    }
    seen = f"{count(len(shapes), 'tensor')} ({one_line(list(shapes), 3)})"
    message = f"not the family {wanted}: {seen}" if wanted else f"no known network has these {seen}"
    nearest = max(reasons, key=lambda name: reasons[name].close, default="")
    if wanted:
        message += f"; {reasons[nearest].reason}" if nearest else ""
        return UnknownArchitecture(message, f"{_others(shapes)}, or {_FACTORY_HINT}")
    if nearest and reasons[nearest].close:
        message += f"; nearest is {nearest}, but {reasons[nearest].reason}"
    related = _library_networks.related(shapes)
    if related:
        message += f"; the names, but not the shapes, are those of {one_line(related, 3)}"
    message += "".join(f"; {doubt.says}" for doubt in doubts[:1])
    return UnknownArchitecture(message, _FACTORY_HINT)


@contextmanager
def _looking_like(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[None]:
    """Inside, weights that are not the declared network's are told with the networks whose they look like."""
    try:
        yield
    except UnknownArchitecture as error:
        if not _fitting(shapes):
            raise
        raise UnknownArchitecture(error.message, f"{_others(shapes)}; else {error.hint}") from None


def _others(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What to type in place of a network that does not fit."""
    fitting = _fitting(shapes)
    if not fitting:
        return "leave --arch out, though no family that lcaudit knows has these tensors"
    return f"leave --arch out: these are the tensors of {' or '.join(fitting[:3])}"


def _fitting(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Families with these tensors, else networks of libraries."""
    matches = {name: plugins.load(_PACKAGE, name, "FAMILY").match(shapes) for name in plugins.names(_PACKAGE)}
    families = [f"{name} ({match.title})" for name, match in matches.items() if match]
    return families or _library_networks.rivals(shapes)


def _in_libraries(shapes: Mapping[str, tuple[int, ...]]) -> list[Evidence]:
    """Networks of libraries with these tensors, beside what a family says of them."""
    names = _library_networks.rivals(shapes)
    return [Evidence("fingerprint", f"also the names and shapes of {one_line(names)}")] if names else []


def _tensors(checkpoint: Checkpoint) -> Evidence:
    tensors = {key: tensor for key, tensor in checkpoint.tensors.items() if not key.endswith(COUNTER)}
    numbers = sum(tensor.numel() for tensor in tensors.values())
    kind = _strict.stored_dtype(tensors)
    counters = len(checkpoint.tensors) - len(tensors)
    beside = f", and {count(counters, _strict.COUNTERS)}" if counters else ""
    return Evidence("tensors", f"{count(len(tensors), 'tensor')}, {count(numbers, 'number')}, {kind}{beside}")


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
