"""Whether a claim costs the same however many jobs there are: 256 claimed and settled, without a worker.

A million ready and a million delayed jobs, with fresh statistics, against a thousand of each. The tables are filled
once and serve all rounds, since each claim is followed by as many new jobs. PostgreSQL's autovacuum is off; dead rows
are vacuumed away before each round.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from sqlalchemy.engine import make_url

from benchmarks.scenario import Figures, Row, Run, Wanted, cpu_over, rate_over
from benchmarks.scratch import SERVERS, asked

KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
CASES = tuple(f"{kind}_{size}" for kind in KINDS for size in ("thousand", "million"))
ROWS = tuple(
    Row(
        f"claim and settle 256 of 1,000,000 ready (and 1,000,000 delayed) / of 1,000 (and 1,000), {name}: cost",
        rate_over(f"{kind}_thousand", f"{kind}_million"),
        Wanted(at_most=1.2),
        by_cpu=cpu_over(f"{kind}_thousand", f"{kind}_million"),
    )
    for kind, name in KINDS.items()
)
SIZE = 256
HOUR = 3_600_000


def measure(case: str, run: Run) -> Figures:
    from benchmarks.fill import fill, vacuum

    rows = 1000 if case.endswith("thousand") else 100_000 if run.quick else 1_000_000
    broker = _filled(case, rows, run)
    vacuum(broker)
    seconds, cpu = [], []
    for turn in range(23 if run.quick else 63):
        wall, used = _claim_and_settle(broker)
        # The first ones open connections and warm caches.
        if turn >= 3:
            seconds.append(wall)
            cpu.append(used)
        fill(broker, SIZE)
    return {"seconds": median(seconds), "cpu": median(cpu), "rows": rows}


def end(run: Run) -> None:
    for kind in SERVERS:
        for kept in run.scratch.glob(f"claims-{kind}_*"):
            asked(kind, f"DROP DATABASE {make_url(kept.read_text()).database}")


def _filled(case: str, rows: int, run: Run) -> Any:
    """The broker of a case, whose table was filled in the first round."""
    from benchmarks.fill import analyze, checkpoint, fill, quiet_url
    from gello_dramatiq import Gello

    kept = run.scratch / f"claims-{case}"
    if kept.exists():
        return Gello(kept.read_text()).broker
    url = quiet_url(case.partition("_")[0], run, f"gello_bench_{case}")
    broker: Any = Gello(url).broker
    fill(broker, rows)
    fill(broker, rows, delay=HOUR)
    analyze(broker)
    if url.startswith("sqlite"):
        with broker.database.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    checkpoint(broker)
    kept.write_text(url)
    return broker


def _claim_and_settle(broker: Any) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    claims = broker.claim("bench", ["default"], SIZE)
    stale = broker.settle(claims)
    took = time.perf_counter() - wall, time.process_time() - cpu
    assert len(claims) == SIZE
    assert not stale
    return took
