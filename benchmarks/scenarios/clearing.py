"""What large deletes cost others: a worker of one queue while 200,000 jobs of another, or failed ones, are dropped.

Its jobs are counted from the delete's beginning to its end, and for two seconds when it is alone with the same tables.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.helper import Helper
from benchmarks.scenario import Figures, Row, Run, figure, rate_over

ROUNDS = 1
KINDS = {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "sqlite": "SQLite"}
CASES = tuple(f"{kind}_{what}" for kind in KINDS for what in ("alone", "clear", "prune"))
ROWS = tuple(
    row
    for kind, name in KINDS.items()
    for row in (
        Row(f"beside the clearing of 200,000 jobs / alone, {name}", rate_over(f"{kind}_clear", f"{kind}_alone")),
        Row(f"beside the pruning of 200,000 failed jobs / alone, {name}",
            rate_over(f"{kind}_prune", f"{kind}_alone")),
        Row(f"clearing 200,000 jobs beside a worker, {name}", figure(f"{kind}_clear", "took"), unit="s"),
        Row(f"pruning 200,000 failed jobs beside a worker, {name}", figure(f"{kind}_prune", "took"), unit="s"),
    )
)  # fmt: skip


def measure(case: str, run: Run) -> Figures:
    from benchmarks.fill import analyze, fill, fill_failed, quiet_url
    from gello_dramatiq import Gello

    kind, _, what = case.partition("_")
    gello = Gello(url := quiet_url(kind, run), modules=["benchmarks.jobs"])
    broker: Any = gello.broker
    rows = 10 * run.jobs
    fill(broker, rows, queue="other")
    fill_failed(broker, rows)
    # More than it can work off meanwhile.
    fill(broker, 2 * rows)
    for table in ("queue_jobs", "failed_jobs"):
        analyze(broker, table)
    with Helper("worker", url, "default") as worker:
        worker.ask("go")
        time.sleep(0.5)
        began, before = time.monotonic(), worker.ask("processed")
        if what == "clear":
            gone = gello.queue.clear("other")
        elif what == "prune":
            gone = gello.failed.prune("1m")
        else:
            time.sleep(2)
            gone = rows
        took, jobs = time.monotonic() - began, worker.ask("processed") - before
    assert gone == rows, gone
    return {"seconds": took / max(jobs, 1), "took": took, "jobs": jobs}
