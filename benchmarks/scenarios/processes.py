"""Whether a second worker process helps: one backlog of no-op jobs, one process or two."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from benchmarks.helper import Helper
from benchmarks.scenario import Figures, Run, Wanted, compared
from benchmarks.scratch import any_url

CASES = tuple(f"{kind}_{count}" for kind in ("sqlite", "postgresql", "mariadb") for count in ("one", "two"))
ROWS = (
    compared("two processes / one, SQLite, no-op", "sqlite_two", "sqlite_one", Wanted(1.3)),
    compared("two processes / one, PostgreSQL, no-op", "postgresql_two", "postgresql_one", Wanted(1.6)),
    compared("two processes / one, MariaDB, no-op", "mariadb_two", "mariadb_one"),
)


def measure(case: str, run: Run) -> Figures:
    from benchmarks.jobs import nothing

    kind, _, count = case.partition("_")
    return drained(kind, 1 if count == "one" else 2, nothing, run)[0]


def drained(kind: str, processes: int, job: Any, run: Run) -> tuple[dict[str, float], list[int]]:
    """Let processes work off a backlog; returns what it took, and the numbers of the numbered jobs that ran."""
    from gello_dramatiq import Gello

    url = any_url(kind, run)
    gello = Gello(url, modules=["benchmarks.jobs"])
    gello.queue.bulk(job.job(user_id=number, email="ann@example.com", name="Ann") for number in range(run.jobs))
    with ExitStack() as stack:
        workers = [stack.enter_context(Helper("worker", url)) for _ in range(processes)]
        for worker in workers:
            worker.tell("go")
            worker.tell("drain")
        for worker in workers:
            worker.answer()
        took = [worker.answer() for worker in workers]
        numbers = [number for worker in workers for number in worker.ask("numbers")]
    worked = [each for each in took if each is not None]
    figures = {
        "seconds": max(each["ended"] for each in worked) - min(each["began"] for each in worked),
        "cpu": sum(each["cpu"] for each in worked),
        "jobs": run.jobs,
    }
    return figures, numbers
