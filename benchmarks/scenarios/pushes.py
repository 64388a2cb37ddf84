"""How fast jobs are pushed, one by one and in bulk, against stock Dramatiq's in-memory broker."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.scenario import Figures, Row, Run, cpu_over, rate_over
from benchmarks.scratch import fresh_url

CASES = ("stub", "memory", "memory_bulk", "sqlite", "sqlite_bulk")
ROWS = tuple(
    Row(f"{what} / stock StubBroker's push", rate_over(case, "stub"), by_cpu=cpu_over(case, "stub"))
    for case, what in {
        "memory": "push to memory, one by one",
        "memory_bulk": "push to memory, in bulk",
        "sqlite": "push to SQLite, one by one",
        "sqlite_bulk": "push to SQLite, in bulk",
    }.items()
)
BULK = 1000


def measure(case: str, run: Run) -> Figures:
    jobs = run.jobs // 4
    push = _stub() if case == "stub" else _ours(case, run)
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
    Gello(fresh_url(run) if kind == "sqlite" else "memory://", modules=["benchmarks.jobs"])
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
