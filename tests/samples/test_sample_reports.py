"""The committed sample reports are what today's rules and formats make of the committed spectra."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2] / "sample_reports"
spec = importlib.util.spec_from_file_location("sample_reports_build", HERE / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


def test_there_are_samples_of_the_demo_and_of_a_real_network():
    assert {folder.name for folder in build.folders()} == {"demo", "language-model", "resnet20-cifar10"}


@pytest.mark.parametrize("folder", build.folders(), ids=lambda folder: folder.name)
def test_sample_is_up_to_date(folder):
    for path, wanted in build.render(folder).items():
        assert path.read_text(encoding="utf-8") == wanted, f"{path.name} is stale: run `make samples`"


def test_check_finds_a_stale_file(monkeypatch, capsys):
    monkeypatch.setattr(build, "render", lambda folder: {folder / "report.txt": "another text"})
    assert build.main(["--check"]) == 1
    assert "report.txt" in capsys.readouterr().out
