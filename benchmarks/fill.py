"""Large backlogs in little time: the broker writes one job, and the database copies it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any

from dramatiq import Message
from sqlalchemy import Connection

from gello_dramatiq.errors import DatabaseUnavailable

from .scenario import Run
from .scratch import any_url

NUMBERS = {
    "postgresql": "generate_series(1, {rows}) AS numbers(n)",
    "mariadb": "(SELECT seq AS n FROM seq_1_to_{rows}) AS numbers",
    "sqlite": "(WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < {rows}) SELECT n FROM up) "
    "AS numbers",
}
"""A table of the numbers from 1, as each database counts."""
HEX = {
    "postgresql": "lpad(to_hex({n}), 12, '0')",
    "mariadb": "lpad(lower(hex({n})), 12, '0')",
    "sqlite": "printf('%012x', {n})",
}
REPLACED = {
    "postgresql": "convert_to(replace(replace(convert_from(message, 'UTF8'), job_id, {id}), queue, {queue}), 'UTF8')",
    "mariadb": "replace(replace(message, job_id, {id}), queue, {queue})",
    "sqlite": "CAST(replace(replace(CAST(message AS TEXT), job_id, {id}), queue, {queue}) AS BLOB)",
}
SEED = "seed-of-a-backlog"
FOUND = f"queue = '{SEED}' AND state = 0"
"""By the index of what is ready: a scan of the table would turn every cache over."""
CHUNK = 100_000
"""Rows to a statement: a connection waits ten seconds for its answer at most."""


def dialect(broker: Any) -> str:
    """A key of these tables."""
    name: str = broker.database.dialect
    return "mariadb" if name == "mysql" else name


def fill(broker: Any, rows: int, *, queue: str = "default", queues: int = 1, delay: int = 0) -> None:
    """Write jobs that do nothing, each with an id of its own, as the broker writes them.

    Parameters:
      broker: Where.
      rows: How many.
      queue: Where they wait.
      queues: Over how many queues they are spread; "default0" is the first of several.
      delay: Milliseconds that they wait.
    """
    for start in range(0, rows, CHUNK):
        _fill(broker, min(rows - start, CHUNK), queue, queues, delay)


def _fill(broker: Any, rows: int, queue: str, queues: int, delay: int) -> None:
    payload = {"user_id": 7, "email": "ann@example.com", "name": "Ann"}
    message: Message[Any] = Message(queue_name=SEED, actor_name="nothing", args=(), kwargs=payload, options={})
    kind = dialect(broker)
    # In one transaction: a worker that runs meanwhile must not find the seed.
    with broker.database.write() as connection:
        broker._sql.insert(connection, [broker._row(message, None, message.encode())])
        _say(connection, _copy(kind, queue, queues, delay).format(numbers=NUMBERS[kind].format(rows=rows)))
        _say(connection, f"DELETE FROM queue_jobs WHERE {FOUND}")


def _copy(kind: str, queue: str, queues: int, delay: int) -> str:
    """The statement that copies the seed. A new id ends with the number of the copy."""
    start = "substr(job_id, 1, 24)"
    spread = f"concat('{queue}', n % {queues})" if queues > 1 else f"'{queue}'"
    if kind == "sqlite":
        spread = spread.replace("concat(", "printf('%s%d', ")
    number = HEX[kind].format(n="n")
    new_id = f"concat({start}, {number})" if kind != "sqlite" else f"{start} || {number}"
    message = REPLACED[kind].format(id=new_id, queue=spread)
    return f"""
        INSERT INTO queue_jobs (job_id, queue, name, precedence, state, available_at, lease, marked, suspect, deaths,
                                message, created_at)
        SELECT {new_id}, {spread}, name, precedence, {int(delay > 0)}, available_at + {delay}, 0, 0, 0, 0,
               {message}, created_at
        FROM queue_jobs CROSS JOIN {{numbers}} WHERE {FOUND} ORDER BY n"""


def fill_failed(broker: Any, rows: int) -> None:
    """Write failed jobs that are an hour old, each with a traceback of some lines."""
    kind = dialect(broker)
    number = HEX[kind].format(n="n")
    trace = "Traceback (most recent call last):\n" + '  File "jobs.py", line 7, in nothing\n' * 8
    _run(broker, f"""
        INSERT INTO failed_jobs (id, generation, queue, name, reason, exception, traceback, attempts, payload, message,
                                 failed_at)
        SELECT {number}, {number}, 'default', 'nothing', 'error', 'ValueError', '{trace}', '[]', '', '',
               {time.time() * 1000 - 3_600_000:.0f}
        FROM {NUMBERS[kind].format(rows=rows)}""")  # fmt: skip


def analyze(broker: Any, table: str = "queue_jobs") -> None:
    """Let the database count its rows anew."""
    words = {"mariadb": "ANALYZE TABLE "}.get(dialect(broker), "ANALYZE ")
    _run(broker, words + table)


def vacuum(broker: Any) -> None:
    """Take PostgreSQL's dead rows away, as far as nobody can see them any more."""
    if dialect(broker) == "postgresql":
        _run(broker, "VACUUM queue_jobs")


def checkpoint(broker: Any) -> None:
    """Write down what a fill has left in memory, as far as this user may, before anything is measured."""
    if dialect(broker) == "postgresql":
        with suppress(DatabaseUnavailable):
            _run(broker, "CHECKPOINT")
    os.sync()


def quiet_url(kind: str, run: Run, name: str = "gello_bench") -> str:
    """A database whose rows and statistics change by nothing but what is measured: PostgreSQL's autovacuum is off."""
    from gello_dramatiq import Gello

    url = any_url(kind, run, name)
    if kind == "postgresql":
        _run(Gello(url).broker, "ALTER TABLE queue_jobs SET (autovacuum_enabled = off)")
    return url


def _run(broker: Any, statement: str) -> None:
    with broker.database.at_once() as connection:
        _say(connection, statement)


def _say(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement if connection.dialect.name == "sqlite" else statement.replace("%", "%%"))
