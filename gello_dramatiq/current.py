"""The app, queue and job in use. This file holds all the module state that Gello has.

A default, set by the first app of the process, and an override for the code that runs in a context: inside a job
the app that runs it is current, whatever the default is. A new thread starts without the override and sees the default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

from .errors import NoCurrentApp, NoCurrentJob

if TYPE_CHECKING:
    from .job import Job
    from .queue import Queue

_default: Queue | None = None
_queue: ContextVar[Queue] = ContextVar("gello_queue")
_job: ContextVar[Callable[[], Job]] = ContextVar("gello_job")


def queue() -> Queue:
    """The queue in use, looked up now.

    Raises:
      NoCurrentApp: There is none.
    """
    found = _queue.get(None) or _default
    if found is None:
        raise NoCurrentApp
    return found


def current_job() -> Job:
    """The job that is running.

    Raises:
      NoCurrentJob: No job is running here.
    """
    job = _job.get(None)
    if job is None:
        raise NoCurrentJob
    return job()


def default() -> Queue | None:
    """The default queue, if there is one."""
    return _default


def set_default(queue: Queue | None) -> None:
    """Make a queue the default of this process, or leave it without one."""
    global _default
    _default = queue


@contextmanager
def using(queue: Queue) -> Iterator[None]:
    """Use a queue in this context."""
    token = _queue.set(queue)
    try:
        yield
    finally:
        _queue.reset(token)


def enter(queue: Queue, job: Callable[[], Job]) -> tuple[Token[Queue], Token[Callable[[], Job]]]:
    """Begin to run a job of this queue; `leave` ends it. It is a pair, as a context manager costs 1 µs a job."""
    return _queue.set(queue), _job.set(job)


def leave(tokens: tuple[Token[Queue], Token[Callable[[], Job]]]) -> None:
    """End what `enter` began."""
    _queue.reset(tokens[0])
    _job.reset(tokens[1])
