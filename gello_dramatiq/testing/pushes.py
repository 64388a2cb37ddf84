"""What `fake()` caught, and the assertions about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dramatiq import Message

from .. import envelope
from ..definition import Definition, PendingJob, definition_of
from ..durations import spell
from ..job_class import Queueable
from ..options import Options
from ..queue import pend

SHOWN = 20
"""Pushes that a failing assertion shows at most."""


@dataclass(frozen=True)
class Pushed:
    """One push that `fake()` caught.

    Attributes:
      definition: The job that was pushed.
      message: The message that would have gone to the broker.
      delay: How long it would have waited.
    """

    definition: Definition
    message: Message[Any]
    delay: timedelta

    @property
    def id(self) -> str:
        """The job's id."""
        return self.message.message_id

    @property
    def name(self) -> str:
        """The job's name."""
        return self.message.actor_name

    @property
    def queue(self) -> str:
        """Where it was pushed."""
        return self.message.queue_name

    @property
    def options(self) -> Options:
        """What the push said for itself with `with_options`."""
        return envelope.overrides(self.message.options)

    @property
    def payload(self) -> Any:
        """The payload as its handler would get it: a function's arguments as a dict, or a job class's instance."""
        definition = self.definition
        loaded = definition.schema.load(self.message.kwargs)
        if not isinstance(loaded, dict):
            return loaded
        bound = inspect.signature(definition.source).bind(**loaded)
        bound.apply_defaults()
        return bound.arguments

    def __str__(self) -> str:
        payload = ", ".join(f"{field}={value!r}" for field, value in self.message.kwargs.items())
        shown = payload if len(payload) <= 300 else f"{payload[:300]}…"
        wait = f" in {spell(self.delay)}" if self.delay else ""
        return f"{self.name}({shown}) on {self.queue!r}{wait}"


class Pushes:
    """What was pushed while `fake()` was in place.

    Where a method takes a job, an instance of a job class or a pending job asks for exactly its payload as well.
    """

    def __init__(self) -> None:
        self._pushed: list[Pushed] = []

    def all(self) -> list[Pushed]:
        """Every push, in order."""
        return list(self._pushed)

    def pushed(self, job: Any, *, on: str | None = None, where: Callable[[Any], object] | None = None) -> list[Pushed]:
        """The pushes of one job, in order.

        Parameters:
          job: A job function, a job class, an instance of one, or a pending job.
          on: Only those to this queue.
          where: Only those for whose payload this is true. It gets what the handler would get: a function's arguments
            as a dict, defaults included, or an instance of the job class.
        """
        definition, payload = _wanted(job)
        return [
            push
            for push in self._pushed
            if push.name == definition.name
            and (payload is None or push.message.kwargs == payload)
            and on in (None, push.queue)
            and (where is None or where(push.payload))
        ]

    def assert_pushed(
        self,
        job: Any,
        *,
        times: int | None = None,
        on: str | None = None,
        where: Callable[[Any], object] | None = None,
    ) -> None:
        """Fail unless this job was pushed, exactly so many times or at least once; see `pushed`.

        Raises:
          AssertionError: It wasn't; the message shows what was.
        """
        found = len(self.pushed(job, on=on, where=where))
        if found == 0 and times != 0:
            self._fail(f"{_asked(job, on, where)} was not pushed.")
        if times is not None and found != times:
            self._fail(f"{_asked(job, on, where)} was pushed {_times(found)}, not {_times(times)}.")

    def assert_not_pushed(
        self, job: Any, *, on: str | None = None, where: Callable[[Any], object] | None = None
    ) -> None:
        """Fail if this job was pushed; see `pushed`.

        Raises:
          AssertionError: It was; the message shows what was pushed.
        """
        found = len(self.pushed(job, on=on, where=where))
        if found:
            self._fail(f"{_asked(job, on, where)} was pushed {_times(found)}.")

    def assert_nothing_pushed(self) -> None:
        """Fail if anything was pushed.

        Raises:
          AssertionError: Something was; the message shows it.
        """
        if self._pushed:
            self._fail("Something was pushed.")

    def _fail(self, what: str) -> None:
        lines = [f"  {push}" for push in self._pushed[:SHOWN]]
        if len(self._pushed) > SHOWN:
            lines.append(f"  … and {len(self._pushed) - SHOWN:,} more")
        raise AssertionError("\n".join([what, "Pushed were:", *lines] if lines else [what, "Nothing was pushed."]))


def _wanted(job: Any) -> tuple[Definition, Mapping[str, Any] | None]:
    exact = isinstance(job, PendingJob | Queueable)
    return definition_of(job), pend(job, (), {}).payload if exact else None


def _asked(job: Any, on: str | None, where: Any) -> str:
    definition, payload = _wanted(job)
    asked = definition.name if payload is None else f"{definition.name} with {dict(payload)!r}"
    asked += "" if on is None else f" on {on!r}"
    return asked if where is None else f"{asked} with such a payload"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")
