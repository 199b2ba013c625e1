"""Files of a Hub repository: looked up at one commit, chosen by the caller, fetched into the Hub's own cache.

Everything goes through huggingface_hub's public functions, so token (``HF_TOKEN``), cache (``HF_HOME``), mirror
(``HF_ENDPOINT``) and offline mode (``HF_HUB_OFFLINE``) are those of its other users. Sizes and the tags under which
the cache keeps files are checked before a download, hashes after it. Nothing that the Hub says is printed but names,
escaped.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lcaudit.core.errors import EnvironmentFailure, HubUnreachable, LimitExceeded, MalformedInput, UsageError
from lcaudit.core.hub_failures import asking, confused, not_cached
from lcaudit.core.hub_listing import Listing, look, patience
from lcaudit.core.text import count, display_name

__all__ = ["MOST", "Listing", "Progress", "fetch", "look", "size", "words"]

#: Told of (stage, done, total); where the total is 0, the stage is a sentence by itself.
Progress = Callable[[str, int, int], None]

#: Largest download that nobody has to ask for.
MOST = "10GB"
#: Bytes from which on the way through them is shown.
_WORTH_A_BAR = 10_000_000
#: A connection that breaks again and again may bring the same bytes so many times.
_TIMES = 4
_TAG = re.compile(r"[A-Za-z0-9_-]{1,128}")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


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
            head = library.get_hf_file_metadata(url, timeout=patience())
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

        class Bar(tqdm):  # type: ignore[misc]  # an untyped base
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
