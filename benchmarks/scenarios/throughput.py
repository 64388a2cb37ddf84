"""How fast one process works off a backlog, against stock Dramatiq's in-memory broker.

The backlog is pushed before the worker starts; the time runs from the first handler's start until the queue is empty
and everything is settled.
"""

from __future__ import annotations

import gc

import dramatiq

from benchmarks import began
from benchmarks.scenario import THREADS, Figures, Row, Run, Wanted, cpu_over, rate_over

CASES = (
    "stub", "memory", "sqlite", "postgresql", "mariadb", "launcher",
    "stub_1ms", "memory_1ms", "sqlite_1ms", "postgresql_1ms",
)  # fmt: skip
ROWS = (
    Row(
        "memory / stock StubBroker, no-op", rate_over("memory", "stub"), Wanted(2.0), by_cpu=cpu_over("memory", "stub")
    ),
    Row("SQLite / memory, no-op", rate_over("sqlite", "memory"), Wanted(0.65), by_cpu=cpu_over("sqlite", "memory")),
    Row(
        "SQLite / memory, 1 ms jobs",
        rate_over("sqlite_1ms", "memory_1ms"),
        Wanted(0.9),
        by_cpu=cpu_over("sqlite_1ms", "memory_1ms"),
    ),
    Row(
        "PostgreSQL / memory, no-op",
        rate_over("postgresql", "memory"),
        Wanted(0.65),
        by_cpu=cpu_over("postgresql", "memory"),
    ),
    Row(
        "PostgreSQL / memory, 1 ms jobs",
        rate_over("postgresql_1ms", "memory_1ms"),
        Wanted(0.9),
        by_cpu=cpu_over("postgresql_1ms", "memory_1ms"),
    ),
    Row("MariaDB / memory, no-op", rate_over("mariadb", "memory"), Wanted(0.4), by_cpu=cpu_over("mariadb", "memory")),
    Row(
        "memory under the stock Worker / stock StubBroker, no-op",
        rate_over("launcher", "stub"),
        Wanted(1.0),
        by_cpu=cpu_over("launcher", "stub"),
    ),
    Row("SQLite / stock StubBroker, no-op", rate_over("sqlite", "stub"), by_cpu=cpu_over("sqlite", "stub")),
    Row(
        "memory / stock StubBroker, 1 ms jobs",
        rate_over("memory_1ms", "stub_1ms"),
        by_cpu=cpu_over("memory_1ms", "stub_1ms"),
    ),
)


def measure(case: str, run: Run) -> Figures:
    kind, _, slow = case.partition("_")
    jobs = run.jobs // 2 if slow else run.jobs
    took = _stock(bool(slow), jobs) if kind == "stub" else _ours(kind, bool(slow), jobs, run)
    return {**took, "jobs": jobs}


def _stock(slow: bool, jobs: int) -> dict[str, float]:
    from benchmarks import stock

    actor = stock.one_millisecond if slow else stock.nothing
    _freeze()
    for number in range(jobs):
        actor.send(user_id=number, email="ann@example.com", name="Ann")
    dramatiq.Worker(stock.broker, worker_threads=THREADS).start()
    stock.broker.join("default")
    return began.since()


def _ours(kind: str, slow: bool, jobs: int, run: Run) -> dict[str, float]:
    from benchmarks.jobs import nothing, one_millisecond
    from benchmarks.scratch import any_url
    from gello_dramatiq import Gello

    gello = Gello(any_url(kind, run), modules=["benchmarks.jobs"])
    job = one_millisecond if slow else nothing
    _freeze()
    gello.queue.bulk(job.job(user_id=number, email="ann@example.com", name="Ann") for number in range(jobs))
    if kind == "launcher":
        gello.broker.emit_after("process_boot")
        dramatiq.Worker(gello.broker, worker_threads=THREADS).start()
        gello.broker.join("default")
    else:
        worker = gello.worker(concurrency=THREADS)
        worker.start()
        worker.join()
    return began.since()


def _freeze() -> None:
    """Keep what was imported out of the garbage collector's rounds, as servers do; the backlog stays in them."""
    gc.collect()
    gc.freeze()
