from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gello_dramatiq import Fail, Gello, Queueable, Release, Retry, current, current_job, queueable
from gello_dramatiq.errors import (
    DuplicateJob,
    GelloError,
    InvalidDefinition,
    InvalidDuration,
    InvalidPayload,
    InvalidQueueName,
    NoCurrentApp,
    NoCurrentJob,
    PayloadTooLarge,
    Unsupported,
)
from gello_dramatiq.queue import Queue
from gello_dramatiq.testing import Drained, Pushes, drain, fake, inline, queued, running

runs: list[Any] = []


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    runs.clear()


@queueable(queue="emails", priority=2)
def send(user_id: int, name: str = "nobody") -> None:
    runs.append(user_id)


@queueable
async def fetch(url: str) -> None:
    await asyncio.sleep(0)
    runs.append(url)


@queueable(max_attempts=3, retry_after="1m")
def broken(number: int = 0) -> None:
    runs.append(current_job().attempt)
    raise ValueError("no")


class Report(Queueable, queue="reports"):
    report_id: int
    format: str = "pdf"

    def handle(self) -> None:
        runs.append(self)


# ------------------------------------------------------------------------------------------------- fake


def test_a_fake_records_and_runs_nothing() -> None:
    with fake() as pushes:
        job = send.push(user_id=7)
        pushes.assert_pushed(send)
        (push,) = pushes.pushed(send)
    assert (push.id, push.name, push.queue, push.delay) == (job.id, "send", "emails", timedelta(0))
    assert (job.queue, job.priority, job.max_attempts, job.attempt) == ("emails", 2, 3, 0)
    assert runs == []


PUSHES: list[tuple[str, Callable[[Queue], Any]]] = [
    ("push", lambda queue: send.push(7)),
    ("later", lambda queue: send.later("5m", 7)),
    ("on", lambda queue: send.on("emails").push(7)),
    ("with_options", lambda queue: send.with_options(timeout="5m").later(0, user_id=7)),
    ("Queue.push", lambda queue: queue.push(send, user_id=7)),
    ("Queue.push of a pending job", lambda queue: queue.push(send.job(7))),
    ("Queue.push_on", lambda queue: queue.push_on("emails", send, user_id=7)),
    ("Queue.later", lambda queue: queue.later("5m", send, 7)),
    ("Queue.bulk", lambda queue: queue.bulk([send.job(7)])),
]


@pytest.mark.parametrize("push", [pytest.param(push, id=name) for name, push in PUSHES])
@pytest.mark.parametrize("url", ["memory://", "sync://", "sqlite:///{}/jobs.db"], ids=["memory", "sync", "sqlite"])
def test_a_fake_catches_every_way_to_push_whatever_queue_is_held(
    push: Callable[[Queue], Any], url: str, tmp_path: Path
) -> None:
    app = Gello(url.format(tmp_path), jobs=[send])
    with fake() as pushes:
        push(app.queue)
        pushes.assert_pushed(send, times=1, on="emails", where=lambda payload: payload["user_id"] == 7)
    assert runs == []
    assert not [*tmp_path.iterdir()]
    app.close()


CLASS_PUSHES: list[tuple[str, Callable[[Queue], Any]]] = [
    ("push", lambda queue: Report(report_id=7).push()),
    ("later", lambda queue: Report(report_id=7).later("5m")),
    ("on", lambda queue: Report(report_id=7).on("reports").push()),
    ("Queue.push", lambda queue: queue.push(Report, report_id=7)),
    ("Queue.push of an instance", lambda queue: queue.push(Report(report_id=7))),
    ("Queue.later", lambda queue: queue.later(5, Report(report_id=7))),
    ("Queue.bulk", lambda queue: queue.bulk([Report(report_id=7)])),
]


@pytest.mark.parametrize("push", [pytest.param(push, id=name) for name, push in CLASS_PUSHES])
def test_a_fake_catches_every_way_to_push_a_class(push: Callable[[Queue], Any]) -> None:
    app = Gello("memory://")
    with fake() as pushes:
        push(app.queue)
        pushes.assert_pushed(Report, times=1, on="reports", where=lambda report: report.report_id == 7)
    assert app.queue.size("reports") == app.queue.size("reports", state="delayed") == 0


def test_a_fake_catches_pushes_of_other_threads_and_other_contexts() -> None:
    first, second = Gello("memory://"), Gello("memory://")
    with second.using(), fake() as pushes:
        thread = threading.Thread(target=lambda: send.push(1))
        thread.start()
        thread.join()
        send.push(2)
        with first.using():
            send.push(3)
        asyncio.run(asyncio.to_thread(send.push, 4))
        assert [push.payload["user_id"] for push in pushes.pushed(send)] == [1, 2, 3, 4]
    assert first.queue.size("emails") == second.queue.size("emails") == 0


def test_a_fake_catches_a_push_of_a_thread_that_began_before_it() -> None:
    began, go = threading.Event(), threading.Event()
    app = Gello("memory://")

    def work() -> None:
        with app.using():
            began.set()
            go.wait(10)
            send.push(1)

    thread = threading.Thread(target=work)
    thread.start()
    began.wait(10)
    with fake() as pushes:
        go.set()
        thread.join()
        pushes.assert_pushed(send, times=1)


def test_after_a_fake_pushes_go_where_they_went_before() -> None:
    app = Gello("memory://")
    with pytest.raises(ValueError, match="inside"), fake():
        raise ValueError("inside")
    send.push(1)
    assert app.queue.size("emails") == 1
    assert app.queue.names() == ["emails"]


def test_after_a_fake_without_an_app_there_is_still_none() -> None:
    with fake():
        send.push(1)
    with pytest.raises(NoCurrentApp):
        send.push(1)
    assert current.default() is None


def test_an_app_that_is_made_inside_a_fake_is_the_default_and_caught() -> None:
    with fake() as pushes:
        app = Gello("memory://")
        send.push(1)
        app.queue.push(send, 2)
        pushes.assert_pushed(send, times=2)
    assert current.queue() is app.queue
    assert app.queue.size("emails") == 0


def test_the_innermost_fake_catches_and_each_has_its_own_record() -> None:
    with fake() as outer:
        send.push(1)
        with fake() as inner:
            send.push(2)
            Report(report_id=1).push()
        send.push(3)
    assert [push.payload["user_id"] for push in outer.all()] == [1, 3]
    assert [push.name for push in inner.all()] == ["send", "Report"]


def test_a_fake_tells_sizes_as_if_the_jobs_waited() -> None:
    app = Gello("memory://")
    with fake():
        send.push(1)
        send.later("5m", 2)
        assert (app.queue.size("emails"), app.queue.size("emails", state="delayed")) == (1, 1)
        assert app.queue.names() == ["emails"]
        assert app.queue.clear("emails") == 2


@pytest.mark.parametrize(
    ("push", "error"),
    [
        pytest.param(lambda queue: send.push(user_id="x"), InvalidPayload, id="type"),
        pytest.param(lambda queue: queue.push(send, 7, nam="x"), InvalidPayload, id="unknown field"),
        pytest.param(lambda queue: queue.push(Report, format="pdf"), InvalidPayload, id="missing field"),
        pytest.param(lambda queue: send.push(1, "x" * 2_000_000), PayloadTooLarge, id="size"),
        pytest.param(lambda queue: send.later("soon", 1), InvalidDuration, id="delay"),
        pytest.param(lambda queue: send.on("no spaces").push(1), InvalidQueueName, id="queue"),
        pytest.param(lambda queue: send.with_options(tries=3).push(1), InvalidDefinition, id="option"),
        pytest.param(lambda queue: queue.push(print), InvalidDefinition, id="no job"),
        pytest.param(lambda queue: queue.push(queueable(name="send")(lambda: None)), DuplicateJob, id="name"),
    ],
)
def test_a_fake_refuses_what_any_queue_refuses(push: Callable[[Queue], Any], error: Any) -> None:
    app = Gello("memory://", jobs=[send])
    with fake() as pushes:
        with pytest.raises(error):
            push(app.queue)
        pushes.assert_nothing_pushed()


def test_a_fake_keeps_the_limits_of_the_app_that_it_stands_in_for() -> None:
    app = Gello("memory://", max_payload=300, default_queue="main", max_tries=9)
    with fake() as pushes:
        assert fetch.push("a").max_attempts == 9
        pushes.assert_pushed(fetch, on="main")
        with pytest.raises(PayloadTooLarge, match="the limit is 300"):
            app.queue.push(fetch, "a" * 300)


def test_an_app_does_not_come_to_know_the_jobs_that_tests_push() -> None:
    app = Gello("memory://", jobs=[send])
    for tool in (fake, inline, queued):

        @queueable(queue="news")
        def news() -> None: ...

        with tool():
            news.push()
            app.queue.push(news)
    assert app.jobs.names() == ["send"]
    assert app.queue.names() == ["emails"]


def test_a_bulk_with_one_wrong_job_pushes_none() -> None:
    app = Gello("memory://", max_payload=300)
    with fake() as pushes:
        with pytest.raises(PayloadTooLarge):
            app.queue.bulk([send.job(1), send.job(2, "x" * 300)])
        pushes.assert_nothing_pushed()


def test_a_delay_and_the_options_of_a_push_can_be_looked_at() -> None:
    with fake() as pushes:
        send.with_options(priority=5, timeout="2m").later("5m", 1)
        send.later(datetime.now(UTC) + timedelta(hours=1), 2)
        first, second = pushes.pushed(send)
    assert first.delay == timedelta(minutes=5)
    assert (first.options.priority, first.options.timeout) == (5, timedelta(minutes=2))
    assert timedelta(minutes=59) < second.delay <= timedelta(hours=1)


def test_where_gets_what_the_handler_would_get() -> None:
    with fake() as pushes:
        send.push("7")  # type: ignore[arg-type]
        Report(report_id=3).push()
        pushes.assert_pushed(send, where=lambda payload: payload == {"user_id": 7, "name": "nobody"})
        pushes.assert_pushed(Report, where=lambda report: report == Report(report_id=3))
        pushes.assert_not_pushed(send, where=lambda payload: payload["user_id"] == 8)


def test_an_error_inside_where_surfaces() -> None:
    with fake() as pushes:
        send.push(1)
        with pytest.raises(KeyError):
            pushes.assert_not_pushed(send, where=lambda payload: payload["id"] == 7)


def test_an_instance_asks_for_its_payload() -> None:
    with fake() as pushes:
        Report(report_id=3).push()
        send.push(1)
        pushes.assert_pushed(Report(report_id=3))
        pushes.assert_not_pushed(Report(report_id=4))
        pushes.assert_pushed(send.job(1))
        with pytest.raises(AssertionError, match=r"Report with \{'report_id': 4, 'format': 'pdf'\} was not pushed"):
            pushes.assert_pushed(Report(report_id=4))


FAILING: list[tuple[str, Callable[[Pushes], None]]] = [
    ("broken was not pushed.", lambda pushes: pushes.assert_pushed(broken)),
    ("send on 'low' was not pushed.", lambda pushes: pushes.assert_pushed(send, on="low")),
    (
        "send with such a payload was not pushed.",
        lambda pushes: pushes.assert_pushed(send, where=lambda payload: False),
    ),
    ("send was pushed twice, not once.", lambda pushes: pushes.assert_pushed(send, times=1)),
    ("send was pushed twice, not 3 times.", lambda pushes: pushes.assert_pushed(send, times=3)),
    ("send was pushed twice, not 0 times.", lambda pushes: pushes.assert_pushed(send, times=0)),
    ("broken was not pushed.", lambda pushes: pushes.assert_pushed(broken, times=2)),
    ("Report was pushed once.", lambda pushes: pushes.assert_not_pushed(Report)),
    ("Something was pushed.", lambda pushes: pushes.assert_nothing_pushed()),
]


@pytest.mark.parametrize(("first", "check"), FAILING, ids=[str(number) for number in range(len(FAILING))])
def test_a_failing_assertion_shows_what_was_pushed(first: str, check: Callable[[Pushes], None]) -> None:
    with fake() as pushes:
        send.push(7, name="Ann")
        send.on("high").push(8)
        Report(report_id=3).later("5m")
        with pytest.raises(AssertionError) as failed:
            check(pushes)
    assert str(failed.value).splitlines() == [
        first,
        "Pushed were:",
        "  send(user_id=7, name='Ann') on 'emails'",
        "  send(user_id=8) on 'high'",
        "  Report(report_id=3, format='pdf') on 'reports' in 5m",
    ]


def test_a_failing_assertion_says_when_nothing_was_pushed() -> None:
    with fake() as pushes, pytest.raises(AssertionError, match=r"^send was not pushed\.\nNothing was pushed\.$"):
        pushes.assert_pushed(send)


def test_a_failing_assertion_stays_readable() -> None:
    with fake() as pushes:
        for number in range(1000):
            send.push(number, "x" * 1000)
        with pytest.raises(AssertionError) as failed:
            pushes.assert_nothing_pushed()
    assert len(str(failed.value)) < 10_000
    assert str(failed.value).endswith("… and 980 more")


@pytest.mark.parametrize("job", ["send", print, None, Queueable], ids=str)
def test_asking_for_what_is_no_job_is_refused_not_answered(job: Any) -> None:
    with fake() as pushes, pytest.raises(InvalidDefinition, match="is no job"):
        pushes.assert_not_pushed(job)


# ------------------------------------------------------------------------------------------------- inline


def test_inline_runs_a_job_where_it_is_pushed() -> None:
    with inline():
        send.push(1)
        fetch.push("a")
        Report(report_id=3).push()
        assert runs == [1, "a", Report(report_id=3)]


def test_inline_stands_in_for_the_queue_of_any_app() -> None:
    app = Gello("memory://")
    with inline():
        app.queue.push(send, 1)
        app.queue.bulk([send.job(2), send.job(3)])
        assert runs == [1, 2, 3]
        assert app.queue.size("emails") == 0
    send.push(4)
    assert (runs, app.queue.size("emails")) == ([1, 2, 3], 1)


def test_inline_waits_for_nothing_and_the_error_of_the_last_attempt_surfaces() -> None:
    with inline() as app:
        with pytest.raises(ValueError, match="no"):
            broken.later("24h")
        assert runs == [1, 2, 3]
        (failed,) = app.failed.all()
        assert (failed.name, len(failed.attempts)) == ("broken", 3)


def test_inline_works_from_inside_a_running_loop() -> None:
    async def view() -> None:
        fetch.push("a")

    with inline():
        asyncio.run(view())
    assert runs == ["a"]


def test_inline_keeps_the_limits_of_the_current_app_also_for_what_jobs_push() -> None:
    @queueable
    def parent() -> None:
        child.push()

    @queueable
    def child() -> None:
        runs.append((current_job().queue, current_job().attempt))
        while len(runs) < 2:
            time.sleep(0.001)
        raise ValueError("early")

    Gello("memory://", max_tries=2, timeout="50ms", default_queue="main")
    with inline(child) as app, pytest.raises(ValueError, match="early"):
        parent.push()
    assert runs == [("main", 1), ("main", 2)]
    assert [attempt["error"].partition(":")[0] for attempt in app.failed.all()[0].attempts] == [
        "JobTimeout",
        "ValueError",
    ]


def test_a_fake_inside_inline_catches_what_a_job_pushes() -> None:
    @queueable
    def parent() -> None:
        with fake() as pushes:
            send.push(1)
            pushes.assert_pushed(send)

    with inline(parent):
        parent.push()
    assert runs == []


# ------------------------------------------------------------------------------------------------- queued and drain


def test_what_is_queued_waits_until_it_is_drained() -> None:
    with queued() as app:
        send.push(1)
        fetch.push("a")
        assert (runs, app.queue.size("emails")) == ([], 1)
        assert drain() == Drained(done=2, failed=0, released=0, retried=0, waited=timedelta(0))
        assert sorted(map(str, runs)) == ["1", "a"]
        assert drain() == Drained(0, 0, 0, 0, timedelta(0))


def test_drain_runs_jobs_in_this_thread() -> None:
    threads: list[int] = []

    class Where(Queueable, max_attempts=1):
        def handle(self) -> None:
            threads.append(threading.get_ident())
            raise ValueError

        def on_failure(self, error: BaseException) -> None:
            threads.append(threading.get_ident())

    with queued():
        Where().push()
        drain()
    assert threads == [threading.get_ident()] * 2


def test_drain_keeps_the_order_of_priority_and_of_due_times() -> None:
    with queued():
        send.later("2h", 5)
        send.later("1h", 4)
        send.push(2)
        send.push(3)
        send.with_options(priority=5).push(1)
        result = drain()
    assert runs == [1, 2, 3, 4, 5]
    assert (result.done, result.waited) == (5, timedelta(hours=2))


def test_drain_retries_after_exactly_the_waits_of_the_backoff() -> None:
    @queueable(max_attempts=4, backoff=["1s", "1m", "1h"])
    def stubborn() -> None:
        runs.append(current_job().attempt)
        raise ValueError("no")

    with queued() as app:
        stubborn.push()
        assert drain() == Drained(done=0, failed=1, released=0, retried=3, waited=timedelta(seconds=3661))
        assert runs == [1, 2, 3, 4]
        (failed,) = app.failed.all()
        assert failed.exception == "ValueError: no"
        app.failed.retry(failed.id)
        assert drain().failed == 1


def test_drain_keeps_the_limits_of_the_app_that_pushed() -> None:
    @queueable
    def silent() -> None:
        runs.append(current_job().attempt)
        raise ValueError

    Gello("memory://", max_tries=2, retry_after="1h")
    other = Gello("memory://", max_tries=4, retry_after="1m", max_payload=500)
    with queued(silent) as app:
        silent.push()
        assert drain().waited == timedelta(hours=1)
        app.queue.push(silent)
        assert drain().waited == timedelta(hours=1)
        other.queue.push(silent)
        assert drain().waited == timedelta(minutes=3)
    assert runs == [1, 2, 1, 2, 1, 2, 3, 4]


def test_drain_releases_without_spending_attempts() -> None:
    @queueable(max_attempts=1)
    def snoozing() -> None:
        runs.append(current_job().attempt)
        if len(runs) < 5:
            raise Release("30s")

    with queued():
        snoozing.push()
        assert drain() == Drained(done=1, failed=0, released=4, retried=0, waited=timedelta(minutes=2))
    assert runs == [1] * 5


def test_drain_outside_of_queued_says_where_it_belongs() -> None:
    with pytest.raises(NoCurrentApp, match=r"drain\(\) has no jobs to work.* inside the `with queued\(\):`"):
        drain()


def test_retry_until_passes_under_the_clock_of_drain() -> None:
    @queueable(retry_until="1h", retry_after="10m")
    def hourly() -> None:
        raise Retry

    with queued():
        hourly.push()
        assert drain() == Drained(done=0, failed=1, released=0, retried=6, waited=timedelta(hours=1))


def test_a_job_that_a_late_job_pushes_is_young() -> None:
    @queueable(retry_until="1m", retry_after="30s", max_attempts=2)
    def child() -> None:
        runs.append(current_job().attempt)
        raise Retry

    @queueable
    def parent() -> None:
        child.push()

    with queued():
        parent.later("24h")
        result = drain()
    assert runs == [1, 2]
    assert (result.done, result.failed, result.retried) == (1, 1, 1)


def test_drain_works_what_jobs_and_their_hooks_push() -> None:
    class Family(Queueable, max_attempts=1):
        depth: int

        def handle(self) -> None:
            if self.depth:
                Family(depth=self.depth - 1).later("1h")
            else:
                raise Fail("enough")

        def on_failure(self, error: BaseException) -> None:
            send.push(99)

    with queued():
        Family(depth=5).push()
        assert drain() == Drained(done=6, failed=1, released=0, retried=0, waited=timedelta(hours=5))
    assert runs == [99]


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(lambda: Release(), id="release"),
        pytest.param(lambda: Release("1h"), id="release for an hour"),
        pytest.param(lambda: Retry(), id="retry"),
    ],
)
def test_a_job_that_never_ends_is_named_when_the_limit_is_reached(again: Callable[[], Exception]) -> None:
    @queueable(retry_until="999w")
    def endless() -> None:
        raise again()

    with queued() as app:
        endless.push()
        with pytest.raises(
            GelloError, match=r"drain\(\) made 50 attempts and jobs still wait\. Most often ran endless \(50 ×\)"
        ):
            drain(limit=50)
        assert app.queue.size() + app.queue.size(state="delayed") == 1


def test_a_job_that_pushes_itself_for_ever_is_named_too() -> None:
    @queueable
    def copying() -> None:
        copying.push()

    with queued():
        copying.push()
        with pytest.raises(GelloError, match=r"copying \(100 ×\)"):
            drain(limit=100)


def test_the_limit_itself_may_be_used_up() -> None:
    with queued():
        for number in range(10):
            send.push(number)
        assert drain(limit=10).done == 10


def test_drain_works_an_app_of_ones_own_on_memory_and_gives_its_clock_back() -> None:
    app = Gello("memory://")
    send.later("24h", 1)
    broken.push()
    drained = drain(app)
    assert (drained.done, drained.failed, drained.retried) == (1, 1, 2)
    assert timedelta(hours=23, minutes=59) < drained.waited <= timedelta(hours=24)
    send.later("24h", 2)
    assert app.queue.size("emails", state="delayed") == 1
    assert drain().done == 1


def test_drain_sets_an_unknown_job_aside_after_an_hour() -> None:
    with queued(send) as app:
        send.push(1)
        del app.broker.actors["send"]
        result = drain()
        assert (result.failed, result.released) == (1, 120)
        assert app.failed.all()[0].reason == "unknown_job"


def test_drain_refuses_what_it_cant_work(tmp_path: Path) -> None:
    with fake(), pytest.raises(Unsupported, match="here is the fake broker; push them inside `with queued"):
        drain()
    with inline(), pytest.raises(Unsupported, match="here is the sync broker"):
        drain()
    app = Gello(f"sqlite:///{tmp_path}/jobs.db")
    with pytest.raises(Unsupported, match="give drain an app on memory://"):
        drain(app)
    app.close()
    with pytest.raises(NoCurrentApp):
        drain()


def test_drain_refuses_to_share_with_a_worker() -> None:
    app = Gello("memory://")
    worker = app.worker(concurrency=1)
    worker.start()
    try:
        with pytest.raises(Unsupported, match="stop the worker first"):
            drain(app)
    finally:
        worker.stop()
        app.close()


def test_test_apps_keep_nothing_outside_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/real.db")
    for tool in (inline, queued):
        with tool() as app:
            try:
                broken.push()
                drain()
            except (ValueError, Unsupported):
                pass
            assert app.failed.count() == 1
    with fake():
        broken.push()
    assert not [*tmp_path.iterdir()]


# ------------------------------------------------------------------------------------------------- running


def test_a_handler_that_a_test_calls_sees_the_job_that_it_is_told() -> None:
    Gello("memory://", max_tries=5)
    with running(broken.job(7), attempt=2) as job:
        with pytest.raises(ValueError, match="no"):
            broken(7)
        assert current_job() == job
    assert runs == [2]
    assert (job.name, job.queue, job.attempt, job.max_attempts, job.payload) == (
        "broken",
        "default",
        2,
        3,
        {"number": 7},
    )
    with running(Report(report_id=3)) as job:
        assert (current_job().queue, job.attempt, job.max_attempts) == ("reports", 1, 5)
    with pytest.raises(NoCurrentJob):
        current_job()


def test_running_needs_no_app_and_leaves_none() -> None:
    with running(send.job(7)), pytest.raises(NoCurrentApp):
        send.push(8)


def test_what_a_running_handler_pushes_goes_where_the_test_says() -> None:
    with fake() as pushes, running(Report(report_id=3)):
        send.push(7)
    assert [push.name for push in pushes.all()] == ["send"]


def test_the_module_needs_no_test_framework() -> None:
    code = "import sys, gello_dramatiq.testing; print({'pytest', '_pytest', 'hypothesis'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
