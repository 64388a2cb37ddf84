from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from gello_dramatiq import Gello, Queueable, current, queueable
from gello_dramatiq.current import current_job
from gello_dramatiq.errors import NoCurrentApp, NoCurrentJob
from gello_dramatiq.job import Job
from gello_dramatiq.queue import Queue

T = TypeVar("T")


def in_a_thread(call: Callable[[], T]) -> T:
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture
def first() -> Gello:
    return Gello("memory://")


@pytest.fixture
def second(first: Gello) -> Gello:
    return Gello("memory://")


@queueable
def send(number: int) -> None: ...


class Report(Queueable):
    number: int

    def handle(self) -> None: ...


@pytest.mark.parametrize(
    "push",
    [
        pytest.param(lambda: send.push(number=1), id="push"),
        pytest.param(lambda: send.later("5m", number=1), id="later"),
        pytest.param(lambda: send.on("high").push(number=1), id="on"),
        pytest.param(lambda: send.with_options(priority=5).later(1, number=1), id="with_options"),
        pytest.param(lambda: Report(number=1).push(), id="class push"),
        pytest.param(lambda: Report(number=1).later(1), id="class later"),
        pytest.param(lambda: Report(number=1).on("high").push(), id="class on"),
    ],
)
def test_without_an_app_nothing_is_pushed_anywhere_and_the_error_says_the_cure(push: Callable[[], Any]) -> None:
    with pytest.raises(NoCurrentApp, match=r'Create one first, `gello = Gello\("sqlite:///gello.db"'):
        push()


def test_without_an_app_a_pending_job_can_be_made() -> None:
    assert send.job(number=1).payload == {"number": 1}
    assert Report(number=1).job().payload == {"number": 1}


def test_the_first_app_is_the_default_and_a_later_one_isnt(first: Gello, second: Gello) -> None:
    assert current.queue() is first.queue
    assert current.default() is first.queue


def test_an_app_can_be_made_the_default_although_there_is_one(first: Gello) -> None:
    second = Gello("memory://", default=True)
    assert current.queue() is second.queue


def test_a_closed_app_is_no_default(first: Gello) -> None:
    first.close()
    with pytest.raises(NoCurrentApp):
        current.queue()


def test_closing_another_app_leaves_the_default(first: Gello, second: Gello) -> None:
    second.close()
    assert current.queue() is first.queue


def test_a_context_overrides_the_default_and_restores_it(first: Gello, second: Gello) -> None:
    with second.using():
        assert current.queue() is second.queue
        with first.using():
            assert current.queue() is first.queue
        assert current.queue() is second.queue
    assert current.queue() is first.queue


def test_a_context_that_ends_in_an_error_is_left(first: Gello, second: Gello) -> None:
    with pytest.raises(ValueError, match="no"), second.using():
        raise ValueError("no")
    assert current.queue() is first.queue


def test_a_new_thread_sees_the_default_and_not_the_override(first: Gello, second: Gello) -> None:
    with second.using():
        assert in_a_thread(current.queue) is first.queue


def test_tasks_of_one_loop_each_have_their_own_override(first: Gello, second: Gello) -> None:
    async def look(app: Gello) -> Queue:
        with app.using():
            await asyncio.sleep(0.001)
            return current.queue()

    async def both() -> list[Queue]:
        return list(await asyncio.gather(look(first), look(second)))

    assert asyncio.run(both()) == [first.queue, second.queue]


def test_inside_a_job_the_app_that_runs_it_is_current() -> None:
    seen: list[Queue] = []

    @queueable
    def look() -> None:
        seen.append(current.queue())

    other = Gello("memory://")
    running = Gello("sync://", jobs=[look])
    running.queue.push(look)
    assert seen == [running.queue]
    assert current.queue() is other.queue


def test_inside_an_async_job_the_app_that_runs_it_is_current() -> None:
    seen: list[Queue] = []

    @queueable
    async def look() -> None:
        await asyncio.sleep(0)
        seen.append(current.queue())

    Gello("memory://")
    running = Gello("sync://", jobs=[look])
    running.queue.push(look)
    running.close()
    assert seen == [running.queue]


def test_outside_a_job_there_is_no_current_job_and_the_error_says_where_there_is(first: Gello) -> None:
    with pytest.raises(NoCurrentJob, match="only has an answer while a job runs"):
        current_job()


def test_what_enter_begins_leave_ends(first: Gello, second: Gello) -> None:
    job = Job("id", "send", "default", {}, 0, 1, 3, datetime.now(UTC))
    tokens = current.enter(second.queue, lambda: job)
    assert current.queue() is second.queue
    assert current_job() is job
    current.leave(tokens)
    assert current.queue() is first.queue
    with pytest.raises(NoCurrentJob):
        current_job()
