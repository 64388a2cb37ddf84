"""How much a worker claims ahead."""

from __future__ import annotations

from gello_dramatiq.appetite import CLAIMS, Appetite


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_starts_with_a_job_a_thread() -> None:
    assert Appetite(8, Clock(), 256).wanted(held=0) == 8


def test_a_rate_is_clear_once_each_thread_ran_some_jobs_or_after_a_while() -> None:
    clock = Clock()
    appetite = Appetite(8, clock, 256)
    clock.now += 0.02
    appetite.completed(31)
    assert appetite.wanted(held=0) == 8
    appetite.completed(1)
    assert appetite.wanted(held=0) == 160
    slow = Appetite(8, clock, 256)
    clock.now += 0.25
    slow.completed(25)
    assert slow.wanted(held=0) == 10


def test_what_is_held_has_an_upper_limit() -> None:
    clock = Clock()
    appetite = Appetite(8, clock, 256)
    appetite.completed(1000)
    clock.now += 0.01
    appetite.completed(1000)
    assert appetite.wanted(held=24) == 256 * CLAIMS - 24


def test_the_rate_falls_when_nothing_is_completed() -> None:
    clock = Clock()
    appetite = Appetite(8, clock, 256)
    clock.now += 0.1
    appetite.completed(1000)
    assert appetite.wanted(held=0) == 1000
    clock.now += 1
    assert appetite.wanted(held=0) == 8
