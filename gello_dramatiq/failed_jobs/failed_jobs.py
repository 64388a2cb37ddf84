"""The failed jobs of an app: a store and a queue to retry them on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dramatiq import Message

from ..durations import Duration, duration
from ..errors import FailedJobNotFound, InvalidPayload, InvalidSetting
from .record import FailedJob, FailedJobStore, Filter


class FailedJobs:
    """Lists, retries and drops failed jobs.

    Parameters:
      store: Where they are kept.
      push: Puts a message on its queue.
      requeue: Puts a failed job's message back and drops its row in one transaction, where broker and store are one
        database; False if another process did so first.
    """

    def __init__(
        self,
        store: FailedJobStore,
        push: Callable[[Message[Any]], object],
        requeue: Callable[[FailedJob, Message[Any]], bool] | None = None,
    ) -> None:
        self.store = store
        self._push = push
        self._requeue = requeue
        self._retrying: dict[str, str] = {}
        self._lock = threading.Lock()

    def all(self, *, limit: int | None = 50, offset: int = 0, **wanted: Any) -> list[FailedJob]:
        """Failed jobs, newest first, a page at a time.

        Parameters:
          limit: The page's length; None is all of them.
          offset: How many to pass over.
          **wanted: Which: queue, name, reason, since, before, text (see `Filter`).

        Raises:
          InvalidSetting: The limit or the offset is negative, or a filter can't be used.
        """
        for name, number in (("limit", limit), ("offset", offset)):
            if number is not None and number < 0:
                raise InvalidSetting(f"{name}={number}: give 0 or more.")
        return self.store.all(Filter(**wanted), limit, offset)

    def find(self, id: str) -> FailedJob:
        """One failed job.

        Raises:
          FailedJobNotFound: It isn't kept (any more).
        """
        job = self.store.find(id)
        if job is None:
            raise FailedJobNotFound(f"No failed job has the id {id!r}; `gello failed` lists those that are kept.")
        return job

    def retry(self, id: str) -> None:
        """Put a failed job back on its queue, with the payload and options of the original push and all its attempts.

        Raises:
          FailedJobNotFound: It isn't kept (any more).
          InvalidPayload: Its message can't be decoded, so there is nothing to run.
        """
        self._retry(self.find(id))

    def retry_all(self, **wanted: Any) -> int:
        """Retry all that match, oldest first; returns how many. Those that can't be decoded stay.

        On the sync broker they run here; one that fails again is kept anew, and the others go on.
        """
        jobs = self.store.all(Filter(**wanted), None, 0)
        return sum(self._retry_among_others(job) for job in reversed(jobs) if job.payload is not None)

    def forget(self, id: str) -> None:
        """Drop one failed job.

        Raises:
          FailedJobNotFound: It isn't kept (any more).
        """
        if not self.store.forget(id):
            raise FailedJobNotFound(f"No failed job has the id {id!r}; `gello failed` lists those that are kept.")

    def flush(self, **wanted: Any) -> int:
        """Drop all that match, or all; returns how many."""
        return self.store.prune(Filter(**wanted))

    def prune(self, older_than: Duration, **wanted: Any) -> int:
        """Drop those that failed longer ago than this; returns how many."""
        return self.store.prune(Filter(before=datetime.now(UTC) - duration(older_than), **wanted))

    def count(self, **wanted: Any) -> int:
        """How many there are."""
        return self.store.count(Filter(**wanted))

    def succeeded(self, message: Any) -> None:
        """Drop the row of a retried job that has just succeeded where it was pushed: what it pushed may still fail."""
        generation = self._retrying.get(message.message_id)
        if generation is not None:
            self.store.forget(message.message_id, generation)

    def _retry(self, job: FailedJob) -> bool:
        message = job.retried()
        if message is None:
            raise InvalidPayload(
                f"The message of {job.id} can't be decoded, so it can't be retried; forget it, or mend it."
            )
        return self._requeue(job, message) if self._requeue is not None else self._push_and_forget(job, message)

    def _push_and_forget(self, job: FailedJob, message: Message[Any]) -> bool:
        """Push first: what dies in between has queued the job and keeps its row. False if another thread retries it."""
        with self._lock:
            if job.id in self._retrying:
                return False
            self._retrying[job.id] = job.generation
        try:
            kept = self.store.find(job.id)
            if kept is None or kept.generation != job.generation:
                return False
            self._push(message)
            self.store.forget(job.id, job.generation)
            return True
        finally:
            del self._retrying[job.id]

    def _retry_among_others(self, job: FailedJob) -> bool:
        try:
            return self._retry(job)
        except Exception:
            kept = self.store.find(job.id)
            if kept is not None and kept.generation == job.generation:
                raise
            # It ran where it was pushed, and it or a job that it pushed has failed: it was retried.
            return True
