"""The sync broker where it differs from all others: jobs run inside `push`."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from gello_dramatiq import Gello, queueable
from gello_dramatiq.errors import DatabaseUnavailable, Unsupported
from gello_dramatiq.failed_jobs.memory import MemoryFailedJobs
from gello_dramatiq.failed_jobs.record import FailedJob


def test_ctrl_c_in_a_job_ends_the_push_at_once() -> None:
    ran: list[str] = []

    @queueable
    def parent() -> None:
        child.push()
        ran.append("parent")
        raise KeyboardInterrupt

    @queueable
    def child() -> None:
        ran.append("child")

    gello = Gello("sync://", jobs=[parent, child])
    with pytest.raises(KeyboardInterrupt):
        parent.push()
    assert ran == ["parent"]
    child.push()
    assert ran == ["parent", "child"]
    gello.close()


def test_what_a_job_left_behind_may_push_when_it_has_ended() -> None:
    ran: list[str] = []
    ended, left = threading.Event(), []

    @queueable
    def parent() -> None:
        def push() -> None:
            ended.wait(5)
            child.push()

        left.append(threading.Thread(target=contextvars.copy_context().run, args=(push,)))
        left[0].start()

    @queueable
    def child() -> None:
        ran.append("child")

    gello = Gello("sync://", jobs=[parent, child])
    parent.push()
    ended.set()
    left[0].join()
    assert ran == ["child"]
    gello.close()


def test_a_failure_that_cannot_be_kept_is_raised_and_the_jobs_behind_it_still_run() -> None:
    ran: list[str] = []

    class Away(MemoryFailedJobs):
        def add(self, job: FailedJob) -> None:
            raise DatabaseUnavailable("away")

    @queueable
    def parent() -> None:
        bad.push()
        good.push()

    @queueable(max_attempts=1)
    def bad() -> None:
        raise ValueError

    @queueable
    def good() -> None:
        ran.append("good")

    gello = Gello("sync://", jobs=[parent, bad, good])
    gello._store = Away()
    with pytest.raises(DatabaseUnavailable, match="away"):
        parent.push()
    assert ran == ["good"]
    gello.close()


def test_an_async_job_that_a_task_of_its_own_event_loop_pushes_is_refused_and_does_not_wait_for_ever() -> None:
    ended, pushed = threading.Event(), threading.Event()
    tasks, errors = [], []

    @queueable
    async def parent() -> None:
        tasks.append(asyncio.create_task(push()))

    async def push() -> None:
        while not ended.is_set():
            await asyncio.sleep(0.01)
        try:
            child.push()
        except Unsupported as error:
            errors.append(error)
        pushed.set()

    @queueable(max_attempts=1)
    async def child() -> None: ...

    gello = Gello("sync://", jobs=[parent, child])
    parent.push()
    ended.set()
    assert pushed.wait(5)
    assert "await asyncio.to_thread" in str(errors[0])
    gello.close()


def test_a_failed_job_that_succeeds_at_its_retry_is_dropped_though_a_job_that_it_pushes_fails() -> None:
    broken = True

    @queueable(max_attempts=1)
    def parent() -> None:
        if broken:
            raise RuntimeError("broken")
        child.push()

    @queueable(max_attempts=1)
    def child() -> None:
        raise ValueError("the child's")

    def names(gello: Gello) -> list[str]:
        return [job.name for job in gello.failed.all()]

    gello: Any = Gello("sync://", jobs=[parent, child])
    for _ in range(2):
        with pytest.raises(RuntimeError):
            parent.push()
    broken = False
    with pytest.raises(ValueError, match="the child's"):
        gello.failed.retry(gello.failed.all()[0].id)
    assert names(gello) == ["child", "parent"]
    assert gello.failed.retry_all(name="parent") == 1
    assert names(gello) == ["child", "child"]
    gello.close()
