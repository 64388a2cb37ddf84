"""Handlers that would be done without having run, or would share what they must not."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from dramatiq import Message

from gello_dramatiq import Queueable, queueable
from gello_dramatiq.errors import InvalidDefinition, JobUnknown
from tests.contracts.conftest import ALL, Bench, on


@on(*ALL)
def test_a_bulk_of_nothing_pushes_nothing(bench: Bench) -> None:
    app = bench.app()
    assert app.queue.bulk([]) == []
    assert app.queue.bulk(job for job in ()) == []


@on(*ALL)
def test_hooks_may_be_async_and_are_awaited_in_both_forms(bench: Bench) -> None:
    told: list[str] = []

    async def tell(what: str) -> None:
        await asyncio.sleep(0.001)
        told.append(what)

    @queueable(max_attempts=1)
    def function(n: int) -> None:
        raise ValueError(n)

    @function.before_handle
    async def before(n: int) -> None:
        await tell("function before")

    @function.after_handle
    async def after(n: int) -> None:
        await tell("function after")

    @function.on_failure
    async def failed(error: BaseException, n: int) -> None:
        await tell(f"function failed {error}")

    class Form(Queueable):
        def handle(self) -> None:
            told.append("class")

        async def before_handle(self) -> None:
            await tell("class before")

        async def after_handle(self) -> None:
            await tell("class after")

    app = bench.app(function, Form)
    with contextlib.suppress(ValueError):
        function.push(7)
    bench.work(app, lambda: told == ["function before", "function failed 7"])
    assert told == ["function before", "function failed 7"], "after_handle isn't called after a failure"
    Form().push()
    bench.work(app, lambda: len(told) == 5)
    assert told[2:] == ["class before", "class", "class after"]


@on(*ALL)
def test_hooks_are_outside_the_deadline(bench: Bench) -> None:
    told: list[str] = []

    @queueable(timeout="50ms", max_attempts=1)
    def quick() -> None:
        told.append("handled")

    @quick.before_handle
    def before() -> None:
        _spin(0.3)

    @quick.after_handle
    def after() -> None:
        _spin(0.3)
        told.append("after")

    app = bench.app(quick)
    quick.push()
    bench.work(app, lambda: "after" in told)
    assert told == ["handled", "after"]
    assert app.failed.count() == 0


def _spin(seconds: float) -> None:
    """Take time where an interrupt would arrive."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.001)


@on("sync")
def test_a_job_of_an_unknown_name_on_sync_is_kept_and_said(bench: Bench) -> None:
    app = bench.app()
    with pytest.raises(JobUnknown, match="No job is called 'unheard' here"):
        app.broker.enqueue(Message("default", "unheard", (), {"n": 1}, {}))
    (failed,) = app.failed.all()
    assert (failed.name, failed.reason, failed.payload) == ("unheard", "unknown_job", {"n": 1})
    with pytest.raises(JobUnknown):
        app.failed.retry(failed.id)
    assert app.failed.count() == 1, "a retry that can't run doesn't lose it"


def test_a_generator_is_refused_as_a_handler() -> None:
    def yields(n: int) -> Iterator[int]:
        yield n

    async def yields_later(n: int) -> AsyncIterator[int]:
        yield n

    for handler in (yields, yields_later):
        with pytest.raises(InvalidDefinition, match="its handler is a generator"):
            queueable(handler)
    with pytest.raises(InvalidDefinition, match="Yields: its handler is a generator"):

        class Yields(Queueable):
            def handle(self) -> Iterator[int]:
                yield 1


@on(*ALL)
def test_a_handler_that_forgot_to_await_has_failed(bench: Bench) -> None:
    ran: list[int] = []

    async def send(n: int) -> None:
        ran.append(n)

    @queueable(max_attempts=1)
    def forgets(n: int) -> Any:
        return send(n)

    app = bench.app(forgets)
    try:
        forgets.push(1)
    except TypeError:
        assert bench.broker == "sync"
    bench.work(app, lambda: app.failed.count() == 1)
    (failed,) = app.failed.all()
    assert "returned a coroutine, which nobody runs" in failed.exception
    assert ran == []


@on(*ALL)
def test_a_mutable_default_is_each_jobs_own(bench: Bench) -> None:
    seen: list[list[int]] = []

    @queueable
    def collects(n: int, found: list[int] = []) -> None:  # noqa: B006 (that is what the test is about)
        found.append(n)
        seen.append(found)

    app = bench.app(collects)
    for n in range(3):
        collects.push(n)
    bench.work(app, lambda: len(seen) == 3)
    assert sorted(seen) == [[0], [1], [2]]
    assert inspect.signature(collects).parameters["found"].default == []
