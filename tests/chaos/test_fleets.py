"""Many workers on one database: each job is one worker's, and a reaper that slept frees nobody who lives."""

from __future__ import annotations

import signal
import time

import pytest

from tests.chaos.conftest import Rig
from tests.chaos.jobs import steady, stuck_in

pytestmark = pytest.mark.slow


def test_fleets_that_serve_the_same_queues_in_opposite_order_run_each_job_once(rig: Rig) -> None:
    queues = ["a", "b", "c", "d"]
    for order in (queues, queues, queues[::-1], queues[::-1]):
        rig.worker(4, "5s", queues=",".join(order))
    for number, worker in enumerate(rig.processes):
        # Each is known to take part before there is work for all.
        while worker.pid not in {event.pid for event in rig.events("start")}:
            steady.on(queues[number]).push(-1)
            time.sleep(0.02)
    first = time.time()
    for batch in range(6):
        rig.gello.queue.bulk([steady.job(n).on(queues[n % 4]) for n in range(batch * 500, batch * 500 + 500)])
    rig.wait_until_empty(40)
    rig.check()
    raced = {event.pid for event in rig.events("start") if event.at > first}
    for fleet in (rig.processes[:2], rig.processes[2:]):
        assert raced & {worker.pid for worker in fleet}
    assert [worker.poll() for worker in rig.processes] == [None] * 4, rig.logs()


@pytest.mark.parametrize("all_sleep", [False, True], ids=["the others beat", "all of the machine slept"])
def test_a_reaper_that_slept_longer_than_a_lease_frees_the_dead_and_nobody_who_lives(rig: Rig, all_sleep: bool) -> None:
    """Where all slept, the one that wakes first sees a beat of the living that is older than a lease."""
    reaper, dead = rig.worker(1, queues="lost"), rig.worker(1, queues="lost,first")
    living = rig.worker(1)
    stuck_in.on("first").push(dead.pid)
    steady.push(1, 3)
    rig.wait(lambda: rig.count("start").total() == 2)
    time.sleep(0.4)  # the reaper has seen both
    asleep = [living, reaper] if all_sleep else [reaper]
    for each in asleep:
        each.send_signal(signal.SIGSTOP)
        time.sleep(0.3)  # so that it is the last beat of the living that the reaper has seen
    rig.hit(dead)
    time.sleep(1.2)
    for each in reversed(asleep):
        each.send_signal(signal.SIGCONT)
        time.sleep(0.2)
    rescuer = rig.worker(1, queues="first")
    rig.wait_until_empty()
    assert rig.count("start") == {"1": 1, "stuck": 2}
    assert [event.pid for event in rig.events("finish") if event.key == "stuck"] == [rescuer.pid]
    assert "taken for dead" not in rig.logs(living)
    rig.check(again=1)
