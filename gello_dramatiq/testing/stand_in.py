"""Stands in for every queue of the process, whichever one a test or the code under test holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast
from unittest import mock

from dramatiq import Message

from .. import current
from ..actor import JobActor
from ..app import Gello
from ..broker import Delayed, GelloBroker
from ..brokers.memory import MemoryBroker
from ..brokers.sync import SyncBroker
from ..definition import PendingJob
from ..errors import NoCurrentApp
from ..queue import Queue
from .clock import travelling
from .pushes import Pushed, Pushes

_message = Queue._message


@contextmanager
def fake() -> Iterator[Pushes]:
    """Record what is pushed, and run nothing; no app is needed.

    Everything else is real: payloads, names, delays, options and sizes are checked as in any push.
    """
    pushes = Pushes()
    with _standing_in(Recorder(pushes)):
        yield pushes


@contextmanager
def inline(*jobs: Any) -> Iterator[Gello]:
    """Run each job where it is pushed, at once, with its retries; the error of its last attempt is raised there.

    Parameters:
      *jobs: Jobs to know before they are pushed; what is pushed is known anyway.
    """
    with _standing_in(SyncBroker(sleep="none"), jobs) as app:
        yield app


@contextmanager
def queued(*jobs: Any) -> Iterator[Gello]:
    """Keep what is pushed in memory, under a clock that stands still, until `drain()` works it.

    Parameters:
      *jobs: Jobs to know before they are pushed; what is pushed is known anyway.
    """
    broker = MemoryBroker()
    with _standing_in(broker, jobs) as app, travelling(broker):
        yield app


class Recorder(MemoryBroker):
    """Keeps jobs as the memory broker does, so that sizes are right, and notes each; nothing works it."""

    name = "fake"

    def __init__(self, pushes: Pushes) -> None:
        super().__init__()
        self._pushes = pushes

    def put(self, messages: Sequence[Delayed]) -> None:
        super().put(messages)
        self._pushes._pushed += [
            Pushed(
                cast(JobActor, self.actors[message.actor_name]).definition, message, timedelta(milliseconds=delay or 0)
            )
            for message, delay in messages
        ]


class _StandIn(Gello):
    """An app on a given broker that keeps failures in memory, wherever the settings would keep them."""

    def __init__(self, broker: GelloBroker, jobs: Sequence[Any]) -> None:
        self._given = broker
        super().__init__("memory://", database="", jobs=jobs)

    def _broker(self) -> GelloBroker:
        return self._given


@contextmanager
def _standing_in(broker: GelloBroker, jobs: Sequence[Any] = ()) -> Iterator[Gello]:
    """Lead every queue of this process to one broker: what was checked and built for another is put there."""
    before = current.default()
    app = _StandIn(broker, jobs)
    # An app that the block makes must find the place of the default as it would without us.
    current.set_default(before)
    found = current.queue

    def current_queue() -> Queue:
        try:
            return found()
        except NoCurrentApp:
            return app.queue

    def message(self: Queue, pending: PendingJob) -> Message[Any]:
        app.admit(pending.definition)
        return _message(self, pending)

    def enqueue(self: Queue, messages: list[Delayed]) -> None:
        for each, _ in messages:
            broker.declare_queue(each.queue_name)
        broker.enqueue_many(messages)

    with (
        mock.patch.object(current, "queue", current_queue),
        mock.patch.multiple(
            Queue,
            _message=message,
            _enqueue=enqueue,
            _ours=lambda self, verb: broker,
            names=lambda self: sorted(broker.queue_names()),
        ),
    ):
        try:
            yield app
        finally:
            app.close()
