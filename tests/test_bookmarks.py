"""Beside a transaction that somebody holds open, claims begin where the last one ended."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gello_dramatiq import Gello, current, queueable
from gello_dramatiq.brokers.database import bookmarks
from gello_dramatiq.brokers.database.bookmarks import FRONT, SELDOM, SLOW, SPARED, Bookmarks, Position
from gello_dramatiq.brokers.database.broker import DatabaseBroker
from gello_dramatiq.claim import Claim
from tests import servers

CLAIMED = 128


@queueable
def work(n: int) -> None: ...


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["postgresql"])
def broker(request: pytest.FixtureRequest) -> Iterator[DatabaseBroker]:
    gello = Gello(servers.fresh(request.param), jobs=[work])
    assert isinstance(gello.broker, DatabaseBroker)
    yield gello.broker
    gello.close()


def test_where_looks_are_quick_the_next_one_begins_at_the_front_too(clock: Clock) -> None:
    known = Bookmarks(clock)
    assert known.asks("default")
    known.measured("default", (0, 5, 7), SLOW)
    assert known.of("default") == FRONT
    assert not known.asks("default")
    clock.now += SELDOM
    assert known.asks("default")


def test_where_a_look_is_slow_none_is_made_for_thirty_times_as_long(clock: Clock) -> None:
    known = Bookmarks(clock)
    known.measured("default", (0, 5, 7), 0.01)
    assert known.of("default") == (0, 5, 7)
    assert known.of("other") == FRONT
    known.move("default", (0, 6, 9))
    clock.now += SPARED * 0.01 - 0.001
    assert known.of("default") == (0, 6, 9)
    clock.now += 0.002
    assert known.of("default") == FRONT
    assert known.asks("default")


def test_a_claim_from_a_bookmark_doesnt_pass_what_was_claimed_beside_a_held_transaction(broker: DatabaseBroker) -> None:
    push(4000)
    with broker.database.engine.connect() as holder:
        holder.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.exec_driver_sql("SELECT count(*) FROM queue_jobs")
        claims = broker.claim("me", ["default"], 4000)
        last = place_of(broker, claims[-1])
        assert broker.settle(claims) == 0
        push(100)
        front = pages(broker, FRONT)
        marked = pages(broker, last)
    assert front > 5 * marked > 0


@pytest.mark.parametrize("broker", ["postgresql", "mariadb"], indirect=True)
def test_what_stands_before_a_bookmark_is_claimed_once_it_ends_or_finds_nothing(
    broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(bookmarks, "SLOW", -1.0)
    monkeypatch.setattr(bookmarks, "SPARED", 1e9)
    monkeypatch.setattr(broker._sql, "_bookmarks", Bookmarks(clock))
    push(4 * CLAIMED)
    assert numbers(broker) == list(range(CLAIMED))
    push(1, -1, priority=5)
    assert numbers(broker) == list(range(CLAIMED, 2 * CLAIMED)), "from the bookmark"
    clock.now += 1e12
    assert numbers(broker)[:2] == [-1, 2 * CLAIMED], "from the front"
    push(1, -2, priority=5)
    assert [n for _ in range(3) for n in numbers(broker)] == [*range(3 * CLAIMED - 1, 4 * CLAIMED), -2]


def push(jobs: int, first: int = 0, priority: int = 0) -> None:
    current.queue().bulk([work.with_options(priority=priority).job(n) for n in range(first, first + jobs)])


def numbers(broker: DatabaseBroker) -> list[int]:
    return [claim.kwargs["n"] for claim in broker.claim("me", ["default"], CLAIMED)]


def place_of(broker: DatabaseBroker, claim: Claim) -> Position:
    with broker.database.read() as connection:
        question = "SELECT precedence, available_at, id FROM queue_jobs WHERE id = %s"
        precedence, due, number = connection.exec_driver_sql(question, (claim.key,)).one()
        return precedence, due, number


def pages(broker: DatabaseBroker, after: Position) -> int:
    """How many pages the claim of one job reads; it is undone."""
    with broker.database.read() as connection:
        connection.exec_driver_sql("BEGIN")
        explain = "EXPLAIN (ANALYZE, BUFFERS) " + broker._sql.sql["claim"]
        asked = (7, ["default"], *([each] for each in after), 1, 1)
        plan = "\n".join(connection.exec_driver_sql(explain, asked).scalars())
        connection.exec_driver_sql("ROLLBACK")
    return int(re.findall(r"Buffers: shared hit=(\d+)", plan)[0])
