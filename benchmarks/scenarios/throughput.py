"""How fast one process works off a backlog, against stock Dramatiq's in-memory broker.

The backlog is pushed before the worker starts; the time runs from the first handler's start until the queue is empty
and everything is settled.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
from pathlib import Path

import dramatiq
from sqlalchemy.engine import make_url

from benchmarks import began
from benchmarks.scenario import THREADS, Figures, NotMeasured, Run, Wanted, compared
from benchmarks.scratch import any_url, redis_url, server_url

CASES = (
    "stub", "memory", "sqlite", "postgresql", "pgqueuer", "pgqueuer_best", "mariadb",
    "launcher", "redis", "redis_stock",
    "stub_1ms", "memory_1ms", "sqlite_1ms", "postgresql_1ms",
)  # fmt: skip
ROWS = (
    compared("memory / stock StubBroker, no-op", "memory", "stub", Wanted(2.0)),
    compared("SQLite / memory, no-op", "sqlite", "memory", Wanted(0.65)),
    compared("SQLite / memory, 1 ms jobs", "sqlite_1ms", "memory_1ms", Wanted(0.9)),
    compared("PostgreSQL / memory, no-op", "postgresql", "memory", Wanted(0.65)),
    compared("PostgreSQL / memory, 1 ms jobs", "postgresql_1ms", "memory_1ms", Wanted(0.9)),
    compared("MariaDB / memory, no-op", "mariadb", "memory", Wanted(0.4)),
    compared("PostgreSQL / PgQueuer with its default batch of 10, no-op", "postgresql", "pgqueuer", Wanted(3.0)),
    compared("PostgreSQL / PgQueuer with batches of 1,000, no-op", "postgresql", "pgqueuer_best"),
    compared("Redis / stock Dramatiq on Redis, at its defaults, no-op", "redis", "redis_stock", Wanted(3.0)),
    compared("Redis / memory, no-op", "redis", "memory"),
    compared("memory under the stock Worker / stock StubBroker, no-op", "launcher", "stub", Wanted(1.0)),
    compared("SQLite / stock StubBroker, no-op", "sqlite", "stub"),
    compared("memory / stock StubBroker, 1 ms jobs", "memory_1ms", "stub_1ms"),
)


def measure(case: str, run: Run) -> Figures:
    kind, _, how = case.partition("_")
    slow = how == "1ms"
    jobs = run.jobs // 2 if slow else run.jobs
    match kind:
        case "stub":
            took = _stock(slow, jobs)
        case "redis" if how == "stock":
            os.environ["STOCK_URL"] = redis_url()
            took = _stock(slow, jobs)
        case "pgqueuer":
            took = _pgqueuer(jobs, 1000 if how == "best" else 10)
        case _:
            took = _ours(kind, slow, jobs, run)
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


def _pgqueuer(jobs: int, batch: int) -> dict[str, float]:
    """PgQueuer, in an environment of its own: it isn't installed beside Gello."""
    python = os.environ.get("GELLO_BENCH_PGQUEUER")
    if python is None:
        raise NotMeasured("GELLO_BENCH_PGQUEUER doesn't name the Python of an environment with pgqueuer[asyncpg]")
    url = make_url(server_url("postgresql")).set(drivername="postgresql").render_as_string(hide_password=False)
    script = Path(__file__).resolve().parent.parent / "pgqueuer_peer.py"
    command = [python, str(script), url, str(jobs), str(batch)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    took: dict[str, float] = json.loads(done.stdout)
    return took


def _freeze() -> None:
    """Keep what was imported out of the garbage collector's rounds, as servers do; the backlog stays in them."""
    gc.collect()
    gc.freeze()
