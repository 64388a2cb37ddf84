"""Connections to a server that die under way: nothing is lost, and what runs twice is what was under way."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest
from sqlalchemy import text

from gello_dramatiq.database.engine import Database
from gello_dramatiq.errors import DatabaseUnavailable
from tests import servers
from tests.chaos.conftest import Rig
from tests.chaos.jobs import steady
from tests.chaos.ledger import Fault
from tests.contracts.conftest import wait_for

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("rig", servers.ADMIN, indirect=True)
def test_connections_that_are_killed_for_ten_seconds_lose_nothing(rig: Rig) -> None:
    database = rig.gello.database
    workers = [rig.worker(4, "3s"), rig.worker(4, "3s")]
    while {event.pid for event in rig.events("start")} != {worker.pid for worker in workers}:
        steady.push(0, 0.01)
        time.sleep(0.02)
    until = time.monotonic() + 10

    def push() -> None:
        number = 0
        while time.monotonic() < until:
            number += 1
            with suppress(DatabaseUnavailable):  # it may be there all the same
                steady.push(number, 0.01)

    pusher = threading.Thread(target=push)
    pusher.start()
    while time.monotonic() < until:
        servers.kill_connections(database)
        rig.faults.append(Fault(time.time()))
        time.sleep(0.2)
    pusher.join()
    rig.wait_until_empty(40)
    assert rig.gello.failed.count() == 0
    # Each time what eight threads ran, or had unsettled; a tenth of all is less.
    rig.check(again=rig.count("finish").total() // 11)
    assert "taken for dead" not in rig.logs()
    assert all(worker.poll() is None for worker in workers), rig.logs()


SOON = 0.5
"""Seconds in which an idle worker takes up what another app pushed, whether or not it hears of it."""
HEARD = 0.25
"""The same where it hears of it; who only looks once a second doesn't take up three so soon."""
LISTENS = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"
postgresql = pytest.mark.parametrize("rig", ["postgresql"], indirect=True)


def idle_worker(rig: Rig) -> None:
    """A worker process that has worked a job and found no more for a while."""
    rig.worker(1, "10s")
    steady.push(0)
    rig.wait(lambda: rig.count("finish")["0"] == 1)
    time.sleep(1.5)


def seconds_until_taken_up(rig: Rig, number: int, idle: float = 0) -> float:
    """How long a push waits for a worker that found nothing for a while."""
    time.sleep(idle)
    pushed = time.time()
    steady.push(number)
    rig.wait(lambda: rig.count("start")[str(number)] == 1)
    return next(event.at for event in rig.events("start") if event.key == str(number)) - pushed


def listeners(database: Database) -> set[int]:
    with database.read() as connection:
        return set(connection.execute(text(f"SELECT pid {LISTENS}")).scalars())


@postgresql
def test_a_worker_that_does_not_listen_takes_up_pushes_soon(rig: Rig) -> None:
    rig.url += "?notify=off"
    idle_worker(rig)
    assert listeners(rig.gello.database) == set()
    assert max(seconds_until_taken_up(rig, number) for number in range(1, 6)) < SOON


@postgresql
def test_a_worker_whose_listening_connection_is_killed_takes_up_pushes_soon_and_listens_again(rig: Rig) -> None:
    idle_worker(rig)
    before = listeners(rig.gello.database)
    assert len(before) == 1
    with rig.gello.database.read() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {LISTENS}"))
    assert max(seconds_until_taken_up(rig, number) for number in range(1, 6)) < SOON
    wait_for(lambda: len(listeners(rig.gello.database) - before) == 1, 5)
    assert max(seconds_until_taken_up(rig, number, idle=1.3) for number in range(6, 9)) < HEARD
    assert "they are looked for every 0.1 s" in rig.logs()
