"""The program: all commands under one name, and its errors in one line each."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from . import aftercare, config, demo, failed, jobs, push, queues, work
from .db import db
from .exits import EPILOG, FAILED, USAGE, code_of
from .flags import variable
from .output import complain, emit
from .parameters import App, Json


class Sections(TyperGroup):
    """Lists the commands under headings; typer's own way to do so would load half of rich for `--help`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        width = formatter.width - 6 - max(map(len, self.commands))
        for name, command in self.commands.items():
            heading = getattr(command, "rich_help_panel", None)
            sections.setdefault(heading if isinstance(heading, str) else "Commands", []).append(
                (name, command.get_short_help_str(width))
            )
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(10), text) for name, text in rows])


program = typer.Typer(
    cls=Sections,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "GELLO", "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@program.callback()
def gello(
    asked: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
    app: App = None,
) -> None:
    """Gello: Laravel's queue for Python, on Dramatiq."""
    if app is not None:
        # For the command that follows, which may name another one, and for the processes that it starts.
        os.environ["GELLO_APP"] = app


def version(json: Json = False) -> None:
    """Show the version."""
    from .. import __version__

    if not json:
        typer.echo(f"gello {__version__}")
        return
    from importlib.metadata import version as version_of

    parts = {name: version_of(name) for name in ("dramatiq", "pydantic", "sqlalchemy")}
    emit({"gello": __version__, "python": sys.version.split()[0], **parts})


for heading, commands in {
    "Work": (work.work, push.push, jobs.jobs, queues.status, queues.clear),
    "Failed jobs": (failed.failed, aftercare.retry, aftercare.retry_all, aftercare.forget, aftercare.flush,
                    aftercare.prune),
    "Set-up": (config.config, demo.demo, version),
}.items():  # fmt: skip
    for command in commands:
        program.command(rich_help_panel=heading)(command)
program.add_typer(db, name="db", rich_help_panel="Set-up")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit with its code."""
    _take_every_character()
    try:
        code = _command().main(arguments, prog_name="gello", standalone_mode=False) or 0
        sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO):
            raise
        code = _unwritten(error)
    except typer.Abort:
        complain("stopped; nothing was changed.")
        code = FAILED
    except typer.TyperException as error:
        code = _wrong_usage(error)
    except Exception as error:
        # Its class is known only if somebody loaded it: nobody else could have raised it.
        errors = sys.modules.get("gello_dramatiq.errors")
        if errors is None or not isinstance(error, errors.GelloError):
            raise
        if os.environ.get("GELLO_TRACEBACK"):
            traceback.print_exception(error)
        complain(str(error))
        code = code_of(error)
    sys.exit(code)


def _take_every_character() -> None:
    """Escape what stdout can't encode, as stderr does by itself: a name or an error must not end the command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _unwritten(error: OSError) -> int:
    """Say why the output can't be written, unless its reader had enough (`gello jobs | head -1`)."""
    # What is still buffered would fail once more as the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno != errno.EPIPE:
        complain(f"the output can't be written: {error.strerror}.")
    return FAILED


def _command() -> Any:
    command = get_command(program)
    for option in command.params:
        # --version and typer's own two, for completion: asking for them by the environment would make no sense.
        vars(option)["allow_from_autoenv"] = False
    return command


def _wrong_usage(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)
        return USAGE
    path = error.ctx.command_path if getattr(error, "ctx", None) else "gello"
    context, option = getattr(error, "ctx", None), getattr(error, "param", None)
    said = (variable(context, option.name, option.envvar) if option else "") + error.format_message().replace(
        "Value error, ", ""
    ).rstrip(".")
    complain(f"{said}{'' if said.endswith('?') else '.'} See `{path} --help`.")
    return USAGE
