"""Failed jobs: one contract over the stores, and retrying by generation over the brokers."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import PIPE
from typing import Any

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.middleware import MiddlewareError
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from gello_dramatiq import Gello, queueable
from gello_dramatiq.database.backend import Deadlock
from gello_dramatiq.database.engine import Database
from gello_dramatiq.errors import FailedJobNotFound, InvalidPayload
from gello_dramatiq.failed_jobs.memory import MemoryFailedJobs
from gello_dramatiq.failed_jobs.record import FailedJob, FailedJobStore, Filter
from gello_dramatiq.failed_jobs.sql import SqlFailedJobs
from gello_dramatiq.outcome import Reason
from tests import servers
from tests.contracts.conftest import DURABLE, OURS, Bench, on, wait_for
from tests.outages import failures_cannot_be_kept, forbidden

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(params=("memory", *DURABLE))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FailedJobStore]:
    kind: str = request.param
    if kind == "memory":
        yield MemoryFailedJobs()
        return
    database = Database(f"sqlite:///{tmp_path / 'gello.db'}" if kind == "sqlite" else servers.fresh(kind))
    yield SqlFailedJobs(database)
    database.close()


def failed(id: str, **said: Any) -> FailedJob:
    name = said.pop("name", "send")
    payload = said.pop("payload", {"user_id": 7})
    queue = said.pop("queue", "emails")
    message: Message[Any] = Message(queue, name, (), payload, {"gello": {"attempts": 3, "priority": 4}}, id)
    known: dict[str, Any] = {
        "reason": Reason.ERROR,
        "exception": "ValueError: no",
        "traceback": "Traceback …\nValueError: no",
        "attempts": ({"attempt": 1, "error": "ValueError: no", "started_at": 1, "seconds": 0.5},),
        "failed_at": NOW,
        "message": message.encode(),
    }
    return FailedJob(id, queue, name, **{**known, **said})


def test_what_is_added_is_found_whole(store: FailedJobStore) -> None:
    job = failed("a", exception="é — 日本 🙂", payload={"text": "ß"})
    store.add(job)
    assert store.find("a") == job
    assert store.find("b") is None


@pytest.mark.parametrize("wrong", [{"options": None}, {"options": []}, {"kwargs": None}, {"kwargs": 7}])
def test_a_message_with_fields_that_make_no_sense_is_shown_raw(store: FailedJobStore, wrong: dict[str, Any]) -> None:
    right = {"queue_name": "q", "actor_name": "work", "args": [], "kwargs": {}, "options": {}, "message_id": "a",
             "message_timestamp": 1}  # fmt: skip
    store.add(failed("a", message=json.dumps({**right, **wrong}).encode()))
    (job,) = store.all(Filter(), None, 0)
    assert (job.payload, job.options, job.retried()) == (None, {}, None)


def test_options_that_make_no_sense_are_left_behind_by_a_retry(store: FailedJobStore) -> None:
    store.add(failed("a", message=Message("q", "work", (), {"n": 1}, {"gello": "nothing", "mine": 1}, "a").encode()))
    (job,) = store.all(Filter(), None, 0)
    again = job.retried()
    assert again is not None
    assert (job.payload, again.kwargs, again.options) == ({"n": 1}, {"n": 1}, {"mine": 1})


def test_adding_again_for_the_same_id_replaces(store: FailedJobStore) -> None:
    store.add(failed("a", exception="first"))
    store.add(failed("a", exception="second"))
    assert [job.exception for job in store.all(Filter(), None, 0)] == ["second"]


def test_all_gives_pages_newest_first(store: FailedJobStore) -> None:
    for n in range(10):
        store.add(failed(f"job-{n}", failed_at=NOW + timedelta(seconds=n)))
    assert [job.id for job in store.all(Filter(), 3, 0)] == ["job-9", "job-8", "job-7"]
    assert [job.id for job in store.all(Filter(), 3, 8)] == ["job-1", "job-0"]
    assert len(store.all(Filter(), None, 0)) == 10


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Filter(), ["a", "b", "c", "d"]),
        (Filter(queue="reports"), ["b"]),
        (Filter(name="Report"), ["b"]),
        (Filter(reason="timeout"), ["c"]),
        (Filter(since=NOW), ["a", "b", "c"]),
        (Filter(before=NOW), ["d"]),
        (Filter(text="VALUEERROR"), ["a", "b", "d"]),
        (Filter(text="100%"), ["c"]),
        (Filter(text="_"), ["a", "b", "c"]),
        (Filter(text="zoë"), ["d"]),
        (Filter(queue="emails", text="late"), ["c"]),
        (Filter(text="nowhere"), []),
    ],
    ids=str,
)
def test_filters_find_by_queue_name_reason_time_and_text(store: FailedJobStore, wanted: Filter, ids: list[str]) -> None:
    store.add(failed("a"))
    store.add(failed("b", queue="reports", name="Report"))
    store.add(failed("c", reason=Reason.TIMEOUT, exception="JobTimeout: late, 100% over", traceback=""))
    store.add(failed("d", failed_at=NOW - timedelta(days=8), payload={"name": "zoë"}))
    assert sorted(job.id for job in store.all(wanted, None, 0)) == ids
    assert store.count(wanted) == len(ids)
    assert store.prune(wanted) == len(ids)
    assert store.count(Filter()) == 4 - len(ids)


def test_forget_drops_one_and_with_a_generation_only_that_failure(store: FailedJobStore) -> None:
    first = failed("a")
    store.add(first)
    store.add(failed("a"))
    assert not store.forget("a", first.generation)
    assert store.find("a") is not None
    assert store.forget("a")
    assert not store.forget("a")


@on(*DURABLE)
@pytest.mark.parametrize("act", ["add", "forget"])
def test_keeping_or_dropping_a_row_is_tried_again_after_a_deadlock(bench: Bench, act: str) -> None:
    app = bench.app()
    store, deadlocks = app.failed.store, [1, 2, 3]
    store.add(failed("a", exception="first"))

    def give_way(*_: Any) -> None:
        if deadlocks:
            deadlocks.pop()
            raise Deadlock("another goes on")

    event.listen(app.database.engine, "before_cursor_execute", give_way)
    if act == "add":
        store.add(failed("a", exception="second"))
    else:
        assert store.forget("a")
    assert deadlocks == []
    assert [job.exception for job in app.failed.all()] == (["second"] if act == "add" else [])


def test_prune_of_thousands_drops_them_all(store: FailedJobStore) -> None:
    for n in range(2100):
        store.add(failed(str(n)))
    assert store.prune(Filter(queue="emails")) == 2100


@on(*OURS)
def test_a_retried_job_starts_afresh_with_the_payload_and_options_of_the_original_push(bench: Bench) -> None:
    ran: list[tuple[int, str]] = []
    broken = threading.Event()
    broken.set()

    @queueable(max_attempts=2, retry_after=0)
    def work(n: int, name: str) -> None:
        ran.append((n, name))
        if broken.is_set():
            raise ValueError

    app = bench.app(work)
    job = work.with_options(priority=5, queue="special").push(7, "Ann")
    app.worker(stop_when_empty=True).run()
    (kept,) = app.failed.all()
    assert (kept.id, kept.options) == (job.id, {"gello": {"priority": 5}})
    app.failed.retry(job.id)
    assert app.failed.count() == 0
    assert app.queue.size("special") == 1
    broken.clear()
    app.worker(stop_when_empty=True).run()
    assert ran == [(7, "Ann")] * 3
    assert app.failed.count() == 0


@on(*OURS)
def test_a_job_that_fails_again_after_its_retry_has_all_its_attempts_and_a_new_row(bench: Bench) -> None:
    @queueable(max_attempts=2, retry_after=0)
    def work() -> None:
        raise ValueError

    app = bench.app(work)
    work.push()
    app.worker(stop_when_empty=True).run()
    (first,) = app.failed.all()
    app.failed.retry(first.id)
    app.worker(stop_when_empty=True).run()
    (second,) = app.failed.all()
    assert second.id == first.id
    assert second.generation != first.generation
    assert [each["attempt"] for each in second.attempts] == [1, 2]


RETRY_ALL = """
import sys
from gello_dramatiq import Gello
gello = Gello(sys.argv[1])
gello.failed.count()
print("ready", flush=True)
sys.stdin.readline()
print(gello.failed.retry_all())
gello.close()
"""


@on(*DURABLE)
def test_processes_that_retry_the_same_jobs_at_once_put_each_back_once(bench: Bench) -> None:
    app = bench.app()
    for n in range(200):
        app.failed.store.add(failed(f"job-{n}"))
    processes = [
        subprocess.Popen([sys.executable, "-c", RETRY_ALL, bench.url], stdin=PIPE, stdout=PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    retried = [int(process.communicate(timeout=30)[0]) for process in processes]
    assert sum(retried) == 200
    assert app.queue.size("emails") == 200
    assert app.failed.count() == 0


class HoldFirst(dramatiq.Middleware):
    """Keeps the first push of a thread between its beginning and its end."""

    def __init__(self) -> None:
        self.held, self.let_go = threading.Event(), threading.Event()

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        if not self.held.is_set():
            self.held.set()
            assert self.let_go.wait(10)


@pytest.mark.parametrize("database", ["", "sqlite"])
def test_threads_that_retry_the_same_jobs_at_once_put_each_back_once(database: str, tmp_path: Path) -> None:
    app = Gello("memory://", database=database and f"sqlite:///{tmp_path / 'memory.db'}")
    app.failed.store.add(failed("a"))
    app.failed.store.add(failed("b", failed_at=NOW + timedelta(seconds=1)))
    hold = HoldFirst()
    app.broker.add_middleware(hold)
    retried: list[int] = []
    other = threading.Thread(target=lambda: retried.append(app.failed.retry_all()))
    other.start()
    assert hold.held.wait(10)
    assert app.failed.retry_all() == 1, "a is being retried by the other thread"
    hold.let_go.set()
    other.join()
    assert retried == [1], "b was retried by this thread since the other one read the list"
    assert app.queue.size("emails") == 2
    assert app.failed.count() == 0
    app.close()


@on(*OURS)
def test_retry_all_takes_filters_and_leaves_what_cannot_be_decoded(bench: Bench) -> None:
    @queueable(max_attempts=1)
    def work(n: int) -> None:
        raise ValueError(f"number {n}")

    app = bench.app(work)
    app.queue.bulk([work.job(n) for n in range(3)])
    app.worker(stop_when_empty=True).run()
    app.failed.store.add(failed("garbage", message=b"\xff", exception="number 9"))
    assert app.failed.retry_all(text="number 1") == 1
    assert app.failed.retry_all() == 2
    assert [job.id for job in app.failed.all()] == ["garbage"]
    with pytest.raises(InvalidPayload, match="can't be decoded"):
        app.failed.retry("garbage")
    assert app.failed.find("garbage").options == {}


@on("sync")
def test_retry_all_on_sync_runs_every_job_though_one_fails_again(bench: Bench) -> None:
    ran: list[int] = []
    healed: set[int] = set()

    @queueable(max_attempts=1)
    def work(n: int) -> None:
        ran.append(n)
        if n not in healed:
            raise ValueError(n)

    app = bench.app(work)
    for n in range(3):
        with pytest.raises(ValueError, match=str(n)):
            work.push(n)
    before = {job.id for job in app.failed.all()}
    ran.clear()
    healed.add(2)
    assert app.failed.retry_all() == 3
    assert ran == [0, 1, 2]
    kept = app.failed.all()
    assert [job.payload for job in kept] == [{"n": 1}, {"n": 0}]
    assert {job.id for job in kept} < before
    with pytest.raises(ValueError, match="0"):
        app.failed.retry(kept[1].id)


@on("sync")
def test_retry_all_on_sync_stops_at_what_keeps_a_job_from_running(bench: Bench) -> None:
    class Refuse(dramatiq.Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            raise MiddlewareError("not now")

    @queueable(max_attempts=1)
    def work() -> None:
        raise ValueError("broken")

    app = bench.app(work)
    with pytest.raises(ValueError, match="broken"):
        work.push()
    app.broker.add_middleware(Refuse())
    with pytest.raises(MiddlewareError, match="not now"):
        app.failed.retry_all()
    assert app.failed.count() == 1


@on(*OURS)
def test_forget_flush_prune_and_count(bench: Bench) -> None:
    app = bench.app()
    for n in range(4):
        app.failed.store.add(failed(f"job-{n}", failed_at=datetime.now(UTC) - timedelta(days=n)))
    app.failed.forget("job-0")
    with pytest.raises(FailedJobNotFound, match="job-0"):
        app.failed.forget("job-0")
    with pytest.raises(FailedJobNotFound, match="gello failed"):
        app.failed.find("job-0")
    assert app.failed.prune("2d") == 2
    assert app.failed.count() == 1
    assert app.failed.flush(queue="reports") == 0
    assert app.failed.flush() == 1


def two_databases(folder: Path, *jobs: Any) -> Gello:
    return Gello(f"sqlite:///{folder / 'jobs.db'}", database=f"sqlite:///{folder / 'memory.db'}", jobs=jobs)


DIE_BETWEEN = """
import os, signal, sys
import dramatiq
from gello_dramatiq import Gello

class Die(dramatiq.Middleware):
    def after_enqueue(self, broker, message, delay):
        os.kill(os.getpid(), signal.SIGKILL)

gello = Gello(sys.argv[1], database=sys.argv[2])
gello.broker.add_middleware(Die())
gello.failed.retry("a")
"""


def test_a_process_that_dies_while_it_retries_has_queued_the_job_and_keeps_its_row(tmp_path: Path) -> None:
    app = two_databases(tmp_path)
    app.failed.store.add(failed("a"))
    urls = [f"sqlite:///{tmp_path / name}" for name in ("jobs.db", "memory.db")]
    ended = subprocess.run([sys.executable, "-c", DIE_BETWEEN, *urls], check=False, timeout=30)
    assert ended.returncode == -signal.SIGKILL
    assert (app.queue.size("emails"), app.failed.count()) == (1, 1)
    app.close()


def test_a_row_that_cannot_be_dropped_stays_though_its_job_is_queued(tmp_path: Path) -> None:
    app = two_databases(tmp_path)
    app.failed.store.add(failed("a"))
    with forbidden(app.database, "DELETE ON failed_jobs"), pytest.raises(IntegrityError, match="forbidden"):
        app.failed.retry("a")
    assert (app.queue.size("emails"), app.failed.count()) == (1, 1)
    app.failed.retry("a")
    assert (app.queue.size("emails"), app.failed.count()) == (2, 0), "at least once"
    app.close()


@on("sqlite")
@pytest.mark.parametrize("half", ["INSERT ON queue_jobs", "DELETE ON failed_jobs"])
def test_in_one_database_a_retry_queues_the_job_and_drops_its_row_or_does_neither(bench: Bench, half: str) -> None:
    app = bench.app()
    app.failed.store.add(failed("a"))
    refused = (IntegrityError, sqlite3.IntegrityError)  # a single push speaks to the driver itself
    with forbidden(app.database, half), pytest.raises(refused, match="forbidden"):
        app.failed.retry("a")
    assert (app.queue.size("emails"), app.failed.count()) == (0, 1)
    app.failed.retry("a")
    assert (app.queue.size("emails"), app.failed.count()) == (1, 0)


def test_failures_that_wait_for_their_rows_close_the_gate_until_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    @queueable(max_attempts=1)
    def work(n: int) -> None:
        ran.append(n)
        if n < 3:
            raise ValueError(n)

    monkeypatch.setattr("gello_dramatiq.completer.MAX_WAITING", 3)
    app = Gello("memory://", database=f"sqlite:///{tmp_path / 'memory.db'}", jobs=[work])
    broker: Any = app.broker
    assert app.failed.count() == 0
    worker = app.worker(concurrency=4)
    with failures_cannot_be_kept(app.database):
        worker.start()
        app.queue.bulk([work.job(n) for n in range(3)])
        wait_for(lambda: broker.coordinator.completer.full)
        app.queue.push(work, 3)
        time.sleep(0.3)  # nothing happens, and nothing tells so
        assert (app.queue.size(), sorted(ran)) == (1, [0, 1, 2])
    wait_for(lambda: len(ran) == 4)
    worker.stop()
    assert app.failed.count() == 3
    app.close()


def test_a_failure_in_another_database_than_the_jobs_is_written_before_the_job_is_given_up(tmp_path: Path) -> None:
    @queueable(max_attempts=1)
    def work() -> None:
        raise ValueError

    app = two_databases(tmp_path, work)
    app.queue.push(work)
    app.worker(stop_when_empty=True).run()
    assert app.failed.count() == 1
    assert app.queue.size(state="reserved") == 0
    app.failed.retry_all()
    assert (app.failed.count(), app.queue.size()) == (0, 1)
    app.close()
