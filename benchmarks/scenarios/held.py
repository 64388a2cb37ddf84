"""What a transaction costs that somebody holds open: how fast a worker is after a minute of work beside it.

A worker is fed 500 no-op jobs a second, one push each, for a minute. Meanwhile another connection does nothing, or
holds a transaction open (REPEATABLE READ, and it has read the table), so that no row that is dead since can be taken
away. Then the capacity is measured: the same worker drains 20,000 jobs that appear at once, three times; a drain runs
from its first handler's start until everything is settled, and the median counts. PostgreSQL's autovacuum is off, and
the table is vacuumed before each drain instead, which is the best that autovacuum could do: clean, it takes all dead
rows away, beside the transaction it takes none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from benchmarks.helper import Helper
from benchmarks.scenario import Figures, Run, Wanted, compared

ROUNDS = 1
CASES = tuple(f"{kind}_{how}" for kind in ("postgresql", "mariadb") for how in ("clean", "held"))
ROWS = (
    compared("beside a transaction held for a minute / clean, PostgreSQL, no-op", "postgresql_held", "postgresql_clean",
             Wanted(0.9)),
    compared("beside a transaction held for a minute / clean, MariaDB, no-op", "mariadb_held", "mariadb_clean"),
)  # fmt: skip
RATE = 500


def measure(case: str, run: Run) -> Figures:
    from benchmarks.fill import fill, quiet_url, vacuum
    from gello_dramatiq import Gello

    kind, _, how = case.partition("_")
    url = quiet_url(kind, run)
    gello = Gello(url, modules=["benchmarks.jobs"])
    broker: Any = gello.broker
    with _held(broker, how == "held"), Helper("worker", url) as worker:
        worker.ask("go")
        pushed = _push_steadily(6 if run.quick else 60)
        worker.ask("drain")
        drains = []
        for _ in range(3):
            vacuum(broker)
            worker.ask("forget")
            fill(broker, run.jobs)
            drains.append(worker.ask("drain"))
    return {
        "seconds": median(each["ended"] - each["began"] for each in drains),
        "cpu": median(each["cpu"] for each in drains),
        "jobs": run.jobs,
        "pushed_per_second": pushed,
    }


@contextmanager
def _held(broker: Any, held: bool) -> Iterator[None]:
    """Hold a transaction open on a connection of its own, or none."""
    if not held:
        yield
        return
    with broker.database.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
        else:
            connection.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("SELECT count(*) FROM queue_jobs")
        yield


def _push_steadily(seconds: float) -> float:
    """Push jobs one by one at a steady rate; returns the rate that was reached."""
    from benchmarks.jobs import nothing

    began = time.monotonic()
    jobs = int(seconds * RATE)
    for number in range(jobs):
        time.sleep(max(began + number / RATE - time.monotonic(), 0))
        nothing.push(user_id=number, email="ann@example.com", name="Ann")
    return jobs / (time.monotonic() - began)
