"""From names and shapes to a network of timm or torchvision with the weights in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from lcaudit.architectures import _config, _libraries, _strict
from lcaudit.architectures._index._wiring import wiring
from lcaudit.architectures._index.lookup import POSITIONS, Candidate, index, look_up
from lcaudit.architectures._reading import COUNTER, RIVAL, Shapes, compare, removed
from lcaudit.core.errors import AmbiguousArchitecture, AuditError, UnknownArchitecture
from lcaudit.core.measurements import Evidence, NetworkRecord, Normalisation
from lcaudit.core.text import count, display_name, one_line
from lcaudit.core.types import Checkpoint, Network, Shaping

#: Networks that are held against each other on a probe; each is in memory.
_MOST_COMPARED = 4
#: Tensors of the second head that segmentation networks are trained with.
_SECOND = "aux_classifier."
_FACTORY = "pass --arch file.py:factory, where factory() returns the nn.Module that the weights were saved from"


@dataclass(frozen=True, slots=True)
class _Fit:
    """A candidate whose tensors are exactly the stored ones, perhaps built for another image size."""

    candidate: Candidate
    size: tuple[int, ...] = ()
    auxiliary: bool = False


def from_index(checkpoint: Checkpoint, doubts: Sequence[Evidence] = ()) -> Network | None:
    """The network of a library that has these names and shapes; ``None`` if there is none.

    Args:
        doubts: what a configuration beside the weights said that they do not bear out.

    Raises:
        AmbiguousArchitecture: several have them and compute different functions, or may.
        EnvironmentFailure: the library is not installed.
    """
    shapes = _shapes(checkpoint)
    found = look_up(shapes)
    exact = [_Fit(one) for one in found if one.exact]
    fits = exact or _resized([one for one in found if one.agree == "positions"], shapes) or _with_second_head(shapes)
    kinds = _by_function(fits)
    if not kinds:
        return None
    if len(kinds) > 1:
        raise _ambiguous(kinds)
    chosen = _installed(kinds[0])
    exact = exact or [fit for fit in fits if fit.auxiliary]
    says = "names and shapes of all tensors" if exact else "names of all tensors, and their shapes at this image size"
    evidence = [*doubts, Evidence("fingerprint", f"{says} are those of {chosen.candidate.full_name}; {_versions()}")]
    evidence += _twins(chosen, kinds[0])
    if not exact:
        evidence.append(Evidence(RIVAL, _not_square(chosen)))
    kin = [fit.candidate for fit in kinds[0]]
    return _network(checkpoint, chosen, "identified" if exact else "assumed", evidence, kin=kin)


def named(checkpoint: Checkpoint, arch: str) -> Network:
    """The network that ``--arch timm:NAME`` or ``torchvision:NAME`` declares.

    Raises:
        UsageError: the library has no such network. EnvironmentFailure: it is not installed.
        UnknownArchitecture: the weights are not those of this network.
    """
    library, _, name = arch.partition(":")
    _libraries.check_name(library, name)
    evidence = [Evidence("declared", f"--arch {display_name(arch, 100)}")]
    fit = _fit_for(checkpoint, library, name, ())
    return _network(checkpoint, fit, "declared", [*evidence, *_others(checkpoint, fit)])


def from_config(checkpoint: Checkpoint) -> tuple[Network | None, list[Evidence]]:
    """The network that the ``config.json`` beside the weights names, if they bear it out; else what it got wrong.

    Raises:
        EnvironmentFailure: timm is not installed.
    """
    config = _config.read(checkpoint.config) if checkpoint.config else None
    if config is None:
        return None, []
    said = f"config.json says {config.architecture}"
    if config.unread:
        words = f"{said} with {one_line(config.unread)}, which lcaudit does not set; not believed"
        return None, [Evidence("contradicted", words)]
    found = look_up(_shapes(checkpoint))
    if not any(one.full_name == f"timm:{config.architecture}" for one in found) and not _libraries.version("timm"):
        words = f"{said}, whose names and shapes, as far as they are known without timm, the weights do not have"
        return None, [Evidence("contradicted", words)]
    try:
        fit = _fit_for(checkpoint, "timm", config.architecture, config.size)
    except UnknownArchitecture as error:
        return None, [Evidence("contradicted", f"{said}, but {error.message}")]
    except AuditError as error:
        if error.kind != "usage":
            raise
        return None, [Evidence("contradicted", f"{said}: {error.message}")]
    evidence = [Evidence("declared", f"{said}, whose names and shapes the weights have; {_versions()}")]
    classes = fit.candidate.classes
    if config.classes not in (None, classes):
        evidence.append(Evidence("contradicted", f"config.json says {config.classes} classes, the weights {classes}"))
    evidence += [Evidence("contradicted", f"config.json: {doubt}") for doubt in config.doubts]
    pictures = None
    if "input_size" in config.pictures:
        source = "config.json beside the weights"
        pictures = _libraries.timm_preprocessing(config.pictures, source, declared=True)
    evidence += _others(checkpoint, fit)
    return _network(checkpoint, fit, "declared", evidence, pictures), evidence


def rivals(shapes: Shapes) -> list[str]:
    """Names of the networks in the index that have these tensors; used where a family speaks for them."""
    return [one.full_name for one in look_up(shapes) if one.exact]


def related(shapes: Shapes) -> list[str]:
    """Networks in the index that have these names and other shapes."""
    return [one.full_name for one in look_up(shapes) if one.agree == "names"]


def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in checkpoint.tensors.items() if not key.endswith(COUNTER)}


def _fit_for(checkpoint: Checkpoint, library: str, name: str, size: tuple[int, ...]) -> _Fit:
    """What was named, with head, channels and size as the weights have them.

    Raises:
        UnknownArchitecture: what differs.
    """
    shapes = _shapes(checkpoint)
    known = [one for one in look_up(shapes) if (one.library, one.name) == (library, name)]
    fitting = [_Fit(one) for one in known if one.exact] or _resized(known, shapes)
    if fitting:
        return fitting[0]
    whole = Candidate(library, name, 0, 3, (), 0, "")
    second = any(key.startswith(_SECOND) for key in shapes)
    for classes in dict.fromkeys((*_widths(shapes), None)):
        module = _on_meta(library, name, classes, 3, size, second)
        if not compare(_expected(module), shapes):
            return _Fit(replace(whole, classes=classes or 0), size, second)
    differences = "; ".join(compare(_expected(_on_meta(library, name, None, 3, size)), shapes))
    raise UnknownArchitecture(f"the weights do not fit {library}:{name}: {differences}", _FACTORY)


def _with_second_head(shapes: Shapes) -> list[_Fit]:
    """torchvision's segmentation networks as they are trained and published: the index knows them with one head."""
    rest = {key: shape for key, shape in shapes.items() if not key.startswith(_SECOND)}
    found = look_up(rest) if len(rest) < len(shapes) else ()
    return [_Fit(one, auxiliary=True) for one in found if one.exact and one.library == "torchvision"]


def _widths(shapes: Shapes) -> list[int]:
    """Numbers of classes that the last layers could have."""
    return [shape[0] for key, shape in shapes.items() if key.endswith("bias") and len(shape) == 1][-3:]


def _resized(found: Sequence[Candidate], shapes: Shapes) -> list[_Fit]:
    """Candidates that have the shapes when they are built for another, square, image size."""
    fits = []
    for candidate in [one for one in found if not one.exact]:
        stored = {key.removeprefix(candidate.prefix): shape for key, shape in shapes.items()}
        module = _on_meta(candidate.library, candidate.name, candidate.classes, candidate.channels, ())
        expected = _expected(module)
        if not compare(expected, stored):
            fits.append(_Fit(candidate))
            continue
        size = _size_of(module, candidate, expected, stored)
        if size:
            again = _on_meta(candidate.library, candidate.name, candidate.classes, candidate.channels, size)
            if not compare(_expected(again), stored):
                fits.append(_Fit(candidate, size))
    return fits


def _size_of(module: nn.Module, candidate: Candidate, expected: Shapes, stored: Shapes) -> tuple[int, ...]:
    """(height, width) from the number of positions, taken as a square; ``()`` where shapes differ otherwise."""
    unlike = [key for key in expected if expected[key] != stored[key]]
    patch = getattr(getattr(module, "patch_embed", module), "patch_size", None)
    patch = (patch, patch) if isinstance(patch, int) else patch
    if not patch or len(unlike) != 1 or unlike[0] not in POSITIONS or len(expected[unlike[0]]) != 3:
        return ()
    usual, now = expected[unlike[0]], stored[unlike[0]]
    tokens = (candidate.size[0] // patch[0]) * (candidate.size[1] // patch[1])
    before = usual[1] - tokens  # class and register tokens
    side = math.isqrt(max(0, now[1] - before))
    if side * side != now[1] - before or usual[2] != now[2]:
        return ()
    return (side * patch[0], side * patch[1])


def _by_function(fits: Sequence[_Fit]) -> list[list[_Fit]]:
    """Candidates in groups that compute one function each: as the index says, or the same parts and settings."""
    kinds: list[list[_Fit]] = []
    texts: dict[int, list[str]] = {}
    for fit in fits:
        for kind in kinds:
            first = kind[0]
            bodies = first.candidate.exact and fit.candidate.exact
            if bodies and first.candidate.function == fit.candidate.function:
                kind.append(fit)
                break
            if not bodies and _wiring(first, texts) == _wiring(fit, texts):
                kind.append(fit)
                break
        else:
            kinds.append([fit])
    return kinds


def _wiring(fit: _Fit, texts: dict[int, list[str]]) -> list[str]:
    """Built on the CPU, once: tensors that are not stored count by value."""
    if id(fit) not in texts:
        one = fit.candidate
        module = _libraries.make(
            one.library, one.name, classes=one.classes, channels=one.channels, size=fit.size, auxiliary=fit.auxiliary
        )
        texts[id(fit)] = wiring(module.eval())
    return texts[id(fit)]


def _installed(kind: Sequence[_Fit]) -> _Fit:
    """The first whose library is installed, or the first."""
    return next((fit for fit in kind if _libraries.version(fit.candidate.library)), kind[0])


def _ambiguous(kinds: Sequence[Sequence[_Fit]]) -> AmbiguousArchitecture:
    firsts = [kind[0].candidate for kind in kinds]
    told = "; ".join(f"{one.full_name} ({one.differs})" if one.differs else one.full_name for one in firsts[:6])
    more = f" and {len(firsts) - 6} more" if len(firsts) > 6 else ""
    return AmbiguousArchitecture(
        f"{len(firsts)} networks that compute different functions have exactly these tensors: {told}{more}",
        f"choose with {' or '.join(f'--arch {one.full_name}' for one in firsts[:3])}, or pass --arch file.py:factory",
        tuple(one.full_name for one in firsts) if _comparable(kinds) else (),
    )


def _comparable(kinds: Sequence[Sequence[_Fit]]) -> bool:
    """Whether a probe can be run through all of them: few, as published, and built by a library that is here."""
    fits = [kind[0] for kind in kinds]
    here = all(_libraries.version(fit.candidate.library) and fit.candidate.exact for fit in fits)
    return here and len(fits) <= _MOST_COMPARED


def _twins(chosen: _Fit, kind: Sequence[_Fit]) -> list[Evidence]:
    others = [fit.candidate.full_name for fit in kind if fit is not chosen]
    if not others:
        return []
    words = f"{one_line(others)} {'has' if len(others) == 1 else 'have'} the same tensors and compute the same function"
    return [Evidence("same function", words)]


def _others(checkpoint: Checkpoint, chosen: _Fit) -> list[Evidence]:
    """What else has these tensors, where somebody's word was taken."""
    own = chosen.candidate
    found = [one for one in look_up(_shapes(checkpoint)) if one.exact and one.full_name != own.full_name]
    unlike = [one.full_name for one in found if one.function != own.function]
    if not unlike:
        return []
    return [Evidence("beside it", f"{one_line(unlike)} {_have(unlike)} the same tensors and another function")]


def _have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _not_square(fit: _Fit) -> str:
    height, width = fit.size or fit.candidate.size or (0, 0)
    return f"a picture of another aspect leaves the same tensors as {height}×{width}"


def _versions() -> str:
    built = index().libraries
    pairs = [(name, built[name], _libraries.version(name)) for name in _libraries.LIBRARIES]
    return ", ".join(
        f"{name} {here}" if here == then else f"{name} {here or 'absent'} (index: {then})" for name, then, here in pairs
    )


def _on_meta(
    library: str, name: str, classes: int | None, channels: int, size: Sequence[int], auxiliary: bool = False
) -> nn.Module:
    try:
        return _libraries.on_meta(
            lambda: _libraries.make(library, name, classes=classes, channels=channels, size=size, auxiliary=auxiliary)
        )
    except TypeError as error:  # an argument that this network does not take
        raise UnknownArchitecture(
            f"{library}:{name} cannot be built for {list(size)} pixels: {display_name(error, 80)}", _FACTORY
        ) from None


def _expected(module: nn.Module) -> Mapping[str, tuple[int, ...]]:
    state = module.state_dict()
    return {key: tuple(value.shape) for key, value in state.items() if not key.endswith(COUNTER)}


def _network(
    checkpoint: Checkpoint,
    fit: _Fit,
    confidence: Literal["declared", "identified", "assumed"],
    evidence: Sequence[Evidence],
    pictures: Shaping | None = None,
    kin: Sequence[Candidate] = (),
) -> Network:
    """``kin``: what else computes this function; ``pictures``: how the weights' own words prepare them."""
    one = fit.candidate
    title = f"{one.name} ({one.library}{_size_words(fit)})"
    # Not on the meta device: some tensors are computed when it is built and stored nowhere.
    module = _libraries.make(
        one.library, one.name, classes=one.classes, channels=one.channels, size=fit.size, auxiliary=fit.auxiliary
    )
    rename = {key: key.removeprefix(one.prefix) for key in checkpoint.tensors} if one.prefix else {}
    loaded = _strict.load(module, checkpoint.tensors, rename, title)
    usual = _libraries.usual_preprocessing(one.library, one.name, module)
    pictures = pictures or usual
    size = fit.size or (pictures.size if pictures else one.size) or (0, 0)
    variant: dict[str, str | int | bool] = {"architecture": one.name, "classes": one.classes, "channels": one.channels}
    if fit.size:
        variant["image"] = f"{fit.size[0]}×{fit.size[1]}"
    record = NetworkRecord(
        family=one.library,
        title=title,
        variant=variant,
        confidence=confidence,
        evidence=(*evidence, *removed(one.prefix), *loaded),
        assumptions=_assumptions(one, pictures, kin),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        input_shape=(one.channels, *((0,) if _libraries.sees_clips(module) else ()), *size),
        classes=one.classes,
        dtype=_strict.stored_dtype(checkpoint.tensors),
    )
    if pictures and fit.size:
        pictures = _at_size(pictures, fit.size)
    if pictures and len(pictures.normalisation.mean) not in (1, one.channels):
        pictures = _of_channels(pictures, one.channels)
    return Network(record, module, {}, pictures)


def _size_words(fit: _Fit) -> str:
    words = f", {fit.size[0]}×{fit.size[1]} pixels" if fit.size else ""
    classes = fit.candidate.classes
    return f"{words}, {count(classes, 'class', 'classes')}" if classes else f"{words}, without a head"


def _assumptions(one: Candidate, pictures: Shaping | None, kin: Sequence[Candidate]) -> tuple[str, ...]:
    traceless = "activations, strides, padding, ε and whatever else leaves no trace"
    said = [f"{traceless} are as {one.library} has them under this name"]
    if pictures and not pictures.declared:
        said.append(f"pictures are prepared as for {pictures.source}; other weights of this network may want otherwise")
        said += _other_normalisations(pictures.normalisation, kin or [one])
    return tuple(said)


def _other_normalisations(taken: Normalisation, kin: Sequence[Candidate]) -> list[str]:
    """Published weights of the same function that want another normalisation than the one that is assumed."""
    others: dict[tuple[tuple[float, ...], ...], list[str]] = {}
    for one in kin:
        if _libraries.version(one.library):
            for values, names in _libraries.published_normalisations(one.library, one.name).items():
                others[values] = [*others.get(values, []), *names]
    others.pop((taken.mean, taken.std), None)
    if not others:
        return []
    told = "; ".join(
        f"mean {_listed(mean)} and std {_listed(std)} ({one_line(names, 2)})" for (mean, std), names in others.items()
    )
    return [f"published weights with these tensors also want {told}: pass --mean and --std if these are theirs"]


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:.4g}" for value in values)


def _at_size(pictures: Shaping, size: tuple[int, ...]) -> Shaping:
    sides = zip(size, pictures.resize, pictures.size, strict=True)
    height, width = (round(new * resized / cut) for new, resized, cut in sides)
    return replace(pictures, size=(size[0], size[1]), resize=(height, width))


def _of_channels(pictures: Shaping, channels: int) -> Shaping:
    """Averaged over the colours: what timm does to a stem's weights, and the best that is known."""
    was = pictures.normalisation
    mean, std = (sum(values) / len(values) for values in (was.mean, was.std))
    source = f"{was.source}, averaged over its channels"
    return replace(pictures, normalisation=Normalisation((mean,) * channels, (std,) * channels, source))
