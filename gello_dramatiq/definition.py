"""A definition: the inert description of a job. It opens nothing and knows no broker."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

from .errors import InvalidDefinition
from .options import NOTHING_SAID, Options, PushOptions, push_options
from .payload import Schema

JOB_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,190}")


@dataclass(slots=True)
class Hooks:
    """What runs around a handler. Each takes the loaded payload; `on_failure` also the error."""

    before_handle: Callable[[Any], Any] | None = None
    after_handle: Callable[[Any], Any] | None = None
    on_failure: Callable[[Any, BaseException], Any] | None = None


@dataclass(frozen=True, eq=False)
class Definition:
    """A job: its name, its payload's schema, its options, its handler and hooks.

    Attributes:
      name: What the job is called on the wire.
      schema: What its payload must look like.
      options: How it is treated.
      handle: Takes the loaded payload.
      is_async: Whether the handler is a coroutine function.
      source: The function or class that it was made from.
      hooks: What runs around the handler.
    """

    name: str
    schema: Schema
    options: Options
    handle: Callable[[Any], Any]
    is_async: bool
    source: Any
    hooks: Hooks = field(default_factory=Hooks)

    def __repr__(self) -> str:
        return f"<job {self.name}>"


@dataclass(frozen=True)
class PendingJob:
    """A definition with its payload, not pushed yet.

    Attributes:
      definition: The job.
      payload: JSON-safe, checked.
      overrides: What this push says for itself.
    """

    definition: Definition
    payload: Mapping[str, Any]
    overrides: Options = NOTHING_SAID

    def on(self, queue: str) -> PendingJob:
        """The same, for another queue."""
        return self.with_options(queue=queue)

    def with_options(self, **options: Unpack[PushOptions]) -> PendingJob:
        """The same, with options of its own: queue, priority, max_attempts, timeout, retry_after, retry_until.

        Raises:
          InvalidDefinition: An option is unknown or can't be used.
        """
        return replace(self, overrides=push_options(self.definition.name, options).over(self.overrides))


def job_name(name: str) -> str:
    """Check a job's name.

    Raises:
      InvalidDefinition: It isn't one.
    """
    if not isinstance(name, str) or not JOB_NAME.fullmatch(name):
        raise InvalidDefinition(
            f"{name!r} is no job name: it starts with a letter or '_' and goes on with letters, digits, "
            "'_', '.', ':' and '-', 191 characters at most."
        )
    return name


def definition_of(job: Any) -> Definition:
    """The definition behind a job function, a job class, an instance of one, or a definition itself.

    Raises:
      InvalidDefinition: It is none of them.
    """
    found = job if isinstance(job, Definition) else getattr(job, "definition", None)
    if not isinstance(found, Definition):
        raise InvalidDefinition(
            f"{job!r} is no job: decorate a function with @queueable, or derive from Queueable. If it is what a job "
            "function returned: calling one runs it; give its job(…) instead, as in `send.job(7)`."
        )
    return found
