"""Stands in for every queue of the process, whichever one a test or the code under test holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, cast
from unittest import mock

from .. import current
from ..actor import JobActor
from ..app import Gello
from ..broker import Encoded, GelloBroker
from ..brokers.memory import MemoryBroker
from ..brokers.sync import SyncBroker
from ..definition import Definition, definition_of
from ..errors import NoCurrentApp
from ..queue import Queue
from .clock import travelling
from .pushes import Pushed, Pushes


@contextmanager
def fake() -> Iterator[Pushes]:
    """Record what is pushed, and run nothing; no app is needed.

    Everything else is real: payloads, names, delays, options and sizes are checked as in any push, by the settings of
    the app that is current; it doesn't come to know the jobs.
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

    def put(self, messages: Sequence[Encoded]) -> None:
        super().put(messages)
        self._pushes._pushed += [
            Pushed(
                cast(JobActor, self.actors[message.actor_name]).definition, message, timedelta(milliseconds=delay or 0)
            )
            for message, delay, _ in messages
        ]


class _StandIn(Gello):
    """An app on a given broker, with the settings of the current one, that keeps failures in memory."""

    def __init__(self, broker: GelloBroker, jobs: Sequence[Any]) -> None:
        self._given = broker
        try:
            settings = _app_of(current.queue()).settings.model_dump()
        except NoCurrentApp:
            settings = {}
        super().__init__(**{**settings, "url": "memory://", "database": "", "jobs": jobs})

    def _broker(self) -> GelloBroker:
        return self._given

    def admit_for(self, app: Gello, job: Any) -> Definition:
        """Know a job as an app would, whose names are taken and whose limits hold, without its knowledge."""
        if definition_of(job).name in app.jobs.names():
            app.jobs.register(job)
        definition = self.jobs.register(job)
        actor = self.broker.actors.get(definition.name)
        if not isinstance(actor, JobActor) or actor.settings != app._limits:
            JobActor(definition, self.broker, self._runner, app._limits)
        return definition


@contextmanager
def _standing_in(broker: GelloBroker, jobs: Sequence[Any] = ()) -> Iterator[Gello]:
    """Lead every queue of this process to one broker, through one app; what queues and apps hold stays untouched."""
    before = current.default()
    # There is no transaction to wait for: what a test pushes within one counts at once.
    broker.put_within = lambda transaction, messages: broker.put(messages)  # type: ignore[method-assign]
    app = _StandIn(broker, jobs)
    # An app that the block makes must find the place of the default as it would without us.
    current.set_default(before)
    found = current.queue

    def current_queue() -> Queue:
        try:
            return found()
        except NoCurrentApp:
            return app.queue

    with (
        mock.patch.object(current, "queue", current_queue),
        mock.patch.multiple(
            Queue,
            create=True,
            broker=_instead("broker", lambda queue: broker),
            _admit=_instead("_admit", lambda queue: partial(app.admit_for, _app_of(queue))),
        ),
    ):
        try:
            yield app
        finally:
            app.close()


def _app_of(queue: Queue) -> Gello:
    app: Gello = vars(queue)["_admit"].__self__
    return app


def _instead(name: str, stand_in: Callable[[Queue], Any]) -> property:
    """An attribute that hides each queue's own; one that is set meanwhile shows afterwards."""
    return property(stand_in, lambda queue, own: vars(queue).__setitem__(name, own))
