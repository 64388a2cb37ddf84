"""Whether a second worker process helps: one backlog of no-op jobs, one process or two."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.helper import Helper
from benchmarks.scenario import Figures, Row, Run, Wanted, cpu_over, rate_over
from benchmarks.scratch import any_url

CASES = ("sqlite_one", "sqlite_two", "postgresql_one", "postgresql_two")
ROWS = (
    Row(
        "two processes / one, SQLite, no-op",
        rate_over("sqlite_two", "sqlite_one"),
        Wanted(1.3),
        by_cpu=cpu_over("sqlite_two", "sqlite_one"),
    ),
    Row(
        "two processes / one, PostgreSQL, no-op",
        rate_over("postgresql_two", "postgresql_one"),
        Wanted(1.6),
        by_cpu=cpu_over("postgresql_two", "postgresql_one"),
    ),
)


def measure(case: str, run: Run) -> Figures:
    from benchmarks.jobs import nothing
    from gello_dramatiq import Gello

    kind, _, count = case.partition("_")
    url = any_url(kind, run)
    gello = Gello(url, modules=["benchmarks.jobs"])
    gello.queue.bulk(nothing.job(user_id=number, email="ann@example.com", name="Ann") for number in range(run.jobs))
    with ExitStack() as stack:
        workers = [stack.enter_context(Helper("worker", url)) for _ in range(1 if count == "one" else 2)]
        for worker in workers:
            worker.tell("go")
            worker.tell("drain")
        for worker in workers:
            worker.answer()
        took = [worker.answer() for worker in workers]
    return {
        "seconds": max(each["ended"] for each in took) - min(each["began"] for each in took),
        "cpu": sum(each["cpu"] for each in took),
        "jobs": run.jobs,
    }
