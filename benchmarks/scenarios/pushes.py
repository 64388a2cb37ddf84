"""How fast jobs are pushed, one by one and in bulk, against stock Dramatiq's in-memory broker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.engine import URL, make_url

from benchmarks.scenario import Figures, Run, Wanted, compared
from benchmarks.scratch import any_url, redis_url, server_url

CASES = (
    "stub", "memory", "memory_bulk", "sqlite", "sqlite_bulk",
    "postgresql", "postgresql_bulk", "postgresql_bare", "mariadb", "mariadb_bulk", "mariadb_bare",
    "redis", "redis_bulk", "redis_stock",
)  # fmt: skip
ROWS = (
    compared("push to memory, one by one / stock StubBroker's push", "memory", "stub"),
    compared("push to memory, in bulk / stock StubBroker's push", "memory_bulk", "stub"),
    compared("push to SQLite, one by one / stock StubBroker's push", "sqlite", "stub"),
    compared("push to SQLite, in bulk / stock StubBroker's push", "sqlite_bulk", "stub"),
    compared("PostgreSQL: in bulk / one by one", "postgresql_bulk", "postgresql", Wanted(20)),
    compared("PostgreSQL: one by one / a bare prepared INSERT", "postgresql", "postgresql_bare", Wanted(0.6)),
    compared("MariaDB: in bulk / one by one", "mariadb_bulk", "mariadb", Wanted(20)),
    compared("MariaDB: one by one / a bare INSERT", "mariadb", "mariadb_bare", Wanted(0.6)),
    compared("Redis: one by one / stock Dramatiq on Redis", "redis", "redis_stock", Wanted(0.95)),
    compared("Redis: in bulk / one by one", "redis_bulk", "redis", Wanted(5)),
)
BULK = 1000
INSERT = """
    INSERT INTO queue_jobs (job_id, queue, name, precedence, state, available_at, message, created_at, lease, marked,
                            suspect, deaths)
    VALUES (%s, %s, %s, 0, 0, 0, %s, 0, 0, 0, 0, 0)"""
Execute = Callable[[str, tuple[Any, ...]], object]


def measure(case: str, run: Run) -> Figures:
    jobs = run.jobs // 4
    if case == "redis_stock":
        os.environ["STOCK_URL"] = redis_url()
    push = _stub() if case in ("stub", "redis_stock") else _bare(case) if case.endswith("_bare") else _ours(case, run)
    # The first push opens the database.
    push(BULK)
    wall, cpu = time.perf_counter(), time.process_time()
    push(jobs)
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": seconds / jobs, "cpu": used / jobs}


def _stub() -> Callable[[int], None]:
    from benchmarks import stock

    def push(jobs: int) -> None:
        for number in range(jobs):
            stock.nothing.send(user_id=number, email="ann@example.com", name="Ann")

    return push


def _ours(case: str, run: Run) -> Callable[[int], None]:
    from benchmarks.jobs import nothing
    from gello_dramatiq import Gello

    kind, _, bulk = case.partition("_")
    Gello(any_url(kind, run), modules=["benchmarks.jobs"])
    from gello_dramatiq import current

    queue = current.queue()

    def one_by_one(jobs: int) -> None:
        for number in range(jobs):
            nothing.push(user_id=number, email="ann@example.com", name="Ann")

    def in_bulk(jobs: int) -> None:
        for start in range(0, jobs, BULK):
            queue.bulk(
                nothing.job(user_id=number, email="ann@example.com", name="Ann")
                for number in range(start, min(start + BULK, jobs))
            )

    return in_bulk if bulk else one_by_one


def _bare(case: str) -> Callable[[int], None]:
    """The same row by nothing but the driver: a loop over one INSERT, which PostgreSQL has prepared."""
    from dramatiq import Message

    kind = case.partition("_")[0]
    url = make_url(server_url(kind))
    payload = {"user_id": 7, "email": "ann@example.com", "name": "Ann"}
    message = Message(queue_name="default", actor_name="nothing", args=(), kwargs=payload, options={}).encode()
    execute = _by_psycopg(url) if kind == "postgresql" else _by_pymysql(url)

    def push(jobs: int) -> None:
        for number in range(jobs):
            execute(INSERT, (f"{number:036x}", "default", "nothing", message))

    return push


def _by_psycopg(url: URL) -> Execute:
    import psycopg

    connection = psycopg.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    )
    return partial(connection.cursor().execute, prepare=True)


def _by_pymysql(url: URL) -> Execute:
    import pymysql

    connection = pymysql.connect(
        host=url.host,
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        charset="utf8mb4",
        autocommit=True,
    )
    return connection.cursor().execute
