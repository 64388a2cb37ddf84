"""A database that is locked, gone or ambiguous for a while: nothing is lost, and nobody living is taken for dead."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from gello_dramatiq import Gello, queueable
from gello_dramatiq.brokers.database.broker import DatabaseBroker
from gello_dramatiq.claim import Claim
from gello_dramatiq.database.engine import Database
from gello_dramatiq.errors import DatabaseUnavailable
from tests.chaos.conftest import Rig
from tests.chaos.jobs import steady
from tests.contracts.conftest import wait_for

pytestmark = pytest.mark.slow
sqlite = pytest.mark.parametrize("rig", ["sqlite"], indirect=True)


@sqlite
def test_a_database_locked_for_longer_than_a_lease_loses_nothing_and_nobody_is_taken_for_dead(rig: Rig) -> None:
    rig.gello.queue.bulk([steady.job(n, 0.02) for n in range(600)])
    rig.worker()
    rig.worker()
    rig.wait(lambda: {event.pid for event in rig.events("finish")} == {process.pid for process in rig.processes})
    with locked(rig.folder / "gello.db"):
        time.sleep(6)
    rig.wait_until_empty(40)
    rig.check()
    assert "is dead" not in rig.logs()
    assert "taken for dead" not in rig.logs()
    assert all(process.poll() is None for process in rig.processes)


@sqlite
def test_a_push_to_a_locked_database_says_so_within_five_seconds_and_pushes_nothing(rig: Rig) -> None:
    with locked(rig.folder / "gello.db"):
        asked = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="locked by another process"):
            steady.push(1)
        assert time.monotonic() - asked < 5
    assert rig.gello.queue.size() == 0


class Ambiguous(Database):
    """A database whose replies get lost: what was asked happened, and the caller sees an error."""

    lose_replies = 0

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
        if self.lose_replies and threading.current_thread().name == "gello-coordinator":
            self.lose_replies -= 1
            raise DatabaseUnavailable("the reply was lost")


def test_a_claim_whose_reply_was_lost_is_found_and_given_back(tmp_path: Path) -> None:
    ran: list[int] = []

    @queueable(max_attempts=1)
    def work(n: int) -> None:
        ran.append(n)

    database = Ambiguous(f"sqlite:///{tmp_path / 'gello.db'}")
    app = Gello(broker=DatabaseBroker(database, lease="30s"), jobs=[work])
    app.queue.bulk([work.job(n) for n in range(20)])
    database.lose_replies = 3
    worker = app.worker(concurrency=4, queues=["default"])
    worker.start()
    wait_for(lambda: len(ran) == 20)
    worker.join()
    worker.stop()
    assert database.lose_replies == 0
    assert sorted(ran) == list(range(20)), "each ran once: what was settled unheard is not run again"
    assert app.queue.size(state="reserved") == 0
    app.close()


class Away(Database):
    """A database that is away for a while, for reading and writing."""

    away = False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self._refuse()
        with super().read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._refuse()
        with super().write() as connection:
            yield connection

    def _refuse(self) -> None:
        if self.away:
            raise DatabaseUnavailable("away")


def test_while_the_database_is_away_what_is_claimed_ends_and_all_is_settled_when_it_is_back(tmp_path: Path) -> None:
    ran: list[int] = []
    let_go = threading.Event()

    @queueable(max_attempts=1)
    def work(n: int) -> None:
        if n < 4:
            let_go.wait(10)
        ran.append(n)

    database = Away(f"sqlite:///{tmp_path / 'gello.db'}")
    app = Gello(broker=DatabaseBroker(database, lease="2s"), jobs=[work])
    app.queue.bulk([work.job(n) for n in range(30)])
    worker = app.worker(concurrency=4, queues=["default"])
    worker.start()
    wait_for(lambda: app.queue.size(state="reserved") == 4)
    database.away = True
    let_go.set()
    wait_for(lambda: len(ran) >= 4)
    time.sleep(1.5)
    assert all(thread.is_alive() for thread in worker.workers)
    database.away = False
    wait_for(lambda: len(ran) == 30)
    worker.join()
    worker.stop()
    assert sorted(ran) == list(range(30))
    assert app.queue.size(state="reserved") == 0
    app.close()


def test_failed_outcomes_wait_for_their_database_while_other_jobs_go_on(tmp_path: Path) -> None:
    """Where jobs are in memory and failures in SQLite: two failing jobs must not stop twenty good ones."""
    ran: list[int] = []

    @queueable(max_attempts=1)
    def work(n: int) -> None:
        if n < 2:
            raise ValueError(n)
        ran.append(n)

    app = Gello("memory://", database=f"sqlite:///{tmp_path / 'memory.db'}", jobs=[work])
    app.failed.count()
    worker = app.worker(concurrency=2)
    with locked(tmp_path / "memory.db"):
        worker.start()
        app.queue.bulk([work.job(n) for n in range(22)])
        wait_for(lambda: len(ran) == 20, 3)
        assert app.queue.size(state="reserved") >= 2, "what failed isn't given up before its row exists"
    wait_for(lambda: app.queue.size(state="reserved") == 0, 10)
    worker.stop()
    assert app.failed.count() == 2
    app.close()


def test_an_outcome_that_cannot_be_settled_does_not_hold_up_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []

    @queueable(max_attempts=1)
    def work(n: int) -> None:
        if n == 3:
            raise ValueError("cursed")
        ran.append(n)

    class Cursed(DatabaseBroker):
        def exchange(self, owner: str, claims: Sequence[Claim], *rest: Any) -> tuple[int, list[Claim]]:
            self.refuse(claims)
            return super().exchange(owner, claims, *rest)

        def settle(self, claims: Sequence[Claim]) -> int:
            self.refuse(claims)
            return super().settle(claims)

        def refuse(self, claims: Sequence[Claim]) -> None:
            if any(claim.outcome is not None and str(claim.outcome.error) == "cursed" for claim in claims):
                raise RuntimeError("this row can't be written")

    database = Database(f"sqlite:///{tmp_path / 'gello.db'}")
    app = Gello(broker=Cursed(database), jobs=[work])
    app.queue.bulk([work.job(n) for n in range(10)])
    worker = app.worker(concurrency=2, queues=["default"])
    worker.start()
    wait_for(lambda: len(ran) == 9)
    wait_for(lambda: app.queue.size(state="delayed") == 1)
    worker.stop()
    assert "it is given back" in caplog.text
    app.close()


def in_a_child(act: Callable[[], object]) -> int:
    """Fork a child that does something and ends; returns its number."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:  # noqa: BLE001 (a child that fails must not go on as pytest)
            os._exit(1)
        os._exit(0)
    return child


def test_a_child_that_was_forked_pushes_on_connections_of_its_own(rig: Rig) -> None:
    def push() -> None:
        for n in range(1, 51):
            steady.push(n)

    steady.push(0)
    child = in_a_child(push)
    for n in range(51, 101):
        steady.push(n)
    assert os.waitpid(child, 0)[1] == 0
    assert rig.gello.queue.size() == 101
    if rig.url.startswith("sqlite"):
        with closing(sqlite3.connect(rig.folder / "gello.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("watched", [False, True], ids=["not watched", "watched"])
@sqlite
def test_what_a_child_pushes_is_kept_though_its_parent_closed_the_database(rig: Rig, watched: bool) -> None:
    """The last one to close a SQLite file removes its log: a child whose locks were its parent's would lose it."""
    pushed, parent_closed = os.pipe(), os.pipe()

    def push() -> None:
        steady.push(2)
        os.write(pushed[1], b"1")
        os.read(parent_closed[0], 1)
        steady.push(3)

    steady.push(1)
    if watched:
        # This opens the watcher's connection, which outlives transactions.
        rig.gello.broker.claim("me", ["none"], 1)  # type: ignore[attr-defined]
    child = in_a_child(push)
    os.read(pushed[0], 1)
    rig.gello.close()
    os.write(parent_closed[1], b"1")
    assert os.waitpid(child, 0)[1] == 0
    assert rig.gello.queue.size() == 3
    for end in (*pushed, *parent_closed):
        os.close(end)


# Python warns of a fork beside threads because of the locks that they may hold; that is what this test is about.
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@sqlite
def test_a_child_that_is_forked_while_others_write_can_write_too(rig: Rig) -> None:
    stopped = threading.Event()

    def write() -> None:
        while not stopped.is_set():
            rig.gello.queue.bulk([steady.job(n) for n in range(100)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        ended = [os.waitpid(in_a_child(lambda: steady.push(0)), 0)[1] for _ in range(20)]
    finally:
        stopped.set()
        writer.join()
    assert ended == [0] * 20


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a SQLite file's write lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@sqlite
def test_an_error_of_the_driver_becomes_words(rig: Rig) -> None:
    """The helper above really locks, and the driver's own error is the cause."""
    with locked(rig.folder / "gello.db"), pytest.raises(DatabaseUnavailable) as raised:
        rig.gello.queue.clear()
    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
