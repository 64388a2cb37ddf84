"""Worker processes that die: nothing is lost, nothing living is charged, poison is set aside."""

from __future__ import annotations

import signal
import time

import pytest

from tests.chaos.conftest import LEASE, Rig
from tests.chaos.jobs import attempt_number, fails_in, fragile, poison, steady

pytestmark = pytest.mark.slow


def test_jobs_of_a_killed_worker_run_again_elsewhere_within_seconds_and_no_attempt_is_charged(rig: Rig) -> None:
    """Each job has one attempt only, so a charged one would be kept as failed."""
    rig.gello.queue.bulk([steady.job(n, 0.3) for n in range(80)])
    victim, survivor = rig.worker(), rig.worker()
    rig.wait(lambda: {event.pid for event in rig.events("start")} == {victim.pid, survivor.pid})
    rig.hit(victim)
    killed_at = time.time()
    rig.wait_until_empty()
    begun = {e.key for e in rig.events("start") if e.pid == victim.pid}
    ended = {e.key for e in rig.events("finish") if e.pid == victim.pid}
    again = [e.at for e in rig.events("start") if e.pid == survivor.pid and e.key in begun - ended]
    assert begun - ended, "the worker was killed while it ran something"
    assert len(again) == len(begun - ended)
    assert max(again) - killed_at < 6
    assert set(rig.count("finish")) == {str(n) for n in range(80)}
    assert rig.gello.failed.count() == 0
    rig.check(again=2 * 4)  # a thread that was killed was running one job, and may have had one unsettled


def test_a_job_that_was_only_claimed_by_workers_that_died_keeps_its_attempts(rig: Rig) -> None:
    """By two of them: the first loss is free whatever ran."""
    attempt_number.push(0)
    for _ in range(2):
        assert rig.worker(1, LEASE, "deadly").wait(20) == -signal.SIGKILL
    rig.worker()
    rig.wait_until_empty()
    assert [event.key for event in rig.events("attempt")] == ["1"]
    assert rig.gello.failed.count() == 0
    rig.check()


@pytest.mark.timeout(120)
def test_a_job_that_kills_its_worker_is_buried_and_its_bystanders_all_succeed(rig: Rig) -> None:
    """Bystanders have one attempt only, so a charged one would be kept as failed."""
    rig.gello.queue.bulk(
        [steady.job(n, 0.02) for n in range(20)] + [poison.job()] + [steady.job(n, 0.02) for n in range(20, 40)]
    )
    deadline = time.monotonic() + 100
    worker = rig.worker()
    while rig.gello.failed.count() == 0 or rig.gello.queue.size(state="reserved") or rig.gello.queue.size():
        assert time.monotonic() < deadline, rig.logs()
        if worker.poll() is not None:
            worker = rig.worker()
        time.sleep(0.05)
    rig.wait_until_empty()
    (failed,) = rig.gello.failed.all()
    assert (failed.name, failed.reason) == ("poison", "crashed")
    assert "died 3 times" in failed.exception
    assert rig.count("start")["poison"] == 3, "the first death is free, then two attempts"
    rig.wait(lambda: rig.count("failed") == {"poison-JobCrashed": 1})
    assert set(rig.count("finish")) == {str(n) for n in range(40)}
    rig.check(again=2 + 3 * 2 * 4)  # the poison itself, and three times what four threads ran or had unsettled


def test_a_job_that_must_not_rerun_is_buried_on_the_first_death(rig: Rig) -> None:
    fragile.push(False)
    rig.worker()
    rig.wait(lambda: rig.count("finish")["fragile-False"] == 1)
    fragile.push(True)
    rig.wait(lambda: rig.count("start")["fragile-True"] == 1)
    rig.worker()
    rig.wait(lambda: rig.gello.failed.count() == 1)
    assert rig.gello.failed.all()[0].reason == "crashed"
    assert rig.count("start") == {"fragile-True": 1, "fragile-False": 1}
    assert rig.count("finish") == {"fragile-False": 1}
    rig.check()


def test_a_worker_that_slept_through_its_lease_settles_nothing_and_goes_on_under_a_new_name(rig: Rig) -> None:
    """Neither what another worker is running by then, nor what it has done: that is not made a failure."""
    sleeper = rig.worker(concurrency=2)
    fails_in.push(sleeper.pid, 0.5)
    steady.push(1, 2)
    rig.wait(lambda: rig.count("start").total() == 2)
    rig.hit(sleeper, signal.SIGSTOP)
    other = rig.worker(concurrency=2)
    rig.wait(lambda: rig.count("finish")["fails_in"] == 1 and rig.count("start")["1"] == 2)
    sleeper.send_signal(signal.SIGCONT)
    rig.wait_until_empty()
    rig.wait(lambda: "taken for dead" in rig.logs())
    rig.wait(lambda: rig.logs().count("came too late") + rig.logs().count("2 outcome(s) came too late") >= 2)
    steady.push(2)
    rig.wait(lambda: rig.count("finish")["2"] == 1)
    assert rig.count("finish")["1"] == 2, "at least once: the sleeper's run ended too, but settled nothing"
    assert rig.gello.failed.count() == 0
    rig.wait_until_empty()
    rig.check(again=2)
    assert sleeper.poll() is None
    assert other.poll() is None


def test_sigterm_lets_what_runs_end_gives_back_the_rest_and_exits_with_0(rig: Rig) -> None:
    rig.gello.queue.bulk([steady.job(n) for n in range(500)] + [steady.job(n, 1) for n in range(500, 520)])
    worker = rig.worker(2, LEASE, "patient")
    # After quick jobs it has claimed ahead, and holds slow ones that it hasn't begun.
    rig.wait(lambda: rig.count("start").total() == 502 and rig.gello.queue.size(state="reserved") > 2)
    worker.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    assert worker.wait(10) == 0
    assert time.monotonic() - asked < 3
    begun = rig.count("start")
    assert rig.count("finish") == begun
    assert (rig.gello.queue.size(), rig.gello.queue.size(state="reserved")) == (520 - begun.total(), 0)
    rig.check()


def test_a_job_that_outlasts_the_grace_goes_back_without_an_attempt(rig: Rig) -> None:
    steady.push(1, 30)
    worker = rig.worker(concurrency=1)
    rig.wait(lambda: rig.count("start")["1"] == 1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0
    assert (rig.gello.queue.size(), rig.gello.queue.size(state="reserved")) == (1, 0)
    assert rig.gello.failed.count() == 0
    rig.check()


def test_a_second_signal_ends_the_worker_at_once_and_the_job_runs_again(rig: Rig) -> None:
    steady.push(1, 3)
    worker = rig.worker(concurrency=1)
    rig.wait(lambda: rig.count("start")["1"] == 1)
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    rig.hit(worker, signal.SIGTERM)
    assert worker.wait(2) == 128 + signal.SIGTERM
    rig.worker()
    rig.wait_until_empty()
    rig.check(again=1)


def test_slow_jobs_behind_fast_ones_are_shared_by_two_workers(rig: Rig) -> None:
    """A worker that just ran thousands a second would claim them all, were what lies unstarted not given back."""
    rig.gello.queue.bulk([steady.job(n) for n in range(1500)] + [steady.job(n, 0.25) for n in range(2000, 2060)])
    first, second = rig.worker(8), rig.worker(8)
    rig.wait_until_empty(40)
    slow = [event.pid for event in rig.events("finish") if int(event.key) >= 2000]
    assert sorted({first.pid, second.pid}) == sorted(set(slow))
    assert min(slow.count(first.pid), slow.count(second.pid)) >= 15
    rig.check()
