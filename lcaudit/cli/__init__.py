"""The command line: arguments in, exit code out. One file per command, imported when it is called."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

import lcaudit
from lcaudit.core import plugins
from lcaudit.core.errors import AuditError
from lcaudit.core.gate import EXIT_INTERRUPTED, EXIT_NO_VERDICT, EXIT_TERMINATED
from lcaudit.core.text import display_name


class _Terminated(BaseException):
    """SIGTERM, as an exception: ``finally`` blocks run, half-written files are removed."""


class _Commands(click.Group):
    """Commands are the files of this folder; each defines ``COMMAND``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(plugins.names(__name__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in plugins.names(__name__):
            return None
        command: click.Command = plugins.load(__name__, cmd_name, "COMMAND")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in plugins.names(__name__) and not args[0].startswith("-"):
            given = display_name(args[0])
            hint = f"did you mean `lcaudit check {given} …`?" if set("./\\") & set(given) else "see `lcaudit --help`"
            raise click.UsageError(f"no command {given!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 gate passed, 1 findings at or above --fail-on, 2 no verdict, 3 incomplete, 130/143 stopped.",
)
@click.version_option(lcaudit.__version__, prog_name="lcaudit")
def root() -> None:
    """Audit trained checkpoints: how well conditioned is every layer, and what would mend it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every failure becomes one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 still gets a report
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = root.main(args=arguments, prog_name="lcaudit", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted", "nothing was written", EXIT_INTERRUPTED)
    except _Terminated:
        return _say("terminated", "nothing was written", EXIT_TERMINATED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_NO_VERDICT
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "lcaudit"
        return _say("error[usage]", error.format_message(), EXIT_NO_VERDICT, f"{where} --help")
    except AuditError as error:
        _debug()
        return _say(f"error[{error.kind}]", error.message, EXIT_NO_VERDICT, error.hint)
    except BrokenPipeError:
        # the reader went away: not our failure, and Python must not complain on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NO_VERDICT
    except MemoryError:
        _debug()
        return _say("error[limit]", "out of memory", EXIT_NO_VERDICT, "try a smaller --batch-size")
    except Exception as error:
        _debug()
        said = f"{type(error).__name__}: {error}"
        hint = "please report it; LCAUDIT_DEBUG=1 shows where"
        return _say("error[internal]", said, EXIT_NO_VERDICT, hint)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _say(what: str, message: str, code: int, hint: str = "") -> int:
    """One line, and a hint below it."""
    click.echo(f"lcaudit: {what}: {display_name(message, 1000)}", err=True)
    if hint:
        click.echo(f"  hint: {display_name(hint, 500)}", err=True)
    return code


def _debug() -> None:
    if os.environ.get("LCAUDIT_DEBUG"):
        import traceback

        traceback.print_exc()
