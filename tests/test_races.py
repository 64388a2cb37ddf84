"""Two that meet on a server at the worst moment: what one has done, the other neither repeats nor misses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from gello_dramatiq import Gello, queueable
from gello_dramatiq.brokers.database.broker import DatabaseBroker
from gello_dramatiq.brokers.database.roster import owner_number
from gello_dramatiq.brokers.database.settling import free
from gello_dramatiq.errors import DatabaseUnavailable
from gello_dramatiq.failed_jobs.record import FailedJob
from gello_dramatiq.outcome import Kind, Outcome, Reason
from tests import servers
from tests.contracts.conftest import wait_for
from tests.proxy import Proxy


@queueable
def work() -> None: ...


@pytest.fixture(params=servers.ADMIN)
def url(request: pytest.FixtureRequest) -> str:
    return servers.fresh(str(request.param))


@pytest.fixture
def app(url: str) -> Iterator[Gello]:
    app = Gello(url, jobs=[work], lease="1s")
    yield app
    app.close()


@pytest.fixture
def other(url: str) -> Iterator[Gello]:
    app = Gello(url, jobs=[work], lease="1s")
    yield app
    app.close()


def broker_of(app: Gello) -> DatabaseBroker:
    assert isinstance(app.broker, DatabaseBroker)
    return app.broker


def beats(app: Gello) -> dict[str, int]:
    """Each living worker's beat, by its name."""
    with app.database.read() as connection:
        rows = connection.execute(text("SELECT id, beat FROM queue_workers WHERE dead_at IS NULL")).all()
    return {row.id: row.beat for row in rows}


def test_a_job_that_a_reaper_meets_while_its_failure_is_kept_does_not_run_again(
    app: Gello, other: Gello, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, reaping = broker_of(app), broker_of(other)
    app.queue.push(work)
    (claim,) = broker.claim("me", ["default"], 1)
    claim.outcome = Outcome(Kind.FAILED, error=ValueError(), reason=Reason.ERROR)
    done, reaped = broker._sql.done, list[int]()

    def reap() -> None:
        reaped.append(other.database.transact(lambda c: free(reaping._sql, c, owner_number("me"))))

    reaper = threading.Thread(target=reap)

    def late(connection: Connection, fences: Iterable[tuple[int, int]]) -> int:
        reaper.start()
        reaper.join(0.5)  # it ends by now only if nothing keeps it from the job
        return done(connection, fences)

    monkeypatch.setattr(broker._sql, "done", late)
    assert broker.settle([claim]) == 0
    reaper.join()
    assert reaped == [0]
    assert (app.failed.count(), app.queue.size()) == (1, 0)


def test_of_two_that_keep_a_failure_of_one_job_at_once_both_succeed_and_one_row_is_left(
    app: Gello, other: Gello
) -> None:
    earlier, later = (
        FailedJob("a", "default", "work", Reason.ERROR, "ValueError", "", (), datetime.now(UTC), b"{}")
        for _ in range(2)
    )

    def overtake(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO failed_jobs") and not other.failed.count():
            other.failed.store.add(earlier)

    event.listen(app.database.engine, "before_cursor_execute", overtake)
    app.failed.store.add(later)
    assert [job.generation for job in app.failed.all()] == [later.generation]


def test_a_delayed_job_that_is_promoted_while_its_queue_is_cleared_is_dropped(
    app: Gello, other: Gello, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.queue.later(0.05, work)
    other.queue.size()
    time.sleep(0.1)
    transact = app.database.transact

    def then_promote(*act: Any, **how: Any) -> Any:
        result = transact(*act, **how)
        broker_of(other).claim("other", ["others"], 1)
        return result

    monkeypatch.setattr(app.database, "transact", then_promote)
    assert app.queue.clear() == 1
    assert app.queue.size() == app.queue.size(state="delayed") == 0


def test_a_worker_that_never_hears_of_its_new_name_claims_under_it_all_the_same(app: Gello) -> None:
    proxy = Proxy(app.database.url)
    behind = Gello(proxy.url, jobs=[work], lease="1s")
    worker = behind.worker(concurrency=1, queues=["default"])
    worker.start()
    (first,) = beats(app)
    proxy.swallow_answer_to("INSERT INTO queue_workers", "COMMIT")
    with app.database.write() as connection:
        connection.execute(text("UPDATE queue_workers SET dead_at = 1"))
    wait_for(lambda: any(beats(app).values()))
    (second,) = beats(app)
    coordinator = broker_of(behind).coordinator
    assert proxy.cut == 1
    assert coordinator is not None
    wait_for(lambda: coordinator.owner == second != first, 2)
    worker.stop()
    behind.close()
    proxy.close()


def test_a_worker_whose_registration_was_not_answered_can_register_again(app: Gello) -> None:
    proxy = Proxy(app.database.url)
    behind = Gello(proxy.url, jobs=[work])
    behind.queue.size()
    worker = behind.worker(concurrency=1, queues=["default"])
    broker = broker_of(behind)
    broker.emit_before("worker_boot", worker)
    coordinator = broker.coordinator
    assert coordinator is not None
    proxy.swallow_answer_to("INSERT INTO queue_workers", "COMMIT")
    with pytest.raises(DatabaseUnavailable):
        coordinator.attach()
    coordinator.attach()
    assert list(beats(app)) == [coordinator.owner]
    broker.detach(coordinator.owner)
    broker.coordinator = None
    behind.close()
    proxy.close()


def test_a_worker_that_ends_late_leaves_the_next_one_its_beat(app: Gello, other: Gello) -> None:
    other.queue.size()
    first = app.worker(concurrency=1, queues=["default"])
    first.start()
    (old,) = beats(other)
    second = app.worker(concurrency=1, queues=["default"])
    broker, detach, go_on = broker_of(app), broker_of(app).detach, threading.Event()

    def late(owner: str) -> None:
        go_on.wait(10)
        detach(owner)

    broker.detach = late  # type: ignore[method-assign]
    first.stop(timeout=0.1)
    second.start()
    (new,) = set(beats(other)) - {old}
    go_on.set()
    wait_for(lambda: old not in beats(other))
    before = beats(other)[new]
    wait_for(lambda: beats(other)[new] > before + 1)
    assert set(beats(other)) == {new}, "the next one's row has stayed"
    second.stop()
    assert beats(other) == {}, "and it could still be taken away by its own end"
