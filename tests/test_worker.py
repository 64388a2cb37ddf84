"""The worker in process: start, run, stop, pause, status, limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Broker
from dramatiq.brokers.stub import StubBroker

from gello_dramatiq import Gello, Release, WorkerOptions, current_job, loop, queueable, retries
from gello_dramatiq.brokers.memory import MemoryBroker
from gello_dramatiq.errors import InvalidDefinition, InvalidDuration, InvalidQueueName, InvalidSetting, Unsupported
from tests.contracts.conftest import wait_for


@queueable(max_attempts=1)
def work(n: int = 0) -> None:
    if n < 0:
        raise ValueError(n)


def test_status_counts_what_was_processed_and_failed_and_names_what_runs() -> None:
    let_go = threading.Event()

    @queueable
    def hold() -> None:
        let_go.wait(10)

    gello = Gello("memory://", jobs=[work, hold])
    worker = gello.worker(concurrency=2)
    assert worker.status().state == "stopped"
    assert worker.status().started_at is None
    worker.start()
    worker.start()
    assert len(worker.workers) == 2, "a second start changes nothing"
    gello.queue.bulk([work.job(n) for n in (1, 2, -3)])
    held = gello.queue.push(hold)
    wait_for(lambda: worker.status().processed == 3 and bool(worker.status().current_jobs))
    status = worker.status()
    assert (status.state, status.failed) == ("running", 1)
    assert [(job.id, job.name, job.attempt) for job in status.current_jobs] == [(held.id, "hold", 1)]
    assert status.uptime > timedelta(0)
    assert status.memory > 10_000_000
    let_go.set()
    worker.stop()
    status = worker.status()
    assert (status.state, status.failed) == ("stopped", 1)
    assert worker.status().uptime == status.uptime, "it ran until it was stopped"


def test_run_ends_when_the_queue_is_empty() -> None:
    gello = Gello("memory://", jobs=[work])
    gello.queue.bulk([work.job(n) for n in range(50)])
    assert gello.worker(stop_when_empty=True).run() == 0
    assert gello.queue.size() == 0


def test_a_worker_can_be_started_again() -> None:
    gello = Gello("memory://", jobs=[work])
    worker = gello.worker(stop_when_empty=True)
    for _ in range(3):
        gello.queue.push(work)
        assert worker.run() == 0
    assert gello.queue.size() == 0


def test_run_ends_after_max_time() -> None:
    gello = Gello("memory://", jobs=[work])
    began = time.monotonic()
    gello.worker(max_time="0.2s").run()
    assert 0.2 <= time.monotonic() - began < 2


def test_run_is_ended_by_stop_from_another_thread() -> None:
    gello = Gello("memory://", jobs=[work])
    worker = gello.worker()
    threading.Timer(0.2, worker.stop).start()
    assert worker.run() == 0
    wait_for(lambda: worker.status().state == "stopped")


def test_a_signal_ends_run_and_the_handlers_of_before_come_back() -> None:
    gello = Gello("memory://", jobs=[work])
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert gello.worker().run() == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_dead_worker_thread_ends_the_run_with_1(caplog: pytest.LogCaptureFixture) -> None:
    gello = Gello("memory://", jobs=[work])
    worker = gello.worker(concurrency=2)

    def die() -> None:
        wait_for(lambda: len(worker.workers) == 2)
        worker.workers[0].running = False

    threading.Thread(target=die).start()
    assert worker.run() == 1
    assert "worker thread(s) died" in caplog.text


def test_a_coordinator_that_cannot_go_on_ends_the_worker_in_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gello = Gello("memory://", jobs=[work])

    def broken(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(gello.broker, "settle", broken)
    gello.queue.push(work)
    worker = gello.worker(max_time="10s")
    began = time.monotonic()
    assert worker.run() == 1
    assert time.monotonic() - began < 5
    assert "The coordinator can't go on" in caplog.text


def test_timeout_and_backoff_of_a_worker_or_the_settings_reach_a_job_that_says_nothing() -> None:
    seen: list[tuple[float, str]] = []

    @queueable
    def slow() -> None:
        for _ in range(2000):
            time.sleep(0.001)

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "runs again in" in record.getMessage():
                seen.append((record.gello["seconds"], record.getMessage()))  # type: ignore[attr-defined]

    watch = Watch()
    logging.getLogger("gello.jobs").addHandler(watch)
    try:
        for gello, flags in (
            (Gello("memory://", jobs=[slow]), {"timeout": "0.1s", "backoff": "7m"}),
            (Gello("memory://", jobs=[slow], timeout="0.1s", retry_after="7m"), {}),
        ):
            gello.queue.push(slow)
            worker = gello.worker(**flags)
            worker.start()
            before = len(seen)
            wait_for(lambda before=before: len(seen) > before)  # type: ignore[misc]
            worker.stop()
    finally:
        logging.getLogger("gello.jobs").removeHandler(watch)
    assert len(seen) == 2
    for seconds, line in seen:
        assert 0.1 <= seconds < 1
        assert line.endswith("JobTimeout: ran longer than its timeout of 0.1s; runs again in 7m")


def test_the_log_says_why_a_job_was_released(caplog: pytest.LogCaptureFixture) -> None:
    @queueable
    def shy(why: str) -> None:
        if why not in seen:
            seen.append(why)
            raise Release(0, why)

    seen: list[str] = []
    gello = Gello("memory://", jobs=[shy])
    with caplog.at_level(logging.INFO, "gello.jobs"):
        for why in ("quiet hours: night", ""):
            gello.queue.push(shy, why)
        gello.worker(concurrency=1, stop_when_empty=True).run()
    said = [record.getMessage().split(" ", 2)[2] for record in caplog.records if "runs again" in record.getMessage()]
    assert sorted(said) == ["released, runs again in 0s", "released: quiet hours: night; runs again in 0s"]


def test_flags_of_a_worker_stand_below_the_definition_and_above_the_settings() -> None:
    seen: dict[str, Any] = {}

    @queueable
    def silent() -> None:
        seen["silent"] = current_job().max_attempts

    @queueable(max_attempts=7)
    def firm() -> None:
        seen["firm"] = current_job().max_attempts

    gello = Gello("memory://", jobs=[silent, firm], max_tries=2)
    gello.queue.push(silent)
    gello.queue.push(firm)
    gello.worker(stop_when_empty=True, tries=5).run()
    assert seen == {"silent": 5, "firm": 7}
    gello.queue.push(silent)
    gello.queue.push(firm.with_options(max_attempts=9).job())
    gello.worker(stop_when_empty=True).run()
    assert seen == {"silent": 2, "firm": 9}


def test_stop_returns_within_its_deadline_though_a_job_does_not_end() -> None:
    let_go = threading.Event()

    @queueable
    def hold() -> None:
        let_go.wait(20)

    gello = Gello("memory://", jobs=[hold])
    gello.queue.bulk([hold.job() for _ in range(4)])
    worker = gello.worker(concurrency=4)
    worker.start()
    wait_for(lambda: gello.queue.size(state="reserved") == 4)
    began = time.monotonic()
    worker.stop(timeout=0.5)
    assert time.monotonic() - began < 2
    assert gello.queue.size() == 4, "what still ran is back, without an attempt"
    let_go.set()


def test_closing_an_app_cancels_the_async_job_that_runs_and_its_thread_is_free_again() -> None:
    told: list[str] = []

    @queueable(max_attempts=1)
    async def endless() -> None:
        told.append(f"attempt {current_job().attempt}")
        if told.count("attempt 1") == 1:
            try:
                await asyncio.sleep(60)
            finally:
                told.append("cleaned up")

    gello = Gello("memory://", jobs=[endless])
    gello.queue.push(endless)
    worker = gello.worker(concurrency=1)
    worker.start()
    wait_for(lambda: bool(told))
    gello.close()
    assert told[:2] == ["attempt 1", "cleaned up"]
    wait_for(lambda: len(told) == 3)
    worker.stop()
    gello.close()
    assert told[2] == "attempt 1", "it went back without an attempt, to the worker that still ran"
    assert gello.failed.count() == 0


@pytest.mark.parametrize("stubborn", ["awaits", "blocks"])
def test_closing_an_app_does_not_wait_for_ever_for_an_async_job_that_does_not_end(
    stubborn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    @queueable(max_attempts=1)
    async def endless() -> None:
        started.set()
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001) if stubborn == "awaits" else let_go.wait(10)
        ended.set()

    monkeypatch.setattr(loop, "GRACE", 0.2)
    gello = Gello("memory://", jobs=[endless])
    gello.queue.push(endless)
    worker = gello.worker(concurrency=1)
    worker.start()
    assert started.wait(5)
    began = time.monotonic()
    gello.close()
    assert time.monotonic() - began < 1
    assert "it is left behind" in caplog.text
    let_go.set()
    assert ended.wait(5)
    worker.join()
    worker.stop()
    assert gello.failed.count() == 0


def test_10_000_delayed_jobs_are_not_held_by_the_worker() -> None:
    gello = Gello("memory://", jobs=[work])
    worker = gello.worker()
    worker.start()
    gello.queue.bulk((work.job(n) for n in range(10_000)), delay="1h")
    gello.queue.push(work)
    wait_for(lambda: worker.status().processed == 1)
    broker: Any = gello.broker
    assert broker.coordinator.held == set()
    assert gello.queue.size(state="delayed") == 10_000
    worker.stop()


def test_the_sync_broker_has_nothing_to_work() -> None:
    with pytest.raises(Unsupported, match="inside `push`"):
        Gello("sync://").worker()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"concurrency": 0}, InvalidSetting, "concurrency=0"),
        ({"max_jobs": 0}, InvalidSetting, "max_jobs=0"),
        ({"max_jobs": True}, InvalidSetting, "max_jobs=True"),
        ({"max_time": "-1s"}, InvalidDuration, "-1s"),
        ({"queues": []}, InvalidSetting, "name at least one"),
        ({"queues": "emails"}, InvalidSetting, r"queues=\['emails'\]"),
        ({"queues": "high,low"}, InvalidSetting, r"queues=\['high', 'low'\]"),
        ({"queues": ["no good"]}, InvalidQueueName, "no good"),
        ({"tries": 0}, InvalidDefinition, "max_attempts=0"),
        ({"grace": "-1s"}, InvalidDuration, "-1s"),
        ({"timeout": "soon"}, InvalidDuration, "soon"),
    ],
)
def test_options_that_cannot_be_used_are_refused_with_their_name(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Gello("memory://").worker(**options)


def test_options_are_frozen() -> None:
    with pytest.raises(AttributeError):
        WorkerOptions().concurrency = 3  # type: ignore[misc]


def test_a_listener_of_the_log_sees_one_line_for_each_outcome(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gello.jobs")
    gello = Gello("memory://", jobs=[work])
    gello.queue.push(work, 1)
    gello.queue.push(work, -1)
    gello.worker(stop_when_empty=True, concurrency=1).run()
    lines = [record.getMessage() for record in caplog.records if record.name == "gello.jobs"]
    assert len(lines) == 2
    assert " done in " in lines[0]
    assert lines[1].endswith("failed on attempt 1 of 1 (error): ValueError: -1")


@pytest.mark.parametrize("url", ["memory://", "sqlite:///gello.db"])
def test_a_backoff_that_returns_no_duration_neither_loses_its_job_nor_runs_it_for_ever(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Rule:
        def delay(self, attempt: int, error: BaseException) -> Any:
            return None if attempt == 1 else 0.01

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retries, "DEFAULT_RETRY_AFTER", timedelta(milliseconds=10))

    @queueable(max_attempts=3, backoff=Rule())
    def bad() -> None:
        raise ValueError

    gello = Gello(url, jobs=[bad])
    gello.queue.push(bad)
    worker = gello.worker(concurrency=1)
    worker.start()
    wait_for(lambda: gello.failed.count() == 1)
    worker.stop()
    assert len(gello.failed.all()[0].attempts) == 3
    gello.close()


@pytest.mark.parametrize("broker", [MemoryBroker, StubBroker])
def test_an_on_failure_that_ends_its_thread_keeps_no_other_from_being_called(broker: type[Broker]) -> None:
    failed: list[int] = []

    @queueable(max_attempts=1)
    def bad(n: int) -> None:
        raise ValueError(n)

    @bad.on_failure
    def leave(error: BaseException, n: int) -> None:
        failed.append(n)
        sys.exit(1)

    gello = Gello(broker=broker(), jobs=[bad])
    worker = gello.worker(concurrency=1)
    worker.start()
    for n in range(6):
        gello.queue.push(bad, n)
        wait_for(lambda n=n: len(failed) > n)  # type: ignore[misc]  # a default binds the loop's value
    worker.stop()
    gello.close()
    assert failed == [*range(6)]


def test_threads_that_push_a_new_job_at_once_all_push_it() -> None:
    errors: list[Exception] = []

    @queueable
    def new() -> None: ...

    def push(gello: Gello, together: threading.Barrier) -> None:
        together.wait()
        try:
            gello.queue.push(new)
        except Exception as error:  # noqa: BLE001 (none is right)
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            gello, together = Gello("memory://"), threading.Barrier(4)
            threads = [threading.Thread(target=push, args=(gello, together)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert (errors, gello.queue.size()) == ([], 4)
            gello.close()
    finally:
        sys.setswitchinterval(before)
