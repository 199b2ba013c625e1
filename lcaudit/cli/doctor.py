"""``lcaudit doctor``: whether this installation can audit, and what to type where it cannot."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import click

import lcaudit
from lcaudit.cli import _config_file as config
from lcaudit.cli._help import Command
from lcaudit.cli._settings import setting_options
from lcaudit.cli._streams import show
from lcaudit.core import plugins
from lcaudit.core.errors import AuditError
from lcaudit.core.gate import EXIT_NO_VERDICT, EXIT_PASS
from lcaudit.core.text import count, display_name

_REQUIREMENT = re.compile(
    r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?(?:;.*extra\s*==\s*['\"]([\w-]+)['\"].*)?$"
)
#: Extras for those who work on lcaudit itself.
_OURS = ("test", "oracle", "browser")
#: Variables that are no settings.
_OTHER_VARIABLES = ("LCAUDIT_CONFIG", "LCAUDIT_NO_CONFIG", "LCAUDIT_DATA", "LCAUDIT_DEBUG")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at: ``ok``, ``note`` (fine, good to know) or ``problem``, and what to do."""

    state: str
    what: str
    do: str = ""


@click.command(name="doctor", cls=Command, short_help="Examine this installation.", examples=("doctor",))
def COMMAND() -> int:
    """Look at versions, extras, devices, configuration, environment and cache.

    The exit code is 2 where something keeps lcaudit from auditing. Nothing is downloaded.
    """
    lines = [*_versions(), *_devices(), *_configuration(), *_variables(), *_hub()]
    shown = [f"{one.state:<8} {one.what}" + (f": {one.do}" if one.do else "") for one in lines]
    problems = sum(one.state == "problem" for one in lines)
    verdict = count(problems, "problem") if problems else "ready"
    show("\n".join([*shown, "", f"{verdict}; `lcaudit demo` makes a first report offline"]))
    return EXIT_NO_VERDICT if problems else EXIT_PASS


def _versions() -> Iterator[Line]:
    yield Line("ok", f"lcaudit {lcaudit.__version__}, Python {platform.python_version()}, {platform.system()}")
    try:
        wanted = metadata.requires("lcaudit") or []
    except metadata.PackageNotFoundError:
        yield Line("problem", "lcaudit is not installed as a package", "type: pip install .")
        return
    extras: dict[str, list[Line]] = {}
    for requirement in wanted:
        match = _REQUIREMENT.match(requirement)
        if match is None:
            continue
        name, specifier, extra = match[1], match[2].strip(), match[3]
        line = _package(name, specifier, extra)
        if extra is None:
            yield line
        elif extra not in _OURS:
            extras.setdefault(extra, []).append(line)
    for extra, found in sorted(extras.items()):
        missing = [line for line in found if line.state != "ok"]
        if missing:
            yield Line("note", f"extra {extra}: {missing[0].what}", f"type: pip install 'lcaudit[{extra}]'")
        else:
            yield Line("ok", f"extra {extra}: " + ", ".join(line.what for line in found))


def _package(name: str, specifier: str, extra: str | None) -> Line:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Line("problem", f"{name} is not installed", f"type: pip install '{name}{specifier}'")
    if not fits(version, specifier):
        return Line("problem", f"{name} {version}, needs {specifier}", f"type: pip install '{name}{specifier}'")
    return Line("ok", f"{name} {version}")


def fits(version: str, specifier: str) -> bool:
    """Whether a version meets bounds like ``>=2.10,<3``; other kinds of bounds are taken to be met."""
    here = _numbers(version)
    for bound in specifier.split(","):
        match = re.match(r"\s*(>=|<)\s*([\d.]+)", bound)
        if match:
            there = _numbers(match[2])
            width = max(len(here), len(there))
            padded = [(*one, *[0] * (width - len(one))) for one in (here, there)]
            if (padded[0] >= padded[1]) != (match[1] == ">="):
                return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)


def _devices() -> Iterator[Line]:
    try:
        from lcaudit.core.machine import choose_device, environment

        here = environment(choose_device("auto", "float32"))
        yield Line("ok", f"device {display_name(here.device)}, {count(here.threads, 'thread')}")
    except Exception as error:  # a broken installation of torch raises anything
        said = display_name(f"{type(error).__name__}: {error}")
        yield Line("problem", f"torch cannot be imported: {said}", "install torch again")


def _configuration() -> Iterator[Line]:
    try:
        found = config.discover(Path.cwd())
        if found is None:
            yield Line("note", "no configuration file from here upward", "type: lcaudit init, if you want one")
            return
        keys = sorted(config.read(found))
        yield Line("ok", f"configuration {display_name(found)}: {display_name(', '.join(keys)) or 'empty'}")
    except AuditError as error:
        yield Line("problem", f"configuration: {display_name(error.message)}", display_name(error.hint))


def _variables() -> Iterator[Line]:
    settings = setting_options(plugins.load("lcaudit.cli", "check", "COMMAND"))
    known = {*(str(one.envvar) for one in settings), *_OTHER_VARIABLES}
    for name in sorted(name for name in os.environ if name.startswith("LCAUDIT_")):
        if name in known:
            yield Line("ok", f"environment sets {name}")
        else:
            yield Line("note", f"environment: nothing reads {display_name(name)}", config.unknown(name, known))


def _hub() -> Iterator[Line]:
    try:
        from huggingface_hub import constants, get_token
    except Exception as error:  # the same
        yield Line("problem", f"huggingface_hub cannot be imported: {display_name(error)}", "install it again")
        return
    cache = Path(constants.HF_HUB_CACHE)
    nearest = next(folder for folder in (cache, *cache.parents) if folder.exists())
    shown = f"Hub cache {display_name(cache)}"
    if os.access(nearest, os.W_OK):
        yield Line("ok", shown + ("" if cache.exists() else ", not there yet"))
    else:
        yield Line("note", f"{shown} cannot be written", "set HF_HOME to a folder of yours")
    offline = constants.HF_HUB_OFFLINE
    yield Line("ok", f"offline mode is {'on' if offline else 'off'}, a token is {'' if get_token() else 'not '}set")
