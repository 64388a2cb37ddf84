"""Job middleware: callables around a handler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .job import Job

Call = Callable[[], Any]
JobMiddleware = Callable[[Job, Call], Any]
"""Something that takes the job and the next call; it may call it, skip it, or raise Release, Retry or Fail."""


def compose(middleware: Sequence[JobMiddleware], job: Job, call: Call) -> Call:
    """Wrap a call in middleware, the first one outermost."""
    for layer in reversed(middleware):
        call = _around(layer, job, call)
    return call


def _around(layer: JobMiddleware, job: Job, call: Call) -> Call:
    return lambda: layer(job, call)
