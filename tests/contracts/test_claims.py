"""Claims: leases, fences, and what goes back."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import pytest
from dramatiq import Message
from sqlalchemy import text

from gello_dramatiq import Gello, current_job, queueable
from gello_dramatiq.broker import GelloBroker
from gello_dramatiq.brokers.database.broker import DatabaseBroker
from gello_dramatiq.claim import Claim
from gello_dramatiq.database.backend import Deadlock
from gello_dramatiq.database.engine import Database
from gello_dramatiq.errors import DatabaseUnavailable, JobUnknown, JobUnloadable
from gello_dramatiq.leases import Watch
from gello_dramatiq.outcome import DONE, GIVEN_BACK, Kind, Outcome, Progress, Reason

from .conftest import ALL, DURABLE, OURS, QUEUED, Bench, on, wait_for


def ours(app: Gello) -> GelloBroker:
    assert isinstance(app.broker, GelloBroker)
    return app.broker


def fields(**wrong: Any) -> bytes:
    """A message of which one field is no sense."""
    right = {"actor_name": "work", "message_id": "id", "args": [], "kwargs": {}, "options": {}, "message_timestamp": 1}
    return json.dumps({"queue_name": "default", **right, **wrong}).encode()


def delay_of(app: Gello, act: Callable[[], object]) -> tuple[float, float]:
    """The least and the most that the delay of what an act delays can be: the clock goes on while it acts."""
    broker: Any = app.broker
    stored = broker.name != "memory"
    before = int(time.time() * 1000) / 1000 if stored else time.monotonic()
    act()
    after = time.time() if stored else time.monotonic()
    if broker.name == "redis":
        ((_, score),) = broker.client.redis.zrange(broker.client.key("default.delayed"), 0, -1, withscores=True)
        due = score / 1000
    elif stored:
        with broker.database.read() as connection:
            due = connection.exec_driver_sql("SELECT available_at FROM queue_jobs WHERE state = 1").scalar_one() / 1000
    else:
        due = broker.next_due()
    # Seconds of the epoch as floats are exact to a fraction of a microsecond.
    return round(due - after, 6), round(due - before, 6)


def added(bench: Bench) -> float:
    """A database adds a millisecond for the fraction that its clock cut off, so that no job is early."""
    return 0.001 if bench.broker in (*DURABLE, "redis") else 0


def claim_one(app: Gello, owner: str = "one") -> Claim:
    (claim,) = ours(app).claim(owner, ["default"], 1)
    return claim


@on(*OURS)
@pytest.mark.parametrize(
    "late",
    [
        DONE,
        Outcome(Kind.RETRIED, progress=Progress(attempts=1)),
        Outcome(Kind.RELEASED),
        Outcome(Kind.FAILED, error=ValueError("late"), reason=Reason.ERROR),
        GIVEN_BACK,
    ],
    ids=["done", "retried", "released", "failed", "given-back"],
)
def test_a_stale_settle_changes_nothing_whatever_its_outcome(bench: Bench, late: Outcome) -> None:
    @queueable
    def work() -> None: ...

    app = bench.app(work)
    work.push()
    stale = claim_one(app)
    given_back = claim_copy(stale, GIVEN_BACK)
    assert ours(app).settle([given_back]) == 0
    fresh = claim_one(app, "two")
    assert fresh.lease > stale.lease
    stale.outcome = late
    assert ours(app).settle([stale]) == 1
    assert app.queue.size(state="reserved") == 1, "the fresh claim still holds the job"
    assert app.queue.size() == app.queue.size(state="delayed") == 0
    assert app.failed.count() == 0
    fresh.outcome = DONE
    assert ours(app).settle([fresh]) == 0
    assert app.queue.size(state="reserved") == 0


@on(*OURS)
def test_each_of_many_that_are_settled_together_has_its_own_fence(bench: Bench) -> None:
    @queueable
    def work(n: int) -> None: ...

    app = bench.app(work)
    app.queue.bulk([work.job(n) for n in range(4)])
    stale = ours(app).claim("one", ["default"], 2)
    assert ours(app).settle([claim_copy(claim, GIVEN_BACK) for claim in stale]) == 0
    fresh = ours(app).claim("two", ["default"], 3)
    assert ours(app).settle([*stale, *fresh[1:]]) == 2
    assert (app.queue.size(), app.queue.size(state="reserved")) == (1, 1)
    assert ours(app).settle([stale[0], fresh[0]]) == 1
    assert (app.queue.size(), app.queue.size(state="reserved")) == (1, 0)


@on(*OURS)
def test_settling_twice_changes_nothing_the_second_time(bench: Bench) -> None:
    @queueable
    def work() -> None: ...

    app = bench.app(work)
    work.push()
    claim = claim_one(app)
    claim.outcome = Outcome(Kind.RETRIED, progress=Progress(attempts=1))
    assert ours(app).settle([claim]) == 0
    assert ours(app).settle([claim]) == 1
    assert app.queue.size() == 1


@on(*DURABLE)
def test_of_failures_settled_together_those_are_known_as_kept_that_came_in_time_now_or_before(bench: Bench) -> None:
    @queueable
    def work(n: int) -> None: ...

    app = bench.app(work)
    app.queue.bulk([work.job(n) for n in range(3)])
    claims = ours(app).claim("one", ["default"], 3)
    for claim in claims:
        claim.outcome = Outcome(Kind.FAILED, error=ValueError(), reason=Reason.ERROR)
    before, now, late = claims
    assert ours(app).settle([claim_copy(late, GIVEN_BACK)]) == 0
    assert ours(app).settle([before]) == 0
    assert ours(app).settle(claims) == 2
    assert (before.kept, now.kept, late.kept) == (True, True, False)
    assert {job.id for job in app.failed.all()} == {before.message_id, now.message_id}


@on(*DURABLE)
def test_a_failure_that_comes_too_late_counts_for_nothing_and_calls_no_hook(bench: Bench) -> None:
    runs: list[int] = []
    hooks: list[BaseException] = []
    let_go = threading.Event()

    @queueable(max_attempts=1)
    def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            let_go.wait(10)
            raise ValueError

    work.on_failure(hooks.append)
    app = bench.app(work)
    broker = ours(app)
    assert isinstance(broker, DatabaseBroker)
    work.push()
    worker = app.worker(concurrency=1)
    worker.start()
    wait_for(lambda: len(runs) == 1)
    assert broker.free_dead_process(socket.gethostname(), os.getpid()) == 1
    let_go.set()
    wait_for(lambda: len(runs) == 2)
    worker.stop(timeout=5)
    assert (hooks, app.failed.count(), worker.status().failed) == ([], 0, 0)
    assert app.queue.size() == app.queue.size(state="reserved") == 0


@on(*OURS)
@pytest.mark.parametrize("kind", [Kind.RETRIED, Kind.RELEASED])
def test_what_is_put_back_is_due_after_exactly_its_delay(bench: Bench, kind: Kind) -> None:
    @queueable
    def work() -> None: ...

    app = bench.app(work)
    work.push()
    claim = claim_one(app)
    claim.outcome = Outcome(kind, delay=timedelta(minutes=7), progress=Progress(attempts=1))
    least, most = delay_of(app, lambda: ours(app).settle([claim]))
    assert least <= 420 + added(bench) <= most


@on(*OURS)
def test_a_delayed_push_is_due_after_exactly_its_delay(bench: Bench) -> None:
    @queueable
    def work() -> None: ...

    app = bench.app(work)
    least, most = delay_of(app, lambda: work.later("5m500ms"))
    assert least <= 300.5 + added(bench) <= most


@on(*OURS)
def test_the_ack_that_dramatiq_sends_after_a_release_changes_nothing(bench: Bench) -> None:
    from gello_dramatiq.completer import Completer

    @queueable
    def work() -> None: ...

    app = bench.app(work)
    work.push()
    claim = claim_one(app)
    completer = Completer(ours(app), None, lambda _: None)
    claim.outcome = Outcome(Kind.RELEASED)
    completer.add(claim)
    claim.outcome = DONE
    completer.add(claim)
    gathered, _ = completer.gather(0.1, watch=False, hurry=True)
    assert gathered == [claim]


@on(*OURS)
def test_an_ack_with_an_error_that_nobody_judged_gives_the_job_back(bench: Bench) -> None:
    """Dramatiq swallows errors of hooks and then acks: that must never be read as done."""
    ran: list[int] = []

    @queueable(max_attempts=1)
    def work() -> None:
        ran.append(1)
        raise ValueError

    app = bench.app(work)
    from gello_dramatiq.retries import JobRetries

    class Broken(JobRetries):
        def after_process_message(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("a bug of ours")

    (retries,) = [m for m in app.broker.middleware if isinstance(m, JobRetries)]
    retries.__class__ = Broken
    ours(app)._hooks.clear()
    work.push()
    worker = app.worker(concurrency=1)
    worker.start()
    wait_for(lambda: app.queue.size(state="delayed") == 1)
    worker.stop()
    assert ran == [1]
    assert app.failed.count() == 0


@on(*QUEUED)
def test_what_has_not_started_goes_back_on_a_graceful_stop_in_its_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gello_dramatiq.coordinator.PATIENCE", 60)
    let_go = threading.Event()
    ran: list[tuple[int, int]] = []

    @queueable
    def quick() -> None: ...

    @queueable
    def hold(n: int) -> None:
        ran.append((n, current_job().attempt))
        let_go.wait(10)

    app = bench.app(quick, hold)
    # After quick jobs a worker claims ahead.
    app.queue.bulk([*(quick.job() for _ in range(500)), *(hold.job(n) for n in range(6))])
    worker = bench.worker(app, concurrency=1, queues=["default"])
    worker.start()
    wait_for(lambda: len(ran) == 1)
    if bench.broker in OURS:
        wait_for(lambda: app.queue.size(state="reserved") == 6)

    def end_once_it_stops() -> None:
        wait_for(lambda: not worker.workers[0].running)
        let_go.set()

    threading.Thread(target=end_once_it_stops).start()
    worker.stop()
    assert ran == [(0, 1)]
    if bench.broker == "stub":
        # What its consumer had fetched ends with the worker: Dramatiq's stub broker takes nothing back.
        bench.work(app, lambda: (5, 1) in ran, concurrency=1)
        return
    assert (app.queue.size(), app.queue.size(state="reserved")) == (5, 0)
    bench.work(app, lambda: len(ran) == 6, concurrency=1)
    assert ran == [(n, 1) for n in range(6)]


@on(*OURS)
def test_a_paused_worker_starts_nothing_and_gives_back_what_it_held(bench: Bench) -> None:
    let_go = threading.Event()
    ran: list[int] = []

    @queueable
    def work(n: int) -> None:
        ran.append(n)
        let_go.wait(10)

    app = bench.app(work)
    worker = app.worker(concurrency=1)
    worker.start()
    work.push(0)
    wait_for(lambda: ran == [0])
    worker.pause()
    app.queue.bulk([work.job(n) for n in range(1, 4)])
    let_go.set()
    wait_for(lambda: app.queue.size(state="reserved") == 0)
    time.sleep(0.3)
    assert ran == [0]
    assert worker.status().state == "paused"
    assert app.queue.size() == 3, "jobs can still be pushed"
    worker.resume()
    wait_for(lambda: len(ran) == 4)
    worker.stop()


@on("stub")
def test_a_worker_of_a_stock_broker_pauses_when_what_runs_has_ended(bench: Bench) -> None:
    started, let_go = threading.Event(), threading.Event()
    ran: list[int] = []

    @queueable
    def work(n: int) -> None:
        ran.append(n)
        started.set()
        let_go.wait(10)

    app = bench.app(work)
    worker = bench.worker(app, concurrency=1)
    worker.start()
    work.push(0)
    assert started.wait(10)
    pausing = threading.Thread(target=worker.pause)
    pausing.start()
    wait_for(lambda: worker.workers[0].paused)
    app.queue.bulk([work.job(n) for n in range(1, 4)])
    let_go.set()
    pausing.join(10)
    assert worker.status().state == "paused"
    time.sleep(0.3)
    assert ran == [0]
    worker.resume()
    assert worker.status().state == "running"
    wait_for(lambda: ran == [0, 1, 2, 3])
    worker.stop()


@on(*OURS)
def test_one_queue_can_be_paused_while_others_go_on(bench: Bench) -> None:
    ran: list[str] = []

    @queueable
    def work(name: str) -> None:
        ran.append(name)

    app = bench.app(work)
    worker = app.worker(concurrency=2, queues=["a", "b"])
    worker.start()
    coordinator = ours(app).coordinator
    assert coordinator is not None
    coordinator.pause("a")
    work.on("a").push("a")
    work.on("b").push("b")
    wait_for(lambda: ran == ["b"])
    time.sleep(0.2)
    assert ran == ["b"]
    coordinator.resume("a")
    wait_for(lambda: ran == ["b", "a"])
    worker.stop()


@on(*OURS)
def test_a_job_of_an_unknown_name_goes_back_for_30_seconds(bench: Bench) -> None:
    @queueable
    def unheard() -> None: ...

    app = bench.app()
    unheard.push()
    del app.broker.actors["unheard"]
    app.jobs._definitions.clear()
    worker = app.worker(concurrency=1)

    def begin() -> None:
        worker.start()
        wait_for(lambda: app.queue.size(state="delayed") == 1)

    least, most = delay_of(app, begin)
    assert least <= 30 + added(bench) <= most
    worker.stop()
    assert app.failed.count() == 0


@on(*OURS)
def test_a_name_that_nobody_knew_for_an_hour_is_buried(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from gello_dramatiq import unknown

    @queueable
    def unheard(n: int) -> None: ...

    monkeypatch.setattr(unknown, "WAIT", unknown.WAIT / 1000)
    monkeypatch.setattr(unknown, "LIMIT", unknown.LIMIT / 10_000)
    app = bench.app()
    unheard.push(3)
    del app.broker.actors["unheard"]
    app.jobs._definitions.clear()
    worker = app.worker(concurrency=1)
    worker.start()
    wait_for(lambda: app.failed.count() == 1)
    worker.stop()
    (failed,) = app.failed.all()
    assert (failed.name, failed.reason, failed.payload) == ("unheard", "unknown_job", {"n": 3})
    assert failed.exception.startswith(JobUnknown.__name__)


@on(*OURS)
@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\x00 not json",
        b"[]",
        b'{"queue_name": "default"}',
        b"[" * 5000,
        fields(actor_name=["work"]),
        fields(actor_name="wo\0rk"),
        fields(actor_name="\ud800"),
        fields(message_id=None),
        fields(args=None),
        fields(args="ab"),
        fields(options=None),
        fields(options=[]),
        fields(message_timestamp=True),
        fields(message_timestamp=10**30),
    ],
)
def test_an_undecodable_message_is_buried_with_its_bytes_and_strands_nobody(bench: Bench, garbage: bytes) -> None:
    ran: list[int] = []

    @queueable
    def work(n: int) -> None:
        ran.append(n)

    app = bench.app(work)
    app.queue.bulk([work.job(n) for n in range(5)])
    corrupt(app, garbage)
    bench.work(app, lambda: app.failed.count() == 1 and len(ran) == 4)
    (failed,) = app.failed.all()
    assert (failed.queue, failed.reason, failed.message) == ("default", "invalid_payload", garbage)
    assert not failed.payload
    assert sorted(ran) == [0, 1, 3, 4]


@on(*ALL)
def test_a_payload_that_cannot_be_loaded_is_buried_at_once_with_its_reason(bench: Bench) -> None:
    ran: list[int] = []

    @queueable(max_attempts=5)
    def work(n: int) -> None:
        ran.append(n)

    app = bench.app(work)
    with pytest.raises(JobUnloadable, match="field 'n'") if bench.broker == "sync" else nullcontext():
        app.broker.enqueue(Message("default", "work", (), {"n": "seven"}, {}))
    bench.work(app, lambda: app.failed.count() == 1)
    (failed,) = app.failed.all()
    assert ran == []
    assert (failed.reason, failed.payload) == ("invalid_payload", {"n": "seven"})
    assert "field 'n'" in failed.exception


@on(*ALL)
def test_a_field_that_the_worker_does_not_know_is_ignored(bench: Bench) -> None:
    """Else every rolling deploy that adds a field would bury jobs."""
    ran: list[int] = []

    @queueable
    def work(n: int) -> None:
        ran.append(n)

    app = bench.app(work)
    app.broker.enqueue(Message("default", "work", (), {"n": 5, "added_later": True}, {}))
    bench.work(app, lambda: bool(ran))
    assert ran == [5]
    assert app.failed.count() == 0


@on(*ALL)
def test_positional_arguments_of_a_stock_producer_are_bound_to_the_signature(bench: Bench) -> None:
    ran: list[tuple[int, str]] = []

    @queueable
    def work(n: int, name: str) -> None:
        ran.append((n, name))

    app = bench.app(work)
    app.broker.actors["work"].send(3, name="stock")
    bench.work(app, lambda: bool(ran))
    assert ran == [(3, "stock")]


def test_dead_is_who_shows_the_same_beat_through_a_whole_lease_of_reads() -> None:
    watch = Watch(lease=3)
    assert watch.dead({1: 1, 2: 1}, 0.0) == []
    assert watch.dead({1: 1, 2: 2}, 1.0) == []
    assert watch.dead({1: 1, 2: 3}, 2.0) == []
    assert watch.dead({1: 1, 2: 4}, 3.0) == []
    assert watch.dead({1: 1, 2: 5}, 3.5) == [1]


def test_a_reader_that_was_itself_asleep_begins_to_wait_afresh() -> None:
    watch = Watch(lease=3)
    watch.dead({1: 1}, 0.0)
    watch.dead({1: 1}, 1.0)
    assert watch.dead({1: 1}, 60.0) == []
    assert watch.dead({1: 1}, 61.0) == []
    assert watch.dead({1: 1}, 62.0) == []
    assert watch.dead({1: 1}, 63.5) == [1]


@on(*DURABLE, "redis")
def test_an_owner_without_a_worker_row_is_freed_too(bench: Bench) -> None:
    ran: list[str] = []

    @queueable
    def work() -> None:
        ran.append(current_job().id)

    app = bench.app(work, lease="0.3s")
    pushed = work.push()
    assert len(ours(app).claim("nobody", ["default"], 1)) == 1
    assert (app.queue.size(), app.queue.size(state="reserved")) == (0, 1)
    bench.work(app, lambda: bool(ran), 5, concurrency=1)
    assert ran == [pushed.id]
    assert (app.queue.size(), app.queue.size(state="reserved")) == (0, 0)


@on(*DURABLE, "redis")
def test_what_a_dead_process_held_can_be_freed_at_once(bench: Bench) -> None:
    @queueable
    def work() -> None: ...

    app = bench.app(work)
    broker: Any = app.broker
    let_go = threading.Event()

    @queueable
    def hold() -> None:
        let_go.wait(10)

    app.admit(hold)
    hold.push()
    worker = app.worker(concurrency=1)
    worker.start()
    wait_for(lambda: app.queue.size(state="reserved") == 1)
    assert broker.free_dead_process(socket.gethostname(), os.getpid() + 1) == 0
    assert broker.free_dead_process(socket.gethostname(), os.getpid()) == 1
    let_go.set()
    worker.stop()


@on(*DURABLE)
def test_a_claim_that_fails_after_a_settle_settles_nothing_twice_and_loses_nothing(bench: Bench) -> None:
    class Faltering(DatabaseBroker):
        left = 5

        def _take(self, *what: Any, **more: Any) -> list[Any]:
            if len(ran) > 10 and self.left:
                self.left -= 1
                raise DatabaseUnavailable("it was there a moment ago")
            return super()._take(*what, **more)

    ran: list[int] = []

    @queueable(max_attempts=1)
    def work(n: int) -> None:
        ran.append(n)
        time.sleep(0.002)

    broker = Faltering(Database(bench.url))
    app = Gello(broker=broker, jobs=[work])
    bench.apps.append(app)
    app.queue.bulk([work.job(n) for n in range(300)])
    worker = app.worker(concurrency=4)
    worker.start()
    worker.join()
    assert sorted(ran) == list(range(300))
    assert broker.left == 0
    assert broker.coordinator is not None
    assert broker.coordinator.completer.stale == 0
    worker.stop()


@on(*DURABLE)
def test_a_deadlock_over_one_queue_forgets_no_claim_of_another(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was claimed before it is this worker's already: were it forgotten, it would be nobody's for ever."""
    ran: list[int] = []

    @queueable(max_attempts=1)
    def work(n: int) -> None:
        ran.append(n)

    app = bench.app(work)
    broker: Any = app.broker
    cursor, deadlocks = broker._sql._cursor, [1, 2, 3]

    class GivesWay:
        """The driver's cursor, but a claim of the second queue loses a deadlock."""

        def __init__(self, real: Any) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def execute(self, statement: str, parameters: Any = ()) -> Any:
            claims = "SKIP LOCKED" in statement or "owner = ?" in statement
            if deadlocks and claims and "second" in str(parameters):
                deadlocks.pop()
                raise Deadlock("two transactions waited for each other")
            return self._real.execute(statement, parameters)

    @contextmanager
    def giving_way(connection: Any, **options: Any) -> Iterator[Any]:
        with cursor(connection, **options) as real:
            yield GivesWay(real)

    monkeypatch.setattr(broker._sql, "_cursor", giving_way)
    app.queue.bulk([work.job(n).on("first") for n in range(5)] + [work.job(n).on("second") for n in range(5, 10)])
    bench.work(app, lambda: len(ran) >= 10, queues=["first", "second"])
    assert sorted(ran) == list(range(10))
    assert not deadlocks
    assert app.queue.size("first", state="reserved") == 0


def claim_copy(claim: Claim, outcome: Outcome) -> Claim:
    copy = Claim(claim.key, claim.lease, claim.raw, queue=claim.queue_name, job_id=claim.message_id)
    copy.outcome = outcome
    return copy


def corrupt(app: Gello, raw: bytes, position: int = 2) -> None:
    """Overwrite a waiting message, as a broken producer or disk would."""
    broker = app.broker
    if isinstance(broker, DatabaseBroker):
        with broker.database.write() as connection:
            connection.execute(
                text("UPDATE queue_jobs SET message = :raw WHERE id = :id"), {"raw": raw, "id": position + 1}
            )
    elif broker.name == "redis":  # type: ignore[attr-defined]
        client: Any = broker.client  # type: ignore[attr-defined]
        key = client.redis.lindex(client.key("default"), position)
        client.redis.hset(client.key("default.msgs"), key, raw)
    else:
        broker._ready["default"][position][2].raw = raw  # type: ignore[attr-defined]


@on(*OURS)
@pytest.mark.parametrize(
    "said", [{"timeout": "soon"}, {"history": 3}, "nothing", {"max_attempts": [1]}, {"retry_until": 10**30}, 7,
     {"attempts": True}, {"history": [1]}],
)  # fmt: skip
def test_options_that_make_no_sense_bury_the_message_instead_of_looping(bench: Bench, said: Any) -> None:
    ran: list[int] = []

    @queueable
    def work(n: int) -> None:
        ran.append(n)

    app = bench.app(work)
    job = work.push(1)
    corrupt(app, Message("default", "work", (), {"n": 1}, {"gello": said}, job.id).encode(), 0)
    bench.work(app, lambda: app.failed.count() == 1)
    assert ran == []
    assert app.failed.all()[0].reason == "invalid_payload"


@on("stub")
def test_options_that_make_no_sense_do_not_lose_a_job_on_a_stock_broker(bench: Bench) -> None:
    @queueable(max_attempts=1)
    def work(n: int) -> None:
        raise ValueError(n)

    app = bench.app(work)
    app.broker.enqueue(Message("default", "work", (), {"n": 1}, {"gello": {"timeout": "soon"}}))
    bench.work(app, lambda: app.failed.count() == 1)
    (failed,) = app.failed.all()
    assert (failed.reason, failed.payload) == ("invalid_payload", {"n": 1})
    assert "gello.timeout is 'soon'" in failed.exception
