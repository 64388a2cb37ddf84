"""Makes a job the current one, for a test that calls its handler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from .. import current
from ..job import Job
from ..queue import Pushable
from .stand_in import fake


@contextmanager
def running(job: Pushable, *, attempt: int = 1) -> Iterator[Job]:
    """Let `current_job()` show a job, as if it ran; nothing is pushed and no app is needed.

    Parameters:
      job: An instance of a job class, or a pending job (`send.job(…)`).
      attempt: Which attempt it is.
    """
    with fake():
        shown = replace(current.queue().push(job), attempt=attempt)
    token = current._job.set(lambda: shown)
    try:
        yield shown
    finally:
        current._job.reset(token)
