"""Failed jobs in this process."""

from __future__ import annotations

import threading

from .record import FailedJob, Filter, matches


class MemoryFailedJobs:
    """Keeps failed jobs in a dict: for the memory and sync brokers, and tests."""

    def __init__(self) -> None:
        self._jobs: dict[str, FailedJob] = {}
        self._lock = threading.Lock()

    def add(self, job: FailedJob) -> None:
        with self._lock:
            self._jobs[job.id] = job

    def all(self, wanted: Filter, limit: int | None, offset: int) -> list[FailedJob]:
        found = sorted(self._matching(wanted), key=lambda job: (job.failed_at, job.id), reverse=True)
        return found[offset : None if limit is None else offset + limit]

    def find(self, id: str) -> FailedJob | None:
        return self._jobs.get(id)

    def forget(self, id: str, generation: str | None = None) -> bool:
        with self._lock:
            job = self._jobs.get(id)
            if job is None or generation not in (None, job.generation):
                return False
            del self._jobs[id]
            return True

    def prune(self, wanted: Filter) -> int:
        return sum(self.forget(job.id, job.generation) for job in self._matching(wanted))

    def count(self, wanted: Filter) -> int:
        return len(self._matching(wanted))

    def _matching(self, wanted: Filter) -> list[FailedJob]:
        with self._lock:
            jobs = list(self._jobs.values())
        return [job for job in jobs if matches(job, wanted)]
