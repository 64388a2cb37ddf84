"""How fast jobs are pushed, one by one and in bulk, against stock Dramatiq's in-memory broker."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.scenario import Figures, Row, Run, Wanted, cpu_over, rate_over
from benchmarks.scratch import any_url

CASES = (
    "stub", "memory", "memory_bulk", "sqlite", "sqlite_bulk", "postgresql", "postgresql_bulk", "postgresql_bare",
    "mariadb", "mariadb_bulk",
)  # fmt: skip
ROWS = (
    *(
        Row(f"{what} / stock StubBroker's push", rate_over(case, "stub"), by_cpu=cpu_over(case, "stub"))
        for case, what in {
            "memory": "push to memory, one by one",
            "memory_bulk": "push to memory, in bulk",
            "sqlite": "push to SQLite, one by one",
            "sqlite_bulk": "push to SQLite, in bulk",
        }.items()
    ),
    Row("PostgreSQL: in bulk / one by one", rate_over("postgresql_bulk", "postgresql"), Wanted(20)),
    Row("PostgreSQL: one by one / a bare prepared INSERT", rate_over("postgresql", "postgresql_bare"), Wanted(0.6)),
    Row("MariaDB: in bulk / one by one", rate_over("mariadb_bulk", "mariadb"), Wanted(20)),
)
BULK = 1000


def measure(case: str, run: Run) -> Figures:
    jobs = run.jobs // 4
    push = _stub() if case == "stub" else _bare() if case == "postgresql_bare" else _ours(case, run)
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


def _bare() -> Callable[[int], None]:
    """The same row by nothing but psycopg: a loop over one prepared INSERT."""
    import psycopg

    from benchmarks.scratch import server_url

    connection = psycopg.connect(server_url("postgresql").replace("+psycopg", ""), autocommit=True)
    message = b'{"queue_name": "default", "actor_name": "nothing", "args": [], "kwargs": {"user_id": 7}}' + b" " * 150

    def push(jobs: int) -> None:
        for number in range(jobs):
            connection.execute(
                "INSERT INTO queue_jobs (job_id, queue, name, precedence, state, available_at, message, created_at, "
                "lease, marked, suspect, deaths) VALUES (%s, %s, %s, 0, 0, 0, %s, 0, 0, 0, 0, 0)",
                (f"{number:036x}", "default", "nothing", message),
                prepare=True,
            )

    return push
