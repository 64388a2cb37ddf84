"""What many queues cost: one worker that serves 2,000 queues of ten no-op jobs each, against as many jobs in one queue.

The time runs from the first handler's start until all queues are empty and everything is settled.
"""

from __future__ import annotations

import gc
from typing import Any

from benchmarks import began
from benchmarks.scenario import THREADS, Figures, Run, compared

ROUNDS = 1
CASES = tuple(f"{kind}_{spread}" for kind in ("postgresql", "mariadb", "sqlite") for spread in ("one", "many"))
ROWS = tuple(
    compared(f"20,000 jobs in 2,000 queues / in one, {name}, no-op", f"{kind}_many", f"{kind}_one")
    for kind, name in {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "sqlite": "SQLite"}.items()
)


def measure(case: str, run: Run) -> Figures:
    from benchmarks.fill import analyze, fill, quiet_url
    from gello_dramatiq import Gello

    kind, _, spread = case.partition("_")
    gello = Gello(quiet_url(kind, run), modules=["benchmarks.jobs"])
    broker: Any = gello.broker
    fill(broker, run.jobs, queues=run.jobs // 10 if spread == "many" else 1)
    analyze(broker)
    gc.collect()
    gc.freeze()
    worker = gello.worker(concurrency=THREADS)
    worker.start()
    worker.join()
    took = began.since()
    processed = worker.status().processed
    assert processed == run.jobs, processed
    return {**took, "jobs": run.jobs}
