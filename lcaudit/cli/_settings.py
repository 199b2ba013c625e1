"""Settings of a command from its line, the environment, a configuration file, a preset, and the defaults.

The options are the one definition: every option that is a setting is a key of the file and a variable
``LCAUDIT_…`` of the environment. The first place in the list above that names a setting decides it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from lcaudit.cli import _config_file as config
from lcaudit.cli._help import Command, Option, option
from lcaudit.core.errors import UsageError
from lcaudit.core.outcomes import Suppression
from lcaudit.core.text import count, display_name

F = TypeVar("F", bound=Callable[..., Any])
_META = "lcaudit.settings"
#: Headings of `lcaudit check` whose options say how it measures.
MEASURING = ("Probe", "Network", "Hub", "Measurement", "Curvature")
#: What the presets set, by key: what is worth spending, never what the gate demands.
PRESETS: Mapping[str, Mapping[str, str]] = {
    "quick": {"samples": "1000"},
    "ci": {"samples": "auto", "format": "concise", "color": "never"},
    "full": {"mc-samples": "4", "exact": "ggn"},
}
_ALLOWED = "a file that was found may tighten and never loosen: name it with --config, or use the command line"


@dataclass(frozen=True, slots=True)
class Settings:
    """What stands beside the command line.

    Attributes:
        file: how the configuration file is called in reports, ``""`` without one. how: why it was read.
        values: key → what the file says, in the form of a command line. preset: the preset's name, or ``""``.
    """

    file: str = ""
    how: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    preset: str = ""
    suppressions: tuple[Suppression, ...] = ()
    notes: tuple[str, ...] = ()

    def source(self, ctx: click.Context, parameter: Option) -> str:
        """Where the setting comes from."""
        match ctx.get_parameter_source(str(parameter.name)):
            case ParameterSource.COMMANDLINE:
                return "command line"
            case ParameterSource.ENVIRONMENT:
                return f"environment, {parameter.envvar}"
            case ParameterSource.DEFAULT_MAP:
                return self.file if parameter.key in self.values else f"preset {self.preset}"
        return "default"

    def notices(self, ctx: click.Context) -> tuple[str, ...]:
        """What a report says about the file, what it set and how much it suppresses, and about the environment.

        Paths would tell of a machine, and so are named without their values.
        """
        every = [(one, self.source(ctx, one)) for one in setting_options(ctx.command)]
        parts = [", ".join(_told(ctx, one) for one, source in every if self.file and source == self.file)]
        parts += [count(len(self.suppressions), "suppression")] * bool(self.suppressions)
        outside = [_told(ctx, one) for one, source in every if source.startswith("environment")]
        said = [f"settings from {self.file}: {'; '.join(filter(None, parts))}"] if self.file and any(parts) else []
        said += [f"settings from the environment: {', '.join(outside)}"] if outside else []
        return (*said, *self.notes)

    def table(self, ctx: click.Context) -> str:
        """Every setting with its value and where it comes from, in lines."""
        rows = [
            (one.key, _shown(ctx.params.get(str(one.name), self.preset or None)), self.source(ctx, one))
            for one in setting_options(ctx.command)
        ]
        widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
        lines = [f"configuration: {self.file or 'none'}" + (f", {self.how}" if self.how else ""), ""]
        lines += [f"{key:<{widths[0]}}  {value:<{widths[1]}}  {source}" for key, value, source in rows]
        for one in self.suppressions:
            until = f", until {one.until}" if one.until else ""
            place = f" on {display_name(one.layer)}" if one.layer else ""
            reason = display_name(one.reason)
            lines.append(f"suppress {display_name(one.rule)}{place}: {reason}{until}  {display_name(one.source)}")
        return "\n".join([*lines, *self.notes])


class Measures(Command):
    """A command that measures as ``lcaudit check`` does here: what the configuration says of that holds for it too.

    ``like`` (set where the measuring options are added): the command whose settings the file holds.
    """

    like: Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the configuration first, and take from it what this command has too."""
        given = _given(self, ctx, args)
        if given is not None:
            settings = _load(self.like, ctx, {}, _places(self, given))
            mine = {one.key: str(one.name) for one in setting_options(self)}
            told = {one.key: one for one in setting_options(self.like)}
            ctx.default_map = {
                mine[key]: value
                for key, value in settings.values.items()
                # so many samples as a check needs are no number that two networks share
                if key in mine and told[key].heading in MEASURING and (key, value) != ("samples", "auto")
            }
        return super().parse_args(ctx, args)


class Configured(Command):
    """A command that takes its settings from all places."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        for one in setting_options(self):
            one.envvar = one.envvar or f"LCAUDIT_{one.key.upper().replace('-', '_')}"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the configuration first: what it says are defaults for the rest."""
        given = _given(self, ctx, args)
        if given is not None:
            settings = _load(self, ctx, given, _places(self, given))
            ctx.meta[_META] = settings
            names = {one.key: str(one.name) for one in setting_options(self)}
            merged = {**PRESETS.get(settings.preset, {}), **settings.values}
            ctx.default_map = {names[key]: value for key, value in merged.items() if key in names}
        with _nothing_required(self) if given and given.get("show_settings") is True else nullcontext():
            return super().parse_args(ctx, args)


@contextmanager
def _nothing_required(command: click.Command) -> Iterator[None]:
    """Inside, no parameter is missed: nothing is going to be audited."""
    required = [parameter for parameter in command.params if parameter.required]
    for parameter in required:
        parameter.required = False
    try:
        yield
    finally:
        for parameter in required:
            parameter.required = True


def setting_options(command: click.Command) -> list[Option]:
    """The options of a command that are settings, in order."""
    return [one for one in command.params if isinstance(one, Option) and one.setting]


def of_context(ctx: click.Context) -> Settings:
    """The settings that were read for this command line."""
    found: Settings = ctx.meta.get(_META) or Settings()
    return found


def settings_options(command: F) -> F:
    """Add --preset, --config, --no-config and --show-settings."""
    for decorate in reversed(
        [
            option(
                "Configuration", "--preset", type=click.Choice(sorted(PRESETS)), discovered=True, expose_value=False,
                help="A set of defaults: quick looks at 1000 samples, ci decides every verdict and prints one line "
                "for each finding, full draws 4 labels and cross-checks the head.",
            ),
            option(
                "Configuration", "--config", metavar="FILE", setting=False, expose_value=False,
                envvar="LCAUDIT_CONFIG",
                help="Read settings from this file.  [default: lcaudit.toml or pyproject.toml, found upward from here]",
            ),
            option(
                "Configuration", "--no-config", is_flag=True, setting=False, expose_value=False,
                envvar="LCAUDIT_NO_CONFIG", help="Read no configuration file.",
            ),
            option(
                "Configuration", "--show-settings", is_flag=True, setting=False,
                help="Print every setting and where it comes from, and stop.",
            ),
        ]
    ):  # fmt: skip
        command = decorate(command)
    return command


def _given(command: Command, ctx: click.Context, args: list[str]) -> dict[str, Any] | None:
    """What the command line says, by parameter; ``None`` where no settings are needed: help or completion is wanted."""
    given, _, _ = command.make_parser(ctx).parse_args(args=list(args))
    helping = command.get_help_option(ctx)
    return None if ctx.resilient_parsing or (helping and given.get(str(helping.name))) else given


def _places(command: Command, given: Mapping[str, Any]) -> list[str]:
    """What stands on the command line beside options: checkpoints."""
    found = [given.get(str(one.name)) for one in command.params if isinstance(one, click.Argument)]
    return [
        text for one in found for text in (one if isinstance(one, (list, tuple)) else [one]) if isinstance(text, str)
    ]


def _load(command: click.Command, ctx: click.Context, given: Mapping[str, Any], places: Sequence[str]) -> Settings:
    named, without, preset = (_asked(command, ctx, given, name) for name in ("config", "no_config", "preset"))
    if named and without:
        raise UsageError("--config and --no-config were both given", "give one of them")
    path = None if without else Path(named) if named else config.discover(Path.cwd())
    if path is None:
        return Settings(preset=preset or "")
    shown = _relative(path)
    if not named and any(_inside(path, Path(place)) for place in places):
        note = f"{shown} lies inside the audited folder and was not used; --config {shown} uses it"
        return Settings(preset=preset or "", notes=(note,))
    table = config.read(path)
    values = _values(command, ctx, table, path, bool(named))
    return Settings(
        file=shown,
        how="named by --config" if named else "found upward from here",
        values=values,
        preset=preset or values.get("preset", ""),
        suppressions=config.suppressions(table, shown),
    )


def _asked(command: click.Command, ctx: click.Context, given: Mapping[str, Any], name: str) -> Any:
    """An option's value from the command line or the environment; ``None`` without one."""
    parameter = next(one for one in command.params if one.name == name)
    value, source = parameter.consume_value(ctx, given)
    if source not in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
        return None
    return parameter.process_value(ctx, value)


def _values(
    command: click.Command, ctx: click.Context, table: Mapping[str, Any], path: Path, named: bool
) -> dict[str, Any]:
    file = _relative(path)
    known = {one.key: one for one in setting_options(command)}
    tables = (config.IGNORES, config.SUPPRESS)
    values = {}
    for key, value in table.items():
        if key in tables:
            continue
        if key not in known:
            hint = config.unknown(key, (*known, *tables))
            raise UsageError(f"{file}: no setting {display_name(key, 60)}", hint)
        values[key] = _value(known[key], ctx, _placed(known[key], value, path.parent), file)
        allowed = known[key].discovered
        why = "" if allowed is True else f"{key} cannot be set here" if allowed is False else allowed(values[key])
        if why and not named:
            raise UsageError(f"{file}: {why}", _ALLOWED)
    return values


def _placed(parameter: Option, value: Any, folder: Path) -> Any:
    """A path in the file is meant from where the file lies, not from where the command runs."""
    if not isinstance(value, str) or not value or "\0" in value:
        return value
    if parameter.is_path and ((folder / value).exists() or not parameter.beside_file):
        return os.path.relpath(folder / value) if not Path(value).is_absolute() else value
    return value


def _value(parameter: Option, ctx: click.Context, value: Any, file: str) -> Any:
    """The TOML value as the command line would have it, checked by the option itself."""
    where = f"{file}: {parameter.key}"
    several = value if isinstance(value, list) else [value]
    if parameter.is_flag != isinstance(value, bool) or not all(isinstance(one, str | int | float) for one in several):
        wanted = "true or false" if parameter.is_flag else "text, a number or a list of them"
        raise UsageError(f"{where} is {type(value).__name__}, expected {wanted}", "see `lcaudit check --help`")
    words = [str(one) for one in several]
    raw = value if parameter.is_flag else words if parameter.multiple else ",".join(words)
    try:
        parameter.process_value(ctx, raw)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message.rstrip('.')}", "see `lcaudit check --help`") from None
    return raw


def _relative(path: Path) -> str:
    """The path from here, as reports show it: no report tells where on a machine it was made."""
    try:
        return display_name(os.path.relpath(path.absolute()))
    except ValueError:  # another drive
        return display_name(path.name)


def _inside(path: Path, model: Path) -> bool:
    return model.is_dir() and path.resolve().is_relative_to(model.resolve())


def _told(ctx: click.Context, one: Option) -> str:
    return one.key if one.is_path else f"{one.key} {_shown(ctx.params.get(str(one.name)))}"


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, (tuple, list)):
        return display_name(",".join(str(one) for one in value))
    return display_name(str(value).lower() if isinstance(value, bool) else value)
