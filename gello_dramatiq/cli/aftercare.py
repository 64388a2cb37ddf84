"""What can be done with failed jobs: `retry`, `retry-all`, `forget`, `flush`, `prune`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from .exits import FAILED
from .flags import read
from .loading import opened
from .output import complain, confirm, counted, emit
from .parameters import App, Before, Containing, ForReason, Json, OfName, OfQueue, Since, Yes
from .wanted import kept, wanted

Ids = Annotated[list[str], typer.Argument(metavar="ID", help="As `gello failed` shows them.")]


def retry(ids: Ids, app: App = None, json: Json = False) -> None:
    """Put failed jobs back on their queues.

    They have the payload of the original push, and all their attempts again.
    """
    with opened(app) as gello:
        _each(ids, kept(gello).retry, "retried", as_json=json)


def retry_all(
    queue: OfQueue = None,
    name: OfName = None,
    reason: ForReason = None,
    since: Since = None,
    before: Before = None,
    text: Containing = None,
    app: App = None,
    json: Json = False,
) -> None:
    """Put all failed jobs back, or those that match."""
    which = wanted(queue=queue, name=name, reason=reason, since=since, before=before, text=text)
    with opened(app) as gello:
        number = kept(gello).retry_all(**which)
    _say("retried", number, as_json=json)


def forget(ids: Ids, yes: Yes = False, app: App = None, json: Json = False) -> None:
    """Drop failed jobs by their ids."""
    with opened(app) as gello:
        failed = kept(gello)
        confirm(f"Drop {counted(len(ids), 'failed job')} for good?", yes=yes)
        _each(ids, failed.forget, "forgotten", as_json=json)


def flush(
    queue: OfQueue = None,
    name: OfName = None,
    reason: ForReason = None,
    since: Since = None,
    before: Before = None,
    text: Containing = None,
    yes: Yes = False,
    app: App = None,
    json: Json = False,
) -> None:
    """Drop all failed jobs, or those that match."""
    which = wanted(queue=queue, name=name, reason=reason, since=since, before=before, text=text)
    _drop(which, app, yes=yes, as_json=json)


def prune(
    older_than: Annotated[str, typer.Option("--older-than", metavar="TIME", help='As in "7d" or "12h".')],
    queue: OfQueue = None,
    name: OfName = None,
    reason: ForReason = None,
    yes: Yes = False,
    app: App = None,
    json: Json = False,
) -> None:
    """Drop the failed jobs that failed longer ago than this."""
    from datetime import UTC, datetime, timedelta

    from ..durations import duration

    before = datetime.now(UTC) - (read("--older-than", duration, older_than) or timedelta(0))
    which = wanted(since=None, before=before.isoformat(), queue=queue, name=name, reason=reason)
    _drop(which, app, yes=yes, as_json=json)


def _drop(which: dict[str, Any], app: str | None, *, yes: bool, as_json: bool) -> None:
    with opened(app) as gello:
        failed = kept(gello)
        number = failed.count(**which)
        if number:
            confirm(f"Drop {counted(number, 'failed job')} for good?", yes=yes)
            number = failed.flush(**which)
    _say("dropped", number, as_json=as_json)


def _each(ids: Sequence[str], act: Callable[[str], object], verb: str, *, as_json: bool) -> None:
    """Do it for each; one that can't be done doesn't keep the others from it."""
    from ..errors import FailedJobNotFound, InvalidPayload

    done, errors = [], {}
    for job_id in ids:
        try:
            act(job_id)
            done.append(job_id)
        except (FailedJobNotFound, InvalidPayload) as error:
            errors[job_id] = str(error)
            complain(str(error))
    if as_json:
        emit({verb: done, "errors": errors})
    elif done:
        typer.echo(f"{counted(len(done), 'job')} {verb}.")
    if errors:
        raise typer.Exit(FAILED)


def _say(verb: str, number: int, *, as_json: bool) -> None:
    if as_json:
        emit({verb: number})
    else:
        typer.echo(f"{counted(number, 'failed job')} {verb}.")
