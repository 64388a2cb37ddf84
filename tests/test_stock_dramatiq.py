"""Gello beside stock Dramatiq: its launcher, its actors, its producers, its brokers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import QueueJoinTimeout
from dramatiq.middleware import AgeLimit, Retries, SkipMessage, TimeLimit

from gello_dramatiq import Gello, Release, queueable
from gello_dramatiq.errors import DatabaseUnavailable, Unsupported
from gello_dramatiq.failed_jobs.keep import KeepFailedJobs
from gello_dramatiq.limits import WorkerLimits
from gello_dramatiq.retries import JobRetries
from gello_dramatiq.stock import Counts, WarnOfPriorities
from tests.contracts.conftest import wait_for
from tests.outages import failures_cannot_be_kept, forbidden

URLS = ["memory://", "sqlite"]
ADDED = (KeepFailedJobs, WarnOfPriorities, WorkerLimits)
"""What Gello adds to a handed broker."""


@pytest.fixture(params=URLS)
def gello(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = Gello(request.param if request.param != "sqlite" else f"sqlite:///{tmp_path / 'gello.db'}")
    yield made
    made.close()


def work_stock(gello: Gello, until: Callable[[], bool]) -> None:
    """Work a stock broker until something holds."""
    worker = gello.worker()
    worker.worker_timeout = 50  # how long its threads sleep between two looks, in milliseconds
    worker.start()
    wait_for(until)
    worker.stop()


def test_dramatiqs_own_worker_works_our_brokers(gello: Gello) -> None:
    ran: list[int] = []

    @queueable(queue="emails", max_attempts=2, retry_after=0)
    def send(n: int) -> None:
        ran.append(n)
        if n == 3:
            raise ValueError

    gello.admit(send)
    gello.queue.bulk([send.job(n) for n in range(20)])
    gello.broker.emit_after("process_boot")
    worker = dramatiq.Worker(gello.broker, worker_threads=4, worker_timeout=50)
    worker.start()
    try:
        wait_for(lambda: gello.failed.count() == 1 and len(ran) == 21)
    finally:
        worker.stop()
    assert gello.queue.size("emails", state="reserved") == 0


def test_dramatiqs_worker_gives_back_what_it_did_not_start(gello: Gello) -> None:
    let_go = threading.Event()
    ran: list[int] = []

    @queueable
    def hold(n: int) -> None:
        ran.append(n)
        let_go.wait(10)

    gello.admit(hold)
    gello.queue.bulk([hold.job(n) for n in range(6)])
    worker = dramatiq.Worker(gello.broker, worker_threads=2, worker_timeout=50)
    worker.start()
    wait_for(lambda: len(ran) == 2)
    threading.Timer(0.3, let_go.set).start()
    worker.stop()
    assert gello.queue.size() + len(ran) == 6
    assert gello.queue.size(state="reserved") == 0


def test_a_stock_actor_on_our_broker_keeps_stock_retries_time_limit_and_age_limit(gello: Gello) -> None:
    ran: list[str] = []

    @dramatiq.actor(broker=gello.broker, max_retries=1, min_backoff=10, max_backoff=20)
    def flaky() -> None:
        ran.append("flaky")
        raise ValueError("stock")

    @dramatiq.actor(broker=gello.broker, max_retries=0, time_limit=200)
    def endless() -> None:
        ran.append("endless")
        while True:
            time.sleep(0.01)

    @dramatiq.actor(broker=gello.broker, max_age=1)
    def old() -> None:
        ran.append("old")

    kinds = [type(middleware) for middleware in gello.broker.middleware]
    assert kinds[-1] is TimeLimit, "armed last, disarmed first"
    assert AgeLimit in kinds
    flaky.send()
    endless.send()
    old.send_with_options(delay=100)
    worker = gello.worker(concurrency=3)
    worker.start()
    wait_for(lambda: gello.failed.count() == 3, 10)
    worker.stop()
    assert sorted(ran) == ["endless", "flaky", "flaky"]
    reasons = {failed.name: (failed.reason, failed.exception.partition(":")[0]) for failed in gello.failed.all()}
    assert reasons["flaky"] == ("error", "ValueError")
    assert reasons["endless"][1] == "TimeLimitExceeded"
    assert reasons["old"][0] == "expired"


def test_a_stock_retry_whose_enqueue_fails_is_not_lost(gello: Gello, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    @dramatiq.actor(broker=gello.broker, max_retries=3, min_backoff=10, max_backoff=20)
    def flaky() -> None:
        ran.append(1)
        raise ValueError

    flaky.send()
    put = gello.broker.put  # type: ignore[attr-defined]

    def away(messages: Any) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(gello.broker, "put", away)
    worker = gello.worker(concurrency=1)
    worker.start()
    wait_for(lambda: gello.queue.size(state="delayed") == 1)
    monkeypatch.setattr(gello.broker, "put", put)
    worker.stop()
    assert ran == [1]


def test_a_stock_producer_pushes_to_a_gello_job_with_a_delay(gello: Gello) -> None:
    ran: list[float] = []

    @queueable
    def work(n: int) -> None:
        ran.append(time.time())

    gello.admit(work)
    message: dramatiq.Message[Any] = dramatiq.Message("default", "work", (), {"n": 1}, {})
    began = time.time()
    gello.broker.enqueue(message, delay=200)
    with_eta: dramatiq.Message[Any] = dramatiq.Message(
        "default", "work", (), {"n": 2}, {"eta": int(time.time() * 1000) + 200}
    )
    gello.broker.enqueue(with_eta)
    worker = gello.worker()
    worker.start()
    wait_for(lambda: len(ran) == 2)
    worker.stop()
    assert min(ran) - began >= 0.2


def test_handing_a_stock_broker_replaces_its_retries_in_place_and_keeps_their_settings() -> None:
    broker = StubBroker()
    before = [type(middleware) for middleware in broker.middleware]
    (retries,) = [m for m in broker.middleware if type(m) is Retries]
    retries.max_retries = 5
    Gello(broker=broker)
    after = [type(middleware) for middleware in broker.middleware]
    assert [kind for kind in after if kind not in ADDED] == [JobRetries if kind is Retries else kind for kind in before]
    (ours,) = [m for m in broker.middleware if isinstance(m, JobRetries)]
    assert ours.max_retries == 5
    assert after.index(JobRetries) > after.index(KeepFailedJobs)


def test_on_a_stock_broker_a_retry_that_cannot_be_enqueued_is_kept_as_failed() -> None:
    broker = StubBroker()

    @queueable(max_attempts=5, retry_after="10ms")
    def flaky() -> None:
        raise ValueError("first")

    gello = Gello(broker=broker, jobs=[flaky])
    gello.queue.push(flaky)

    def away(message: Any, *, delay: int | None = None) -> Any:
        raise ConnectionError("away")

    broker.enqueue = away  # type: ignore[method-assign]
    work_stock(gello, lambda: gello.failed.count() == 1)
    assert gello.failed.all()[0].exception == "ValueError: first"


def test_on_a_stock_broker_an_unknown_name_is_kept_as_failed() -> None:
    broker = StubBroker()
    gello = Gello(broker=broker)
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "unheard", (), {"n": 1}, {}))
    work_stock(gello, lambda: gello.failed.count() == 1)
    (kept,) = gello.failed.all()
    assert (kept.name, kept.payload, kept.reason) == ("unheard", {"n": 1}, "unknown_job")


def test_on_a_stock_broker_what_its_age_limit_rejects_is_kept_as_expired() -> None:
    broker = StubBroker()

    @dramatiq.actor(broker=broker, max_age=1)
    def old() -> None: ...

    gello = Gello(broker=broker)
    old.send_with_options(delay=100)
    work_stock(gello, lambda: gello.failed.count() == 1)
    assert gello.failed.all()[0].reason == "expired"


def test_on_a_stock_broker_a_job_whose_retry_until_has_passed_does_not_run() -> None:
    ran: list[int] = []

    @queueable(retry_until="50ms")
    def late() -> None:
        ran.append(1)

    gello = Gello(broker=StubBroker(), jobs=[late])
    gello.queue.later("100ms", late)
    work_stock(gello, lambda: gello.failed.count() == 1)
    assert ran == []
    assert gello.failed.all()[0].reason == "expired"


def test_on_a_stock_broker_a_job_that_must_not_rerun_is_refused_when_it_is_declared() -> None:
    @queueable(rerun_after_crash=False)
    def charge() -> None: ...

    with pytest.raises(Unsupported, match="charge: rerun_after_crash=False can't be kept on StubBroker"):
        Gello(broker=StubBroker(), jobs=[charge])
    gello = Gello(broker=StubBroker())
    with pytest.raises(Unsupported, match="charge"):
        gello.queue.push(charge)


def test_on_a_stock_broker_a_message_is_not_given_up_while_its_failure_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.02)
    tries: list[int] = []

    class Watch(dramatiq.Middleware):
        def before_nack(self, broker: Any, message: Any) -> None:
            tries.append(1)

    @queueable(max_attempts=1)
    def fails() -> None:
        raise ValueError("no")

    broker = StubBroker()
    gello = Gello(broker=broker, database=f"sqlite:///{tmp_path / 'memory.db'}", jobs=[fails])
    broker.add_middleware(Watch(), before=KeepFailedJobs)
    assert gello.failed.count() == 0
    worker = gello.worker()
    worker.worker_timeout = 50
    worker.start()
    with failures_cannot_be_kept(gello.database):
        gello.queue.push(fails)
        wait_for(lambda: len(tries) >= 3)
        assert broker.queues["default"].unfinished_tasks == 1
        assert broker.dead_letters == []
    wait_for(lambda: len(broker.dead_letters) == 1)
    worker.stop()
    assert [failed.exception for failed in gello.failed.all()] == ["ValueError: no"]
    gello.close()


@pytest.mark.parametrize("enqueues", [True, False])
def test_on_a_stock_broker_a_job_whose_row_is_refused_is_put_back_or_waits_and_is_kept_later(
    enqueues: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.02)
    hooks: list[BaseException] = []

    @queueable(max_attempts=1)
    def fails() -> None:
        raise ValueError("no")

    @fails.on_failure
    def tell(error: BaseException) -> None:
        hooks.append(error)

    class Unreachable(StubBroker):
        reachable = True

        def enqueue(self, message: Any, *, delay: int | None = None) -> Any:
            if not self.reachable:
                raise OSError("unreachable")
            # Not to wait five seconds.
            return super().enqueue(message, delay=None if delay is None else delay // 100)

    broker = Unreachable()
    gello = Gello(broker=broker, database=f"sqlite:///{tmp_path / 'memory.db'}", jobs=[fails])
    assert gello.failed.count() == 0
    gello.queue.push(fails)
    broker.reachable = enqueues
    worker = gello.worker()
    worker.worker_timeout = 50
    with forbidden(gello.database, "INSERT ON failed_jobs"):
        worker.start()
        wait_for(lambda: caplog.text.count("its row can't be written") >= 3)
    broker.reachable = True
    wait_for(lambda: gello.failed.count() == 1)
    wait_for(lambda: worker.status().failed == 1)
    worker.stop()
    assert [str(error) for error in hooks] == ["no"]
    gello.close()


def test_join_waits_until_a_queue_holds_no_job_and_says_when_it_takes_too_long(gello: Gello) -> None:
    let_go = threading.Event()

    @queueable
    def hold() -> None:
        assert let_go.wait(10)

    gello.admit(hold)
    gello.broker.join("default", timeout=1000)

    def joined() -> bool:
        try:
            gello.broker.join("default", timeout=30)
        except QueueJoinTimeout:
            return False
        return True

    gello.queue.later("1h", hold)
    assert not joined(), "it is delayed"
    gello.queue.clear()
    gello.queue.push(hold)
    assert not joined(), "it is ready"
    worker = gello.worker(concurrency=1)
    worker.start()
    wait_for(lambda: gello.queue.size(state="reserved") == 1)
    assert not joined(), "it runs"
    threading.Timer(0.1, let_go.set).start()
    gello.broker.join("default")
    assert let_go.is_set()
    worker.stop()


@pytest.mark.parametrize("where", ["push", "definition"])
def test_on_a_stock_broker_the_first_priority_is_answered_by_a_warning(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    @queueable
    def plain() -> None: ...

    @queueable(priority=3)
    def urgent() -> None: ...

    gello = Gello(broker=StubBroker())
    gello.queue.push(plain)
    gello.queue.push(plain.with_options(priority=0).job())
    assert caplog.messages == []
    for _ in range(2):
        gello.queue.push(urgent.job() if where == "definition" else plain.with_options(priority=5).job())
    (warning,) = caplog.messages
    assert "has a priority, and StubBroker, a stock broker, ignores it" in warning


def test_on_a_stock_broker_a_worker_tells_what_it_has_done_and_what_it_does() -> None:
    let_go = threading.Event()

    @queueable(max_attempts=2, retry_after=0)
    def work(n: int) -> None:
        if n == 0:
            assert let_go.wait(10)
        if n == 1:
            raise ValueError
        if n == 2 and released.pop():
            raise Release("10ms")

    released = [False, True]
    broker = StubBroker()

    @dramatiq.actor(broker=broker)
    def skip() -> None:
        raise SkipMessage

    gello = Gello(broker=broker, jobs=[work])
    for n in range(4):
        gello.queue.push(work, n)
    worker = gello.worker(concurrency=2)
    worker.worker_timeout = 50
    assert worker.status().processed == 0
    worker.start()
    # One failed by two attempts; one was released and ran then, once; one ran at once.
    wait_for(lambda: worker.status().processed == 4)
    (job,) = worker.status().current_jobs
    assert (job.name, job.payload, job.attempt) == ("work", {"n": 0}, 1)
    let_go.set()
    wait_for(lambda: worker.status().processed == 5)
    skip.send()
    broker.join("default", fail_fast=False)
    wait_for(lambda: worker.status().current_jobs == ())
    assert (worker.status().processed, worker.status().failed) == (5, 1)
    worker.stop()
    assert (worker.status().processed, worker.status().failed, worker.status().state) == (5, 1, "stopped")
    assert not any(isinstance(middleware, Counts) for middleware in gello.broker.middleware)


@pytest.mark.slow
def test_the_dramatiq_command_works_a_gello_app(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from gello_dramatiq import Gello, queueable\n"
        "@queueable\n"
        "def sell(n: int) -> None:\n"
        "    open(f'sold-{n}', 'w').close()\n"
        f"gello = Gello('sqlite:///{tmp_path}/shop.db', jobs=[sell])\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}
    push = "import shop; [shop.sell.push(n) for n in range(5)]"
    subprocess.run([sys.executable, "-c", push], cwd=tmp_path, env=environment, check=True)
    launcher = subprocess.Popen(
        [sys.executable, "-m", "dramatiq", "shop:gello.broker", "-p", "1", "-t", "2", "--skip-logging"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: len(list(tmp_path.glob("sold-*"))) == 5, 20)
    finally:
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(20) == 0


def test_middleware_that_is_added_later_is_called_too(gello: Gello) -> None:
    told: list[str] = []

    class Tell(dramatiq.Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            told.append("before")

        def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            told.append("after")

    @queueable
    def work() -> None: ...

    gello.admit(work)
    gello.queue.push(work)
    gello.broker.add_middleware(Tell())
    gello.queue.push(work)
    assert told == ["before", "after"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_jobs": 3}, "hands out more jobs than"),
        ({"stop_when_empty": True}, "can't tell when its queues are empty"),
    ],
)
def test_an_option_that_a_stock_broker_cannot_keep_is_refused_with_its_own_reason(
    options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Unsupported, match=f"{next(iter(options))} can't be kept on StubBroker, .*: it {reason}"):
        Gello(broker=StubBroker()).worker(**options)
