"""Whether a claim costs the same however many jobs there are: 256 claimed and settled, without a worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from statistics import median
from typing import Any

from benchmarks.scenario import Figures, Row, Run, Wanted, cpu_over, rate_over
from benchmarks.scratch import server_url

CASES = ("sqlite_thousand", "sqlite_million", "postgresql_thousand", "postgresql_million")
ROWS = tuple(
    Row(
        f"claim and settle 256 of 1,000,000 ready (and 1,000,000 delayed) / of 1,000 (and 1,000), {name}: cost",
        rate_over(f"{kind}_thousand", f"{kind}_million"),
        Wanted(at_most=1.2),
        by_cpu=cpu_over(f"{kind}_thousand", f"{kind}_million"),
    )
    for kind, name in {"sqlite": "SQLite", "postgresql": "PostgreSQL"}.items()
)
SIZE = 256
HOUR = 3_600_000


def measure(case: str, run: Run) -> Figures:
    from gello_dramatiq import Gello

    kind, _, size = case.partition("_")
    rows = 1000 if size == "thousand" else 100_000 if run.quick else 1_000_000
    file = run.scratch / f"claims-{case}.db"
    # A million rows take a while to write; they serve all rounds, since each claim is followed by as many new jobs.
    filled = file.exists()
    broker: Any = Gello(f"sqlite:///{file}" if kind == "sqlite" else server_url(kind)).broker
    if kind != "sqlite":
        _fill(broker, 0, rows)
        _fill(broker, HOUR, rows)
    elif not filled:
        _fill(broker, 0, rows)
        _fill(broker, HOUR, rows)
        with broker.database.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    seconds, cpu = [], []
    for turn in range(23 if run.quick else 63):
        wall, used = _claim_and_settle(broker)
        # The first ones open connections and warm caches.
        if turn >= 3:
            seconds.append(wall)
            cpu.append(used)
        _fill(broker, 0, SIZE)
    return {"seconds": median(seconds), "cpu": median(cpu), "rows": rows}


def _claim_and_settle(broker: Any) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    claims = broker.claim("bench", ["default"], SIZE)
    stale = broker.settle(claims)
    took = time.perf_counter() - wall, time.process_time() - cpu
    assert len(claims) == SIZE
    assert not stale
    return took


_numbers = count()


def _fill(broker: Any, delay: int, rows: int) -> None:
    """Insert rows as the broker writes them, 50,000 to a transaction."""
    left = rows
    while left:
        chunk = min(left, 50_000)
        with broker.database.write() as connection:
            broker._sql.insert(connection, list(_rows(broker, delay, chunk)))
        left -= chunk


def _rows(broker: Any, delay: int, rows: int) -> Iterator[tuple[Any, ...]]:
    from dramatiq import Message

    payload = {"user_id": 7, "email": "ann@example.com", "name": "Ann"}
    message: Any = Message(queue_name="default", actor_name="nothing", args=(), kwargs=payload, options={})
    _, *rest = broker._row(message, delay or None)
    for _ in range(rows):
        yield (f"{message.message_id[:24]}{next(_numbers):012x}", *rest)
