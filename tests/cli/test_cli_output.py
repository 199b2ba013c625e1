"""What the command line prints and writes: the report on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from lcaudit.cli import root
from lcaudit.cli._output import formats
from lcaudit.core import plugins, serial

Run = Callable[..., object]
COMMANDS = plugins.names("lcaudit.cli")
ESC = "\x1b["


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_check_prints_the_report_and_writes_the_folder(lcaudit: Run, kit) -> None:
    ran = lcaudit(*kit.arguments)
    assert ran.code == 0
    assert ran.out.startswith("lcaudit ") and ran.out.splitlines()[-1] == "PASS (fail-on: error)"
    assert ESC not in ran.out + ran.err
    assert below(Path()) == ["lcaudit-report/report.html", "lcaudit-report/report.json"]
    assert ran.err.splitlines() == [
        "measuring samples: 300 in all",
        "analysing layers: 2 in all",
        "written: lcaudit-report/report.html  lcaudit-report/report.json",
    ]


def test_output_goes_where_it_is_sent(lcaudit: Run, kit) -> None:
    exports = ("--export", "json=deep/er/a.json", "--export", "text=b.txt", "--export", "text=b=c.txt")
    assert lcaudit(*kit.arguments, "-o", "out", *exports).code == 0
    assert below(Path()) == ["b.txt", "b=c.txt", "deep/er/a.json", "out/report.html", "out/report.json"]
    assert Path("deep/er/a.json").read_bytes() == Path("out/report.json").read_bytes()
    assert Path("b.txt").read_text().endswith("PASS (fail-on: error)\n")


def test_no_output_writes_nothing(lcaudit: Run, kit) -> None:
    ran = lcaudit(*kit.arguments, "--no-output")
    assert ran.code == 0 and below(Path()) == [] and "written" not in ran.err


def test_an_old_report_is_replaced(lcaudit: Run, kit) -> None:
    Path("lcaudit-report").mkdir()
    Path("lcaudit-report/report.json").write_text("old")
    Path("lcaudit-report/other.txt").write_text("kept")
    lcaudit(*kit.arguments)
    assert json.loads(Path("lcaudit-report/report.json").read_text())["schema_version"]
    assert Path("lcaudit-report/other.txt").read_text() == "kept"


def test_json_on_standard_output_is_nothing_but_json(lcaudit: Run, kit) -> None:
    ran = lcaudit(*kit.arguments, "--format", "json", "--color", "always", "-v")
    assert ran.code == 0
    assert serial.parse_json(ran.out)["gate"]["verdict"] == "pass"
    assert ran.out == Path("lcaudit-report/report.json").read_text(encoding="utf-8")


def test_html_on_standard_output_is_the_page(lcaudit: Run, kit) -> None:
    ran = lcaudit(*kit.arguments, "--format", "html")
    assert ran.out == Path("lcaudit-report/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", formats())
def test_report_renders_the_same_bytes_without_measuring(lcaudit: Run, kit, form: str) -> None:
    first = lcaudit(*kit.wrong, "--format", form, "--export", f"{form}=first")
    again = lcaudit("report", "lcaudit-report/report.json", "--format", form, "--export", f"{form}=second")
    assert first.out == again.out
    assert Path("first").read_bytes() == Path("second").read_bytes()
    assert first.code == again.code == 1
    assert again.err == "written: second\n"


@pytest.mark.parametrize("flags", [("-v",), ("-q",), ("--color", "always"), ("-qq",), ()])
def test_report_takes_the_same_flags(lcaudit: Run, kit, flags: tuple[str, ...]) -> None:
    first = lcaudit(*kit.arguments, *flags)
    assert lcaudit("report", "lcaudit-report/report.json", *flags).out == first.out


def test_quiet_levels(lcaudit: Run, kit) -> None:
    usual, quiet, silent = (lcaudit(*kit.wrong, *flags) for flags in ((), ("-q",), ("-qq",)))
    assert "\nlayers  2 of 2" in usual.out and "\nlayers" not in quiet.out
    assert "LC901" in quiet.out and quiet.out.splitlines()[-1] == "FAIL (fail-on: error)"
    assert quiet.err == ""
    assert (silent.out, silent.err) == ("", "")
    assert usual.code == quiet.code == silent.code == 1
    assert below(Path()) == ["lcaudit-report/report.html", "lcaudit-report/report.json"]


def test_quiet_json_is_whole(lcaudit: Run, kit) -> None:
    ran = lcaudit(*kit.arguments, "--no-output", "--format", "json", "-q")
    assert serial.parse_json(ran.out)["measurements"]["layers"] and ran.err == ""


def test_verbose_says_how_the_network_was_recognised(lcaudit: Run, kit) -> None:
    usual, verbose = (lcaudit(*kit.arguments, *flags) for flags in ((), ("-v",)))
    assert "ran the user's file network.py" in " ".join(verbose.out.split())
    assert len(verbose.out) > len(usual.out)


@pytest.mark.parametrize(
    ("flag", "environment", "colored"),
    [
        ("auto", {}, False),  # standard output is not a terminal here
        ("auto", {"FORCE_COLOR": "1"}, True),
        ("auto", {"NO_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": "", "FORCE_COLOR": "1"}, True),
        ("auto", {"NO_COLOR": "", "FORCE_COLOR": ""}, False),
        ("always", {}, True),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {"FORCE_COLOR": "1"}, False),
    ],
)
def test_color(lcaudit: Run, kit, monkeypatch, flag: str, environment: dict[str, str], colored: bool) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ran = lcaudit(*kit.wrong, "--color", flag, "--export", "text=plain.txt")
    assert (ESC in ran.out) == colored
    assert ESC not in Path("plain.txt").read_text()
    assert ESC not in ran.err


def test_the_demo_is_an_audit_of_the_shipped_network(lcaudit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(model, data, files, *rest):
        asked.append((model.name, data, [str(path) for _, path in files]))
        return 0

    monkeypatch.setattr("lcaudit.cli.demo.run", run)
    assert lcaudit("demo", "-o", "here", "--export", "text=t").code == 0
    assert asked == [("digits_resnet.safetensors", "digits", ["here/report.html", "here/report.json", "t"])]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(lcaudit: Run, command: str) -> None:
    for flag in ("-h", "--help"):
        ran = lcaudit(command, flag)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith(f"Usage: lcaudit {command} ")
        assert "Examples:\n  lcaudit " in ran.out
        assert max(map(len, ran.out.splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_does_under_a_heading(command: str) -> None:
    found = plugins.load("lcaudit.cli", command, "COMMAND")
    for parameter in found.params:
        if parameter.param_type_name == "option":
            assert parameter.help, parameter.name
            assert getattr(parameter, "heading", "Options") != "Options", parameter.name


def test_help_lists_every_command_and_exit_code(lcaudit: Run) -> None:
    ran = lcaudit("--help")
    assert ran.code == 0
    for word in (*COMMANDS, "0 ", "1 ", "2 ", "3 ", "130, 143"):
        assert f"\n  {word}" in ran.out
    bare = lcaudit()
    assert (bare.code, bare.out, bare.err) == (2, "", ran.out)


def test_examples_in_the_help_are_command_lines_that_parse() -> None:
    import shlex

    for name in COMMANDS:
        command = plugins.load("lcaudit.cli", name, "COMMAND")
        for example in command.examples:
            called, *arguments = shlex.split(example)
            assert called == name
            above = click.Context(root, info_name="lcaudit", **root.context_settings)
            command.make_context(name, arguments, parent=above)


def test_version(lcaudit: Run) -> None:
    import lcaudit as package

    assert lcaudit("--version").out == f"lcaudit {package.__version__}\n"


def test_rules_lists_every_rule(lcaudit: Run) -> None:
    from lcaudit import rules

    text, data = lcaudit("rules"), lcaudit("rules", "--format", "json")
    assert text.code == data.code == 0
    for rule in rules.all_rules():
        assert any(line.startswith(f"{rule.code}  {rule.severity} ") for line in text.out.splitlines())
    records = serial.parse_json(data.out)
    assert [record["code"] for record in records] == [rule.code for rule in rules.all_rules()]
    assert all(record["limit"]["source"] for record in records)


def test_explain_takes_a_code_a_name_or_a_findings_id(lcaudit: Run) -> None:
    from lcaudit import rules
    from lcaudit.core import figures

    for rule in rules.all_rules():
        pages = [lcaudit("explain", word) for word in (rule.code, rule.name, rule.code.lower(), f"{rule.code}:a.b:c")]
        assert {page.code for page in pages} == {0}
        assert len({page.out for page in pages}) == 1
        page = pages[0].out
        assert page.startswith(f"{rule.code} {rule.name}: ")
        assert f"Severity: {rule.severity}" in page
        assert f"Limit: {figures.limit(rule.limit.value, rule.limit.unit)}." in page
        assert max(map(len, page.splitlines())) <= 120


def _fresh(*arguments: str, then: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A new interpreter runs the command line, then ``then``."""
    code = f"import sys\nfrom lcaudit.cli import main\ncode = main({list(arguments)!r})\n{then}\nsys.exit(code)"
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, env={**kept, **environment})


@pytest.fixture(scope="module")
def finished(kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report.json, written by a fresh interpreter through ``python -m lcaudit``."""
    folder = tmp_path_factory.mktemp("finished")
    done = subprocess.run(
        [sys.executable, "-m", "lcaudit", *kit.arguments, "-o", str(folder), "-q"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "report.json"


@pytest.mark.parametrize("command", [["--help"], ["check", "--help"], ["rules"], ["explain", "LC301"], ["report"]])
def test_nothing_but_measuring_imports_torch(finished: Path, command: list[str]) -> None:
    arguments = [*command, str(finished)] if command == ["report"] else command
    done = _fresh(*arguments, then="print([m for m in ('torch', 'safetensors') if m in sys.modules], file=sys.stderr)")
    assert (done.returncode, done.stderr) == (0, b"[]\n")
    assert done.stdout


@pytest.mark.parametrize("form", formats())
def test_programs_get_utf8_and_every_terminal_gets_a_report(finished: Path, form: str) -> None:
    plain, ascii_only, western = (
        _fresh("report", str(finished), "--format", form, PYTHONIOENCODING=encoding)
        for encoding in ("utf-8", "ascii:strict", "cp1252:strict")
    )
    assert {done.returncode for done in (plain, ascii_only, western)} == {0}
    assert "κ" in plain.stdout.decode("utf-8") or form in ("concise", "github", "gitlab", "junit", "sarif")
    if form == "text":
        assert b"\\u03ba" in western.stdout and "κ" not in western.stdout.decode("cp1252")
    else:
        assert plain.stdout == ascii_only.stdout == western.stdout


def test_one_report_whatever_the_interpreter(kit, finished: Path, lcaudit: Run) -> None:
    """Hash seeds, imports and everything else that differs between two processes leave no trace."""
    lcaudit(*kit.arguments, "-q")
    here, there = (json.loads(path.read_text()) for path in (Path("lcaudit-report/report.json"), finished))
    assert here.pop("run").keys() == there.pop("run").keys()
    assert json.dumps(here) == json.dumps(there)
