"""Whether delayed jobs wait in the database and not in the worker: its memory while 100,000 of them arrive."""

from __future__ import annotations

import time

from benchmarks.helper import Helper
from benchmarks.scenario import Figures, Row, Run, Wanted, figure
from benchmarks.scratch import any_url

CASES = ("sqlite", "redis")
ROWS = (
    Row("a worker's memory: 100,000 jobs delayed by an hour", figure("sqlite", "grown"), Wanted(at_most=5), "MiB"),
    Row("… on Redis", figure("redis", "grown"), Wanted(at_most=5), "MiB"),
)
CHUNK = 5000


def measure(case: str, run: Run) -> Figures:
    from benchmarks.jobs import nothing
    from gello_dramatiq import Gello

    url = any_url(case, run)
    gello = Gello(url, modules=["benchmarks.jobs"])
    with Helper("worker", url) as worker:
        worker.ask("go")
        # A backlog first: what a working worker needs anyway is no growth.
        gello.queue.bulk(nothing.job(user_id=number, email="ann@example.com", name="Ann") for number in range(2000))
        while gello.queue.size() or gello.queue.size(state="reserved"):
            time.sleep(0.1)
        time.sleep(1)
        before = worker.memory()
        for start in range(0, 100_000, CHUNK):
            jobs = (nothing.job(user_id=start + i, email="ann@example.com", name="Ann") for i in range(CHUNK))
            gello.queue.bulk(jobs, delay="1h")
        time.sleep(2)
        grown = worker.memory() - before
        assert gello.queue.size(state="delayed") == 100_000
    return {"grown": grown / 2**20, "before": before / 2**20}
