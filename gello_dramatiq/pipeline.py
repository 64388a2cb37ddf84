"""Job middleware: callables around a handler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .errors import InvalidDefinition
from .job import Job

Call = Callable[[], Any]
JobMiddleware = Callable[[Job, Call], Any]
"""Something that takes the job and the next call; it may call it, skip it, or raise Release, Retry or Fail."""


_PLAIN = "make it a plain function, whose call() runs an async handler too"


def as_middleware(value: Any) -> tuple[JobMiddleware, ...]:
    """Read what `middleware=` was given.

    Raises:
      InvalidDefinition: It is no list of callables, or one of them would never run the job.
    """
    if not isinstance(value, list | tuple) or not all(callable(layer) for layer in value):
        raise InvalidDefinition(f"middleware={value!r}: give a list of callables (job, call).")
    for layer in value:
        if fault := _fault(layer):
            raise InvalidDefinition(f"middleware: {layer!r} {fault}.")
    return tuple(value)


def compose(middleware: Sequence[JobMiddleware], job: Job, call: Call) -> Call:
    """Wrap a call in middleware, the first one outermost."""
    for layer in reversed(middleware):
        call = _around(layer, job, call)
    return call


def _around(layer: JobMiddleware, job: Job, call: Call) -> Call:
    def called() -> Any:
        result = layer(job, call)
        if inspect.iscoroutine(result):
            # Taken as its result, it would be a job that is done and never ran.
            result.close()
            raise TypeError(f"the middleware {layer!r} is async; {_PLAIN}.")
        return result

    return called


def _fault(layer: Any) -> str | None:
    if isinstance(layer, type):
        return "is a class: a job would only make an instance of it; give the instance"
    if inspect.isgeneratorfunction(layer):
        return f"says yield, so that a call would run nothing; {_PLAIN}"
    if inspect.iscoroutinefunction(layer) or inspect.iscoroutinefunction(getattr(layer, "__call__", None)):  # noqa: B004 (whether it is async, not whether it is callable)
        return f"is async; {_PLAIN}"
    try:
        inspect.signature(layer).bind(None, None)
    except TypeError as error:
        return f"is called with job and call, and doesn't take that: {error}"
    except ValueError:
        pass  # a builtin doesn't tell
    return None
