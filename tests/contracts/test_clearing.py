"""Large deletes beside running claims: in chunks, between and beside which workers get their turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection

from gello_dramatiq import Gello, queueable
from gello_dramatiq.broker import GelloBroker
from gello_dramatiq.brokers.database import broker
from gello_dramatiq.brokers.redis import broker as redis
from gello_dramatiq.claim import Claim
from gello_dramatiq.failed_jobs import sql
from gello_dramatiq.outcome import Kind, Outcome, Reason

from .conftest import DURABLE, SERVERS, Bench, on

READY, DELAYED = 6000, 3000
CHUNK = 300
PATIENCE = 1.0
"""Seconds: a claim waits for one chunk at most, which takes some milliseconds; the rest is for a busy machine."""


@queueable
def work(n: int) -> None: ...


@pytest.mark.slow
@on(*DURABLE, "redis")
def test_a_queue_is_cleared_in_chunks_beside_claims_that_hardly_wait_and_each_job_is_cleared_or_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (broker, redis):
        monkeypatch.setattr(each, "CLEAR", CHUNK)
    app, clearing = bench.app(work), bench.app(work)
    app.queue.bulk([work.job(n) for n in range(READY)])
    app.queue.bulk([work.job(n) for n in range(DELAYED)], delay="1h")
    cleared: list[int] = []
    clear = threading.Thread(target=lambda: cleared.append(clearing.queue.clear("default")))
    done: list[Claim] = []
    waits: list[float] = []
    sizes: set[int] = set()
    assert isinstance(app.broker, GelloBroker)

    def watch() -> None:
        while clear.is_alive():
            sizes.add(app.queue.size(state="delayed"))

    watching = threading.Thread(target=watch)
    clear.start()
    watching.start()
    while clear.is_alive() or app.queue.size():
        asked = time.monotonic()
        claims = app.broker.claim("one", ["default"], 10)
        waits.append(time.monotonic() - asked)
        assert app.broker.settle(claims) == 0
        done += claims
    clear.join()
    watching.join()
    assert len({claim.key for claim in done}) == len(done) > 0
    assert len(done) + cleared[0] == READY + DELAYED
    assert [app.queue.size(state=state) for state in ("ready", "delayed", "reserved")] == [0, 0, 0]
    assert max(waits) < PATIENCE
    assert sizes - {0, DELAYED}, "other sizes are seen between two chunks"


A_ROW = 0.0003
"""Seconds that a slow disk takes to drop a row: a chunk then takes a tenth of a second, and all of them two."""


@contextmanager
def slowly(app: Gello) -> Iterator[None]:
    """An app's transactions take long for each row that they drop, before they commit."""
    database = app.database
    usual = database.transact

    def transact(act: Callable[[Connection], Any], *, at_once: bool = False) -> Any:
        def slow(connection: Connection) -> Any:
            dropped = act(connection)
            time.sleep(A_ROW * (dropped if isinstance(dropped, int) else dropped[-1]))
            return dropped

        return usual(slow, at_once=at_once)

    database.transact = transact  # type: ignore[method-assign]
    yield
    del database.transact  # type: ignore[method-assign]


def fill_failed(app: Gello, rows: int) -> None:
    texts = ("generation", "queue", "name", "exception", "traceback", "attempts", "payload")
    row = dict.fromkeys(texts, "[]") | {"reason": "error", "message": b"", "failed_at": 1}
    with app.database.write() as connection:
        connection.execute(app.database.tables.failed.insert(), [{**row, "id": f"old-{n}"} for n in range(rows)])


@pytest.mark.slow
@on(*DURABLE)
@pytest.mark.parametrize("what", ["clear", "prune"])
def test_while_much_is_dropped_others_claim_and_fail_jobs_and_wait_for_a_chunk_at_most(
    bench: Bench, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "CLEAR", CHUNK)
    monkeypatch.setattr(sql, "CHUNK", CHUNK)
    app, dropping = bench.app(work), bench.app(work)
    assert isinstance(app.broker, GelloBroker)
    app.queue.bulk([work.job(n) for n in range(READY)])
    app.queue.bulk([work.job(n).on("other") for n in range(READY)])
    fill_failed(app, READY)
    dropping.failed.count()
    left, whole = (lambda: app.queue.size("other")) if what == "clear" else app.failed.count, READY
    dropped: list[int] = []
    drop = threading.Thread(
        target=lambda: dropped.append(dropping.queue.clear("other") if what == "clear" else dropping.failed.prune("1h"))
    )
    waits: list[float] = []
    between: set[int] = set()
    failed = 0
    with slowly(dropping):
        drop.start()
        while drop.is_alive():
            asked = time.monotonic()
            claims = app.broker.claim("one", ["default"], 2)
            claims[0].outcome = Outcome(Kind.FAILED, error=ValueError("new"), reason=Reason.ERROR)
            assert app.broker.settle(claims) == 0
            waits.append(time.monotonic() - asked)
            failed += 1
            between.add(left() - failed * (what == "prune"))
        drop.join()
    assert dropped == [READY]
    assert max(waits) < PATIENCE
    assert len(between - {0, whole}) > 3, "others worked between the chunks, each of which is a transaction"
    assert app.failed.count(text="new") == failed
    assert app.queue.size() == READY - 2 * failed


@contextmanager
def after_each_chunk(app: Gello, act: Callable[[], object]) -> Iterator[None]:
    """Something happens whenever an app has committed."""
    usual = app.database.transact

    def transact(*what: Any, **how: Any) -> Any:
        result = usual(*what, **how)
        act()
        return result

    app.database.transact = transact  # type: ignore[method-assign]
    yield
    del app.database.transact  # type: ignore[method-assign]


@on(*DURABLE)
def test_a_queue_that_is_pushed_to_all_the_time_is_cleared_once(bench: Bench) -> None:
    app, other = bench.app(work), bench.app(work)
    app.queue.push(work, 0)
    pushed = 1

    def push() -> None:
        nonlocal pushed
        assert pushed < 20, "it clears what is pushed as long as it is pushed"
        other.queue.push(work, pushed)
        pushed += 1

    with after_each_chunk(app, push):
        assert app.queue.clear() + other.queue.size() == pushed


@on(*DURABLE)
def test_a_delayed_job_that_comes_due_while_its_queue_is_cleared_is_dropped_too(bench: Bench) -> None:
    app, other = bench.app(work), bench.app(work)
    app.queue.push(work, 0)
    app.queue.later("50ms", work, 1)
    assert isinstance(other.broker, GelloBroker)

    chunks: list[int] = []

    def promote() -> None:
        chunks.append(1)
        if len(chunks) == 2:
            time.sleep(0.3)
            assert other.broker.claim("other", ["none"], 1) == []  # type: ignore[attr-defined]
            assert other.queue.size(state="delayed") == 0

    with after_each_chunk(app, promote):
        assert app.queue.clear() == 2
    assert app.queue.size() == 0


@on(*SERVERS)
def test_a_prune_whose_chunk_another_drops_first_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "CHUNK", 10)
    app, other = bench.app(work), bench.app(work)
    fill_failed(app, 100)
    by_other: list[int] = []
    assert other.failed.count() == 100
    usual = Connection.scalars

    def read_and_lose(connection: Connection, query: Any) -> Any:
        found = usual(connection, query).all()
        if not by_other and found and "old-" in str(found[0]):
            by_other.append(sum(map(other.failed.store.forget, found)))
        return found

    monkeypatch.setattr(Connection, "scalars", read_and_lose)
    assert app.failed.prune("1h") == 90
    assert by_other == [10]
    assert app.failed.count() == 0
