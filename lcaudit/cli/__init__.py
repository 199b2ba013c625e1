"""The command line: arguments in, exit code out. One file per command, imported when it is called."""

from __future__ import annotations

import difflib
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

import lcaudit
from lcaudit.cli._help import write_exit_codes
from lcaudit.cli._streams import readable_streams, silence
from lcaudit.core import plugins
from lcaudit.core.errors import AuditError, UsageError, out_of_memory
from lcaudit.core.gate import EXIT_NO_VERDICT
from lcaudit.core.interrupts import EXIT_INTERRUPTED, EXIT_TERMINATED, NOTHING_LEFT, Terminated, unwinding
from lcaudit.core.text import display_name

_COMPLETE = "_LCAUDIT_COMPLETE"


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
            raise _no_command(args[0])
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes, and where to begin."""
        write_exit_codes(formatter)
        formatter.write("\nStart with `lcaudit demo`; `lcaudit COMMAND --help` lists a command's options.\n")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(lcaudit.__version__, prog_name="lcaudit", message="%(prog)s %(version)s")
def root() -> None:
    """Audit trained checkpoints: how well conditioned is every layer, and what would mend it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every failure becomes one line on standard error."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    # Layers are analysed in parallel, one thread each: NumPy's own threads would only spin against each
    # other. It reads this when it is first imported, which no command has done yet.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with readable_streams(), _calm(arguments is None), unwinding():
        try:
            return _run(given)
        except KeyboardInterrupt:
            return _say("interrupted", NOTHING_LEFT, EXIT_INTERRUPTED)
        except Terminated:
            return _say("terminated", NOTHING_LEFT, EXIT_TERMINATED)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return EXIT_NO_VERDICT
        except click.ClickException as error:
            return _say("error[usage]", error.format_message(), EXIT_NO_VERDICT, _usage_hint(error, given))
        except AuditError as error:
            _debug()
            return _say(f"error[{error.kind}]", error.message, EXIT_NO_VERDICT, error.hint)
        except BrokenPipeError:
            silence(sys.stdout)  # the reader went away: not our failure
            return EXIT_NO_VERDICT
        except OSError as error:
            _debug()
            silence(sys.stdout)
            named = f"{error.filename}: " if error.filename else ""
            return _say("error[environment]", f"{named}{error.strerror or error}", EXIT_NO_VERDICT, _DEBUG_HINT)
        except Exception as error:
            _debug()
            if out_of_memory(error):
                return _say("error[environment]", "out of memory", EXIT_NO_VERDICT, "try a smaller --batch-size")
            said = f"{type(error).__name__}: {error}"
            return _say("error[internal]", said, EXIT_NO_VERDICT, f"please report it; {_DEBUG_HINT}")


_DEBUG_HINT = "LCAUDIT_DEBUG=1 shows where"


def _run(arguments: list[str]) -> int:
    """click's own ``main`` turns a closed pipe into exit code 1, which means findings here."""
    if instruction := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, "lcaudit", _COMPLETE, instruction)
    try:
        with root.make_context("lcaudit", arguments) as context:
            return int(root.invoke(context) or 0)
    except click.exceptions.Exit as done:
        return int(done.exit_code)


def _no_command(word: str) -> UsageError:
    """What the user may have meant: a checkpoint without ``check``, or a slip of the pen."""
    shown = display_name(word)
    near = difflib.get_close_matches(word, plugins.names(__name__), n=1)
    if set("./\\") & set(word) or Path(word).exists():
        hint = f"did you mean `lcaudit check {shlex.quote(shown)} --data …`?"
    elif near:
        hint = f"did you mean `lcaudit {near[0]}`?"
    else:
        hint = f"commands: {', '.join(plugins.names(__name__))}; see `lcaudit --help`"
    return UsageError(f"no command {shown!r}", hint)


def _usage_hint(error: click.ClickException, arguments: list[str]) -> str:
    """What a missing option is for, and the help of the command that was called."""
    known = arguments[:1] if arguments and arguments[0] in plugins.names(__name__) else []
    see = f"`{' '.join(['lcaudit', *known, '--help'])}`"
    if isinstance(error, click.MissingParameter) and isinstance(error.param, click.Option) and error.param.help:
        return f"{error.param.help.rstrip('.')}; {see} tells more"
    return f"see {see}"


@contextmanager
def _calm(command_line: bool) -> Iterator[None]:
    """Python's warnings are for developers: on the command line they are shown with -W or LCAUDIT_DEBUG only."""
    with warnings.catch_warnings():
        if command_line and not sys.warnoptions and not os.environ.get("LCAUDIT_DEBUG"):
            warnings.simplefilter("ignore")
        yield


def _say(what: str, message: str, code: int, hint: str = "") -> int:
    """One line, and a hint below it."""
    try:
        click.echo(f"lcaudit: {what}: {display_name(message, 1000)}", err=True)
        if hint:
            click.echo(f"  hint: {display_name(hint, 500)}", err=True)
    except OSError:
        silence(sys.stderr)  # nobody listens: the exit code still speaks
    return code


def _debug() -> None:
    if os.environ.get("LCAUDIT_DEBUG"):
        import traceback

        traceback.print_exc()
