"""`gello push`: hand a job to a queue."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .flags import read
from .loading import opened
from .output import emit
from .parameters import App, Json

if TYPE_CHECKING:
    from ..app import Gello
    from ..definition import Definition, PendingJob
    from ..durations import Duration
    from ..job import Job


def push(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The job's name; `gello jobs` lists them.")],
    payload: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE", help="Its payload; or one word of JSON, '{…}'; or - for stdin."),
    ] = None,
    queue: Annotated[str | None, typer.Option(metavar="NAME", help="Push to this queue.")] = None,
    delay: Annotated[str | None, typer.Option(metavar="TIME", help='Run after this time: "30s", "1h30m".')] = None,
    priority: Annotated[
        int | None, typer.Option(min=0, max=5, metavar="N", help="The higher, the more urgent.")
    ] = None,
    app: App = None,
    json: Json = False,
) -> None:
    """Push a job.

    Example: gello push send_welcome_email user_id=7 email=a@b.c

    The payload is checked against the job's schema; what is wrong with it is said here, and nothing is pushed. A value
    is text where the field takes text, and JSON elsewhere: tags='["a","b"]'.
    """
    from ..durations import duration
    from ..options import queue_name
    from .words import pending

    wait, queue = read("--delay", duration, delay), read("--queue", queue_name, queue)

    with opened(app, needs_jobs=True) as gello:
        made = pending(_job(gello, name), payload or [])
        made = made.with_options(queue=queue, priority=priority)
        job = _pushed(gello, made, wait)
    if json:
        emit({"id": job.id, "name": job.name, "queue": job.queue, "priority": job.priority, "payload": job.payload,
              "created_at": job.created_at, "delay": wait})  # fmt: skip
    else:
        later = f", to run in {delay}" if wait else ""
        typer.echo(f"{job.name} was pushed to {job.queue}{later}: {job.id}")


def _job(gello: Gello, name: str) -> Definition:
    """The job of a name; a function that only lacks its decorator is told apart from a name that is nowhere.

    Raises:
      UnknownJob: There is none.
    """
    from ..errors import UnknownJob

    try:
        return gello.jobs.get(name)
    except UnknownJob:
        for module in {definition.source.__module__ for definition in gello.jobs.list()}:
            if callable(getattr(sys.modules.get(module), name, None)):
                raise UnknownJob(f"{module}.{name} is no job yet; write @queueable above it.") from None
        raise


def _pushed(gello: Gello, made: PendingJob, wait: Duration | None) -> Job:
    from ..errors import GelloError, Unsupported

    scheme = getattr(gello.broker, "name", "")
    if scheme == "memory":
        raise Unsupported(
            "A memory queue lives in one process: a job that is pushed here would be lost as this command ends. Use a "
            "queue that processes share: QUEUE_URL=sqlite:///gello.db."
        )
    try:
        return gello.queue.push(made) if wait is None else gello.queue.later(wait, made)
    except GelloError:
        raise
    except Exception as error:
        if scheme != "sync":
            raise
        from ..outcome import describe

        # On a sync queue the push is the run: this is the job's failure, not the command's.
        raise GelloError(f"{made.definition.name} ran at once (sync://) and failed: {describe(error)}") from error
