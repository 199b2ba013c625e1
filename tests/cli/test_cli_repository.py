"""What other repositories use: the action, the hooks, the templates, ``init`` and ``doctor``."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml

from lcaudit.cli import doctor, root
from lcaudit.cli.check import COMMAND
from lcaudit.core import plugins
from lcaudit.core.templates import folder

Run = Callable[..., object]
ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
OWNED = "$(touch owned)`touch owned`;touch owned;\"'&|${{ github.token }}"


def template(name: str) -> str:
    return (folder() / "init" / name).read_text(encoding="utf-8")


def parses(line: str) -> click.Context:
    """The command line is one of ours, with options that exist."""
    program, command, *arguments = shlex.split(line)
    assert program == "lcaudit" and command in plugins.names("lcaudit.cli")
    loaded = plugins.load("lcaudit.cli", command, "COMMAND")
    return loaded.make_context(command, arguments, parent=below_root())


def below_root() -> click.Context:
    """What every command runs in; without it click would remember a --help of its own."""
    return click.Context(root, info_name="lcaudit", **root.context_settings)


def commands(value: object) -> list[str]:
    """Every ``lcaudit`` command line in a YAML document."""
    if isinstance(value, dict):
        return [line for item in value.values() for line in commands(item)]
    if isinstance(value, list):
        return [line for item in value for line in commands(item)]
    return [line for line in str(value).splitlines() if line.strip().startswith("lcaudit ")]


# The action


def test_no_input_is_text_of_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        if "run" in step:
            assert step["shell"] == "bash"
        else:
            assert re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", step["uses"]), "pinned to a commit"


def test_inputs_and_outputs_are_all_used_and_all_declared() -> None:
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    written = set(re.findall(r'echo "([\w-]+)=', STEPS["Audit"]["run"]))
    assert written == set(ACTION["outputs"]) == set(re.findall(r"outputs\.([\w-]+) \}\}\n  ?", text)) | written
    assert all(one["description"] for one in (*ACTION["inputs"].values(), *ACTION["outputs"].values()))
    passed = {name for step in STEPS.values() for name in step.get("env", {})}
    used = {name for step in STEPS.values() for name in re.findall(r"INPUT_\w+", step.get("run", ""))}
    assert used == {name for name in passed if name.startswith("INPUT_")}
    assert not any(name.startswith("LCAUDIT_") for name in passed), "those are settings"


def stubbed(folder: Path, script: str) -> Path:
    """A virtual environment whose lcaudit is ``script`` and whose Python is this one."""
    bin = folder / "lcaudit-venv/bin"
    bin.mkdir(parents=True)
    (bin / "lcaudit").write_text(f"#!/bin/bash\n{script}\n")
    (bin / "lcaudit").chmod(0o755)
    (bin / "python").symlink_to(sys.executable)
    return folder


def audit_step(work: Path, runner: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str], str]:
    """Run the action's audit step as a runner does; its result, outputs and summary."""
    defaults = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
    given = {f"INPUT_{name.upper().replace('-', '_')}": value for name, value in defaults.items()}
    given |= {f"INPUT_{name.upper()}": value for name, value in inputs.items()}
    names = STEPS["Audit"]["env"]
    output, summary = runner / "output", runner / "summary"
    output.write_text("")
    summary.write_text("")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LCAUDIT_")}
    environment |= {name: given[name] for name in names}
    environment |= {"RUNNER_TEMP": str(runner), "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    script = runner / "step.sh"
    script.write_text(STEPS["Audit"]["run"])
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=work, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    lines = [line.split("=", 1) for line in output.read_text().splitlines()]
    return done, dict(lines), summary.read_text()


ECHO = 'printf "%s\\n" "$@"; mkdir -p lcaudit-report; echo "# summary" > lcaudit-report/summary.md; exit "${CODE:-0}"'


@pytest.mark.parametrize("name", ["model", "data", "preset", "fail_on", "config"])
def test_hostile_inputs_are_one_word_each(tmp_path: Path, name: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    done, outputs, _ = audit_step(work, stubbed(tmp_path / "runner", ECHO), **{"model": "m.pt", name: OWNED})
    assert done.returncode == 0, done.stderr
    assert OWNED in done.stdout.splitlines() and not (work / "owned").exists()
    assert outputs["verdict"] == "pass"


def test_args_are_split_and_never_run(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    arguments = "--samples 90 --layers 'a b' $(touch owned) `touch owned` --seed 1; touch owned"
    done, _, _ = audit_step(work, stubbed(tmp_path / "runner", ECHO), model="-m.pt", args=arguments)
    words = done.stdout.splitlines()
    assert words[0] == "check" and words[-2:] == ["--", "-m.pt"] and not (work / "owned").exists()
    assert (
        words[-13:-2]
        == [
            *("--samples", "90", "--layers", "a b", "$(touch", "owned)", "`touch", "owned`"),
            *("--seed", "1;", "touch", "owned"),
        ][-11:]
    )


def test_args_that_cannot_be_split_stop_the_step(tmp_path: Path) -> None:
    done, outputs, _ = audit_step(tmp_path, stubbed(tmp_path / "runner", ECHO), model="m", args="'open")
    assert done.returncode != 0 and outputs == {}


@pytest.mark.parametrize(("code", "verdict"), [(0, "pass"), (1, "fail"), (2, "none"), (3, "incomplete"), (143, "none")])
def test_the_verdict_follows_the_exit_code_and_the_last_step_fails_with_it(tmp_path: Path, code, verdict) -> None:
    stub = ECHO.replace("${CODE:-0}", str(code))
    done, outputs, summary = audit_step(tmp_path, stubbed(tmp_path / "runner", stub), model="m.pt")
    assert done.returncode == 0 and (outputs["verdict"], outputs["exit-code"]) == (verdict, str(code))
    assert summary == ("# summary\n" if verdict != "none" else "")
    gate = subprocess.run(["bash", "-c", STEPS["Gate"]["run"]], env={**os.environ, "CODE": outputs["exit-code"]})
    assert gate.returncode == code


@pytest.mark.parametrize("inputs", [{}, {"data": "digits", "fail_on": "warning", "config": "none"}], ids=str)
def test_the_step_calls_check_with_options_that_exist(tmp_path: Path, inputs: dict[str, str]) -> None:
    done, _, _ = audit_step(tmp_path, stubbed(tmp_path / "runner", ECHO), model="m.pt", **inputs)
    command, *words = done.stdout.splitlines()
    assert command == "check"
    context = COMMAND.make_context("check", [*words[:-2], "--data", "digits", *words[-2:]], parent=below_root())
    assert str(context.params["model"]) == "m.pt"
    assert [export.split("=")[0] for export in context.params["exports"]] == ["sarif", "markdown"]


def test_the_action_audits(tmp_path: Path, kit) -> None:
    """The whole step on a real network: annotations, files, outputs, summary."""
    work = tmp_path / "work"
    work.mkdir()
    main = f'exec {sys.executable} -c "import sys; from lcaudit.cli import main; sys.exit(main())" "$@"'
    model, *rest = kit.wrong[1:]
    arguments = shlex.join([*rest, "--no-config", "--samples", "200"])
    done, outputs, summary = audit_step(work, stubbed(tmp_path / "runner", main), model=model, args=arguments)
    assert done.returncode == 0, done.stderr
    assert outputs["verdict"] == "fail" and outputs["exit-code"] == "1"
    assert "::error file=" in done.stdout and summary.startswith("## lcaudit: FAIL")
    for name in ("report-html", "report-json", "report-sarif"):
        assert (work / outputs[name]).is_file()


# Hooks and templates


def test_hooks_call_commands_that_exist() -> None:
    assert [hook["id"] for hook in HOOKS] == ["lcaudit", "lcaudit-system"]
    for hook in HOOKS:
        context = parses(f"{hook['entry']} model.safetensors --data digits")
        assert context.params["no_output"] and context.params["form"] == "concise"
        assert hook["require_serial"] and hook["pass_filenames"] is False and hook["stages"] == ["pre-push", "manual"]
        pattern = re.compile(hook["files"])
        assert pattern.search("nets/a.safetensors") and pattern.search("lcaudit.toml")
        assert not pattern.search("notes.md")
    assert HOOKS[1]["language"] == "unsupported" and HOOKS[1]["minimum_pre_commit_version"] == "4.4.0"


@pytest.mark.parametrize("name", ["lcaudit.github.yml", "lcaudit.gitlab-ci.yml"])
def test_templates_call_commands_that_exist(name: str) -> None:
    document = yaml.safe_load(template(name))
    (line,) = commands(document)
    context = parses(line.replace(" -- ", " --data digits -- "))
    assert str(context.params["model"]) == "$MODEL"
    written = {str(path).partition("=")[2] for path in context.params["exports"]}
    assert all(path.startswith("lcaudit-report/") for path in written)
    if name == "lcaudit.github.yml":
        assert document["permissions"] == {"contents": "read"}
        steps = document["jobs"]["audit"]["steps"]
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
        assert not any("${{" in step.get("run", "") for step in steps)
    else:
        reports = document["lcaudit"]["artifacts"]["reports"]
        assert set(reports.values()) <= written and document["lcaudit"]["artifacts"]["when"] == "always"


def test_the_template_of_settings_is_read_by_check(lcaudit: Run) -> None:
    text = template("lcaudit.toml")
    assert tomllib.loads(text) == {"data": "digits", "fail-on": "error"}
    Path("lcaudit.toml").write_text(text)
    assert lcaudit("check", "--show-settings").code == 0
    everything = re.sub(r"(?m)^# (?=\[|\"|rule|layer|reason|until)", "", text)
    assert {"suppress", "per-layer-ignores"} <= tomllib.loads(everything).keys()
    Path("lcaudit.toml").write_text(everything)
    assert "pruned on purpose, until 2027-06-30" in lcaudit("check", "--show-settings").out


# init


@pytest.mark.parametrize(
    ("ci", "place"), [("none", None), ("github", ".github/workflows/lcaudit.yml"), ("gitlab", "lcaudit.gitlab-ci.yml")]
)
def test_init_writes_what_check_and_the_service_read(lcaudit: Run, ci: str, place: str | None) -> None:
    name = 'a net\'s "best" \\ #1: é.pt'
    ran = lcaudit("init", "--ci", ci, "--model", name, "--data", name)
    assert ran.code == 0 and ran.err.startswith("written: lcaudit.toml")
    assert tomllib.loads(Path("lcaudit.toml").read_text(encoding="utf-8"))["data"] == name
    found = sorted(str(path) for path in Path().rglob("*") if path.is_file())
    assert found == sorted(["lcaudit.toml", *([place] if place else [])])
    if place:
        document = yaml.safe_load(Path(place).read_text(encoding="utf-8"))
        job = document["jobs"]["audit"]["env"] if ci == "github" else document["lcaudit"]["variables"]
        assert job["MODEL"] == name


@pytest.mark.parametrize("taken", ["lcaudit.toml", ".github/workflows/lcaudit.yml"])
def test_init_overwrites_nothing_and_writes_nothing_then(lcaudit: Run, taken: str) -> None:
    Path(taken).parent.mkdir(parents=True, exist_ok=True)
    Path(taken).symlink_to("nowhere")
    ran = lcaudit("init", "--ci", "github")
    assert ran.code == 2 and f"{taken} exists and is not overwritten" in ran.err
    assert [path for path in Path().rglob("*") if not path.is_dir()] == [Path(taken)]


@pytest.mark.parametrize("value", ["${{ secrets.X }}", "$CI_TOKEN", "a\nb: c", "\x1b[2J", ""])
def test_init_writes_no_value_that_a_service_would_read_as_more_than_text(lcaudit: Run, value: str) -> None:
    for option in ("--model", "--data"):
        ran = lcaudit("init", "--ci", "gitlab", option, value)
        assert ran.code == 2 and not list(Path().iterdir())
        assert all(map(str.isprintable, ran.err.splitlines()))


def test_a_repository_from_init_to_a_green_gate_and_a_red_one(lcaudit: Run, kit) -> None:
    """init → check with its settings passes; with wrong labels it fails; suppressed with a reason it passes again."""
    shutil.copy(kit.folder / "right.npz", "probe.npz")
    shutil.copy(kit.folder / "model.safetensors", "model.safetensors")
    assert lcaudit("init", "--data", "probe.npz").code == 0
    rest = ("--arch", f"{kit.folder / 'network.py'}:make", "--mean", "0.5", "--std", "0.25")
    green = lcaudit("check", "model.safetensors", *rest, "--format", "sarif")
    assert green.code == 0 and '"uri": "model.safetensors"' in green.out
    shutil.copy(kit.folder / "wrong.npz", "probe.npz")
    assert lcaudit("check", "model.safetensors", *rest).code == 1
    with Path("lcaudit.toml").open("a") as stream:
        stream.write('\n[[suppress]]\nrule = "LC901"\nreason = "labels are being mended"\nuntil = 2999-01-01\n')
    eased = lcaudit("check", "model.safetensors", *rest)
    assert eased.code == 0 and "labels are being mended" in eased.out


# doctor


def test_doctor_names_versions_extras_device_configuration_and_cache(lcaudit: Run, monkeypatch) -> None:
    Path("lcaudit.toml").write_text('data = "digits"')
    monkeypatch.setenv("LCAUDIT_SAMPELS", "3")
    ran = lcaudit("doctor")
    assert ran.code == 0, ran.out
    lines = ran.out.splitlines()
    assert all(re.match(r"(ok|note|problem) ", line) for line in lines[:-2]) and lines[-1].startswith("ready")
    for word in ("torch 2.", "extra vision: ", "device ", "lcaudit.toml: data", "Hub cache", "offline mode"):
        assert word in ran.out, word
    assert "nothing reads LCAUDIT_SAMPELS: did you mean LCAUDIT_SAMPLES" in ran.out


def test_doctor_says_what_to_type_where_something_is_wrong(lcaudit: Run, monkeypatch) -> None:
    Path("lcaudit.toml").write_text("broken =")
    wanted = ["torch>=99", "absent-package>=1,<2", 'pillow>=99; extra == "vision"', 'pytest; extra == "test"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: wanted)
    ran = lcaudit("doctor")
    assert ran.code == 2
    assert re.search(r"problem  torch \S+, needs >=99: type: pip install 'torch>=99'", ran.out)
    assert "problem  absent-package is not installed: type: pip install 'absent-package>=1,<2'" in ran.out
    assert re.search(r"note     extra vision: pillow .*: type: pip install 'lcaudit\[vision\]'", ran.out)
    assert "problem  configuration: " in ran.out and "not valid TOML" in ran.out
    assert " pytest " not in ran.out and ran.out.splitlines()[-1].startswith("3 problems")


@pytest.mark.parametrize(
    ("version", "specifier", "met"),
    [
        ("2.10.0", ">=2.10", True),
        ("2.9.1", ">=2.10", False),
        ("2.13.0+cpu", ">=2.10", True),
        ("3.0", ">=1.26,<3", False),
        ("2.99", "<3,>=1.26", True),
        ("1", "", True),
        ("9", ">=9.0.0", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, specifier: str, met: bool) -> None:
    assert doctor.fits(version, specifier) == met
