"""The promises of a broker, from a push to what becomes of it."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import dramatiq
import pytest

from gello_dramatiq import Fail, Queueable, Release, Retry, current_job, queueable
from gello_dramatiq.errors import (
    DuplicateJob,
    InvalidDuration,
    InvalidPayload,
    InvalidQueueName,
    JobExpired,
    PayloadTooLarge,
    Unsupported,
)

from .conftest import ALL, OURS, QUEUED, Bench, on, wait_for


@on(*ALL)
def test_a_pushed_job_runs_once_with_its_payload(bench: Bench) -> None:
    ran: list[Any] = []

    @queueable(queue="emails")
    def send(user_id: int, tags: set[str]) -> None:
        ran.append((user_id, tags, current_job().id, current_job().attempt))

    app = bench.app(send)
    job = send.push(user_id=7, tags={"a", "b"})
    bench.work(app, lambda: len(ran) == 1)
    assert ran == [(7, {"a", "b"}, job.id, 1)]
    assert (job.name, job.queue, job.attempt, job.payload["user_id"]) == ("send", "emails", 0, 7)


@on(*ALL)
def test_the_class_form_runs_with_its_fields_and_hooks_in_order(bench: Bench) -> None:
    told: list[str] = []

    class Report(Queueable, queue="reports"):
        report_id: int

        def before_handle(self) -> None:
            told.append(f"before {self.report_id}")

        def handle(self) -> None:
            told.append(f"handle {self.report_id}")

        def after_handle(self) -> None:
            told.append(f"after {self.report_id}")

    app = bench.app(Report)
    Report(report_id=3).push()
    bench.work(app, lambda: len(told) == 3)
    assert told == ["before 3", "handle 3", "after 3"]


@on(*ALL)
def test_bulk_runs_every_job(bench: Bench) -> None:
    ran: list[int] = []

    @queueable
    def count(n: int) -> None:
        ran.append(n)

    app = bench.app(count)
    jobs = app.queue.bulk([count.job(n) for n in range(500)])
    bench.work(app, lambda: len(ran) == 500)
    assert sorted(ran) == list(range(500))
    assert len({job.id for job in jobs}) == 500


@on(*ALL)
def test_bulk_pushes_nothing_if_one_payload_is_wrong(bench: Bench) -> None:
    ran: list[int] = []

    @queueable
    def count(n: int) -> None:
        ran.append(n)

    app = bench.app(count)
    with pytest.raises(InvalidPayload, match="field 'n'"):
        app.queue.bulk(count.job(n) for n in (1, 2, "three"))  # type: ignore[arg-type]
    count.push(4)
    bench.work(app, lambda: ran == [4])


@on(*QUEUED)
def test_a_delayed_job_is_never_early_and_late_by_less_than_a_second(bench: Bench) -> None:
    ran: list[float] = []

    @queueable
    def later() -> None:
        ran.append(time.time())

    app = bench.app(later)
    pushed = time.time()
    app.queue.later("0.5s", later)
    bench.work(app, lambda: len(ran) == 1)
    # Dramatiq's stub broker looks for delayed messages once a second.
    assert 0.5 <= ran[0] - pushed < (2.5 if bench.broker == "stub" else 1.5)


@on("sync")
def test_sync_waits_for_a_delayed_job_where_it_is_pushed(bench: Bench) -> None:
    ran: list[float] = []

    @queueable
    def later() -> None:
        ran.append(time.time())

    bench.app(later)
    pushed = time.time()
    later.later(0.2)
    assert ran[0] - pushed >= 0.2


@on(*OURS)
def test_a_more_urgent_job_runs_first_and_equals_in_the_order_of_their_push(bench: Bench) -> None:
    ran: list[str] = []

    @queueable
    def work(name: str) -> None:
        ran.append(name)

    app = bench.app(work)
    for name, priority in (("a0", 0), ("b5", 5), ("c0", 0), ("d3", 3), ("e5", 5)):
        work.with_options(priority=priority).push(name)
    bench.work(app, lambda: len(ran) == 5, concurrency=1)
    assert ran == ["b5", "e5", "d3", "a0", "c0"]


@on(*OURS)
def test_the_priority_of_the_definition_counts_where_the_push_says_nothing(bench: Bench) -> None:
    ran: list[str] = []

    @queueable
    def plain() -> None:
        ran.append("plain")

    @queueable(priority=4)
    def urgent() -> None:
        ran.append("urgent")

    app = bench.app(plain, urgent)
    plain.push()
    urgent.push()
    bench.work(app, lambda: len(ran) == 2, concurrency=1)
    assert ran == ["urgent", "plain"]


@on(*OURS)
def test_queues_are_served_in_the_order_they_are_named(bench: Bench) -> None:
    ran: list[str] = []

    @queueable
    def work(name: str) -> None:
        ran.append(name)

    app = bench.app(work)
    for name in ("low", "high", "low", "mid", "high"):
        work.on(name).push(name)
    bench.work(app, lambda: len(ran) == 5, concurrency=1, queues=["high", "mid", "low"])
    assert ran == ["high", "high", "mid", "low", "low"]


@on(*OURS)
def test_a_worker_serves_only_the_queues_it_is_told(bench: Bench) -> None:
    ran: list[str] = []

    @queueable
    def work(name: str) -> None:
        ran.append(name)

    app = bench.app(work)
    work.on("other").push("other")
    work.on("mine").push("mine")
    bench.work(app, lambda: len(ran) == 1, queues=["mine"], stop_when_empty=True)
    assert ran == ["mine"]
    assert app.queue.size("other") == 1


@on(*OURS)
def test_a_worker_without_queues_finds_a_queue_that_nobody_declared(bench: Bench) -> None:
    ran: list[int] = []

    @queueable
    def work() -> None:
        ran.append(1)

    app = bench.app(work)
    worker = app.worker(concurrency=2)
    worker.start()
    work.on("brand-new").push()
    wait_for(lambda: bool(ran))
    worker.stop()
    assert ran == [1]
    assert app.queue.size("brand-new") == 0


@on(*QUEUED)
def test_a_process_boots_its_broker_once_however_many_workers_follow_each_other(bench: Bench) -> None:
    booted: list[int] = []

    class Boot(dramatiq.Middleware):
        def after_process_boot(self, broker: Any) -> None:
            booted.append(1)

    app = bench.app()
    app.broker.add_middleware(Boot())
    for _ in range(2):
        bench.work(app, lambda: True)
    assert booted == [1]


@on(*OURS)
def test_a_finished_job_is_gone(bench: Bench) -> None:
    @queueable
    def work() -> None: ...

    app = bench.app(work)
    work.push()
    assert app.queue.size() == 1
    app.worker(stop_when_empty=True).run()
    assert [app.queue.size(state=state) for state in ("ready", "delayed", "reserved")] == [0, 0, 0]
    assert app.failed.count() == 0


@on(*ALL)
def test_a_job_out_of_attempts_is_kept_with_its_last_error_and_every_attempt(bench: Bench) -> None:
    @queueable(max_attempts=3, retry_after="10ms")
    def fails(n: int) -> None:
        raise ValueError(f"attempt {current_job().attempt}")

    app = bench.app(fails)
    job_id = push_swallowing(bench, fails, 7, ValueError)
    bench.work(app, lambda: app.failed.count() == 1)
    (failed,) = app.failed.all()
    assert (failed.name, failed.queue, failed.reason, failed.payload) == ("fails", "default", "error", {"n": 7})
    assert failed.exception == "ValueError: attempt 3"
    assert 'raise ValueError(f"attempt' in failed.traceback
    assert [(each["attempt"], each["error"]) for each in failed.attempts] == [
        (number, f"ValueError: attempt {number}") for number in (1, 2, 3)
    ]
    assert job_id in (None, failed.id)


@on(*ALL)
def test_a_failed_job_that_is_retried_has_its_payload_and_all_its_attempts_again(bench: Bench) -> None:
    ran: list[tuple[str, int, int]] = []
    mended = threading.Event()

    @queueable(max_attempts=2, retry_after=0)
    def work(n: int) -> None:
        ran.append((current_job().id, n, current_job().attempt))
        if not mended.is_set():
            raise ValueError

    app = bench.app(work)
    push_swallowing(bench, work, 7, ValueError)
    bench.work(app, lambda: app.failed.count() == 1)
    (failed,) = app.failed.all()
    mended.set()
    app.failed.retry(failed.id)
    assert app.failed.count() == 0
    bench.work(app, lambda: len(ran) == 3)
    assert ran == [(failed.id, 7, 1), (failed.id, 7, 2), (failed.id, 7, 1)]


@on(*ALL)
def test_on_failure_runs_once_after_the_row_exists_with_the_real_error(bench: Bench) -> None:
    told: list[Any] = []

    @queueable(max_attempts=2, retry_after=0)
    def fails(n: int) -> None:
        raise ValueError("no")

    @fails.on_failure
    def tell(error: BaseException, n: int) -> None:
        told.append((type(error), str(error), n, app.failed.count(), current_job().name))

    app = bench.app(fails)
    push_swallowing(bench, fails, 7, ValueError)
    bench.work(app, lambda: bool(told))
    time.sleep(0.1)
    assert told == [(ValueError, "no", 7, 1, "fails")]


@on(*ALL)
def test_an_error_in_on_failure_changes_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    @queueable(max_attempts=1)
    def fails() -> None:
        raise ValueError("no")

    @fails.on_failure
    def tell(error: BaseException) -> None:
        raise RuntimeError("the hook is broken")

    app = bench.app(fails)
    push_swallowing(bench, fails, None, ValueError)
    bench.work(app, lambda: app.failed.count() == 1 and "on_failure raised" in caplog.text)
    assert app.failed.all()[0].exception == "ValueError: no"


@on(*ALL)
@pytest.mark.parametrize("hook", ["before_handle", "after_handle"])
def test_an_error_in_a_hook_around_the_handler_fails_the_attempt(bench: Bench, hook: str) -> None:
    ran: list[int] = []

    @queueable(max_attempts=2, retry_after=0)
    def work() -> None:
        ran.append(1)

    def broken() -> None:
        raise RuntimeError(hook)

    getattr(work, hook)(broken)
    app = bench.app(work)
    push_swallowing(bench, work, None, RuntimeError)
    bench.work(app, lambda: app.failed.count() == 1)
    assert app.failed.all()[0].exception == f"RuntimeError: {hook}"
    assert len(ran) == (0 if hook == "before_handle" else 2)


@on(*ALL)
def test_a_retry_keeps_the_id_and_waits_its_exact_delay(bench: Bench) -> None:
    ran: list[tuple[str, int, float]] = []

    @queueable(max_attempts=3, backoff=["100ms", "300ms"])
    def flaky() -> None:
        ran.append((current_job().id, current_job().attempt, time.time()))
        if current_job().attempt < 3:
            raise ValueError("not yet")

    app = bench.app(flaky)
    job = flaky.push()
    bench.work(app, lambda: len(ran) == 3)
    assert [(each[0], each[1]) for each in ran] == [(job.id, 1), (job.id, 2), (job.id, 3)]
    assert ran[1][2] - ran[0][2] >= 0.1
    assert ran[2][2] - ran[1][2] >= 0.3
    assert app.failed.count() == 0
    if bench.broker in OURS:
        assert app.queue.size() == 0


@on(*ALL)
def test_release_costs_no_attempt_however_often(bench: Bench) -> None:
    ran: list[int] = []

    @queueable(max_attempts=1)
    def patient() -> None:
        ran.append(current_job().attempt)
        if len(ran) < 6:
            raise Release("10ms")

    app = bench.app(patient)
    patient.push()
    bench.work(app, lambda: len(ran) == 6, 15)
    assert ran == [1] * 6
    assert app.failed.count() == 0


@on(*ALL)
def test_retry_raised_by_a_handler_chooses_the_delay_and_costs_an_attempt(bench: Bench) -> None:
    ran: list[float] = []

    @queueable(max_attempts=2, retry_after="1h")
    def again() -> None:
        ran.append(time.time())
        raise Retry("50ms", "come back")

    app = bench.app(again)
    push_swallowing(bench, again, None, Retry)
    bench.work(app, lambda: app.failed.count() == 1)
    assert len(ran) == 2
    assert ran[1] - ran[0] >= 0.05
    assert app.failed.all()[0].exception == "Retry: come back"


@on(*ALL)
def test_fail_ends_the_job_whatever_attempts_are_left(bench: Bench) -> None:
    ran: list[int] = []

    @queueable(max_attempts=10, retry_after=0)
    def hopeless() -> None:
        ran.append(1)
        raise Fail("the address is gone")

    app = bench.app(hopeless)
    push_swallowing(bench, hopeless, None, Fail)
    bench.work(app, lambda: app.failed.count() == 1)
    assert ran == [1]
    assert app.failed.all()[0].exception == "Fail: the address is gone"


@on(*ALL)
def test_a_handler_past_its_timeout_is_stopped_and_counts_as_an_error(bench: Bench) -> None:
    started: list[float] = []
    stopped: list[float] = []

    @queueable(max_attempts=2, timeout="0.3s", retry_after=0)
    def endless() -> None:
        started.append(time.monotonic())
        try:
            while time.monotonic() - started[-1] < 10:
                time.sleep(0.005)
        finally:
            stopped.append(time.monotonic())

    app = bench.app(endless)
    from gello_dramatiq.errors import JobTimeout

    push_swallowing(bench, endless, None, JobTimeout)
    bench.work(app, lambda: app.failed.count() == 1)
    (failed,) = app.failed.all()
    assert failed.reason == "timeout"
    assert len(failed.attempts) == 2
    assert "time.sleep(0.005)" in failed.traceback or "while time.monotonic()" in failed.traceback
    for began, ended in zip(started, stopped, strict=True):
        assert 0.3 <= ended - began < 1.0


@on(*ALL)
def test_an_async_job_runs_on_our_loop_and_is_cancelled_at_its_timeout(bench: Bench) -> None:
    import asyncio

    told: list[str] = []

    @queueable(max_attempts=1, timeout="0.2s")
    async def slow(n: int) -> None:
        told.append(f"{current_job().name} {threading.current_thread().name}")
        try:
            await asyncio.sleep(n)
            told.append("ended")
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
            told.append("cleaned up")
            raise

    app = bench.app(slow)
    from gello_dramatiq.errors import JobTimeout

    slow.push(0)
    bench.work(app, lambda: len(told) == 2)
    push_swallowing(bench, slow, 5, JobTimeout)
    bench.work(app, lambda: app.failed.count() == 1)
    assert told == ["slow gello-async", "ended", "slow gello-async", "cleaned up"]
    assert app.failed.all()[0].reason == "timeout"


@on(*ALL)
def test_a_job_pushed_by_a_job_goes_to_the_app_that_runs_it(bench: Bench) -> None:
    ran: list[str] = []

    @queueable
    async def inner() -> None:
        ran.append("inner")

    @queueable
    async def outer() -> None:
        inner.push()
        ran.append("outer")

    app = bench.app(outer, inner)
    Bench("memory", "memory://").app(outer, inner)  # the default app is another one by now
    app.queue.push(outer)
    bench.work(app, lambda: len(ran) == 2)
    assert sorted(ran) == ["inner", "outer"]


@on(*ALL)
def test_middleware_wraps_the_handler_and_may_refuse_without_spending_an_attempt(bench: Bench) -> None:
    told: list[str] = []

    def outer(job: Any, call: Any) -> Any:
        told.append(f"outer {job.name} {job.attempt}")
        return call()

    def gate(job: Any, call: Any) -> Any:
        if len(told) < 3:
            raise Release("10ms")
        return call()

    @queueable(max_attempts=1, middleware=[outer, gate])
    def work() -> None:
        told.append("handle")

    app = bench.app(work)
    work.push()
    bench.work(app, lambda: "handle" in told)
    assert told == ["outer work 1", "outer work 1", "outer work 1", "handle"]


@on(*ALL)
def test_retry_for_and_fail_for_narrow_what_is_retried(bench: Bench) -> None:
    ran: list[str] = []

    @queueable(max_attempts=3, retry_after=0, retry_for=OSError)
    def narrow(kind: str) -> None:
        ran.append(kind)
        raise OSError(kind) if kind == "os" else KeyError(kind)

    @queueable(max_attempts=3, retry_after=0, fail_for=KeyError)
    def picky(kind: str) -> None:
        ran.append(kind)
        raise KeyError(kind)

    app = bench.app(narrow, picky)
    push_swallowing(bench, narrow, "os", OSError)
    push_swallowing(bench, narrow, "key", KeyError)
    push_swallowing(bench, picky, "picky", KeyError)
    bench.work(app, lambda: app.failed.count() == 3)
    assert {kind: ran.count(kind) for kind in ran} == {"os": 3, "key": 1, "picky": 1}


@on(*ALL)
def test_a_job_whose_retry_until_has_passed_is_set_aside_as_expired(bench: Bench) -> None:
    ran: list[int] = []

    @queueable(retry_until="100ms")
    def late() -> None:
        ran.append(1)

    app = bench.app(late)
    with pytest.raises(JobExpired) if bench.broker == "sync" else nullcontext():
        late.later("200ms")
    bench.work(app, lambda: app.failed.count() == 1)
    assert ran == []
    assert app.failed.all()[0].reason == "expired"


@on(*OURS)
def test_a_job_that_expires_between_two_attempts_keeps_its_last_error_with_the_traceback(bench: Bench) -> None:
    @queueable(max_attempts=5, retry_after="100ms", retry_until="500ms")
    def flaky() -> None:
        raise ValueError("the last real error")

    app = bench.app(flaky)
    job = flaky.push()
    bench.work(app, lambda: app.queue.size(state="delayed") == 1)
    time.sleep(0.6)
    bench.work(app, lambda: app.failed.count() == 1)
    failed = app.failed.find(job.id)
    assert failed.reason == "expired"
    assert failed.exception.startswith("ValueError: the last real error; then JobExpired")
    assert failed.traceback.endswith("ValueError: the last real error\n")
    assert len(failed.attempts) >= 1
    app.failed.retry(job.id)
    assert app.queue.size() == 1, "and is retried without that memory"


@on(*OURS)
def test_size_tells_ready_delayed_and_reserved(bench: Bench) -> None:
    let_go = threading.Event()

    @queueable
    def hold() -> None:
        let_go.wait(10)

    app = bench.app(hold)
    app.queue.bulk([hold.job() for _ in range(5)])
    app.queue.bulk([hold.job() for _ in range(3)], delay="1h")
    worker = app.worker(concurrency=2)
    worker.start()
    try:
        wait_for(lambda: app.queue.size(state="reserved") == 2 and app.queue.size() == 3)
        assert app.queue.size(state="delayed") == 3
        assert app.queue.names() == ["default"]
    finally:
        let_go.set()
        worker.stop()


@on(*OURS)
def test_clear_drops_what_waits_and_leaves_what_runs_and_what_failed(bench: Bench) -> None:
    let_go = threading.Event()
    ended: list[int] = []

    @queueable(max_attempts=1)
    def hold(fail: bool) -> None:
        if fail:
            raise ValueError
        let_go.wait(10)
        ended.append(1)

    app = bench.app(hold)
    hold.push(True)
    bench.work(app, lambda: app.failed.count() == 1)
    hold.push(False)
    worker = app.worker(concurrency=1)
    worker.start()
    wait_for(lambda: app.queue.size(state="reserved") == 1)
    app.queue.bulk([hold.job(False) for _ in range(4)])
    hold.later("1h", False)
    hold.on("other").push(False)
    wait_for(lambda: app.queue.size() == 4)
    assert app.queue.clear() == 5
    assert (app.queue.size(), app.queue.size(state="delayed"), app.queue.size(state="reserved")) == (0, 0, 1)
    assert app.queue.size("other") <= 1
    app.queue.clear("other")
    let_go.set()
    wait_for(lambda: ended == [1])
    worker.stop()
    assert app.failed.count() == 1


@on("sync")
def test_sync_holds_no_job_and_names_the_queues_of_those_it_knows(bench: Bench) -> None:
    @queueable(queue="emails")
    def send() -> None: ...

    app = bench.app(send)
    send.push()
    send.on("high").push()
    assert [app.queue.size("emails", state=state) for state in ("ready", "delayed", "reserved")] == [0, 0, 0]
    assert app.queue.clear("emails") == 0
    assert app.queue.names() == ["emails", "high"]


@on("stub")
def test_a_stock_broker_says_what_it_cannot_tell(bench: Bench) -> None:
    app = bench.app()
    with pytest.raises(Unsupported, match="StubBroker"):
        app.queue.size()
    with pytest.raises(Unsupported, match="StubBroker"):
        app.queue.clear()
    with pytest.raises(Unsupported, match="StubBroker"):
        app.worker(stop_when_empty=True)


@on(*ALL)
def test_a_large_payload_travels_whole_and_one_over_the_limit_is_refused_at_push(bench: Bench) -> None:
    ran: list[int] = []

    @queueable
    def big(data: str) -> None:
        ran.append(len(data))

    app = bench.app(big)
    big.push("x" * 1_000_000)
    bench.work(app, lambda: ran == [1_000_000])
    with pytest.raises(PayloadTooLarge, match="1,048,576"):
        big.push("x" * 1_048_576)


@on(*ALL)
def test_bad_input_is_refused_where_it_enters_and_pushes_nothing(bench: Bench) -> None:
    ran: list[int] = []

    @queueable
    def work(n: int) -> None:
        ran.append(n)

    app = bench.app(work)
    with pytest.raises(InvalidPayload, match="field 'n' is missing"):
        work.push()  # type: ignore[call-arg]
    with pytest.raises(InvalidPayload, match="'m' is unknown"):
        work.push(n=1, m=2)  # type: ignore[call-arg]
    with pytest.raises(InvalidPayload, match=r"work: its payload can't be written as JSON: .*digits"):
        work.push(10**5000)
    with pytest.raises(InvalidQueueName):
        app.queue.push_on("no such name!", work, 1)
    with pytest.raises(InvalidPayload, match="work: this job has its payload already"):
        app.queue.push(work.job(1), n=2)  # type: ignore[call-overload]
    with pytest.raises(InvalidDuration, match="negative"):
        work.later(-1, 1)

    @queueable(name="work")
    def another() -> None: ...

    with pytest.raises(DuplicateJob, match="Two jobs are called 'work'"):
        another.push()
    work.push(5)
    bench.work(app, lambda: ran == [5])


@on(*QUEUED)
def test_a_slow_hook_and_a_slow_log_under_a_short_timeout_neither_lose_a_job_nor_run_it_twice(bench: Bench) -> None:
    """The deadline is around the handler alone: on a stock Dramatiq this loses the job and its thread."""
    ran: list[str] = []

    class SlowHook(dramatiq.Middleware):
        def after_process_message(self, broker: Any, message: Any, **outcome: Any) -> None:
            time.sleep(0.3)

    class SlowSink(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            time.sleep(0.1)

    @queueable(max_attempts=2, timeout="0.15s", retry_after=0)
    def work(fail: bool) -> None:
        ran.append("fail" if fail else "ok")
        if fail:
            raise ValueError

    app = bench.app(work)
    app.broker.add_middleware(SlowHook())
    app.broker.middleware.insert(0, SlowHook())
    log, sink = logging.getLogger("gello.jobs"), SlowSink()
    log.addHandler(sink)
    log.setLevel(logging.INFO)
    try:
        work.push(False)
        work.push(True)
        worker = app.worker(concurrency=2)
        worker.start()
        wait_for(lambda: app.failed.count() == 1 and len(ran) == 3)
        time.sleep(0.5)
        assert all(thread.is_alive() for thread in worker.workers)
        worker.stop()
    finally:
        log.removeHandler(sink)
        log.setLevel(logging.NOTSET)
    assert sorted(ran) == ["fail", "fail", "ok"]
    assert app.failed.all()[0].exception == "ValueError"


@on(*ALL)
def test_a_job_for_longer_than_an_int_of_milliseconds_can_be_delayed(bench: Bench) -> None:
    @queueable
    def far() -> None: ...

    app = bench.app(far)
    if bench.broker == "sync":
        with pytest.raises(InvalidDuration):
            far.later(timedelta(days=-1))
        return
    far.later(timedelta(days=100 * 365))
    if bench.broker in OURS:
        assert app.queue.size(state="delayed") == 1


def push_swallowing(bench: Bench, job: Any, argument: Any, error: type[BaseException]) -> str | None:
    """Push a job that will fail: on sync its error surfaces here, after the last attempt."""
    arguments = () if argument is None else (argument,)
    if bench.broker != "sync":
        return str(job.push(*arguments).id)
    with pytest.raises(error):
        job.push(*arguments)
    return None
