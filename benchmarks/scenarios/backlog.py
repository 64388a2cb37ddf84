"""Whether a large backlog slows a worker down: the first 10,000 no-op jobs of 200,000, against 10,000 of 10,000.

The time runs from the first handler's start until as many jobs are done and settled; the rest isn't touched. What the
database knows of its rows decides how it looks for them, so that PostgreSQL is measured both ways: with statistics that
were taken once the backlog was there, and without any. Autovacuum is off meanwhile: it would change them at any moment.
"""

from __future__ import annotations

import gc
from typing import Any

from benchmarks import began
from benchmarks.scenario import THREADS, Figures, Run, Wanted, compared

CASES = tuple(
    f"{kind}_{size}"
    for kind in ("postgresql_analyzed", "postgresql_unknown", "mariadb", "sqlite")
    for size in ("small", "large")
)
ROWS = tuple(
    compared(f"a backlog of 200,000 / of 10,000, {name}, no-op", f"{kind}_large", f"{kind}_small", Wanted(0.95))
    for kind, name in {
        "postgresql_analyzed": "PostgreSQL with fresh statistics",
        "postgresql_unknown": "PostgreSQL without statistics",
        "mariadb": "MariaDB",
        "sqlite": "SQLite",
    }.items()
)


def measure(case: str, run: Run) -> Figures:
    from benchmarks.fill import analyze, fill, quiet_url
    from gello_dramatiq import Gello

    kind, *_, size = case.split("_")
    jobs = run.jobs // 2
    gello = Gello(quiet_url(kind, run), modules=["benchmarks.jobs"])
    broker: Any = gello.broker
    fill(broker, jobs if size == "small" else 20 * jobs)
    if "unknown" not in case:
        analyze(broker)
    gc.collect()
    gc.freeze()
    worker = gello.worker(concurrency=THREADS, max_jobs=jobs)
    worker.start()
    worker.join()
    took = began.since()
    processed = worker.status().processed
    assert processed == jobs, processed
    return {**took, "jobs": jobs}
