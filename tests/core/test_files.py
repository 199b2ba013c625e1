"""Reports are written whole or not at all; only regular files are read."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from lcaudit.core import files
from lcaudit.core.errors import AuditError, EnvironmentFailure, LimitExceeded, MalformedInput

needs_posix = pytest.mark.skipif(os.name != "posix", reason="pipes and devices as files")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` with its bytes, and every folder with none."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_writes_utf8_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "report.txt"
    files.write_whole(path, "κ = 1\n")
    assert path.read_bytes() == "κ = 1\n".encode()
    assert list(tree(tmp_path)) == ["a", "a/b", "a/b/report.txt"]


def test_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text("a much longer text than the new one")
    files.write_whole(path, "new")
    assert path.read_text() == "new"


def test_a_lone_surrogate_is_spelled_out(tmp_path: Path) -> None:
    files.write_whole(tmp_path / "x", "a\udcffb")
    assert (tmp_path / "x").read_text() == "a\\udcffb"


@needs_posix
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_whole(tmp_path / "x", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@needs_posix
def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "report.html"
    target.write_text("precious")
    link.symlink_to(target)
    files.write_whole(link, "report")
    assert target.read_text() == "precious"
    assert link.read_text() == "report" and not link.is_symlink()


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("bug")])
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_stop_at_any_step_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, stop: BaseException
) -> None:
    (tmp_path / "old.html").write_text("old")
    before = tree(tmp_path)

    def fail(*arguments: object) -> None:
        raise stop

    if step == "fsync":
        monkeypatch.setattr(files.os, "fsync", fail)
    elif step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        real = files._write
        calls = []

        def second(path: Path, mode: str, text: str) -> None:
            calls.append(path)
            real(path, mode, text[:1])
            if len(calls) == 2:
                fail()

        monkeypatch.setattr(files, "_write", second)
    wanted = EnvironmentFailure if isinstance(stop, OSError) else type(stop)
    with pytest.raises(wanted) as caught:
        files.write_together([(tmp_path / "old.html", "new"), (tmp_path / "made" / "here" / "report.json", "{}")])
    if isinstance(caught.value, EnvironmentFailure):
        assert "No space left on device; nothing was written" in caught.value.message
    assert tree(tmp_path) == before


def test_what_was_written_before_a_failing_rename_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target.name == "b":
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(EnvironmentFailure, match="the files before it were written"):
        files.write_together([(tmp_path / "a", "1"), (tmp_path / "b", "2")])
    assert tree(tmp_path) == {"a": b"1"}


@pytest.mark.parametrize("write", [files.check_writable, lambda path: files.write_whole(path, "x")])
def test_places_that_cannot_be_written(tmp_path: Path, write) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    before = tree(tmp_path)
    for path in ("folder", "file/report.html", "file/deeper/report.html", "n" * 300):
        with pytest.raises(EnvironmentFailure) as caught:
            write(tmp_path / path)
        assert "cannot write" in caught.value.message and "nothing was written" in caught.value.message
        assert caught.value.hint
    assert tree(tmp_path) == before


def test_checking_a_place_creates_nothing(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new" / "deep" / "report.html")
    assert not list(tmp_path.iterdir())


def test_a_place_where_the_system_lets_nothing_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not show it: a read-only file system, or one of the kernel's own folders as root."""

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    for path in (tmp_path / "report.html", tmp_path / "new" / "report.html"):
        with pytest.raises(EnvironmentFailure, match="Operation not permitted; nothing was written"):
            files.check_writable(path)


@needs_posix
def test_devices_and_pipes_are_written_to_and_stay_what_they_are(tmp_path: Path) -> None:
    files.check_writable(Path("/dev/null"))
    files.write_whole(Path("/dev/null"), "x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(EnvironmentFailure, match="No space left on device; nothing was written"):
        files.write_together([(tmp_path / "a", "1"), (Path("/dev/full"), "2")])
    assert not list(tmp_path.iterdir())

    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    files.write_whole(pipe, "through")
    reader.join()
    assert read == [b"through"] and pipe.is_fifo()


def test_reads_regular_files_up_to_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert files.read_regular(path, 5) == b"12345"
    with pytest.raises(LimitExceeded, match="larger than 4 bytes"):
        files.read_regular(path, 4)


@needs_posix
def test_refuses_what_is_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "absent", tmp_path / "a\0b"):
        with pytest.raises(MalformedInput) as caught:
            files.read_regular(path, 100)
        assert caught.value.message.isprintable()


def test_hostile_names_are_escaped_in_messages(tmp_path: Path) -> None:
    for call in (lambda path: files.read_regular(path, 1), lambda path: files.write_whole(path, "")):
        with pytest.raises(AuditError) as caught:
            call(tmp_path / "a\x1b[31m\n::error::\udcff" / ("x" * 300))
        assert caught.value.message.isprintable()
