"""Recognition by names and shapes alone: nothing is loaded, and no library is needed.

Takes the steps of ``_resolver`` in its order. A claim of ``config.json`` is held against the index; torch is never
imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from lcaudit.architectures import _config, _declared
from lcaudit.architectures._index.lookup import Candidate, index, look_up
from lcaudit.architectures._reading import RIVAL, Reader, Shapes, Unlike
from lcaudit.architectures._transformers import claims
from lcaudit.architectures._transformers import config as transformers_config
from lcaudit.core import declared, plugins
from lcaudit.core.identity import Recognition, Rival
from lcaudit.core.measurements import Evidence
from lcaudit.core.text import count, one_line
from lcaudit.core.types import Family, Match

_PACKAGE = "lcaudit.architectures"
_ADAPTER = "a LoRA adapter: changes to the weights of another network"
_BASE = "pass the adapter to `lcaudit check` with --base, the weights that it was trained on; `lcaudit identify` those"
NOTHING: Mapping[str, str] = MappingProxyType({})
_FACTORY = "pass --arch file.py:factory to `lcaudit check`, a function that returns the network"


def recognise(shapes: Shapes, config: Mapping[str, Any], texts: Mapping[str, str] = NOTHING) -> Recognition:
    """Which network has these names and shapes.

    Args:
        shapes: by key, prefixes undone. config: the ``config.json`` beside the weights, unchecked.
        texts: the file's own metadata, unchecked.

    Cost: milliseconds.
    """
    found = look_up(shapes)
    exact = [one for one in found if one.exact]
    claimed, doubts = _own_claim(texts, shapes, found)
    if claimed:
        return claimed
    claimed, more = _claim(config, found)
    hint = ""
    if not claimed and not more:
        claimed, more, hint = _transformers_claim(config, shapes)
    if claimed:
        return replace(claimed, evidence=(*doubts, *claimed.evidence))
    doubts += more
    if exact and len({one.function for one in exact}) == 1:
        return _from_index(exact, doubts)  # one function: no family has to be asked
    matches, reasons = _families(shapes)
    if len(matches) > 1:
        rivals = tuple(Rival(name, match.title) for name, match in matches.items())
        return _ambiguous(rivals, (*doubts, *_also(exact)))
    if matches:
        ((name, match),) = matches.items()
        assumed = any(one.step == RIVAL for one in match.evidence)
        evidence = (*doubts, *match.evidence, *_also(exact))
        return Recognition(
            "assumed" if assumed else "identified", match.title, name, match.classes, match.input_shape, evidence
        )
    fits = [one for one in found if one.agree != "names"]
    return _from_index(fits, doubts) if fits else _unknown(shapes, reasons, doubts, found, hint)


def _own_claim(
    texts: Mapping[str, str], shapes: Shapes, found: Sequence[Candidate]
) -> tuple[Recognition | None, list[Evidence]]:
    """What ``lcaudit export`` wrote into the file, as far as names and shapes bear it out."""
    said, wrong = declared.read(texts)
    if said is None:
        return None, []
    doubts = [Evidence("contradicted", f"metadata: {doubt}") for doubt in wrong]
    if not said.arch:
        return None, doubts
    words = f"the metadata says {said.arch}"
    borne_out = Evidence("declared", f"{words}, whose names and shapes these are ({_declared.told(said)})")
    if ":" in said.arch:
        mine = [one for one in found if one.full_name == said.arch and one.agree != "names"]
        if mine:
            return _recognised("declared", mine[0], [borne_out, *doubts], []), doubts
        return None, [*doubts, Evidence("contradicted", f"{words}, which has other names or shapes")]
    match = plugins.load(_PACKAGE, said.arch, "FAMILY").match(shapes) if said.arch in plugins.names(_PACKAGE) else None
    if match is None:
        return None, [*doubts, Evidence("contradicted", f"{words}, which has other names or shapes")]
    doubts += [Evidence("contradicted", doubt) for doubt in _declared.unlike(said.variant, match.variant)]
    evidence = (borne_out, *doubts, *match.evidence)
    return Recognition("declared", match.title, said.arch, match.classes, match.input_shape, evidence), doubts


def _claim(config: Mapping[str, Any], found: Sequence[Candidate]) -> tuple[Recognition | None, list[Evidence]]:
    said = _config.read(config) if config else None
    if said is None:
        return None, []
    words = f"config.json says {said.architecture}"
    if said.unread:
        return None, [Evidence("contradicted", f"{words} with {one_line(said.unread)}, which lcaudit does not set")]
    mine = [one for one in found if (one.library, one.name) == ("timm", said.architecture)]
    if not mine:
        known = any(row.candidate.name == said.architecture for row in index().rows if row.candidate.library == "timm")
        why = "which has other names or shapes" if known else f"which is not in timm {index().libraries['timm']}"
        return None, [Evidence("contradicted", f"{words}, {why}")]
    one = mine[0]
    bears_out = "whose names and shapes these are"
    if not one.exact:
        bears_out = "whose names these are; `lcaudit check` builds it for this image size and compares shapes"
    evidence = [Evidence("declared", f"{words}, {bears_out}")]
    if said.classes not in (None, one.classes):
        evidence.append(Evidence("contradicted", f"config.json says {said.classes} classes, the weights {one.classes}"))
    evidence += [Evidence("contradicted", f"config.json: {doubt}") for doubt in said.doubts]
    others = [other for other in found if other.exact and other.function != one.function]
    return _recognised("declared", one, evidence, others), evidence


def _transformers_claim(config: Mapping[str, Any], shapes: Shapes) -> tuple[Recognition | None, list[Evidence], str]:
    """(network, what stands in the way, what to do about it)."""
    if not config or not transformers_config.names_transformers(config):
        return None, [], ""
    said = transformers_config.read(config, len(shapes))
    if isinstance(said, transformers_config.Refusal):
        return None, [Evidence("contradicted", said.reason)], said.hint
    unlike = claims.contradiction(said, shapes)
    if unlike:
        return None, [Evidence("contradicted", f"config.json says {said.name}, but {unlike}")], ""
    words = f"config.json says {said.name} (transformers), and sizes are as it says"
    evidence = [Evidence("declared", f"{words}; `lcaudit check` builds it and compares every name and shape")]
    if said.unread:
        names = one_line(sorted(said.unread))
        evidence.append(Evidence("unread", f"{names}: `lcaudit check` refuses what transformers would read of it"))
    arch = f"{transformers_config.PREFIX}:{said.name}"
    return Recognition("declared", f"{said.name} (transformers)", arch, said.classes, (), tuple(evidence)), [], ""


def _families(shapes: Shapes) -> tuple[dict[str, Match], dict[str, Unlike]]:
    families: dict[str, Family] = {name: plugins.load(_PACKAGE, name, "FAMILY") for name in plugins.names(_PACKAGE)}
    matches = {name: match for name, family in families.items() if (match := family.match(shapes))}
    if matches:
        return matches, {}
    readers = {name: family.match for name, family in families.items() if isinstance(family.match, Reader)}
    return {}, {name: reason for name, reader in readers.items() if (reason := reader.why_not(shapes))}


def _also(exact: Sequence[Candidate]) -> list[Evidence]:
    names = [one.full_name for one in exact]
    return [Evidence("fingerprint", f"also the names and shapes of {one_line(names)}")] if names else []


def _from_index(fits: Sequence[Candidate], doubts: Sequence[Evidence]) -> Recognition:
    """``fits``: networks with these shapes, all of them or all but the position embedding's."""
    libraries = ", ".join(f"{name} {index().libraries[name]}" for name in ("timm", "torchvision"))
    first, *others = fits
    if not first.exact:
        words = f"all names and shapes but the positions', as for another image size; index of {libraries}"
        evidence = (*doubts, Evidence("fingerprint", words))
        hint = "`lcaudit check` builds each for this image size and compares parts and shapes"
        if others:
            return _ambiguous(tuple(Rival(one.full_name, one.differs) for one in fits), evidence, hint)
        return _recognised("assumed", replace(first, size=()), evidence, [])
    unlike = [one for one in others if one.function != first.function]
    if unlike:
        return _ambiguous(tuple(Rival(one.full_name, one.differs) for one in fits), tuple(doubts))
    evidence = [*doubts, Evidence("fingerprint", f"names and shapes of all tensors; index of {libraries}")]
    if others:
        same = one_line([one.full_name for one in others])
        evidence.append(Evidence("same function", f"{same}: the same tensors, and the same function"))
    return _recognised("identified", first, evidence, [])


def _recognised(
    confidence: Any, one: Candidate, evidence: Sequence[Evidence], others: Sequence[Candidate]
) -> Recognition:
    shape = (one.channels, *(one.size or (0, 0)))
    rivals = tuple(Rival(other.full_name, other.differs) for other in others)
    return Recognition(confidence, one.full_name, one.full_name, one.classes, shape, tuple(evidence), rivals)


def _ambiguous(rivals: tuple[Rival, ...], evidence: Sequence[Evidence], hint: str = "") -> Recognition:
    choose = f"choose with --arch {rivals[0].arch}" + (f" or --arch {rivals[1].arch}" if len(rivals) > 1 else "")
    title = f"{count(len(rivals), 'network')} that may compute different functions"
    return Recognition("ambiguous", title, evidence=tuple(evidence), rivals=rivals, hint=hint or choose)


def _unknown(
    shapes: Shapes,
    reasons: Mapping[str, Unlike],
    doubts: Sequence[Evidence],
    related: Sequence[Candidate],
    hint: str = "",
) -> Recognition:
    nearest = max(reasons, key=lambda name: reasons[name].close, default="")
    evidence = list(doubts)
    if any(".lora_" in key for key in shapes):
        evidence.append(Evidence("adapter", _ADAPTER))
        hint = hint or _BASE
    if nearest and reasons[nearest].close:
        evidence.append(Evidence("nearest", f"{nearest}, but {reasons[nearest].reason}"))
    if related:
        names = one_line([one.full_name for one in related])
        evidence.append(Evidence("nearest", f"the names, but not the shapes, of {names}"))
    title = f"no known network has these {count(len(shapes), 'tensor')}"
    return Recognition("unknown", title, evidence=tuple(evidence), hint=hint or _FACTORY)
