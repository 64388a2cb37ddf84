"""Handlers that would be done without having run, or would share what they must not."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gello_dramatiq import Queueable, queueable
from gello_dramatiq.errors import InvalidDefinition
from tests.contracts.conftest import Bench, on

ALL = ("memory", "sync", "sqlite", "stub")


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
