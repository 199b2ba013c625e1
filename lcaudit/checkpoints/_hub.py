"""A checkpoint in a repository of the Hugging Face Hub: which of its files are the weights, and fetching only those.

Chosen by name, among the files of one folder (the repository's own, unless the address names another):
``model.safetensors``, else ``model.safetensors.index.json`` with its shards, else the only other safetensors file or
index, else ``pytorch_model.bin``, else the only other file of ``torch.save``. Small configurations beside the weights
and the tokenizer come along. What is fetched is then opened like any file: nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lcaudit.checkpoints._beside import MOST_TOKENIZER, NAME, OTHERS, TOKENIZER
from lcaudit.checkpoints._files import open_whole
from lcaudit.checkpoints._folder import INDEX_SUFFIX
from lcaudit.checkpoints.safetensors_sharded import MOST_INDEX, read_weight_map
from lcaudit.core import hub
from lcaudit.core.errors import HubUnavailable, LimitExceeded, MalformedInput, UsageError
from lcaudit.core.hub_address import Address, HubRecord, address
from lcaudit.core.text import display_name, one_line

_MOST_BESIDE = 2**20
_SAFETENSORS = ".safetensors"
_TORCH = (".bin", ".pt", ".pth", ".ckpt", ".th")
#: What trainers leave beside the weights in files of ``torch.save``.
_NO_WEIGHTS = ("training_args.bin", "optimizer.", "optim.", "scheduler.", "scaler.", "rng_state")


@dataclass(frozen=True, slots=True)
class Found:
    """Weights on the Hub, before anything is downloaded.

    Attributes:
        folder: in the repository, with a slash at its end, or ``""``. name: path of the file of weights, or of the
            index of their shards.
    """

    asked: Address
    listing: hub.Listing
    folder: str
    name: str

    def beside(self, wanted: Mapping[str, int]) -> list[str]:
        """Paths of those files in the same folder that are there and smaller than given by name."""
        paths = {self.folder + name: most for name, most in wanted.items()}
        return [path for path, most in paths.items() if self.listing.sizes.get(path, most) < most]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The weights, or the index of their shards, in the Hub's cache; and the folder that everything lies in."""

    file: Path
    folder: Path
    name: str
    record: HubRecord


def find_on_hub(given: str | Path) -> Found | None:
    """What ``given`` names on the Hub; ``None`` if it names nothing there.

    What exists here is never looked for there. A ``Path`` without ``hf:`` or ``https:`` is no repository's name.

    Raises:
        AuditError: as :func:`lcaudit.core.hub.look`, or no single file of weights.
    """
    text = str(given)
    if _exists(text) or (isinstance(given, Path) and ":" not in text):
        return None
    asked = address(text, "model")
    if asked is None:
        return None
    listing = hub.look(asked)
    return Found(asked, listing, *_choose(asked, listing))


def fetch_checkpoint(given: str | Path, most: int, progress: hub.Progress) -> Fetched | None:
    """What ``given`` names on the Hub, downloaded where the cache lacks it; ``None`` if it names nothing there.

    Args:
        most: bytes that may be downloaded.

    Raises:
        AuditError: as :func:`find_on_hub` and :func:`lcaudit.core.hub.fetch`.
    """
    found = find_on_hub(given)
    if found is None:
        return None
    names = [found.name]
    if found.name.endswith(INDEX_SUFFIX):
        names += _shards(found.listing, found.folder, found.name, most, progress)
    names += found.beside({**dict.fromkeys((NAME, *OTHERS), _MOST_BESIDE), TOKENIZER: MOST_TOKENIZER})
    file, *_ = hub.fetch(found.listing, names, most, progress)
    return Fetched(file, file.parent, found.asked.name, found.listing.record())


def fetch_beside(found: Found, most: int, progress: hub.Progress) -> Path:
    """Where the cache keeps the folder of the weights, with the small files of it that tell the network.

    Raises:
        AuditError: as :func:`lcaudit.core.hub.fetch`.
    """
    names = found.beside({NAME: _MOST_BESIDE})
    if found.name.endswith(INDEX_SUFFIX):
        _shards(found.listing, found.folder, found.name, most, progress)  # fetches the index, and looks for them
    hub.fetch(found.listing, names, most, progress)
    return found.listing.folder / found.folder


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return True  # opening it gives the reason


def _choose(asked: Address, listing: hub.Listing) -> tuple[str, str]:
    """(folder with a slash at its end or ``""``, path of the file)."""
    if asked.path in listing.sizes:
        parent = PurePosixPath(asked.path).parent.as_posix()
        return "" if parent == "." else f"{parent}/", asked.path
    folder = f"{asked.path}/" if asked.path else ""
    names = [name.removeprefix(folder) for name in listing.sizes if name.startswith(folder)]
    if folder and not names:
        raise HubUnavailable(
            f"{asked.name} has no file or folder {display_name(asked.path, 80)}",
            f"it has {one_line(list(listing.sizes))}",
        )
    return folder, folder + _weights(asked, [name for name in names if "/" not in name], listing)


def _weights(asked: Address, names: list[str], listing: hub.Listing) -> str:
    """The one file of weights among the names in one folder."""
    stored = [name for name in names if name.endswith((_SAFETENSORS, INDEX_SUFFIX))]
    indices = [name for name in stored if name.endswith(INDEX_SUFFIX)]
    pickled = [name for name in names if name.endswith(_TORCH) and not name.startswith(_NO_WEIGHTS)]
    for found in (
        [name for name in stored if name == "model.safetensors"],
        [name for name in stored if name == "model" + INDEX_SUFFIX],
        indices if len(indices) == 1 else stored,
        [name for name in pickled if name == "pytorch_model.bin"],
    ):
        if len(found) == 1:
            return found[0]
    several = stored or pickled
    in_parts = [name for name in names if name.endswith(".bin.index.json")]
    if in_parts and not stored:
        raise MalformedInput(
            f"{asked}: the weights are pickled files in several parts ({display_name(in_parts[0], 80)})",
            "only safetensors are read in several parts: convert them first",
        )
    if len(several) == 1:
        return several[0]
    if several:
        raise UsageError(
            f"{asked} holds {len(several)} files of weights: {one_line(several)}; expected one",
            f"name one: hf:{asked}/{several[0]}",
        )
    seen = f"it has {one_line(names)}" if names else "it has no files there"
    seen += f", and {listing.strange} whose names or sizes cannot be" if listing.strange else ""
    lacks = "the cache has none" if listing.cached else "no weights that lcaudit reads"
    raise HubUnavailable(
        f"{asked}: {lacks}; {seen}", "expected model.safetensors or another file of safetensors or torch.save"
    )


def _shards(listing: hub.Listing, folder: str, index: str, most: int, progress: hub.Progress) -> list[str]:
    """Paths of the shards that the index names, which is fetched for it."""
    if listing.sizes[index] > MOST_INDEX:
        raise LimitExceeded(f"{listing.address}: an index of more than {MOST_INDEX:,} bytes", "check the repository")
    (path,) = hub.fetch(listing, [index], most, progress)
    shards = sorted({folder + name for name in read_weight_map(open_whole(path, path.parent)).values()})
    absent = [name for name in shards if name not in listing.sizes]
    if absent:
        raise HubUnavailable(
            f"{listing.address}: {display_name(index, 80)} names files that "
            f"{'the cache' if listing.cached else 'the repository'} lacks: {one_line(absent, 3)}",
            "name another revision, or ask its owners",
        )
    return shards
