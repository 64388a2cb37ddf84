"""A job with options for its next push."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, ParamSpec, Unpack

from . import current
from .definition import PendingJob
from .durations import Delay
from .job import Job
from .options import Options, PushOptions, push_options

P = ParamSpec("P")


class Push(Generic[P]):
    """A job with options for the next push, as `on` and `with_options` return it."""

    def __init__(self, name: str, pend: Callable[P, PendingJob], overrides: Options) -> None:
        self._name = name
        self._pend = pend
        self._overrides = overrides

    def job(self, *args: P.args, **kwargs: P.kwargs) -> PendingJob:
        """Make a pending job; nothing is pushed."""
        return replace(self._pend(*args, **kwargs), overrides=self._overrides)

    def push(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Push it now."""
        return current.queue().push(self.job(*args, **kwargs))

    def later(self, delay: Delay, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Push it to run after a delay, or at a moment."""
        return current.queue().later(delay, self.job(*args, **kwargs))

    def on(self, queue: str) -> Push[P]:
        """The same, for another queue."""
        return self.with_options(queue=queue)

    def with_options(self, **options: Unpack[PushOptions]) -> Push[P]:
        """The same, with more options: queue, priority, max_attempts, timeout, retry_after, retry_until.

        Raises:
          InvalidDefinition: An option is unknown or can't be used.
        """
        return Push(self._name, self._pend, push_options(self._name, options).over(self._overrides))
