"""Settings from the command line, the environment, a file, a preset and the defaults; who may set what."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lcaudit.cli import _config_file as config
from lcaudit.cli._settings import PRESETS, Configured, setting_options
from lcaudit.cli.check import COMMAND
from lcaudit.core import plugins, serial

Run = Callable[..., object]


@pytest.fixture(autouse=True)
def repository(lcaudit: Run) -> None:
    """The working folder is a repository: nothing above it is looked at."""
    Path(".git").mkdir()


def shown(ran) -> dict[str, tuple[str, str]]:
    """Key → (value, source), from --show-settings."""
    assert ran.code == 0, ran.err
    rows = [re.split(r"  +", line, maxsplit=2) for line in ran.out.splitlines()[2:] if not line.startswith("suppress")]
    return {key: (value, source) for key, value, source in rows}


def refused(ran, says: str, hint: str = "") -> None:
    assert (ran.code, ran.out) == (2, "")
    first, *rest = ran.err.splitlines()
    assert first.startswith("lcaudit: error[usage]: ") and says in first, ran.err
    assert len(rest) <= 1 and hint in " ".join(rest) and "Traceback" not in ran.err


# One definition


def test_every_option_of_check_is_a_key_but_for_those_that_say_otherwise() -> None:
    keys = {one.key for one in setting_options(COMMAND)}
    others = {one.name for one in COMMAND.params if one.param_type_name == "option"} - {
        one.name for one in setting_options(COMMAND)
    }
    assert others == {"config", "no_config", "show_settings", "dry_run", "quiet", "verbose"}
    assert {"data", "fail-on", "exact-layer", "format", "export", "preset"} <= keys
    assert not keys & {config.IGNORES, config.SUPPRESS}
    variables = [one.envvar for one in setting_options(COMMAND)]
    assert len(set(variables)) == len(variables)
    assert all(re.fullmatch("LCAUDIT_[A-Z_]+", str(name)) for name in variables)
    assert not set(variables) & {"LCAUDIT_DATA", "LCAUDIT_DEBUG", "LCAUDIT_CONFIG"}


def test_what_writes_runs_code_or_loosens_is_for_the_user_alone() -> None:
    refused_keys = {one.key for one in setting_options(COMMAND) if one.discovered is False}
    assert {"output", "export"} <= refused_keys
    assert {one.key for one in setting_options(COMMAND) if callable(one.discovered)} >= {"arch", "fail-on"}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_settings_that_a_found_file_could_hold(lcaudit: Run, name: str) -> None:
    Path("lcaudit.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in PRESETS[name].items()))
    rows = shown(lcaudit("check", "--show-settings"))
    assert {key: rows[key][0] for key in PRESETS[name]} == dict(PRESETS[name])
    assert not set(PRESETS[name]) & {"fail-on", "min-coverage", "select", "ignore"}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_audit(lcaudit: Run, kit, name: str) -> None:
    ran = lcaudit(*kit.arguments, "--preset", name, "--no-output")
    assert ran.code == 0, ran.err
    assert ("PASS" in ran.out) and (("\n\n" in ran.out) != (name == "ci"))


# Precedence


def test_each_place_yields_to_the_one_before(lcaudit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    show = ("check", "--show-settings")
    assert shown(lcaudit(*show))["samples"] == ("-", "default")
    assert shown(lcaudit(*show, "--preset", "quick"))["samples"] == ("1000", "preset quick")
    Path("lcaudit.toml").write_text('samples = 300\npreset = "full"\nselect = ["LC3", "LC9"]')
    rows = shown(lcaudit(*show))
    assert rows["samples"] == ("300", "lcaudit.toml") and rows["exact"] == ("ggn", "preset full")
    assert rows["preset"] == ("full", "lcaudit.toml") and rows["select"] == ("LC3,LC9", "lcaudit.toml")
    monkeypatch.setenv("LCAUDIT_SAMPLES", "200")
    monkeypatch.setenv("LCAUDIT_SELECT", "LC1")
    rows = shown(lcaudit(*show))
    assert rows["samples"] == ("200", "environment, LCAUDIT_SAMPLES")
    assert rows["select"] == ("LC1", "environment, LCAUDIT_SELECT")
    assert shown(lcaudit(*show, "--samples", "100"))["samples"] == ("100", "command line")
    assert shown(lcaudit(*show, "--no-config"))["exact"] == ("-", "default")


def test_required_options_can_come_from_the_file_and_are_missed_without(lcaudit: Run, kit) -> None:
    rest = ("--arch", f"{kit.folder / 'network.py'}:make", "--mean", "0.5", "--std", "0.25")
    model = str(kit.folder / "model.safetensors")
    Path("lcaudit.toml").write_text(f'data = "{kit.folder / "right.npz"}"\nmin-coverage = 0.5')
    assert lcaudit("check", model, *rest).code == 0
    lcaudit("check", "--show-settings")
    refused(lcaudit("check", model, *rest, "--no-config"), "Missing option '--data'")
    refused(lcaudit("check"), "Missing argument 'MODEL'")


def test_a_setting_of_the_file_is_obeyed_and_told(lcaudit: Run, kit) -> None:
    Path("lcaudit.toml").write_text('fail-on = "info"\nsamples = 90\nignore = ["LC101"]\nformat = "json"\n')
    ran = lcaudit(*kit.arguments)
    report = serial.parse_json(ran.out)
    assert ran.code == 1 and report["gate"]["fail_on"] == "info"
    assert report["measurements"]["probe"]["samples"] == 90
    assert not any(check["rule"] == "LC101" for check in report["checks"])
    assert report["notices"] == ["settings from lcaudit.toml: samples 90, ignore LC101, fail-on info, format json"]
    text = lcaudit(*kit.arguments, "--fail-on", "error", "--format", "text")
    assert text.code == 0 and "settings from lcaudit.toml: samples 90, ignore LC101" in " ".join(text.out.split())


def test_what_measures_as_check_does_has_its_settings(lcaudit: Run, kit) -> None:
    """A gate and its baseline must be measured alike."""
    Path("lcaudit.toml").write_text(
        f'data = "{kit.folder / "right.npz"}"\nsamples = 90\nseed = 4\nmean = [0.5]\nstd = [0.25]\nfail-on = "info"\n'
    )
    model, arch = str(kit.folder / "model.safetensors"), ("--arch", f"{kit.folder / 'network.py'}:make")
    made = lcaudit("baseline", "create", model, *arch, "-q")
    assert made.code == 0 and "90 samples" in made.out, made.err
    held = lcaudit("check", model, *arch, "--baseline", "lcaudit-baseline.json", "--fail-on", "never")
    assert held.code in (0, 3) and "cannot be compared" not in held.err, held.err  # so few samples decide little
    assert lcaudit("diff", model, model, *arch, "--format", "json").code == 0
    Path("lcaudit.toml").write_text("broken =")
    refused(lcaudit("diff", model, model, *arch), "not valid TOML")
    Path("lcaudit.toml").write_text('samples = "auto"')
    data = ("--data", str(kit.folder / "right.npz"), "--samples", "80", "--mean", "0.5", "--std", "0.25")
    assert lcaudit("diff", model, model, *arch, *data, "-q").code == 0


def test_the_environment_is_told_too(lcaudit: Run, kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LCAUDIT_FAIL_ON", "never")
    ran = lcaudit(*kit.wrong, "--format", "json")
    assert ran.code == 0
    assert serial.parse_json(ran.out)["notices"] == ["settings from the environment: fail-on never"]


def test_the_gate_of_the_command_line_stands_whatever_the_file_says(lcaudit: Run, kit) -> None:
    Path("own.toml").write_text('fail-on = "never"')
    Path("lcaudit.toml").write_text('fail-on = "info"')
    assert lcaudit(*kit.wrong, "--config", "own.toml", "--fail-on", "error").code == 1
    assert lcaudit(*kit.wrong, "--config", "own.toml").code == 0
    assert lcaudit(*kit.arguments, "--fail-on", "error").code == 0


# Discovery


def test_the_nearest_file_is_found_up_to_the_root_of_the_repository(lcaudit: Run, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "lcaudit.toml").write_text("seed = 1")  # above the repository
    deep = Path("a/b").absolute()
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert config.discover(Path.cwd()) is None
    Path("../pyproject.toml").write_text("[tool.other]\nx = 1")
    root = tmp_path / "work"
    (root / "pyproject.toml").write_text("[tool.lcaudit]\nseed = 2")
    assert shown(lcaudit("check", "--show-settings"))["seed"] == ("2", "../../pyproject.toml")
    Path("../lcaudit.toml").write_text("seed = 3")
    assert shown(lcaudit("check", "--show-settings"))["seed"] == ("3", "../lcaudit.toml")


def test_outside_repository_and_home_only_the_working_folder_is_looked_into(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / ".git").rmdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    deep = tmp_path / "shared/one"
    deep.mkdir(parents=True)
    (tmp_path / "shared/lcaudit.toml").write_text("seed = 1")
    assert config.discover(deep) is None
    (deep / "lcaudit.toml").write_text("seed = 1")
    assert config.discover(deep) == deep / "lcaudit.toml"
    inside = tmp_path / "home/work"
    inside.mkdir(parents=True)
    (tmp_path / "home/lcaudit.toml").write_text("seed = 1")
    (tmp_path / "lcaudit.toml").write_text("seed = 2")
    assert config.discover(inside) == tmp_path / "home/lcaudit.toml"


def test_paths_in_the_file_are_meant_from_where_it_lies(lcaudit: Run, monkeypatch) -> None:
    Path("lcaudit.toml").write_text('data = "probe.npz"\ndata-root = "sets"')
    Path("probe.npz").touch()
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    rows = shown(lcaudit("check", "--show-settings"))
    assert (rows["data"][0], rows["data-root"][0]) == ("../probe.npz", "../sets")
    Path("../probe.npz").unlink()
    assert shown(lcaudit("check", "--show-settings"))["data"][0] == "probe.npz", "then it is a name"


def test_a_file_inside_the_audited_folder_is_not_used_but_told(lcaudit: Run, kit, monkeypatch) -> None:
    Path("net").mkdir()
    shutil.copy(kit.folder / "model.safetensors", "net")
    Path("net/lcaudit.toml").write_text('ignore = ["ALL"]')
    monkeypatch.chdir("net")
    ran = lcaudit("check", ".", *kit.wrong[2:], "--no-output")
    assert ran.code == 1
    assert "lcaudit.toml lies inside the audited folder and was not used" in " ".join(ran.out.split())
    refused(lcaudit("check", ".", *kit.wrong[2:], "--no-output", "--config", "lcaudit.toml"), "leaves no rule")


# What a found file may not do


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('output = "/tmp/elsewhere"', "output cannot be set here"),
        ('export = ["html=/tmp/x.html"]', "export cannot be set here"),
        ('arch = "net.py:make"', "arch names a file whose code would run"),
        ('arch = "../net.py"', "arch names a file whose code would run"),
        ('fail-on = "never"', "fail-on is never"),
    ],
)
def test_a_found_file_may_tighten_and_never_loosen(lcaudit: Run, kit, line: str, says: str) -> None:
    Path("lcaudit.toml").write_text(line)
    refused(lcaudit(*kit.arguments), says, "may tighten and never loosen")
    Path("pyproject.toml").write_text(f"[tool.lcaudit]\n{line}")
    Path("lcaudit.toml").unlink()
    refused(lcaudit("check", "--show-settings"), says, "name it with --config")
    assert not Path("/tmp/elsewhere").exists()
    assert shown(lcaudit("check", "--show-settings", "--config", "pyproject.toml"))
    assert lcaudit(*kit.arguments, "--no-output", "--no-config").code == 0


def test_a_family_can_be_named_by_a_found_file(lcaudit: Run) -> None:
    Path("lcaudit.toml").write_text('arch = "resnet_cifar"')
    assert shown(lcaudit("check", "--show-settings"))["arch"] == ("resnet_cifar", "lcaudit.toml")


# What is no configuration


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("fail_on = 'error'", "no setting fail_on", "did you mean fail-on"),
        ("sampels = 3", "no setting sampels", "did you mean samples"),
        ("quux = 3", "no setting quux", "known: arch, base, baseline"),
        ("config = 'x'", "no setting config", ""),
        ("[limits]\nLC301 = 1", "no setting limits", ""),
        ("samples = 1", "samples: '1': expected a whole number from 2", ""),
        ("samples = true", "samples is bool", ""),
        ("samples = 2027-01-01", "samples is date", ""),
        ("samples = {a = 1}", "samples is dict", ""),
        ("no-output = 'yes'", "no-output is str, expected true or false", ""),
        ("fail-on = 'fatal'", "fail-on: 'fatal' is not one of", ""),
        ("min-coverage = nan", "min-coverage: nan", ""),
        ("mean = ['a']", "mean: 'a'", ""),
        ("preset = 'slow'", "preset: 'slow' is not one of", ""),
        ("samples = ", "not valid TOML", "--no-config"),
        ("a = 1\na = 2", "not valid TOML", ""),
        ("x = " + "[" * 100_000, "lcaudit.toml: not valid TOML", ""),
        ("samples = [[1]]", "samples is list", ""),
        ('"\\u001b[31m" = 1', "no setting \\x1b[31m", ""),
        ("suppress = 3", "suppress is no list of tables", "write [[suppress]]"),
        ("[[suppress]]\nrule = 'LC301'", "suppress 1: reason is missing", "write [[suppress]]"),
        ("[[suppress]]\nrule = 'LC301'\nreason = ' '", "suppress 1: reason is missing", ""),
        ("[[suppress]]\nreason = 'x'", "suppress 1: rule is missing", ""),
        ("[[suppress]]\nrule = 'LC301'\nreason = 'x'\nuntill = 3", "no key untill", "did you mean until"),
        ("[[suppress]]\nrule = 'LC301'\nreason = 'x'\nuntil = 3", "until is int, expected a date", ""),
        ("[[suppress]]\nrule = 301\nreason = 'x'", "rule is int, expected text", ""),
        ("per-layer-ignores = 3", "per-layer-ignores is no table", ""),
        ("[per-layer-ignores]\nhead = 3", "expected codes of rules", ""),
        ("[per-layer-ignores]\nhead = []", "expected codes of rules", ""),
    ],
)
def test_what_cannot_be_understood_is_one_line(lcaudit: Run, text: str, says: str, hint: str) -> None:
    Path("lcaudit.toml").write_text(text)
    refused(lcaudit("check", "x", "--data", "digits"), says, hint)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("rule = 'LC999'\nreason = 'x'", "no rule is called LC999"),
        ("rule = 'LC301'\nreason = 'x'\nuntil = 'soon'", "until is soon, expected a date"),
        ("rule = 'LC301'\nreason = 'x'\nuntil = '2027-02-30'", "until is 2027-02-30, expected a date"),
    ],
)
def test_suppressions_are_checked_before_measuring(lcaudit: Run, kit, entry: str, says: str) -> None:
    Path("lcaudit.toml").write_text(f"[[suppress]]\n{entry}")
    refused(lcaudit(*kit.arguments), says)


def test_files_that_are_none(lcaudit: Run) -> None:
    refused(lcaudit("check", "--show-settings", "--config", "absent.toml"), "absent.toml: ")
    refused(lcaudit("check", "--show-settings", "--config", "."), "directory")
    os.mkfifo("pipe.toml")
    refused(lcaudit("check", "--show-settings", "--config", "pipe.toml"), "not a regular file")
    Path("latin.toml").write_bytes(b"seed = '\xff'")
    refused(lcaudit("check", "--show-settings", "--config", "latin.toml"), "not valid TOML")
    Path("pyproject.toml").write_text("[tool]\nlcaudit = 3")
    refused(lcaudit("check", "--show-settings"), "tool.lcaudit is no table")
    Path("pyproject.toml").write_text("[project]\nname = 'x'")
    assert "configuration: none" in lcaudit("check", "--show-settings").out
    refused(lcaudit("check", "--show-settings", "--config", "pyproject.toml"), "there is no [tool.lcaudit] table")
    refused(lcaudit("check", "--show-settings", "--config", "x", "--no-config"), "both given")


def test_an_error_in_the_environment_names_the_variable(lcaudit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LCAUDIT_BATCH_SIZE", "none")
    refused(lcaudit("check", "x", "--data", "digits"), "(environment: LCAUDIT_BATCH_SIZE)")


def test_help_and_other_commands_read_no_configuration(lcaudit: Run) -> None:
    Path("lcaudit.toml").write_text("broken =")
    assert lcaudit("check", "--help").code == 0
    for command in plugins.names("lcaudit.cli"):
        loaded = plugins.load("lcaudit.cli", command, "COMMAND")
        if not isinstance(loaded, Configured):
            assert lcaudit(command, "--help").code == 0
    assert lcaudit("rules").code == 0


# Suppressions


def test_suppressed_findings_pass_the_gate_and_stand_in_every_format(lcaudit: Run, kit) -> None:
    Path("lcaudit.toml").write_text(
        '[[suppress]]\nrule = "LC901"\nreason = "labels are known to be wrong"\nuntil = 2999-01-01\n'
        '[per-layer-ignores]\n"*" = ["LC3"]\n'
    )
    ran = lcaudit(*kit.wrong, "--export", "json=r.json")
    assert ran.code == 0 and ran.out.splitlines()[-1] == "PASS (fail-on: error)"
    assert "suppressed  LC901 whole model" in ran.out and "labels are known to be wrong" in ran.out
    report = serial.parse_json(Path("r.json").read_text())
    assert "LC901" not in [finding["rule"] for finding in report["findings"]]
    (one,) = [finding for finding in report["suppressed"] if finding["rule"] == "LC901"]
    assert one["suppression"]["until"] == "2999-01-01"
    assert any(check["status"] == "fail" and check["rule"] == "LC901" for check in report["checks"])
    for form in ("concise", "html", "junit", "markdown", "sarif", "text"):
        again = lcaudit("report", "r.json", "--format", form)
        assert again.code == 0 and "labels are known to be wrong" in again.out, form
    assert "every check that applies passed" not in ran.out


def test_expired_and_unused_suppressions_are_told(lcaudit: Run, kit) -> None:
    Path("lcaudit.toml").write_text(
        '[[suppress]]\nrule = "LC901"\nreason = "old"\nuntil = 2020-01-01\n'
        '[[suppress]]\nrule = "LC101"\nreason = "never needed"\n'
        '[[suppress]]\nrule = "LC303"\nlayer = "gone.*"\nreason = "renamed"\n'
    )
    ran = lcaudit(*kit.wrong, "--format", "json")
    assert ran.code == 1
    notices = serial.parse_json(ran.out)["notices"]
    assert notices[0] == "settings from lcaudit.toml: 3 suppressions" or "3 suppressions" in notices[0]
    assert notices[1:] == [
        "suppression of LC901 (lcaudit.toml, suppress 1) expired on 2020-01-01; its finding counts again",
        "suppression of LC101 (lcaudit.toml, suppress 2) is unused: no finding needed it; remove it",
        "suppression of LC303 on gone.* (lcaudit.toml, suppress 3) is unused: no layer has such a name; remove it",
    ]
