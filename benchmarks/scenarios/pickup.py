"""How soon an idle worker begins a job that another process pushes: from before the push to the handler's start."""

from __future__ import annotations

import importlib.util
import random
import statistics
import time
from collections.abc import Callable

from benchmarks.helper import Helper
from benchmarks.scenario import Figures, NotMeasured, Row, Run, Wanted, figure
from benchmarks.scratch import any_url, fresh_url

CASES = ("sqlite", "postgresql", "mariadb", "redis", "huey")
ROWS = (
    Row("idle pick-up on SQLite, p50", figure("sqlite", "p50"), Wanted(at_most=5), "ms"),
    Row("idle pick-up on SQLite, p99", figure("sqlite", "p99"), Wanted(at_most=15), "ms"),
    Row("idle pick-up on PostgreSQL, p50", figure("postgresql", "p50"), Wanted(at_most=5), "ms"),
    Row("idle pick-up on PostgreSQL, p99", figure("postgresql", "p99"), Wanted(at_most=20), "ms"),
    Row("idle pick-up on MariaDB, p50", figure("mariadb", "p50"), unit="ms"),
    Row("idle pick-up on Redis, p50", figure("redis", "p50"), unit="ms"),
    Row("idle pick-up on Redis, p99", figure("redis", "p99"), Wanted(at_most=4), "ms"),
    Row("… of Huey on SQLite, p50", figure("huey", "p50"), unit="ms"),
    Row("… of Huey on SQLite, p99", figure("huey", "p99"), unit="ms"),
)


def measure(case: str, run: Run) -> Figures:
    helper, push = _huey(fresh_url(run)) if case == "huey" else _ours(any_url(case, run))
    with helper:
        helper.ask("go")
        time.sleep(1)
        for _ in range(5 + (50 if run.quick else 200)):
            push()
            time.sleep(random.uniform(0.02, 0.06))
        time.sleep(0.5)
        # The first ones open connections and import what is loaded late, on both sides.
        latencies = sorted(helper.ask("stop")["latencies"][5:])
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return {"p50": cuts[49] * 1000, "p99": cuts[98] * 1000, "worst": latencies[-1] * 1000, "jobs": len(latencies)}


def _ours(url: str) -> tuple[Helper, Callable[[], object]]:
    from benchmarks.jobs import ping
    from gello_dramatiq import Gello

    gello = Gello(url, modules=["benchmarks.jobs"])
    return Helper("worker", url), lambda: gello.queue.push(ping, sent_at=time.monotonic())


def _huey(url: str) -> tuple[Helper, Callable[[], object]]:
    if importlib.util.find_spec("huey") is None:
        raise NotMeasured("Huey isn't installed")
    from benchmarks import peer

    path = url.removeprefix("sqlite:///")
    ping = peer.tasks(path)[1]
    return Helper("peer", path), lambda: ping(time.monotonic())
