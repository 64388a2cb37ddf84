"""How commands print: JSON, tables, times, and nothing that is secret."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from ..masking import mask

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text


_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing it: control characters but tab and newline, and changes of direction."""


def emit(data: Any) -> None:
    """Print data as JSON."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=not is_unicode(), default=_plain))


def is_unicode() -> bool:
    """Whether stdout takes every character; JSON has escapes of its own for those that it doesn't take."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def visible(text: str) -> str:
    """A text whose control characters are shown instead of obeyed: what a job says must not steer a terminal."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def console(*, stderr: bool = False) -> Console:
    """Where people read.

    Into a pipe or a file nothing is cut off or broken into lines, as programs read there.
    """
    from rich.console import Console

    file = sys.stderr if stderr else sys.stdout
    return Console(file=file, highlight=False, soft_wrap=not file.isatty(), width=None if file.isatty() else 10_000)


def table(columns: Sequence[str], rows: Iterable[Sequence[RenderableType]], *, right: Sequence[str] = ()) -> None:
    """Print rows under their columns; those in `right` hold numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    shown = Table(box=box.SIMPLE_HEAD if out.is_terminal else None, header_style="bold", border_style="dim")
    for number, column in enumerate(columns):
        # The first one is what a person copies into the next command.
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=not number)
    for row in rows:
        # Text, as rich would read [brackets] in a plain string as its markup.
        shown.add_row(*(Text(visible(cell)) if isinstance(cell, str) else cell for cell in row))
    out.print(shown)


def facts(rows: Iterable[Sequence[str | Text]]) -> None:
    """Print rows without lines or headings, the first cell dim."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    for first, *others in rows:
        cells = (Text(visible(cell)) if isinstance(cell, str) else cell for cell in others)
        grid.add_row(Text(str(first), style="dim"), *cells)
    console().print(grid)


def counted(number: int, thing: str, things: str | None = None) -> str:
    """A number of things, as in "1 job" and "2 jobs"."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def ago(moment: datetime) -> str:
    """How long ago a moment was."""
    from ..durations import spell

    passed = timedelta(seconds=int((datetime.now(UTC) - moment).total_seconds()))
    return f"{spell(passed)} ago" if passed > timedelta(0) else "just now"


def clock(moment: datetime) -> str:
    """A moment in local time."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def complain(message: str) -> None:
    """Say on stderr, in one line, what went wrong."""
    line = f"gello: {mask(visible(' '.join(message.split())))}"
    typer.secho(line, fg="red" if sys.stderr.isatty() else None, err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that can't be undone.

    Raises:
      Exit: The answer is no, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        complain(f"{question} There is nobody to ask; say --yes to do it.")
        raise typer.Exit(2)
    if not typer.confirm(question, err=True):  # stdout may be JSON
        complain("nothing was changed.")
        raise typer.Exit(1)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)
