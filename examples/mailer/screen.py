"""What a person sees of the demo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from examples.mailer.accounting import Books, Pushes

Bar = Callable[[int, int, int, int], None]
"""Moves the bar: delivered, failed, waiting for their next attempt, running."""

WIDTH = 100
INDENT = 3
NOISE = "value is not a valid email address: "
"""What pydantic says before it says what is wrong with an address."""


class Screen:
    """Tells the story in a few steps.

    Parameters:
      quiet: Say nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(quiet=quiet, highlight=False)
        self._console.width = min(self._console.width, WIDTH) if self._console.is_terminal else WIDTH
        self._steps = 0

    def opening(self, users: int, host: str, port: int) -> None:
        self._console.print(
            f"[bold]{users} welcome mails, two workers, an outage, a crash: what becomes of the mails?[/]"
        )
        self._step("Server", f"A mail server listens on {host}:{port}; it puts some mails off, and part of it is down.")

    def pushed(self, pushes: Pushes) -> None:
        refused = pushes.refused.total()
        self._step("Push", f"{len(pushes.accepted)} rows of users.csv are jobs now; {refused} were refused.")

    def working(self, pids: list[int]) -> None:
        self._step("Work", f"Processes {' and '.join(map(str, pids))} send the mails, each of them four at a time.")

    def killed(self, pid: int, lease: str) -> None:
        self._below(
            f"[red]Half-way: SIGKILL for process {pid}.[/] Silent for {lease}, it is dead, and what it held runs again."
        )

    @contextmanager
    def bar(self, total: int) -> Iterator[Bar]:
        """The progress of the work."""
        columns = (
            TextColumn(" " * (INDENT - 1)),
            BarColumn(26),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task("", total=total)

            def move(delivered: int, failed: int, waiting: int, running: int) -> None:
                said = f"{delivered} delivered, {failed} failed; {waiting} wait, {running} run"
                progress.update(task, completed=delivered + failed, description=said)

            yield move

    def first_books(self, pushes: Pushes, books: Books, killed: int) -> None:
        retried = books.delivered & books.late
        table = _table()
        _row(table, "rows of users.csv", pushes.rows)
        _row(table, "  refused at push", pushes.refused.total(), _reasons(pushes.refused))
        _row(table, "  accepted", len(books.accepted))
        _row(table, "    delivered at once", len(books.delivered - retried))
        _row(table, "    delivered after a retry", len(retried), "the server had put them off once or twice")
        _row(table, "    kept as failed", len(books.failed), _reasons(books.reasons))
        _row(table, "    lost", len(books.lost), style="green" if not books.lost else "red")
        _row(table, "delivered twice", len(books.twice), _why_twice(books, killed))
        self._step("Books", "What the mail server took, against what was pushed and what is kept as failed:")
        self._below(table)

    def second_books(self, put_back: int, retried: Books, after: Books) -> None:
        table = _table()
        _row(table, "put back", put_back)
        _row(table, "  delivered now", len(retried.delivered))
        _row(table, "  failed again, and kept", len(retried.failed), _reasons(retried.reasons))
        _row(table, "lost, of all", len(after.lost), style="green" if not after.lost else "red")
        self._step("Retry", "The outage is over: gello.failed.retry_all() puts the failed jobs back.")
        self._below(table)

    def reported(self, subject: str) -> None:
        self._step("Report", f"A job that is a class tells the team: “{subject}”.")

    def closing(self, seconds: float) -> None:
        self._console.print(
            f"\nEvery mail is accounted for ({seconds:.0f} s). "
            "Look next at [bold]examples/mailer/jobs.py[/], where the jobs are."
        )

    def _step(self, title: str, text: str) -> None:
        self._steps += 1
        self._console.print()
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(f"[bold cyan]{self._steps:<{INDENT - 1}}[/]", f"[bold cyan]{title}[/]  {text}")
        self._console.print(line)

    def _below(self, what: RenderableType) -> None:
        self._console.print(Padding(what, (0, 0, 0, INDENT)))


def _table() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right", style="bold")
    table.add_column(style="dim")
    return table


def _row(table: Table, what: str, count: int, why: str = "", style: str = "") -> None:
    # As Text: a reason may hold brackets, which are no markup.
    table.add_row(what, Text(str(count), style), Text(why))


def _reasons(reasons: Counter[str]) -> str:
    return "\n".join(f"{count} × {reason.replace(NOISE, '').rstrip('.')}" for reason, count in reasons.most_common())


def _why_twice(books: Books, killed: int) -> str:
    if not books.twice:
        return "the killed process had nothing in its hands that had arrived"
    return (
        f"sent by process {killed}, which died before noting it, and again\nby the other: “at least once”, as promised"
    )
