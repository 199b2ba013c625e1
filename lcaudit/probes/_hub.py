"""A data set of the Hugging Face Hub: which of its Parquet files are the split that is asked for.

The Hub converts most data sets to Parquet itself, on the branch ``refs/convert/parquet``, in folders
``configuration/split/``; these are taken where the user names no revision, else the Parquet files of the repository,
whose folders and names say the same: ``data/test-00000-of-00001.parquet``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from lcaudit.core import hub
from lcaudit.core.errors import EnvironmentFailure, ProbeUnavailable, RevisionMissing, UsageError
from lcaudit.core.hub_address import Address, address
from lcaudit.core.text import count, display_name, one_line
from lcaudit.probes._contract import Samples
from lcaudit.probes._files import named_split
from lcaudit.probes._table import open_tables, pyarrow

_CONVERTED = "refs/convert/parquet"
_SUFFIX = ".parquet"
_NUMBERED = re.compile(r"(.+?)[-_.]\d+(?:-of-\d+)?(?:-[0-9a-f]{6,})?")
_PARTIAL = "partial-"
#: Folders that say nothing of the configuration.
_PLAIN = ("", ".", "data")
_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class _Table:
    """The Parquet files of one split of one configuration."""

    configuration: str
    split: str
    names: list[str] = field(default_factory=list)


def open_repository(
    data: str, split: str | None, columns: Mapping[str, str], most: int, progress: hub.Progress
) -> Samples | None:
    """Samples of a data set of the Hub, or ``None`` if ``data`` is no address of one.

    Args:
        data: ``hf:ns/name[@revision][/path][:[configuration/]split]``, or the address of the data set's page.
        most: bytes that may be downloaded.

    Raises:
        ProbeUnavailable: no such configuration or split, or no images. UsageError: two splits were asked for.
        AuditError: as :func:`lcaudit.core.hub.look`, :func:`lcaudit.core.hub.fetch` and the reader of tables.
    """
    scheme, _, rest = data.partition(":")
    place, _, part = rest.rpartition(":") if ":" in rest and "/" in rest.rpartition(":")[0] else (rest, "", "")
    asked = address(f"{scheme}:{place}", "dataset") if rest else None
    if asked is None:
        return None
    pyarrow()  # before anything is downloaded
    configuration, _, wanted = part.rpartition("/")
    if wanted and split and wanted != split:
        raise UsageError(f"{display_name(data)} and --split {display_name(split, 40)}", "name the split once")
    listing, tables = _tables(asked)
    chosen = _choose(asked, tables, configuration, wanted or split or "")
    paths = hub.fetch(listing, chosen.names, most, progress)
    found = open_tables(paths, asked.name, chosen.split, None, columns)
    whole = chosen.split.removeprefix(_PARTIAL)
    note = f"split {display_name(whole, 80)} of configuration {display_name(chosen.configuration, 80)}: "
    note += count(len(paths), "Parquet file")
    if whole != chosen.split:
        note += ", a part of the split: the Hub converts no more of it"
    record = listing.record()
    named = named_split(whole)
    return replace(
        found,
        split=whole if named == "unknown" else named,
        notes=(note, *record.notes, *found.notes),
        hub=record,
    )


def _tables(asked: Address) -> tuple[hub.Listing, list[_Table]]:
    """The Hub's own conversion, unless the user names a revision or there is none; else the repository's files."""
    if not asked.revision:
        try:
            listing = hub.look(replace(asked, revision=_CONVERTED))
        except (RevisionMissing, EnvironmentFailure):
            pass
        else:
            tables = _sorted_out(listing, asked.path)
            if tables:
                return listing, tables
    listing = hub.look(asked)
    tables = _sorted_out(listing, asked.path)
    if not tables:
        seen = [name for name in listing.sizes if not name.startswith(".")]
        raise ProbeUnavailable(
            f"{asked} holds no Parquet files; it has {one_line(seen) or 'nothing'}",
            "download the data and pass a folder of images or an .npz file to --data",
        )
    return listing, tables


def _sorted_out(listing: hub.Listing, path: str) -> list[_Table]:
    """Parquet files at or below ``path``, by configuration and split."""
    tables: dict[tuple[str, str], _Table] = {}
    for name in listing.sizes:
        if name.endswith(_SUFFIX) and (not path or name == path or name.startswith(f"{path}/")):
            key = _said(PurePosixPath(name))
            tables.setdefault(key, _Table(*key)).names.append(name)
    return list(tables.values())


def _said(path: PurePosixPath) -> tuple[str, str]:
    """(configuration, split) by the names of file and folders."""
    stem = path.name.removesuffix(_SUFFIX)
    folders = list(path.parent.parts)
    if stem.isdecimal() and folders:
        split = folders.pop()
    else:
        match = _NUMBERED.fullmatch(stem)
        split = match[1] if match else stem
        if named_split(split) == "unknown" and folders and named_split(folders[-1]) != "unknown":
            split = folders.pop()
    configuration = "/".join(folder for folder in folders if folder not in _PLAIN)
    return configuration or _DEFAULT, split


def _choose(asked: Address, tables: list[_Table], configuration: str, split: str) -> _Table:
    configurations = sorted({table.configuration for table in tables})
    if not configuration:
        configuration = _DEFAULT if _DEFAULT in configurations else configurations[0]
        if len(configurations) > 1 and configuration != _DEFAULT:
            raise ProbeUnavailable(
                f"{asked} has {len(configurations)} configurations: {one_line(configurations)}",
                f"choose one: hf:{asked}:{display_name(configuration, 60)}/{display_name(split, 60) or 'test'}",
            )
    elif configuration not in configurations:
        raise ProbeUnavailable(
            f"{asked} has no configuration {display_name(configuration, 60)}, it has {one_line(configurations)}",
            "choose one of these",
        )
    splits = {table.split: table for table in tables if table.configuration == configuration}
    found = _split(splits, split)
    if found is None:
        raise ProbeUnavailable(
            f"{asked} has {f'no split {display_name(split, 60)}, it has' if split else 'the splits'} "
            f"{one_line(sorted(splits))}",
            f"choose one: hf:{asked}:{display_name(min(splits), 60)}",
        )
    return found


def _split(splits: Mapping[str, _Table], wanted: str) -> _Table | None:
    """The one asked for, by name or meaning; else test, val or train, or the only one."""
    if wanted and wanted in splits:
        return splits[wanted]
    for meaning in (named_split(wanted),) if wanted else ("test", "val", "train"):
        meant = [name for name in splits if named_split(name) == meaning != "unknown"]
        if len(meant) == 1:
            return splits[meant[0]]
    return next(iter(splits.values())) if len(splits) == 1 and not wanted else None
