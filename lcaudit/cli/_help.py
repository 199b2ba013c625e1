"""Options under headings, as ``--help`` shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

EXIT_CODES = (
    ("0", "the gate passed"),
    ("1", "findings at or above --fail-on, or a figure that has become worse"),
    ("2", "no verdict: wrong usage, a file that cannot be audited, a failure of lcaudit"),
    ("3", "incomplete: something was not measured, or nothing could be decided"),
    ("130, 143", "interrupted, terminated"),
)


class Option(click.Option):
    """An option that belongs under a heading, and says whether it is a setting and who may set it.

    Args:
        setting: whether it can also be given in a configuration file and in the environment.
        discovered: whether a configuration file that was found, and not named by the user, may set it; or a
            function of the value that says why not, ``""`` for a value that is fine. Whatever writes files,
            runs code or loosens a limit is for the user alone.
        beside_file: a value that names something beside the configuration file means that; paths always do.
    """

    def __init__(
        self,
        *declarations: Any,
        heading: str = "Options",
        setting: bool = True,
        discovered: bool | Callable[[Any], str] = False,
        beside_file: bool = False,
        **attributes: Any,
    ) -> None:
        super().__init__(*declarations, **attributes)
        self.heading, self.setting, self.discovered = heading, setting, discovered
        self.beside_file = beside_file

    @property
    def key(self) -> str:
        """Its name in a configuration file: the long one, without dashes in front."""
        return max(self.opts, key=len).lstrip("-")

    @property
    def is_path(self) -> bool:
        """Whether its value is, or may be, a path."""
        return self.beside_file or isinstance(self.type, click.Path)

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Default and ``required``; the range of a number is said when it is left."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """The option's name, and the variable where the value came from the environment."""
        hint = super().get_error_hint(ctx)
        if ctx and self.name and ctx.get_parameter_source(self.name) is click.core.ParameterSource.ENVIRONMENT:
            hint += f" (environment: {self.envvar})"
        return hint


def option(heading: str, *declarations: str, **attributes: Any) -> Callable[[Any], Any]:
    """``click.option`` under a heading."""
    return click.option(*declarations, cls=Option, heading=heading, **attributes)


class Command(click.Command):
    """A command whose help groups its options, gives examples first and the exit codes last.

    Args:
        examples: command lines without ``lcaudit``. verdict: whether its exit code is a verdict.
    """

    def __init__(self, *arguments: Any, examples: tuple[str, ...] = (), verdict: bool = False, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.examples, self.verdict = examples, verdict

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, then one section for each heading in order of first appearance."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}lcaudit {example}\n")
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):  # arguments stand in the usage line
                sections.setdefault(getattr(parameter, "heading", "Help"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes."""
        if self.verdict:
            write_exit_codes(formatter)


class Group(Command, click.Group):
    """Commands under one name, listed after examples and options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def write_exit_codes(formatter: click.HelpFormatter) -> None:
    """The exit codes as a section."""
    with formatter.section("Exit codes"):
        formatter.write_dl(EXIT_CODES)
