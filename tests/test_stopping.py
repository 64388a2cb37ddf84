"""How a worker ends: failures keep their rows, what must not rerun does not, and it takes no longer than told."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from gello_dramatiq import Gello, coordinator, current_job, queueable
from gello_dramatiq.broker import GelloBroker
from gello_dramatiq.brokers.database.broker import DatabaseBroker
from gello_dramatiq.brokers.memory import MemoryBroker
from gello_dramatiq.claim import Claim
from gello_dramatiq.errors import DatabaseUnavailable, WorkerRunning
from gello_dramatiq.failed_jobs.memory import MemoryFailedJobs
from gello_dramatiq.failed_jobs.record import EVERY, FailedJob
from gello_dramatiq.worker import Worker
from tests.contracts.conftest import wait_for


@pytest.mark.slow
def test_a_stop_in_the_middle_of_a_backlog_keeps_every_failure(caplog: pytest.LogCaptureFixture) -> None:
    @queueable(max_attempts=1)
    def mixed(n: int) -> None:
        time.sleep(0.0005)
        if n % 3 == 0:
            raise ValueError(n)

    for number in range(12):
        gello = Gello("memory://", jobs=[mixed])
        gello.queue.bulk(mixed.job(n) for n in range(2000))
        worker = gello.worker(concurrency=2)
        worker.start()
        time.sleep(0.25 + number * 0.01)
        worker.stop(5)
        status = worker.status()
        assert gello.failed.count() == status.failed
        assert gello.queue.size() == 2000 - status.processed
        gello.close()
    assert "an error that it doesn't know" not in caplog.text


def test_the_first_signal_is_the_first_though_a_limit_has_already_begun_the_stop() -> None:
    ended = threading.Event()

    @queueable
    def slow() -> None:
        time.sleep(1.2)
        ended.set()

    gello = Gello("memory://", jobs=[slow])
    gello.queue.push(slow)
    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert gello.worker(max_time="0.3s").run() == 0
    assert ended.is_set()


def test_a_second_worker_of_an_app_in_one_process_is_refused_and_the_first_goes_on() -> None:
    ran: list[int] = []

    @queueable
    def work(n: int) -> None:
        ran.append(n)

    gello = Gello("memory://", jobs=[work])
    first, second = gello.worker(tries=7), gello.worker(tries=9)
    first.start()
    with pytest.raises(WorkerRunning, match="has a worker in this process already"):
        second.start()
    gello.queue.push(work, 1)
    wait_for(lambda: ran == [1])
    assert gello.queue.push(work, 1).max_attempts == 7
    wait_for(lambda: ran == [1, 1])
    first.stop()
    second.start()
    gello.queue.push(work, 2)
    wait_for(lambda: ran == [1, 1, 2])
    second.stop()


@pytest.mark.parametrize("url", ["memory://", "sqlite:///gello.db"])
def test_no_more_jobs_are_begun_than_max_jobs(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @queueable
    def work(n: int) -> None: ...

    monkeypatch.chdir(tmp_path)
    gello = Gello(url, jobs=[work])
    gello.queue.bulk(work.job(n) for n in range(500))
    worker = gello.worker(max_jobs=10)
    worker.run()
    assert worker.status().processed == 10
    assert gello.queue.size() == 490
    gello.close()


def test_a_stock_worker_beside_another_is_refused_too(tmp_path: Path) -> None:
    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}")
    first, second = dramatiq.Worker(gello.broker, worker_threads=1), dramatiq.Worker(gello.broker, worker_threads=1)
    first.start()
    with pytest.raises(WorkerRunning):
        second.start()
    first.stop()
    gello.close()


def test_a_worker_that_could_not_start_can_be_started_again(tmp_path: Path) -> None:
    file = tmp_path / "gello.db"
    file.write_bytes(b"this is no database, however long one looks at it" * 20)
    gello = Gello(f"sqlite:///{file}")
    worker = gello.worker()
    with pytest.raises(DatabaseUnavailable):
        worker.start()
    file.unlink()
    worker.start()
    assert worker.status().state == "running"
    worker.stop()
    gello.close()


@pytest.mark.parametrize("url", ["memory://", "sqlite:///gello.db"])
def test_what_is_claimed_while_its_queue_is_being_paused_goes_back(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    @queueable
    def work(n: int) -> None:
        ran.append(n)

    monkeypatch.chdir(tmp_path)
    gello = Gello(url, jobs=[work])
    broker = gello.broker
    assert isinstance(broker, GelloBroker)
    exchange = broker.exchange

    def paused_meanwhile(*asked: Any) -> Any:
        found = exchange(*asked)
        if found[1] and not ran:
            assert broker.coordinator is not None
            broker.coordinator.pause("default")
        return found

    monkeypatch.setattr(broker, "exchange", paused_meanwhile)
    worker = gello.worker()
    worker.start()
    assert broker.coordinator is not None
    settled = broker.coordinator.completer.settled

    def slowly(*told: Any) -> None:
        # What was handed out has the time to begin.
        time.sleep(0.05)
        settled(*told)

    monkeypatch.setattr(broker.coordinator.completer, "settled", slowly)
    gello.queue.push(work, 1)
    time.sleep(0.5)
    assert (ran, gello.queue.size()) == ([], 1)
    monkeypatch.setattr(broker, "exchange", exchange)
    broker.coordinator.resume("default")
    wait_for(lambda: ran == [1])
    worker.stop()
    gello.close()


def test_join_ends_when_the_worker_is_stopped() -> None:
    let_go = threading.Event()

    @queueable
    def hold() -> None:
        let_go.wait(10)

    gello = Gello("memory://", jobs=[hold])
    worker = gello.worker()
    worker.start()
    gello.queue.push(hold)
    wait_for(lambda: bool(worker.status().current_jobs))
    joining = threading.Thread(target=worker.join)
    joining.start()
    let_go.set()
    worker.stop()
    joining.join(5)
    assert not joining.is_alive()


def joined(worker: Worker) -> threading.Event:
    """Set once a `join`, in a thread of its own, has returned."""
    ended = threading.Event()
    threading.Thread(target=lambda: (worker.join(), ended.set()), daemon=True).start()
    return ended


def test_join_waits_for_the_row_of_a_failed_job() -> None:
    asked, let_go = threading.Event(), threading.Event()

    class Slow(MemoryFailedJobs):
        def add(self, job: FailedJob) -> None:
            asked.set()
            let_go.wait(10)
            super().add(job)

    @queueable(max_attempts=1)
    def bad() -> None:
        raise ValueError

    gello = Gello("memory://", jobs=[bad])
    gello._store = store = Slow()
    worker = gello.worker(concurrency=1)
    worker.start()
    gello.queue.push(bad)
    assert asked.wait(5)
    ended = joined(worker)
    assert not ended.wait(0.3)
    let_go.set()
    assert ended.wait(5)
    assert store.count(EVERY) == 1
    worker.stop()


def test_join_is_not_ended_by_a_look_that_missed_the_last_push() -> None:
    looked, let_go = threading.Event(), threading.Event()

    class Slow(MemoryBroker):
        def claim(self, owner: str, queues: Sequence[str], limit: int) -> list[Claim]:
            claims = super().claim(owner, queues, limit)
            looked.set()
            let_go.wait(10)
            return claims

    @queueable
    def hold() -> None:
        held.wait(10)

    held = threading.Event()
    gello = Gello(broker=Slow(), jobs=[hold])
    worker = gello.worker(concurrency=1)
    worker.start()
    assert looked.wait(5)
    gello.queue.push(hold)
    ended = joined(worker)
    let_go.set()
    assert not ended.wait(0.3)
    held.set()
    assert ended.wait(5)
    worker.stop()


def test_join_ends_when_max_jobs_are_done_and_when_the_worker_has_died() -> None:
    @queueable
    def work() -> None: ...

    gello = Gello("memory://", jobs=[work])
    gello.queue.bulk(work.job() for _ in range(3))
    worker = gello.worker(max_jobs=2)
    worker.start()
    assert joined(worker).wait(5)
    wait_for(lambda: worker.status().processed == 2)
    assert joined(worker).wait(5)
    worker.stop()

    worker = gello.worker()
    worker.start()
    worker._fed()._given_up = True
    worker._fed().ended.wait(5)
    assert joined(worker).wait(5)
    worker.stop()


def test_hooks_that_hang_hold_up_neither_the_rows_of_others_nor_the_stop() -> None:
    let_go = threading.Event()

    @queueable(max_attempts=1)
    def fails(n: int) -> None:
        raise ValueError(n)

    @fails.on_failure
    def hang(error: BaseException, n: int) -> None:
        let_go.wait(30)

    gello = Gello("memory://", jobs=[fails])
    gello.queue.bulk(fails.job(n) for n in range(10))
    worker = gello.worker()
    worker.start()
    wait_for(lambda: gello.failed.count() == 10)
    began = time.monotonic()
    worker.stop(timeout=0.5)
    assert time.monotonic() - began < 4
    let_go.set()


@pytest.mark.parametrize("url", ["memory://", "sqlite:///gello.db"])
def test_a_job_that_must_not_rerun_and_outlasts_the_grace_is_kept_as_crashed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    let_go = threading.Event()

    @queueable(rerun_after_crash=False)
    def once() -> None:
        let_go.wait(20)

    gello = Gello(url, jobs=[once])
    gello.queue.push(once)
    worker = gello.worker()
    worker.start()
    wait_for(lambda: bool(worker.status().current_jobs))
    worker.stop(timeout=0.1)
    let_go.set()
    assert gello.queue.size() == 0
    (failed,) = gello.failed.all()
    assert (failed.reason, failed.exception) == (
        "crashed",
        "JobCrashed: The worker stopped while this job ran, and rerun_after_crash=False.",
    )
    gello.close()


def test_a_job_that_waits_for_its_mark_when_the_grace_is_over_runs_once_and_elsewhere(tmp_path: Path) -> None:
    """Its start is to be marked in a database that another program has locked just now."""
    ran: list[str] = []

    @queueable(rerun_after_crash=False, max_attempts=1)
    def once() -> None:
        ran.append("ran")

    file = tmp_path / "gello.db"
    gello = Gello(f"sqlite:///{file}", jobs=[once])
    assert isinstance(gello.broker, DatabaseBroker)
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    mark, marking = gello.broker.mark, threading.Event()

    def locked(claims: Any) -> Any:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(1.0, other.execute, ["COMMIT"]).start()
        gello.broker.mark = mark  # type: ignore[method-assign,union-attr]
        marking.set()
        return mark(claims)

    gello.broker.mark = locked  # type: ignore[method-assign]
    worker = gello.worker(concurrency=1)
    worker.start()
    once.push()
    assert marking.wait(5)
    worker.stop(timeout=0.2)
    time.sleep(0.5)
    assert ran == []
    second = gello.worker(concurrency=1)
    second.start()
    wait_for(lambda: bool(ran))
    second.stop()
    assert ran == ["ran"]
    assert gello.failed.count() == 0
    other.close()
    gello.close()


@pytest.mark.parametrize("url", ["memory://", "sqlite:///gello.db"])
@pytest.mark.parametrize("how", ["pause", "stop"])
def test_what_was_claimed_and_has_not_started_goes_back_at_once(
    url: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short jobs make the worker claim ahead; then a long one keeps the rest waiting in its hands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(coordinator, "PATIENCE", 30.0)
    let_go, holding = threading.Event(), threading.Event()

    @queueable
    def job(n: int) -> None:
        if n == 200:
            holding.set()
            let_go.wait(10)

    gello = Gello(url, jobs=[job])
    gello.queue.bulk(job.job(n) for n in range(400))
    worker = gello.worker(concurrency=1)
    worker.start()
    assert holding.wait(10)
    wait_for(lambda: gello.queue.size(state="reserved") > 1)
    if how == "pause":
        worker.pause()
        wait_for(lambda: gello.queue.size(state="reserved") == 1, 2)
        let_go.set()
        worker.stop()
    else:
        stopping = threading.Thread(target=worker.stop)
        stopping.start()
        wait_for(lambda: gello.queue.size(state="reserved") == 1, 2)
        let_go.set()
        stopping.join(10)
    assert gello.queue.size() == 199
    gello.close()


def test_a_stock_worker_leaves_the_jobs_of_queues_that_it_does_not_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []

    @queueable
    def work(n: int) -> None:
        ran.append(n)

    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    work.push(1)
    worker = dramatiq.Worker(gello.broker, queues={"emails"}, worker_threads=2)
    worker.start()
    time.sleep(1)
    assert gello.queue.size() == 1, "not even while it knows no queue of its own"
    work.on("emails").push(2)
    wait_for(lambda: ran == [2])
    worker.stop()
    assert (gello.queue.size(), gello.queue.size(state="reserved")) == (1, 0)
    assert "an error that it doesn't know" not in caplog.text
    gello.close()


def test_a_stock_worker_whose_database_was_never_there_ends_soon() -> None:
    gello = Gello("postgresql://ann@127.0.0.1:9/shop")
    worker = dramatiq.Worker(gello.broker, worker_threads=1)
    worker.start()
    time.sleep(0.5)
    before = time.monotonic()
    worker.stop()
    assert time.monotonic() - before < 5, "not as long as outcomes may take, of which there are none"
    gello.close()


@pytest.mark.parametrize("stock", [False, True], ids=["ours", "stock"])
def test_flags_of_a_worker_hold_for_jobs_that_its_app_comes_to_know_later(stock: bool) -> None:
    seen: list[int | None] = []

    @queueable
    def later() -> None:
        seen.append(current_job().max_attempts)

    gello = Gello(broker=StubBroker()) if stock else Gello("memory://")
    worker = gello.worker(tries=7)
    worker.worker_timeout = 50
    worker.start()
    assert gello.queue.push(later).max_attempts == 7
    wait_for(lambda: bool(seen))
    worker.stop()
    assert seen == [7]
    assert gello.queue.push(later).max_attempts == 3


def test_missing_tables_end_the_worker_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}")
    gello.queue.size("default")
    with gello.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE queue_jobs")
    began = time.monotonic()
    assert gello.worker(queues=["default"], max_time="20s").run() == 1
    assert time.monotonic() - began < 5
    assert "create them with `gello db install`" in caplog.text
    assert "Traceback" not in caplog.text
    gello.close()
