"""What was done to a network's weights, so that it can be done again; free of torch.

A recipe travels as JSON: in the metadata of the file it made and beside it. It may come from a stranger:
:mod:`lcaudit.recipes` believes nothing in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Key of the recipe among a file's metadata.
METADATA_KEY = "lcaudit-recipe"
VERSION = "1"


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one place.

    Attributes:
        fix: id of the fix that asked for it. operation: name of a file in :mod:`lcaudit.recipes`.
        modules: paths by role, e.g. ``layer``, in the network as the steps before it left it.
        numbers: by name, one for each channel unless the operation says otherwise.
    """

    fix: str
    operation: str
    modules: Mapping[str, str]
    numbers: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in order, and what they start from.

    Attributes:
        family: of the original network, as in ``NetworkRecord.family``; title: in words.
        source, sha256: name and digest of the original checkpoint.
    """

    version: str
    lcaudit: str
    family: str
    title: str
    source: str
    sha256: str
    steps: tuple[Step, ...]
