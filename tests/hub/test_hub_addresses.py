"""What names a repository, what is a path, and what neither can be."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcaudit.checkpoints._files import open_whole
from lcaudit.core import hub
from lcaudit.core.errors import EnvironmentFailure, UnsafeCheckpoint, UsageError
from lcaudit.core.hub_address import Address, HubRecord, address, is_plain

MODELS = {
    "ns/name": Address("ns/name", "model"),
    "ns/name@v1.0": Address("ns/name", "model", "v1.0"),
    "ns/name@refs/pr/4": Address("ns/name", "model", "refs/pr/4"),
    "hf:ns/name@a%2Fb/sub/w.pt": Address("ns/name", "model", "a/b", "sub/w.pt"),
    "hf://gpt2": Address("gpt2", "model"),
    "hf:/ns/name": Address("ns/name", "model"),  # what becomes of hf:// in a pathlib.Path
    "hf://models/ns/name": Address("ns/name", "model"),
    "hf:ns/weights.pt": Address("ns/weights.pt", "model"),
    "https://huggingface.co/ns/name?library=timm#files": Address("ns/name", "model"),
    "https:/huggingface.co/ns/name": Address("ns/name", "model"),
    "https://huggingface.co/ns/name/tree/refs%2Fpr%2F4/sub": Address("ns/name", "model", "refs/pr/4", "sub"),
    "https://huggingface.co/ns/name/blob/v1/a/b.bin": Address("ns/name", "model", "v1", "a/b.bin"),
    "https://huggingface.co/ns/name/resolve/main/b.bin?download=true": Address("ns/name", "model", "main", "b.bin"),
}
PATHS = (
    "model",
    "a/b/c",
    "./a",
    "../a/b",
    "/a/b",
    "~/b",
    "ns/weights.PT",
    "ns/x.safetensors",
    "models/resnet",
    "",
    "a/",
)
PATHS += ("ns/na me", "ns/name@", "ns/na\0me", "ns/-x", "C:\\a\\b", "a@b/c/d")


@pytest.mark.parametrize("text", MODELS)
def test_addresses_of_models(text: str) -> None:
    assert address(text, "model") == MODELS[text]


@pytest.mark.parametrize("text", PATHS)
def test_paths_are_no_addresses(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert address(text, "model") is None


def test_below_a_folder_that_is_here_a_missing_file_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert address("runs/best", "model") is not None
    (tmp_path / "runs").mkdir()
    assert address("runs/best", "model") is None
    assert address("hf:runs/best", "model") is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gpt2", "type hf:gpt2"),
        ("bert-base-uncased", "type hf:bert-base-uncased"),
        ("ns/name@", "a revision must follow @: ns/name@main"),
        ("ns/na me", "of letters, digits"),
        ("weights.pt", "check the path; a repository of the Hub is called namespace/name"),
        ("a/b/c", "check the path; a repository of the Hub is called namespace/name"),
    ],
)
def test_where_nothing_is_it_is_said_what_else_was_meant(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"^{text}: no such file or folder") as caught:
        open_whole(Path(text))
    assert caught.value.hint.endswith(says) or says in caught.value.hint


@pytest.mark.parametrize("text", ["hf:", "hf://", "hf:n s/name", "hf:ns/name@"])
def test_what_can_only_mean_the_hub_and_is_wrong(text: str) -> None:
    for kind in ("model", "dataset"):
        with pytest.raises(UsageError, match="is not a repository of the Hub"):
            address(text, kind)


def test_data_need_a_scheme() -> None:
    assert address("ns/name", "dataset") is None
    for text in ("hf:ns/name@v1", "hf://datasets/ns/name@v1", "https://hf.co/datasets/ns/name/tree/v1"):
        assert address(text, "dataset") == Address("ns/name", "dataset", "v1")


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text_is_an_address_or_not_or_wrong(text: str) -> None:
    for scheme in ("", "hf:", "hf://", "https://huggingface.co/", "https://"):
        try:
            found = address(scheme + text, "model")
        except UsageError as error:
            assert all(character.isprintable() for character in error.message)
            continue
        if found is not None:
            assert re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?", found.name)
            for part in (found.path, found.revision):
                assert not part or (is_plain(part) and not part.startswith("/"))
                assert ".." not in part.split("/")


@given(st.text(max_size=40))
def test_plain_paths_stay_below(text: str) -> None:
    if is_plain(text):
        base = Path("/base/folder")
        assert Path(os.path.normpath(base / text)).is_relative_to(base) and base / text != base


SIZES = {"10GB": 10**10, "1.5 GiB": 3 * 2**29, "300m": 3 * 10**8, "42": 42, "0": 0, "2TB": 2 * 10**12, "7 b": 7}


@pytest.mark.parametrize("text", SIZES)
def test_sizes(text: str) -> None:
    assert hub.size(text) == SIZES[text] and hub.size(SIZES[text]) == SIZES[text]


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "10 XB", "nan", "1,5GB", "9" * 40])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="expected a size"):
        hub.size(text)


@given(st.integers(1, 2**63))
def test_the_hint_names_a_size_that_suffices(total: int) -> None:
    assert total <= hub.size(hub._enough(total)) <= total * 2 + 1000


def test_what_the_cache_lacks_is_not_fetched_where_the_hub_was_not_asked() -> None:
    listing = hub.Listing(Address("ns/name", "model"), "0" * 40, {}, cached="offline")
    with pytest.raises(EnvironmentFailure, match=r"model\.safetensors of ns/name is not in the Hub's cache"):
        hub.fetch(listing, ["model.safetensors"], 10**9, lambda stage, done, total: None)


def test_words_of_a_record() -> None:
    record = HubRecord("ns/name", "v1", "c" * 40, ("a note",))
    assert record.words(7) == "ns/name@v1, commit ccccccc; a note"
    assert HubRecord("ns/name", "", "c" * 40).words() == f"ns/name, commit {'c' * 40}"


def test_blobs_that_all_repositories_share_belong_to_each(tmp_path: Path) -> None:
    """``snapshots/<commit>/x`` → ``blobs/<hash>`` → ``<cache>/blobs/ab/abc…``, a link to a link."""
    cache, name = tmp_path / "hub", "ab" + 62 * "c"
    snapshot, store = cache / "models--ns--x" / "snapshots" / "1", cache / "blobs" / "ab"
    for folder in (snapshot, snapshot.parents[1] / "blobs", store):
        folder.mkdir(parents=True)
    (store / name).write_bytes(b"shared")
    (snapshot.parents[1] / "blobs" / "tag").symlink_to(f"../../blobs/ab/{name}")
    (snapshot / "x").symlink_to("../../blobs/tag")
    assert open_whole(snapshot / "x", snapshot).data == b"shared"
    for stranger in (cache / "blobs" / "elsewhere", cache / "models--ns--y" / "blobs" / name, tmp_path / name):
        stranger.parent.mkdir(parents=True, exist_ok=True)
        stranger.write_bytes(b"")
        (snapshot / "x").unlink()
        (snapshot / "x").symlink_to(stranger)
        with pytest.raises(UnsafeCheckpoint):
            open_whole(snapshot / "x", snapshot)
