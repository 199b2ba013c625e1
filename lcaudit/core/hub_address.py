"""How a repository of the Hugging Face Hub is named, by users and in reports; the Hub is not asked here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from lcaudit.core.errors import UsageError
from lcaudit.core.text import display_name

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?"
#: ``ns/name``, ``@revision`` (its slashes percent-escaped, except in refs/pr/N and its like), a path.
_PLACE = re.compile(
    rf"(?P<name>{_NAME}(?:/{_NAME})?)(?:@(?P<revision>refs/[^/@]+/[^/@]+|[^/@]+))?(?:/(?P<path>[^@]+))?"
)
_BARE = re.compile(rf"{_NAME}/{_NAME}(?:@[^@]+)?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,249}")
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_PAGE = re.compile(
    rf"/(?P<kind>datasets/|spaces/)?(?P<name>{_NAME}(?:/{_NAME})?)"
    r"(?:/(?:tree|blob|resolve|raw)/(?P<revision>refs%2F[^/]+|refs/[^/]+/[^/]+|[^/]+)(?:/(?P<path>.+?))?)?/?"
)
#: Names of files hold one of these, names of repositories hardly ever.
_FILES = (".safetensors", ".pt", ".pth", ".th", ".ckpt", ".bin", ".tar", ".pkl", ".npz", ".npy", ".json", ".parquet")

#: First words of the Hub's own addresses, which no namespace can have.
_SECTIONS = ("datasets", "models", "spaces")

Kind = Literal["model", "dataset"]


@dataclass(frozen=True, slots=True)
class Address:
    """A repository, or one folder or file of it.

    Attributes:
        name: ``ns/name``, or ``name`` alone for one of the Hub's oldest. revision: ``""`` for the default branch.
        path: of a file or folder in it, ``""`` for the whole.
    """

    name: str
    kind: Kind
    revision: str = ""
    path: str = ""

    def __str__(self) -> str:
        """As it is typed, without scheme."""
        return f"{self.name}{'@' if self.revision else ''}{self.revision}{'/' if self.path else ''}{self.path}"


@dataclass(frozen=True, slots=True)
class HubRecord:
    """A repository of the Hugging Face Hub at one commit, as a report keeps it.

    Attributes:
        name: as the Hub has it now. revision: what was asked for, ``""`` for the default branch.
        commit: what that was. notes: what was remarkable about getting it, in words.
    """

    name: str
    revision: str
    commit: str
    notes: tuple[str, ...] = ()

    def words(self, digits: int = 40) -> str:
        """For a reader, with so many digits of the commit."""
        revision = f"@{self.revision}" if self.revision else ""
        return "; ".join((f"{self.name}{revision}, commit {self.commit[:digits]}", *self.notes))


def address(text: str, kind: Kind) -> Address | None:
    """What ``text`` names on the Hub, or ``None`` if it is no address of the Hub's at all.

    ``hf:ns/name``, ``hf://ns/name``, ``hf://datasets/ns/name``, each with ``@revision`` and ``/path`` or not, and
    the addresses of the Hub's pages. For models also plain ``ns/name[@revision]``, unless it looks like a path:
    ``ns`` is a folder here, or the name ends like a file of weights. What exists here never comes to this.

    Raises:
        UsageError: it can only mean the Hub, and is wrong.
    """
    # a path swallows the second of two slashes
    if match := re.match(r"(hf):/*|(https?):/+(?=[^/])", text):
        rest = text[match.end() :]
        return _typed(text, rest, kind) if match[1] else _page(text, f"{match[2]}://{rest}", kind)
    if kind == "model" and _BARE.fullmatch(text) and not looks_like_path(text):
        return _typed(text, text, kind)
    return None


def looks_like_path(text: str) -> bool:
    """Whether plain ``a/b`` rather means a file that is missing than a repository."""
    first = text.partition("/")[0]
    return text.partition("@")[0].lower().endswith(_FILES) or first in _SECTIONS or Path(first).is_dir()


def what_else(text: str) -> str:
    """What may have been meant by a path where nothing is: for the hint of a message."""
    shown = display_name(text, 120)
    if re.fullmatch(_NAME, text) and not looks_like_path(text):
        return f"check the path; for the Hub's repository of this name type hf:{shown}"
    name, at, _ = text.partition("@")
    if re.fullmatch(rf"{_NAME}/{_NAME}", name) and at and not looks_like_path(text):
        return f"check the path; for a repository of the Hub a revision must follow @: {display_name(name, 100)}@main"
    if text.count("/") == 1 and not looks_like_path(text):
        return "check the path; a repository of the Hub is called namespace/name, of letters, digits, '-', '_' and '.'"
    return "check the path; a repository of the Hub is called namespace/name"


def _typed(text: str, rest: str, kind: Kind) -> Address:
    said, _, inner = rest.partition("/")
    if said in _SECTIONS and inner:
        rest, kind = inner, _agreed(text, said, kind)
    match = _PLACE.fullmatch(rest)
    if match is None:
        raise _invalid(text)
    return _checked(text, Address(match["name"], kind, unquote(match["revision"] or ""), match["path"] or ""))


def _page(text: str, url: str, kind: Kind) -> Address:
    own = urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _invalid(text) from None
    if parts.netloc.lower() not in (*_HOSTS, own.lower()):
        raise UsageError(
            f"{display_name(f'{parts.scheme}://{parts.netloc}', 80)} is not the Hugging Face Hub",
            "download the file yourself and pass its path, or pass a repository as ns/name",
        )
    match = _PAGE.fullmatch(parts.path)
    if match is None:
        raise _invalid(text)
    kind = _agreed(text, (match["kind"] or "models").rstrip("/"), kind)
    revision, path = unquote(match["revision"] or ""), unquote(match["path"] or "")
    return _checked(text, Address(match["name"], kind, revision, path))


def _agreed(text: str, said: str, kind: Kind) -> Kind:
    if said == "datasets" and kind == "dataset":
        return "dataset"
    if said == "models" and kind == "model":
        return "model"
    what = {"datasets": "a data set: pass it to --data", "models": "a model: pass it as MODEL, and data to --data"}
    raise UsageError(
        f"{_shown(text)} is {what.get(said, 'a space, which holds neither weights nor data')}",
        "a repository of weights is ns/name, one of data is hf:ns/name",
    )


def _checked(text: str, found: Address) -> Address:
    if not is_name(found.name) or (found.path and not is_plain(found.path)):
        raise _invalid(text)
    if found.revision and (not _REVISION.fullmatch(found.revision) or not is_plain(found.revision)):
        raise UsageError(
            f"{display_name(found.revision, 80)!r} is not a possible revision", "name a branch, a tag or a commit"
        )
    return found


def is_name(text: str) -> bool:
    """Whether a repository can be called so."""
    fits = re.fullmatch(rf"{_NAME}(?:/{_NAME})?", text) is not None
    return fits and not text.endswith(".git") and not any(mark in text for mark in ("--", ".."))


def is_plain(path: str) -> bool:
    """Whether ``path`` is a relative path that stays below where it begins, under the rules of every system."""
    parts = path.split("/")
    return (
        len(path) <= 1000
        and PurePosixPath(path).as_posix() == path
        and not any(part in ("", ".", "..") or part.endswith((" ", ".")) for part in parts)
        and all(character.isprintable() and character not in '\\:*?"<>|' for character in path)
    )


def _invalid(text: str) -> UsageError:
    return UsageError(
        f"{_shown(text)} is not a repository of the Hub",
        "expected ns/name or ns/name@revision, with hf: before it for data, or the address of its page",
    )


def _shown(text: str) -> str:
    """Without the query of an address, which may hold a secret."""
    return display_name(re.split(r"[?#]", text)[0], 120)
