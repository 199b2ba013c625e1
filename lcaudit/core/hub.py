"""Files of a Hub repository: looked up at one commit, chosen by the caller, fetched into the Hub's own cache.

Everything goes through huggingface_hub's public functions, so token (``HF_TOKEN``), cache (``HF_HOME``), mirror
(``HF_ENDPOINT``) and offline mode (``HF_HUB_OFFLINE``) are those of its other users. What the Hub answers is
checked before it is used: commits, sizes, names and tags that become parts of paths here. Nothing it says is
printed but names, escaped.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcaudit.core.errors import (
    AuditError,
    EnvironmentFailure,
    HubUnreachable,
    LimitExceeded,
    MalformedInput,
    UsageError,
)
from lcaudit.core.hub_address import Address, HubRecord, is_name, is_plain
from lcaudit.core.hub_failures import asking, confused, not_cached
from lcaudit.core.text import count, display_name

Progress = Callable[[str, int, int], None]

#: Largest download that nobody has to ask for.
MOST = "10GB"
MOST_FILES = 100_000
#: Bytes from which on the way through them is shown.
_WORTH_A_BAR = 10_000_000
#: A connection that breaks again and again may bring the same bytes so many times.
_TIMES = 4
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,128}")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


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


def size(text: str | int) -> int:
    """``10GB``, ``1.5 GiB``, ``300M`` or a number of bytes → bytes.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]i?)?b?\s*", str(text).lower())
    if match is None:
        raise UsageError(f"--max-download {display_name(text, 40)}: expected a size", "for example 500MB, 10GB or 1TiB")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def words(number: int) -> str:
    """Bytes for a reader: ``44.7 MB``."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}" if number < 1000 * unit else f"{number // unit:,} {name}"
    return count(number, "byte")


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
                timeout=_patience(),
            )
            listing = _listing(address, info)
    except HubUnreachable as error:
        found = _cached(address, f"files of the cache were used: {error.message}")
        if found is None:
            raise
        return found
    _remember(listing)
    return listing


def _patience() -> float:
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


def fetch(listing: Listing, names: Sequence[str], most: int, progress: Progress) -> list[Path]:
    """These files of the listing, from the cache or from the Hub, each checked against the hash it is stored under.

    An interrupted download leaves nothing under a file's own name, so no part is ever taken for the whole.

    Args:
        most: bytes that may be downloaded. progress: told what comes before the first byte does.

    Raises:
        LimitExceeded: more than ``most``. MalformedInput: sizes or hashes that do not agree.
        HubUnavailable, HubUnreachable, EnvironmentFailure: the Hub, the network or the disk.
    """
    missing = [name for name in names if not (listing.folder / name).is_file()]
    if listing.cached and missing:
        raise not_cached(listing.address, missing[0])
    if missing:
        _download(listing, missing, most, progress)
    paths = [listing.folder / name for name in names]
    for path, name in zip(paths, names, strict=True):
        if not _intact(path, listing.sizes.get(name)):
            if name in missing:
                _forget(path)
            raise MalformedInput(
                f"{listing.address}: {display_name(name, 80)} is not the file that the Hub lists: size or hash differ",
                "it was removed again; try again later"
                if name in missing
                else f"remove {display_name(path, 300)} and what it links to, then try again",
            )
    return paths


def _download(listing: Listing, names: Sequence[str], most: int, progress: Progress) -> None:
    import huggingface_hub as library

    address = listing.address
    total = sum(listing.sizes[name] for name in names)
    what = f"{count(len(names), 'file')}, {words(total)}"
    if total > most:
        raise LimitExceeded(
            f"{address}: {what} to download, --max-download is {words(most)}", f"pass --max-download {_enough(total)}"
        )
    _check_space(listing, total)
    progress(f"{address}: downloading {what}, commit {listing.commit[:12]}", 0, 0)
    tally = _Tally(total, progress)
    for name in names:
        with asking(address, name):
            expected = listing.sizes[name]
            url = library.hf_hub_url(address.name, name, repo_type=address.kind, revision=listing.commit)
            head = library.get_hf_file_metadata(url, timeout=_patience())
            if head.commit_hash != listing.commit or not _TAG.fullmatch(head.etag or ""):
                raise confused(address)
            if head.size not in (None, expected):
                raise MalformedInput(
                    f"{address}: {display_name(name, 80)} has {expected:,} bytes in the list, {head.size:,} by itself",
                    "try again later",
                )
            library.hf_hub_download(
                address.name,
                name,
                repo_type=address.kind,
                revision=listing.commit,
                tqdm_class=tally.bar(name, expected),
            )
        tally.finished += expected


def _check_space(listing: Listing, total: int) -> None:
    folder = listing.folder
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # writing will tell
    if free < total:
        raise EnvironmentFailure(
            f"{listing.address}: {words(total)} to download, {words(free)} free under {display_name(folder, 200)}; "
            "nothing was downloaded",
            "free some space, or set HF_HOME to a larger disk",
        )


def _enough(total: int) -> str:
    """The least whole number of the largest unit that is at least ``total``."""
    unit, name = next(
        ((unit, name) for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")) if total > unit), (1, "B")
    )
    return f"{-(-total // unit)}{name}"


def _intact(path: Path, expected: int | None) -> bool:
    """Whether the bytes have the hash that names them in the cache: a SHA-256, or that of git for small files.

    Where the system has no links nothing names them, and the size alone is compared.
    """
    if expected is not None and path.stat().st_size != expected:
        return False
    named = path.readlink().name if path.is_symlink() else ""
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", named):
        return True
    digest = hashlib.sha256() if len(named) == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest() == named


def _forget(path: Path) -> None:
    """Take a file out of the cache, so that nobody takes it for what its name says."""
    if path.is_symlink():
        (path.parent / path.readlink()).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


class _Tally:
    """Bytes of all files together; a server that sends more than it said is cut off."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.progress, self.finished = total, progress, 0

    def bar(self, name: str, expected: int) -> type:
        """A class that huggingface_hub takes for its progress bar: it shows nothing and counts."""
        from huggingface_hub.utils import tqdm

        tally = self

        class Bar(tqdm):  # type: ignore[misc]
            def __init__(self, *arguments: Any, **attributes: Any) -> None:
                super().__init__(*arguments, **attributes | {"disable": True})
                self.here = self.brought = int(attributes.get("initial") or 0)

            def update(self, n: float | None = 1) -> None:
                self.here += int(n or 0)
                self.brought += max(0, int(n or 0))
                if self.here > expected or self.brought > _TIMES * expected + 2**20:
                    raise HubUnreachable(
                        f"{display_name(name, 80)}: the server sends more than the {words(expected)} it announced",
                        "nothing of it was kept; try again later",
                    )
                tally.says(self.here)

        return Bar

    def says(self, here: int) -> None:
        """In whole megabytes, which a reader can follow."""
        total, done = -(-self.total // 10**6), (self.finished + here) // 10**6
        if self.total >= _WORTH_A_BAR:
            self.progress("downloading (MB)", min(done, total), total)
