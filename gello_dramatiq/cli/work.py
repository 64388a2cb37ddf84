"""`gello work`: run jobs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .db import databases
from .flags import read
from .loading import opened
from .logs import Level, configure
from .output import counted
from .parameters import App, Modules
from .processes import Children, is_child, watch_parent
from .queues import shared, where

if TYPE_CHECKING:
    from ..app import Gello
    from ..worker import Worker, WorkerOptions

log = logging.getLogger("gello.worker")


Queues = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME,…", help="Serve these queues, in this order; all if none is named. Repeatable."),
]
Concurrency = Annotated[int, typer.Option(min=1, metavar="N", help="How many jobs run at once in a process.")]
Processes = Annotated[int, typer.Option(min=1, metavar="N", help="How many worker processes.")]
Tries = Annotated[int | None, typer.Option(min=1, metavar="N", help="Attempts of jobs that don't say it themselves.")]
Timeout = Annotated[
    str | None, typer.Option(metavar="TIME", help='Time limit of jobs that don\'t say it themselves: "30s".')
]
Backoff = Annotated[
    str | None,
    typer.Option(metavar="TIME,…", help='Waits between attempts of jobs that don\'t say it themselves: "5s,1m,10m".'),
]
MaxJobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="End a process after so many attempts.")]
MaxTime = Annotated[str | None, typer.Option(metavar="TIME", help="End a process after this time.")]
StopWhenEmpty = Annotated[bool, typer.Option("--stop-when-empty", help="End when no job is ready.")]
Grace = Annotated[str, typer.Option(metavar="TIME", help="How long running jobs may take to end.")]
LogLevel = Annotated[Level, typer.Option(help="The least that is logged.")]
JsonLog = Annotated[bool, typer.Option("--json", help="Log in JSON lines.")]


def work(
    modules: Modules = None,
    queue: Queues = None,
    concurrency: Concurrency = 8,
    processes: Processes = 1,
    tries: Tries = None,
    timeout: Timeout = None,
    backoff: Backoff = None,
    max_jobs: MaxJobs = None,
    max_time: MaxTime = None,
    stop_when_empty: StopWhenEmpty = False,
    grace: Grace = "30s",
    log_level: LogLevel = "info",
    app: App = None,
    json: JsonLog = False,
) -> None:
    """Run jobs.

    Example: gello work myapp.jobs --queue high,emails --concurrency 4

    SIGTERM or Ctrl+C stops it gracefully: nothing new is begun, what runs may end within the grace, the rest goes
    back. A second signal stops it at once; what runs then runs again elsewhere.
    """
    from ..worker import Worker

    with opened(app, modules or [], needs_jobs=True) as gello:
        shared(gello, "gello work")
        options = _options(queue, tries, timeout, backoff, max_time, grace, concurrency=concurrency,
                           max_jobs=max_jobs, stop_when_empty=stop_when_empty)  # fmt: skip
        configure(gello, log_level, as_json=json)
        _check(gello)
        # Before anything is said: it refuses what can't be worked.
        worker = Worker(gello.broker, options)
        if is_child():
            code = _run(worker, watched=True)
        else:
            _introduce(gello, options, processes, as_json=json)
            code = _run(worker) if processes == 1 else _supervise(gello, options, processes)
    raise typer.Exit(code)


def _options(
    queues: Sequence[str] | None,
    tries: int | None,
    timeout: str | None,
    backoff: str | None,
    max_time: str | None,
    grace: str,
    **others: Any,
) -> WorkerOptions:
    from ..backoff import as_backoff
    from ..durations import duration
    from ..options import queue_name
    from ..worker import WorkerOptions

    named = [name.strip() for each in queues or () for name in each.split(",") if name.strip()]
    return WorkerOptions(
        queues=[str(read("--queue", queue_name, name)) for name in dict.fromkeys(named)] if queues else None,
        tries=tries,
        timeout=read("--timeout", duration, timeout),
        backoff=read("--backoff", lambda text: as_backoff(text.split(",")), backoff),
        max_time=read("--max-time", duration, max_time),
        grace=read("--grace", duration, grace) or 0,
        **others,
    )


def _check(gello: Gello) -> None:
    """See that every database can be written and has all tables, before a worker is told to wait for one that can't.

    Raises:
      DatabaseUnavailable: One can't; the message says why and what to do.
    """
    if gello.database is not None:
        for database in databases(gello):
            with database.write() as connection:
                for table in database.tables.metadata.sorted_tables:
                    connection.execute(table.select().limit(0))


def _run(worker: Worker, *, watched: bool = False) -> int:
    from ..durations import spell

    if watched:
        watch_parent(worker.stop)
    code = worker.run()
    status = worker.status()
    log.info(
        "The worker has ended after %s: %s, %d failed.",
        spell(status.uptime), counted(status.processed, "attempt"), status.failed,
    )  # fmt: skip
    return code


def _supervise(gello: Gello, options: WorkerOptions, processes: int) -> int:
    import socket

    from ..durations import duration
    from ..errors import Unavailable

    def free(pid: int) -> int:
        free_dead_process: Callable[[str, int], int] | None = getattr(gello.broker, "free_dead_process", None)
        try:
            return free_dead_process(socket.gethostname(), pid) if free_dead_process else 0
        except Unavailable as error:
            log.warning("What process %d held is free when its lease is over: %s", pid, error)
            return 0

    return Children(processes, duration(options.grace).total_seconds(), free, sys.argv[1:]).run()


def _introduce(gello: Gello, options: WorkerOptions, processes: int, *, as_json: bool) -> None:
    """Say what is served: in a few lines at a terminal, in one for programs."""
    from .. import __version__

    title = f"Gello {__version__} works {where(gello)}"
    facts = _facts(gello, options, processes)
    if sys.stdout.isatty() and not as_json:
        typer.secho(title, bold=True)
        for label, fact in facts.items():
            typer.echo(typer.style(f"  {label:9}", dim=True) + fact)
        typer.echo()
    else:
        line = "; ".join(f"{label} {fact}" for label, fact in facts.items())
        log.info("%s: %s", title, line, extra={"gello": _data(gello, options, processes)})


def _facts(gello: Gello, options: WorkerOptions, processes: int) -> dict[str, str]:
    from ..durations import duration, spell

    names = sorted(gello.broker.actors)
    limits = [
        f"after {options.max_jobs:,} attempts" if options.max_jobs else "",
        f"after {spell(duration(options.max_time))}" if options.max_time else "",
        "when nothing is ready" if options.stop_when_empty else "",
    ]
    grace = spell(duration(options.grace))
    return {
        "queues": ", ".join(options.queues or ()) or "all",
        "jobs": ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else ""),
        "at once": f"{counted(options.concurrency, 'job')} in {_each_of(processes)}",
        "ends": " or ".join(filter(None, limits)) or f"by Ctrl+C; running jobs then have {grace}",
    }


def _data(gello: Gello, options: WorkerOptions, processes: int) -> dict[str, Any]:
    return {
        "event": "start",
        "broker": where(gello),
        "queues": options.queues,
        "jobs": sorted(gello.broker.actors),
        "concurrency": options.concurrency,
        "processes": processes,
    }


def _each_of(processes: int) -> str:
    return "one process" if processes == 1 else f"each of {processes} processes"
