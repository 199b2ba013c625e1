"""What a Hub repository holds at one commit: asked of the Hub, or of its cache where the Hub cannot be asked.

What the Hub answers is checked before it is used: commits, sizes and names that become parts of paths here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcaudit.core.errors import AuditError, HubUnreachable, LimitExceeded
from lcaudit.core.hub_address import Address, HubRecord, is_name, is_plain
from lcaudit.core.hub_failures import asking, confused, not_cached

MOST_FILES = 100_000
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at one commit.

    Attributes:
        commit: 40 hexadecimal digits. sizes: bytes by path in the repository; paths that could lead out of it and
            sizes that cannot be are left out. strange: how many were.
        moved: name that the Hub has for the repository now, where it is not the one asked for.
        cached: why only what the cache holds is listed, ``""`` if the Hub was asked.
    """

    address: Address
    commit: str
    sizes: Mapping[str, int]
    strange: int = 0
    moved: str = ""
    cached: str = ""

    @property
    def folder(self) -> Path:
        """Where the cache keeps this commit's files."""
        return _folder(self.address, self.commit)

    def record(self) -> HubRecord:
        """For the report."""
        notes = [f"{self.address.name} is now called {self.moved}"] if self.moved else []
        notes += [self.cached] if self.cached else []
        name = self.moved or self.address.name
        return HubRecord(name, self.address.revision, self.commit, tuple(notes))


def look(address: Address) -> Listing:
    """Resolve the revision to a commit and list its files: from the Hub, or from the cache where it cannot be asked.

    Raises:
        HubUnavailable: gated, private, missing, disabled. HubUnreachable: no answer, and nothing cached.
        EnvironmentFailure: offline, and nothing cached.
    """
    import huggingface_hub as library

    if library.is_offline_mode():
        found = _cached(address, "offline mode: files of the cache were used, the Hub was not asked")
        if found is None:
            raise not_cached(address)
        return found
    try:
        with asking(address):
            info = library.repo_info(
                address.name,
                repo_type=address.kind,
                revision=address.revision or None,
                files_metadata=True,
                timeout=patience(),
            )
            listing = _listing(address, info)
    except HubUnreachable as error:
        found = _cached(address, f"files of the cache were used: {error.message}")
        if found is None:
            raise
        return found
    _remember(listing)
    return listing


def patience() -> float:
    """Seconds to wait for an answer: HF_HUB_ETAG_TIMEOUT, or huggingface_hub's own choice."""
    from huggingface_hub import constants

    return float(constants.HF_HUB_ETAG_TIMEOUT)


def _listing(address: Address, info: Any) -> Listing:
    commit, files = info.sha, info.siblings or ()
    asked = address.revision if _COMMIT.fullmatch(address.revision) else commit
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or commit != asked:
        raise confused(address)
    if len(files) > MOST_FILES:
        raise LimitExceeded(f"{address}: {len(files):,} files, the cap is {MOST_FILES:,}", "use a smaller repository")
    sizes = {
        file.rfilename: file.size
        for file in files
        if isinstance(file.rfilename, str) and is_plain(file.rfilename) and type(file.size) is int and file.size >= 0
    }
    moved = info.id if info.id != address.name and isinstance(info.id, str) and is_name(info.id) else ""
    return Listing(address, commit, dict(sorted(sizes.items())), len(files) - len(sizes), moved)


def _known(address: Address) -> str:
    """The commit that the cache knows the revision by, ``""`` for none."""
    import huggingface_hub as library

    try:
        with asking(address):
            resolved = library.resolve_revision(
                address.name, repo_type=address.kind, revision=address.revision or None, local_files_only=True
            )
    except AuditError:
        return ""
    commit = resolved.resolved
    return commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else ""


def _remember(listing: Listing) -> None:
    """Let the cache know which commit the revision is, for times without a network."""
    import huggingface_hub as library

    address = listing.address
    if _known(address) != listing.commit:
        with suppress(AuditError), asking(address):  # only a later run would miss it
            library.resolve_revision(address.name, repo_type=address.kind, revision=address.revision or None)


def _cached(address: Address, why: str) -> Listing | None:
    commit = _known(address)
    folder = _folder(address, commit)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if commit and folder.is_dir() else []
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    return Listing(address, commit, sizes, cached=why) if sizes else None


def _folder(address: Address, commit: str) -> Path:
    """By the documented layout of the Hub's cache."""
    from huggingface_hub import constants

    stem = f"{address.kind}s--{address.name.replace('/', '--')}"
    return Path(constants.HF_HUB_CACHE).expanduser() / stem / "snapshots" / commit
