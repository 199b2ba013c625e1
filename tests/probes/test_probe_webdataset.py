"""WebDataset archives: pictures and labels by key, read where they lie; what is no plain file is refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from probe_cases import images, network, opened

from lcaudit.core.errors import AuditError, LimitExceeded, MalformedInput, ProbeUnavailable
from lcaudit.probes import webdataset

Entries = list[tuple[str, bytes]]


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def entries(count: int = 12, prefix: str = "", ending: str = "cls") -> Entries:
    found: Entries = []
    for number, picture in enumerate(images(count)):
        label = str(number % 10) if ending == "cls" else json.dumps({"label": number % 10, "caption": "x"})
        found += [(f"{prefix}{number:04}.png", png(picture)), (f"{prefix}{number:04}.{ending}", label.encode())]
    return found


def archive(path: Path, members: Entries, form: int = tarfile.USTAR_FORMAT, **special) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if special:
            info = tarfile.TarInfo("0000.cls")
            for key, value in special.items():
                setattr(info, key, value)
            tar.addfile(info)
    return path


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("prefix", ["", "train/some/", "long/" * 30, "名前/" * 60])
@pytest.mark.parametrize("ending", ["cls", "json"])
def test_pictures_and_labels_by_key(tmp_path: Path, form: int, prefix: str, ending: str) -> None:
    if form == tarfile.USTAR_FORMAT and len(prefix.encode()) > 250:
        prefix = prefix[:20]
    probe = opened(archive(tmp_path / "test-000.tar", entries(12, prefix, ending), form))
    pixels = images(12).transpose(0, 3, 1, 2).astype(np.float32) / 255
    np.testing.assert_allclose(probe.pixels(0, 12).numpy(), pixels[probe.keys], atol=1e-6)
    assert probe.labels.tolist() == [key % 10 for key in probe.keys]
    assert probe.record.split == "test" and probe.record.available == 12


def test_without_labels_and_with_other_members(tmp_path: Path) -> None:
    members = [(name, content) for name, content in entries() if name.endswith("png")]
    probe = opened(archive(tmp_path / "a.tar", [*members, ("0000.txt", b"a caption"), ("README", b"x")]))
    assert probe.labels is None
    assert "members left out: ., .txt" in probe.record.preprocessing and "no labels" in probe.record.preprocessing


@pytest.mark.parametrize(
    ("special", "says"),
    [
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "0000.cls is a link"),
        ({"type": tarfile.LNKTYPE, "linkname": "0001.cls"}, "0000.cls is a link"),
        ({"type": tarfile.CHRTYPE}, "0000.cls is a device"),
        ({"type": tarfile.FIFOTYPE}, "0000.cls is a pipe"),
        ({"type": tarfile.GNUTYPE_SPARSE}, "0000.cls is a sparse file"),
        ({"type": b"Z"}, "unknown kind"),
        ({"name": "/etc/0000.cls"}, "names a place outside the archive"),
        ({"name": "a/../../0000.cls"}, "names a place outside the archive"),
        ({"size": 2**30}, "longer than the file"),
        ({"name": "0000.png"}, "two pictures of 0000"),
        ({"name": "x\x1b[2J.cls", "type": tarfile.SYMTYPE}, r"x\x1b[2J.cls is a link"),
    ],
)
def test_members_that_are_no_plain_files(tmp_path: Path, special: dict, says: str) -> None:
    path = archive(tmp_path / "a.tar", entries(), **special)
    if "size" in special:  # written by hand: tarfile would look for the bytes
        assert path.stat().st_size < 2**20
    with pytest.raises(MalformedInput) as caught:
        opened(path)
    assert says in caught.value.message and caught.value.hint and caught.value.message.isprintable()


def test_a_sparse_file_of_pax(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("0.png")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(2**50)}
        tar.addfile(info)
    with pytest.raises(MalformedInput, match="a sparse file"):
        opened(tmp_path / "a.tar")


@pytest.mark.parametrize("label", [b"", b"cat", b"-1", b"1.5", b"\xff", b"9" * 5000, b"1_000", "١".encode()])
def test_labels_that_are_none(tmp_path: Path, label: bytes) -> None:
    with pytest.raises(MalformedInput, match="holds no class number"):
        opened(archive(tmp_path / "a.tar", [*entries(3), ("9.png", png(images(1)[0])), ("9.cls", label)]))


@pytest.mark.parametrize("label", [b"[", b"{}", b'{"label": "cat"}', b'{"label": true}', b'{"label": 1e9}'])
def test_labels_in_json_that_are_none(tmp_path: Path, label: bytes) -> None:
    with pytest.raises(MalformedInput, match="holds no class number"):
        opened(archive(tmp_path / "a.tar", [*entries(3), ("9.png", png(images(1)[0])), ("9.json", label)]))


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProbeUnavailable, match="1 picture of 4 without a label, 9"):
        opened(archive(tmp_path / "a.tar", [*entries(3), ("9.png", png(images(1)[0]))]))
    with pytest.raises(ProbeUnavailable, match=r"holds no jpg.*it has \.txt only"):
        opened(archive(tmp_path / "b.tar", [("1.txt", b"x")]))
    with pytest.raises(MalformedInput, match="an archive without files"):
        opened(archive(tmp_path / "c.tar", []))
    monkeypatch.setattr(webdataset, "MOST_FILE", 100)
    with pytest.raises(LimitExceeded, match=r"0000\.png takes .* bytes, the cap is 100"):
        opened(archive(tmp_path / "d.tar", entries()))


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProbeUnavailable, match="label 3 at index"):
        opened(archive(tmp_path / "a.tar", entries()), network(classes=3))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_archives_give_one_line(tmp_path_factory, data) -> None:
    path = archive(tmp_path_factory.mktemp("damaged") / "a.tar", entries(3), tarfile.PAX_FORMAT)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(600, len(content)))])
    try:
        opened(path)
    except AuditError as error:
        assert error.message.isprintable()
