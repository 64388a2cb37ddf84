"""`gello failed`: which jobs were given up, and all that is known of one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .loading import opened
from .output import ago, clock, console, counted, emit, facts, table, visible
from .parameters import App, Before, Containing, ForReason, Json, OfName, OfQueue, Since
from .wanted import kept, wanted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..failed_jobs.record import FailedJob


def failed(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="Show this one whole.")] = None,
    queue: OfQueue = None,
    name: OfName = None,
    reason: ForReason = None,
    since: Since = None,
    before: Before = None,
    text: Containing = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at most.")] = 50,
    offset: Annotated[int, typer.Option(min=0, metavar="N", help="How many to pass over.")] = 0,
    app: App = None,
    json: Json = False,
) -> None:
    """List failed jobs, or show one whole.

    The newest come first. With an ID, the payload, every attempt and the traceback of that one are shown.
    """
    which = wanted(queue=queue, name=name, reason=reason, since=since, before=before, text=text)
    with opened(app) as gello:
        store = kept(gello)
        if id is not None:
            show_one(store.find(id), as_json=json)
            return
        found, total = store.all(limit=limit, offset=offset, **which), store.count(**which)
    if json:
        emit([described(job) for job in found])
    elif found:
        show(found)
        if total > len(found):
            typer.echo(f"{len(found)} of {counted(total, 'failed job')}; see more with --limit and --offset.", err=True)
    else:
        typer.echo("No failed job matches." if which or offset else "No failed jobs.", err=True)


def show(jobs: Sequence[FailedJob]) -> None:
    """Print failed jobs: for a terminal in two lines each, for programs in one."""
    if not console().is_terminal:
        columns = ["Id", "Job", "Queue", "Reason", "Failed at", "Attempts", "Exception"]
        table(columns, [_line(job) for job in jobs])
        return
    table(["Job", "Queue", "What happened"], [_lines(job) for job in jobs])


def described(job: FailedJob) -> dict[str, Any]:
    """A failed job as JSON shows it in a list: all but the traceback."""
    return {
        "id": job.id,
        "name": job.name,
        "queue": job.queue,
        "reason": job.reason,
        "exception": job.exception,
        "failed_at": job.failed_at,
        "attempts": [{**attempt, "started_at": _began(attempt)} for attempt in job.attempts],
        "payload": job.payload,
        "options": job.options,
    }


def show_one(job: FailedJob, *, as_json: bool) -> None:
    """Print all that is known of a failed job."""
    if as_json:
        emit({**described(job), "traceback": job.traceback})
        return
    from rich.text import Text

    from ..failed_jobs.record import shown_payload

    payload = shown_payload(job) if job.payload is None else json.dumps(job.payload, indent=2, ensure_ascii=False)
    said = {name: value for name, value in job.options.items() if value}
    out = console()
    out.print(Text(visible(job.name) or "(no name)", style="bold"))
    facts(
        [
            ("id", job.id),
            ("queue", job.queue),
            ("reason", job.reason.value),
            ("failed", f"{clock(job.failed_at)} ({ago(job.failed_at)})"),
            ("error", job.exception),
            ("payload", payload),
            *([("options", json.dumps(said, ensure_ascii=False))] if said else []),
        ]
    )
    if job.attempts:
        out.print(Text("\nAttempts", style="bold"))
        facts(_attempt(attempt) for attempt in job.attempts)
    if job.traceback:
        # As it is, also where it is wider than the terminal: people copy it.
        out.print(Text(f"\n{visible(job.traceback).rstrip()}"), soft_wrap=True)


def _attempt(attempt: Mapping[str, Any]) -> list[str]:
    return [f"{attempt['attempt']:>3}", f"{clock(_began(attempt))}  {attempt['seconds']:6.3f}s", attempt["error"]]


def _began(attempt: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(attempt["started_at"] / 1000, UTC)


def _line(job: FailedJob) -> list[RenderableType]:
    error = " ".join(job.exception.split())
    return [job.id, job.name, job.queue, job.reason.value, clock(job.failed_at), str(len(job.attempts)), error]


def _lines(job: FailedJob) -> list[RenderableType]:
    from rich.console import Group
    from rich.text import Text

    error = Text(visible(" ".join(job.exception.split())), no_wrap=True, overflow="ellipsis")
    more = Text(f"{job.reason.value} · {counted(len(job.attempts), 'attempt')}", style="dim")
    who = Text.assemble((visible(job.name) or "(no name)", "bold"), "\n", (job.id, "dim"))
    # A narrow terminal cuts off the error alone: it is the one that can be looked up.
    return [who, Text.assemble(visible(job.queue), "\n", (ago(job.failed_at), "dim")), Group(error, more)]
