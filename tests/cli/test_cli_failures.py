"""Exit codes when something goes wrong: the user's mistake, ours, the machine's, or a signal."""

from __future__ import annotations

import dataclasses
import importlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lcaudit import capture, reports, rules, spectra
from lcaudit.cli import main
from lcaudit.core.errors import AuditError, EnvironmentFailure, LimitExceeded, MalformedInput, UnsafeCheckpoint
from lcaudit.core.interrupts import unwinding
from lcaudit.core.serial import parse_json

Run = Callable[..., object]
posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals of POSIX")


def one_line(ran, code: int, says: str) -> None:
    """The whole answer is one line that says so, perhaps a hint, and the exit code."""
    lines = [line for line in ran.err.splitlines() if not line.startswith(("measuring", "analysing"))]
    assert (ran.code, ran.out) == (code, "")
    assert lines[0].startswith(f"lcaudit: {says}"), ran.err
    assert len(lines) <= 2 and all(line.startswith("  hint: ") for line in lines[1:])
    assert "Traceback" not in ran.err and all(map(str.isprintable, lines))


def nothing_written() -> None:
    assert not list(Path().iterdir())


# The gate


def test_findings_at_or_above_fail_on_exit_with_1(lcaudit: Run, kit) -> None:
    ran = lcaudit(*kit.wrong)
    assert ran.code == 1 and "LC901" in ran.out
    assert lcaudit(*kit.wrong, "--fail-on", "never").code == 0
    assert lcaudit(*kit.wrong, "--ignore", "LC901").code == 0
    assert lcaudit(*kit.arguments).code == 0
    assert lcaudit(*kit.arguments, "--samples", "90", "--fail-on", "info").code == 1  # too few to judge layers
    assert lcaudit(*kit.wrong, "--select", "LC902,LC903").code == 0


def test_an_audit_of_less_than_was_asked_exits_with_3(lcaudit: Run, kit) -> None:
    (kit.folder / "part.py").write_text(
        "import torch\n"
        "class Scale(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(torch.ones(64))\n"
        "    def forward(self, x):\n"
        "        return x * self.weight\n"
        "def make():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), Scale(), torch.nn.Linear(64, 10, bias=False))\n"
        "make.input_shape = (1, 8, 8)\n"
    )
    torch.save({"1.weight": torch.ones(64), "2.weight": torch.randn(10, 64)}, kit.folder / "part.pt")
    arguments = ("check", kit.folder / "part.pt", "--arch", f"{kit.folder}/part.py:make", "--data", "digits")
    arguments += ("--samples", "60", "--ignore", "LC901")
    assert lcaudit(*arguments, "--min-coverage", "0.9").code == 0
    ran = lcaudit(*arguments, "--min-coverage", "0.95")
    assert ran.code == 3
    assert ran.out.splitlines()[-1].startswith("INCOMPLETE")
    assert parse_json(Path("lcaudit-report/report.json").read_text())["gate"]["verdict"] == "incomplete"
    assert lcaudit("report", "lcaudit-report/report.json").code == 3


def test_a_rule_that_crashes_makes_the_audit_incomplete(lcaudit: Run, kit, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rules.all_rules()

    def crash(measurements: object) -> None:
        raise ZeroDivisionError("in a rule")

    broken = tuple(dataclasses.replace(rule, check=crash) if rule.code == "LC303" else rule for rule in real)
    monkeypatch.setattr(rules, "all_rules", lambda: broken)
    ran = lcaudit(*kit.arguments)
    assert ran.code == 3 and "1 check crashed" in ran.out
    assert lcaudit(*kit.wrong).code == 1  # a finding weighs more than a gap


# Mistakes of the user: more of them in test_cli_malformed_inputs.py


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (
            ["model.safetensors"],
            "no command 'model.safetensors'",
            "did you mean `lcaudit check model.safetensors --data",
        ),
        (["./net"], "no command './net'", "did you mean `lcaudit check ./net --data …`?"),
        (["my net.pt"], "no command 'my net.pt'", "did you mean `lcaudit check 'my net.pt' --data …`?"),
        (["existing"], "no command 'existing'", "did you mean `lcaudit check existing --data …`?"),
        (["chek", "a.pt"], "no command 'chek'", "did you mean `lcaudit check`?"),
        (["frobnicate"], "no command 'frobnicate'", "commands: baseline, check, demo"),
        (["a\x1b[31m\n::error::"], "no command ", "commands: "),
        (["--frobnicate"], "No such option", "see `lcaudit --help`"),
        (["check"], "Missing argument 'MODEL'", "see `lcaudit check --help`"),
        (["check", "x"], "Missing option '--data'", "What to run through the network: cifar10"),
        (["check", "x", "--data"], "Option '--data' requires an argument", "see `lcaudit check --help`"),
        (["check", "x", "y", "--data", "digits"], "Got unexpected extra argument (y)", "see `lcaudit check --help`"),
        (["check", "x", "--data", "digits", "--sampels", "3"], "No such option '--sampels'", "`lcaudit check --help`"),
        (["check", "x", "--data", "digits", "--samples", "1"], "Invalid value for '--samples'", ""),
        (["check", "x", "--data", "digits", "--samples", "many"], "Invalid value for '--samples'", ""),
        (["check", "x", "--data", "digits", "--batch-size", "0"], "Invalid value for '--batch-size'", ""),
        (["check", "x", "--data", "digits", "--seed", "-1"], "Invalid value for '--seed'", ""),
        (["check", "x", "--data", "digits", "--dtype", "int8"], "Invalid value for '--dtype'", ""),
        (["check", "x", "--data", "digits", "--device", "tpu"], "Invalid value for '--device'", ""),
        (["check", "x", "--data", "digits", "--fail-on", "fatal"], "Invalid value for '--fail-on'", ""),
        (["check", "x", "--data", "digits", "--min-coverage", "90"], "Invalid value for '--min-coverage'", ""),
        (["check", "x", "--data", "digits", "--min-coverage", "nan"], "Invalid value for '--min-coverage'", ""),
        (["check", "x", "--data", "digits", "--mean", "a,b"], "Invalid value for '--mean'", ""),
        (["check", "x", "--data", "digits", "--format", "pdf"], "Invalid value for '--format'", ""),
        (
            ["check", "x", "--data", "digits", "--export", "page.html"],
            "--export page.html: expected FORMAT=PATH",
            "form",
        ),
        (
            ["check", "x", "--data", "digits", "--export", "pdf=x"],
            "--export pdf=x: there is no format pdf",
            "formats: concise",
        ),
        (
            ["check", "x", "--data", "digits", "--export", "json="],
            "--export json=: expected FORMAT=PATH",
            "formats: concise",
        ),
        (["check", "x", "--data", "digits", "--export", "json=-"], "--export json=-: expected a path", "--format json"),
        (["check", "x", "--data", "digits", "--export", "json=a", "--export", "html=a"], "two reports would be", "own"),
        (
            ["check", "existing", "--data", "digits", "--export", "json=existing"],
            "a report would be written over",
            "pla",
        ),
        (["check", "x", "--data", "existing", "--export", "json=existing"], "a report would be written over", "place"),
        (
            ["check", "x", "--data", "digits", "--arch", "existing:f", "--export", "json=./existing"],
            "a report would",
            "",
        ),
        (["explain"], "Missing argument 'CODE'", "see `lcaudit explain --help`"),
        (["explain", "LC999"], "no rule is called LC999", "LC90"),
        (["explain", "a\x1b]0;x\x07"], "no rule is called a\\x1b]0;x\\x07", ""),
        (["rules", "--format", "xml"], "Invalid value for '--format'", ""),
        (["report"], "Missing argument 'RUN.json'", "see `lcaudit report --help`"),
    ],
)
def test_usage_errors_are_one_line_and_a_hint(lcaudit: Run, arguments: list[str], says: str, hint: str) -> None:
    Path("existing").write_text("precious")
    ran = lcaudit(*arguments)
    one_line(ran, 2, f"error[usage]: {says}")
    assert hint in ran.err.split("\n  hint: ")[1]
    assert [path.name for path in Path().iterdir()] == ["existing"] and Path("existing").read_text() == "precious"


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (b"", "malformed", "not valid JSON"),
        (b"<html>", "malformed", "not valid JSON"),
        (b"\x89PNG\r\n\x1a\n\xff", "malformed", "not UTF-8 text"),
        (b"[]", "malformed", "not an lcaudit report"),
        (b"3", "malformed", "not an lcaudit report"),
        (b"{}", "malformed", "not an lcaudit report"),
        (b'{"schema_version": "2.0"}', "malformed", "schema version 2.0"),
        (b'{"schema_version": {"a": 1}}', "malformed", "schema version"),
        (b'{"schema_version": "1.0"}', "malformed", "report.run is missing"),
        (b'{"schema_version": "1.0", "schema_version": "1.0"}', "malformed", "a key appears twice"),
        (b'{"schema_version": "1.0", "run": NaN}', "malformed", "NaN is not JSON"),
        (b'{"a\\u001b[31m": ' + b"[" * 100_000, "malformed", "nested too deeply"),
        (
            b'{"schema_version": "1.0", "run": {"started_at": 1}}',
            "malformed",
            "report.run.started_at holds a whole number, expected text",
        ),
    ],
    ids=repr,
)
def test_report_of_something_else(lcaudit: Run, tmp_path: Path, content: bytes, kind: str, says: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    ran = lcaudit("report", tmp_path / "run.json", "--export", "html=page.html")
    one_line(ran, 2, f"error[{kind}]: ")
    assert says in ran.err and "run.json: " in ran.err
    nothing_written()


@posix
def test_report_of_no_file_at_all(lcaudit: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent.json", tmp_path, tmp_path / "pipe", "/dev/zero", "", "a" * 5000):
        one_line(lcaudit("report", path), 2, "error[malformed]: ")


def test_a_report_whose_exit_code_was_edited_exits_with_its_verdict(lcaudit: Run, kit) -> None:
    lcaudit(*kit.wrong, "-qq")
    path = Path("lcaudit-report/report.json")
    edited = path.read_text().replace('"exit_code": 1', '"exit_code": 777')
    assert edited != path.read_text()
    path.write_text(edited)
    assert lcaudit("report", path, "-qq").code == 1


# Mistakes of our own, and of the machine


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("a bug\nin \x1b[31mtwo lines"), "error[internal]: RuntimeError: a bug\\x0ain"),
        (AssertionError(), "error[internal]: AssertionError"),
        (EOFError("short"), "error[internal]: EOFError: short"),
        (StopIteration(), "error[internal]: StopIteration"),
        (KeyError("x"), "error[internal]: KeyError: 'x'"),
        (RecursionError("too deep"), "error[internal]: RecursionError"),
        (MemoryError(), "error[environment]: memory ran out with 1 sample a pass on cpu"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried"),
            "error[environment]: memory ran out with 1 sample a pass on cpu",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            "error[environment]: memory ran out with 1 sample a pass on cpu",
        ),
        (OSError(5, "Input/output error", "some/file"), "error[environment]: some/file: Input/output error"),
        (AuditError("seen, expected", "do this"), "error[usage]: seen, expected"),
        (UnsafeCheckpoint("needs os.system"), "error[refused]: needs os.system"),
        (MalformedInput("x"), "error[malformed]: x"),
        (LimitExceeded("x"), "error[limit]: x"),
        (EnvironmentFailure("x"), "error[environment]: x"),
        (KeyboardInterrupt(), "interrupted: no report is half-written"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_failure_in_the_middle_of_measuring(lcaudit: Run, kit, monkeypatch, error: BaseException, says: str) -> None:
    real, seen = capture.measure, []

    def measure(*arguments, progress, **options):
        def stop(done: int, total: int) -> None:
            progress(done, total)
            seen.append(done)
            if done > total / 2:
                raise error

        return real(*arguments, progress=stop, **options)

    monkeypatch.setattr(capture, "measure", measure)
    ran = lcaudit(*kit.arguments)
    again = "memory ran out" in says  # with ever fewer samples a pass
    assert (len(seen) > 20) if again else (1 < len(seen) < 10)
    one_line(ran, 130 if isinstance(error, KeyboardInterrupt) else 2, says)
    nothing_written()


def test_the_network_is_left_as_found_by_an_interruption(lcaudit: Run, kit, monkeypatch: pytest.MonkeyPatch) -> None:
    real, networks = capture.measure, []

    def measure(network, *arguments, progress, **options):
        network.module.train().requires_grad_(True)
        networks.append(network.module)
        return real(
            network, *arguments, progress=lambda done, total: (_ for _ in ()).throw(KeyboardInterrupt), **options
        )

    monkeypatch.setattr(capture, "measure", measure)
    assert lcaudit(*kit.arguments).code == 130
    (module,) = networks
    assert all(part.training and not part._forward_hooks for part in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_an_interruption_does_not_wait_for_the_layers_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled, analysed = threading.Event(), []

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            cancelled.set()
            super().shutdown(wait=wait)

    def analyse(layers: list[int]) -> list[int]:
        analysed.extend(layers)
        assert layers == [0] or cancelled.wait(60)
        return layers

    def interrupted(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    pipeline = importlib.import_module("lcaudit.audit")
    monkeypatch.setattr(pipeline, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(spectra, "by_input", lambda layers: [[layer] for layer in layers])
    with pytest.raises(KeyboardInterrupt):
        pipeline._analyse(SimpleNamespace(layers=range(100)), SimpleNamespace(analyse=analyse), interrupted)
    assert len(analysed) <= 3


def test_a_traceback_is_shown_on_request_only(lcaudit: Run, kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(capture, "measure", fail)
    ran = lcaudit(*kit.arguments)
    one_line(ran, 2, "error[internal]: RuntimeError: a bug")
    assert "please report it; LCAUDIT_DEBUG=1 shows where" in ran.err
    monkeypatch.setenv("LCAUDIT_DEBUG", "1")
    ran = lcaudit(*kit.arguments)
    assert ran.code == 2 and "Traceback" in ran.err and "lcaudit: error[internal]: RuntimeError: a bug" in ran.err


@pytest.mark.parametrize(("debug", "shown"), [("", False), ("1", True)])
def test_python_warnings_are_shown_on_request_only(lcaudit: Run, kit, monkeypatch, debug: str, shown: bool) -> None:
    real = capture.measure

    def measure(*arguments, **options):
        warnings.warn("deprecated", FutureWarning, stacklevel=1)
        return real(*arguments, **options)

    monkeypatch.setattr(capture, "measure", measure)
    monkeypatch.setenv("LCAUDIT_DEBUG", debug)
    monkeypatch.setattr(sys, "argv", ["lcaudit", *kit.arguments, "-q"])
    if shown:
        with pytest.warns(FutureWarning, match="deprecated"):
            assert main() == 0
    else:
        assert main() == 0


def test_a_format_that_crashes_leaves_no_other_report(lcaudit: Run, kit, monkeypatch: pytest.MonkeyPatch) -> None:
    real = reports.render

    def render(report, form, **options):
        if form == "json":
            raise ZeroDivisionError
        return real(report, form, **options)

    monkeypatch.setattr(reports, "render", render)
    one_line(lcaudit(*kit.arguments), 2, "error[internal]: ZeroDivisionError")
    nothing_written()


def test_it_can_be_called_outside_the_main_thread(lcaudit: Run) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["rules"])))
    thread.start()
    thread.join()
    assert codes == [0]


# Places that cannot be written


@posix
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["-o", "file"], "cannot write file/report.html: file is not a folder"),
        (["-o", "file/below"], "cannot write file/below/report.html: file is not a folder"),
        (["--no-output", "--export", "html=folder"], "cannot write folder: it is a folder"),
        (["--no-output", "--export", "html=file/x"], "cannot write file/x: file is not a folder"),
        (["--no-output", "--export", "html=" + "n" * 300], "cannot write nnn"),
        (["-o", ""], "two reports"),
        (["-o", "nowhere"], "cannot write nowhere/report.html: nowhere is a link that leads nowhere"),
        (["-o", "nowhere/below"], "cannot write nowhere/below/report.html: nowhere is a link that leads nowhere"),
        (["-o", "/proc/none"], "cannot write /proc/none/report.html: no such device"),
    ],
)
def test_a_place_that_cannot_be_written_is_said_before_measuring(
    lcaudit: Run, kit, monkeypatch: pytest.MonkeyPatch, flags: list[str], says: str
) -> None:
    monkeypatch.setattr(capture, "measure", lambda *arguments, **options: pytest.fail("it measured"))
    Path("file").write_text("precious")
    Path("folder").mkdir()
    Path("nowhere").symlink_to("not there")
    if flags == ["-o", ""]:  # an empty name is the working folder
        flags, says = ["-o", "", "--export", "json=report.html"], "two reports would be written to report.html"
    ran = lcaudit(*kit.arguments, *flags)
    assert ran.code == 2 and f"]: {says}" in ran.err and len(ran.err.splitlines()) == 2
    assert sorted(path.name for path in Path().iterdir()) == ["file", "folder", "nowhere"]
    assert Path("file").read_text() == "precious"


@posix
def test_a_full_disk_leaves_nothing(lcaudit: Run, kit) -> None:
    ran = lcaudit(*kit.arguments, "-q", "--export", "json=/dev/full")
    alone = dataclasses.replace(ran, out="")
    one_line(alone, 2, "error[environment]: cannot write /dev/full: No space left on device; nothing was written")
    nothing_written()


@posix
@pytest.mark.parametrize("quiet", [(), ("-qq",)])
def test_a_report_that_cannot_be_written_is_printed(lcaudit: Run, kit, quiet: tuple[str, ...]) -> None:
    """Measuring took long, and what it found is nowhere else."""
    ran = lcaudit(*kit.arguments, *quiet, "--no-output", "--export", "html=/dev/full")
    assert ran.code == 2 and ran.out.endswith("PASS (fail-on: error)\n")
    ran = lcaudit(*kit.arguments, *quiet, "--no-output", "--export", "html=/dev/full", "--format", "json")
    assert ran.code == 2 and parse_json(ran.out)["gate"]["verdict"] == "pass"


# Standard output and standard error as they come; signals


@pytest.fixture(scope="module")
def finished(kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report.json of an audit that failed."""
    folder = tmp_path_factory.mktemp("finished")
    assert main([*kit.wrong, "-o", str(folder), "-qq"]) == 1
    return folder / "report.json"


def apart(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """``lcaudit *arguments`` in a process of its own."""
    return subprocess.run([sys.executable, "-m", "lcaudit", *arguments], stderr=subprocess.PIPE, text=True, **options)


@posix
def test_a_reader_that_goes_away_changes_neither_files_nor_verdict(finished: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = apart("report", str(finished), "--export", f"html={tmp_path / 'page.html'}", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, f"written: {tmp_path / 'page.html'}\n")
    assert (tmp_path / "page.html").read_text().endswith("</html>")


@posix
@pytest.mark.parametrize("arguments", [["rules"], ["explain", "LC301"], ["check", "--help"], ["report"]], ids=str)
def test_standard_output_that_is_full_is_one_line(finished: Path, arguments: list[str]) -> None:
    more = [str(finished)] if arguments == ["report"] else []
    with Path("/dev/full").open("wb") as full:
        done = apart(*arguments, *more, stdout=full)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith("lcaudit: error[environment]: ") and "No space left on device" in lines[0]
    assert len(lines) == 2 and lines[1].startswith("  hint: ")


@posix
@pytest.mark.parametrize("streams", ["1>&-", "1>&- 2>&-", "2>/dev/full"])
def test_streams_that_are_closed_or_full_change_neither_files_nor_verdict(kit, tmp_path: Path, streams: str) -> None:
    arguments = ["report", str(kit.folder / "finished" / "report.json")] if streams == "1>&-" else list(kit.arguments)
    if streams == "1>&-":
        assert main([*kit.arguments, "-o", str(kit.folder / "finished"), "-qq"]) == 0
    command = shlex.join([sys.executable, "-m", "lcaudit", *arguments, "--export", f"html={tmp_path / 'page.html'}"])
    done = subprocess.run(["/bin/sh", "-c", f"exec {command} {streams}"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr + done.stdout and "ignored" not in done.stderr
    assert (tmp_path / "page.html").read_text().endswith("</html>")
    if streams == "2>/dev/full":
        assert done.stdout.endswith("PASS (fail-on: error)\n")


#: The real measuring run, told to say when it is in the middle and to go on until it is stopped.
IN_THE_MIDDLE = """
import itertools, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have had it ignored
from lcaudit import capture
from lcaudit.cli import main
real = capture.measure

def measure(*arguments, progress, **options):
    def slow(done, total):
        progress(done, total)
        if done > total / 2:
            print("in the middle", file=sys.stderr, flush=True)
            for _ in itertools.count():
                signal.pause() if {pause} else None

    return real(*arguments, progress=slow, **options)

capture.measure = measure
sys.exit(main({arguments!r}))
"""


@posix
@pytest.mark.parametrize(
    ("number", "code", "word", "pause"),
    [(signal.SIGINT, 130, "interrupted", False), (signal.SIGTERM, 143, "terminated", True)],
    ids=["SIGINT while busy", "SIGTERM while waiting"],
)
def test_a_signal_stops_it_and_leaves_nothing(
    kit, tmp_path: Path, number: signal.Signals, code: int, word: str, pause: bool
) -> None:
    arguments = [*kit.arguments, "-o", str(tmp_path / "out"), "--export", f"json={tmp_path / 'out.json'}"]
    script = IN_THE_MIDDLE.format(pause=pause, arguments=arguments)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line == "in the middle\n":
            process.send_signal(number)
            break
    out, rest = process.communicate()
    assert (process.returncode, out) == (code, ""), "".join(said) + rest
    assert rest == f"lcaudit: {word}: no report is half-written\n"
    assert not list(tmp_path.iterdir())


#: Stands for a library whose import swallows whatever is raised in it; in C++ it would abort the process.
SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.{name})
except BaseException:
    pass
raise SystemExit("went on")
"""


@posix
@pytest.mark.parametrize(("name", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
@pytest.mark.parametrize("module", ["torch", "click"])
def test_a_signal_while_a_module_is_imported_ends_it_at_once(
    tmp_path: Path, module: str, name: str, code: int, word: str
) -> None:
    (tmp_path / f"{module}.py").write_text(SWALLOWS.format(name=name))
    places = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    # sys.path[0] of -m is the working folder; a parent may have had SIGINT ignored
    start = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    start += "runpy.run_module('lcaudit', run_name='__main__', alter_sys=True)"
    done = subprocess.run(
        [sys.executable, "-c", start, "check", "x", "--data", "y"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": places},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == f"lcaudit: {word}: no report is half-written\n"


@posix
def test_an_ignored_interrupt_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with unwinding():
            os.kill(os.getpid(), signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
