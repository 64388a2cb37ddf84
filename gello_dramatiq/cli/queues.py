"""`gello status` and `gello clear`: what lies in the queues, and who works them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .flags import read
from .loading import opened
from .output import ago, confirm, console, counted, emit, table
from .parameters import App, Json, Yes
from .wanted import kept, look_at

if TYPE_CHECKING:
    from ..app import Gello
    from ..broker import State

STATES: tuple[State, ...] = ("ready", "delayed", "reserved")


def status(app: App = None, json: Json = False) -> None:
    """Show queues, failed jobs and workers."""
    with opened(app) as gello:
        shared(gello, "gello status")
        look_at(getattr(gello.broker, "database", None))
        state = snapshot(gello)
    if json:
        emit(state)
    else:
        show(state)


def clear(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.")],
    yes: Yes = False,
    app: App = None,
    json: Json = False,
) -> None:
    """Drop the jobs that wait in a queue; running and failed ones stay."""
    from ..options import queue_name

    read("QUEUE", queue_name, queue)
    with opened(app) as gello:
        shared(gello, "gello clear")
        look_at(getattr(gello.broker, "database", None))
        number = gello.queue.size(queue) + gello.queue.size(queue, state="delayed")
        if number:
            confirm(f"Drop {counted(number, 'job')} of the queue {queue} for good?", yes=yes)
            number = gello.queue.clear(queue)
    if json:
        emit({"queue": queue, "dropped": number})
    else:
        typer.echo(f"{counted(number, 'job')} of {queue} dropped.")


def shared(gello: Gello, command: str) -> None:
    """Refuse what can only show an empty queue.

    Raises:
      Unsupported: The queue lives in the memory of another process, if anywhere.
    """
    from ..errors import Unsupported

    if getattr(gello.broker, "name", "") == "memory":
        raise Unsupported(
            f"A memory queue lives in one process, and `{command}` is another: it can't see it. Use a queue that "
            "processes share, such as sqlite:///gello.db (QUEUE_URL), or run gello.worker() in the process that pushes."
        )


def snapshot(gello: Gello) -> dict[str, Any]:
    """The state of an app's queues, failed jobs and workers."""
    queues = [{"queue": name} | {state: _size(gello, name, state) for state in STATES} for name in gello.queue.names()]
    return {
        "broker": where(gello),
        "queues": queues,
        "failed": kept(gello).count() if gello.database is not None else None,
        "workers": _workers(gello),
    }


def where(gello: Gello) -> str:
    """Where an app's jobs are, in a few words without secrets."""
    shown: str | None = getattr(gello.broker, "shown", None)
    if shown is not None:
        return shown
    name = getattr(gello.broker, "name", None)
    return f"{name}://" if name else type(gello.broker).__name__


def show(state: dict[str, Any]) -> None:
    """Print a snapshot."""
    from rich.text import Text

    out = console()
    if state["queues"]:
        rows = [[each["queue"], *(_number(each[name]) for name in STATES)] for each in state["queues"]]
        table(["Queue", "Ready", "Delayed", "Reserved"], rows, right=["Ready", "Delayed", "Reserved"])
    else:
        out.print("No queues yet.")
    if state["workers"]:
        rows = [
            [worker["host"], str(worker["pid"]), worker["queues"] or "all", ago(worker["started_at"]), _pulse(worker)]
            for worker in state["workers"]
        ]
        table(["Worker on", "Process", "Queues", "Started", "Beat"], rows, right=["Process"])
    else:
        out.print("No worker is running." if state["workers"] is not None else "")
    if state["failed"] is not None:
        style = "red" if state["failed"] else "dim"
        out.print(Text(counted(state["failed"], "failed job"), style=style), Text(state["broker"], style="dim"))


def _size(gello: Gello, queue: str, state: State) -> int | None:
    from ..errors import Unsupported

    try:
        return gello.queue.size(queue, state=state)
    except Unsupported:
        if state == "ready":
            raise
        return None


def _workers(gello: Gello) -> list[dict[str, Any]] | None:
    """The workers that the database knows; None where none is kept."""
    database = getattr(gello.broker, "database", None)
    if database is None:
        return None
    with database.read() as connection:
        rows = connection.execute(database.tables.workers.select()).all()
    return [
        {
            "id": row.id,
            "host": row.host,
            "pid": row.pid,
            "queues": row.queues,
            "started_at": _moment(row.started_at),
            "beat_at": _moment(row.beat_at),
            "dead": row.dead_at is not None,
        }
        for row in rows
    ]


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _pulse(worker: dict[str, Any]) -> str:
    return "dead" if worker["dead"] else ago(worker["beat_at"])


def _number(size: int | None) -> str:
    return "?" if size is None else f"{size:,}" if size else "·"
