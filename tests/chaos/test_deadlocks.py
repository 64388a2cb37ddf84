"""Deadlocks that a server really resolves: who gives way tries again, and nobody outside hears of it."""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import bindparam, text

from gello_dramatiq import Fail, Gello, Release, current_job, queueable
from gello_dramatiq.brokers.database import broker
from gello_dramatiq.database.backend import Deadlock
from tests import servers
from tests.contracts.conftest import wait_for

pytestmark = pytest.mark.slow
QUEUES = ["first", "second"]
ENOUGH = 5
"""Deadlocks."""

done: Counter[str] = Counter()


@queueable(max_attempts=1000, retry_after=0.001)
def fickle() -> None:
    """Ends in each of the ways in which a job can end."""
    chance = random.random()
    if chance < 0.4:
        raise Release(0.001)
    if chance < 0.6:
        raise ValueError
    if chance < 0.7:
        raise Fail("for now")
    done[current_job().id] += 1


@queueable(max_attempts=1)
def fails() -> None:
    raise ValueError


@pytest.fixture
def apps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gello]]:
    monkeypatch.setattr(broker, "PROMOTE_EVERY", 0.005)
    done.clear()
    url = servers.fresh("mariadb")
    made = [Gello(url, jobs=[fickle, fails]) for _ in range(4)]
    yield made
    for app in made:
        app.close()


class Traffic:
    """Acts that are done again and again, each in a thread of its own, and the errors they met."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()

    def repeat(self, act: Callable[[], object]) -> None:
        def run() -> None:
            while not self._ended.wait(0.02):
                try:
                    act()
                except Exception as error:  # noqa: BLE001 (any is one too many)
                    self.errors.append(error)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def test_where_everything_meets_in_deadlocks_nothing_is_lost_or_doubled_and_nobody_sees_an_error(
    apps: list[Gello], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "gello.jobs")  # what the jobs raise on purpose
    deadlocks: list[object] = []
    for app in apps:
        note_deadlocks(app, deadlocks, monkeypatch)
    pushed, dropped = [0], [0]

    def push() -> None:
        apps[0].queue.bulk([fickle.job().on(random.choice(QUEUES)) for _ in range(100)])
        pushed[0] += 100

    def drop() -> None:
        dropped[0] += apps[1].failed.prune(0)
        for queue in random.sample(QUEUES, 2):
            dropped[0] += apps[1].queue.clear(queue)

    workers = [
        app.worker(concurrency=4, queues=order) for app, order in zip(apps, [QUEUES, QUEUES[::-1]] * 2, strict=True)
    ]
    traffic = Traffic()
    for worker in workers:
        worker.start()
    for act in (push, drop, apps[2].failed.retry_all, apps[3].failed.retry_all):
        traffic.repeat(act)
    try:
        wait_for(lambda: len(deadlocks) >= ENOUGH, 30)
    finally:
        traffic.end()
        wait_for(lambda: not left(apps[0]), 30)
        for worker in workers:
            worker.stop()
    assert traffic.errors == []
    assert set(done.values()) == {1}
    assert done.total() + dropped[0] + apps[0].failed.count() == pushed[0]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def note_deadlocks(app: Gello, deadlocks: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Note each error by which the server ended a transaction: 1213 is a deadlock, 1205 a wait that was too long."""
    backend = app.database.backend
    explain = backend.explain

    def noting(cause: Exception, where: str) -> Any:
        explained = explain(cause, where)
        if isinstance(explained, Deadlock) and cause.args[0] == 1213:
            deadlocks.append(cause)
        return explained

    monkeypatch.setattr(backend, "explain", noting)


def left(app: Gello) -> int:
    # At one moment: between two questions a job may go from what is asked later to what was asked before.
    with app.database.read() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM queue_jobs").scalar_one())


def test_a_prune_that_gives_way_in_a_deadlock_drops_all_the_same(
    apps: list[Gello], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, other = apps[:2]
    deadlocks: list[object] = []
    note_deadlocks(app, deadlocks, monkeypatch)
    app.queue.bulk([fails.job() for _ in range(30)])
    worker = app.worker(concurrency=1)
    worker.start()
    wait_for(lambda: app.failed.count() == 30)
    worker.stop()
    first, *rest = sorted(job.id for job in app.failed.all())
    change = text("UPDATE failed_jobs SET exception = 'changed' WHERE id IN :ids").bindparams(
        bindparam("ids", expanding=True)
    )
    pruned: list[int] = []
    prune = threading.Thread(target=lambda: pruned.append(app.failed.prune(0)))
    with other.database.write() as connection:
        # More than the prune has changed when they meet, so that the server ends the prune.
        connection.execute(change, {"ids": rest})
        prune.start()
        wait_for(lambda: waits(apps[2]))
        connection.execute(change, {"ids": [first]})
    prune.join()
    assert len(deadlocks) == 1
    assert pruned == [30]


def waits(app: Gello) -> bool:
    """Whether a deletion of failed jobs is under way."""
    with app.database.read() as connection:
        under_way = "FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE 'DELETE FROM failed_jobs%'"
        return bool(connection.exec_driver_sql(f"SELECT 1 {under_way.replace('%', '%%')}").first())
