"""Connections to a server that die under way: nothing is lost, and what runs twice is what was under way."""

from __future__ import annotations

import threading
import time

import pytest

from gello_dramatiq.errors import DatabaseUnavailable
from tests import servers
from tests.chaos.conftest import Rig
from tests.chaos.jobs import steady

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("rig", servers.ADMIN, indirect=True)
def test_connections_that_are_killed_for_ten_seconds_lose_nothing(rig: Rig) -> None:
    database = rig.gello.database
    workers = [rig.worker(), rig.worker()]
    while {event.pid for event in rig.events("start")} != {worker.pid for worker in workers}:
        steady.push(0, 0.01)
        time.sleep(0.02)
    until = time.monotonic() + 10
    pushed, unsure = set[str](), set[str]()

    def push() -> None:
        number = 0
        while time.monotonic() < until:
            number += 1
            try:
                steady.push(number, 0.01)
                pushed.add(str(number))
            except DatabaseUnavailable:  # it may be there all the same
                unsure.add(str(number))

    pusher = threading.Thread(target=push)
    pusher.start()
    while time.monotonic() < until:
        servers.kill_connections(database)
        time.sleep(0.2)
    pusher.join()
    rig.wait_until_empty(40)
    finished = rig.count("finish")
    assert pushed - finished.keys() == set(), "lost"
    assert finished.keys() - pushed - unsure == {"0"}, "never pushed"
    assert rig.gello.failed.count() == 0
    del finished["0"]
    twice = sum(finished.values()) - len(finished)
    assert twice <= 0.1 * len(finished), "only what was running or unsettled when a connection died"
    assert "taken for dead" not in rig.logs()
    assert all(worker.poll() is None for worker in workers), rig.logs()
