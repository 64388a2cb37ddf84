"""How much work a process may hold: arithmetic on a clock that it is given."""

from __future__ import annotations

from collections.abc import Callable

SHARE = 0.1
"""Seconds of work that are claimed ahead, at the rate at which jobs were completed lately."""
CLAIMS = 4
"""How many of a broker's largest claims are held at most."""
WINDOW = 0.2
"""Seconds over which the rate is measured, unless it is clear before."""
LAPS = 4
"""Jobs for each thread that make it clear: a worker that starts on short jobs must not wait with idle threads."""


class Appetite:
    """How many jobs to hold: 100 ms of work at the measured rate, and at least one for each thread.

    The rate is measured, not reckoned from durations: threads that share an interpreter stretch each other's jobs.

    Parameters:
      threads: How many worker threads there are.
      clock: The time in seconds.
      claim: How many jobs the broker claims at once at most.
    """

    def __init__(self, threads: int, clock: Callable[[], float], claim: int) -> None:
        self._threads = threads
        self._clock = clock
        self._most = claim * CLAIMS
        self.forget()

    def forget(self) -> None:
        """Measure afresh: what was claimed ahead turned out to be too much."""
        self._since = self._clock()
        self._done = 0
        self._rate = 0.0

    def completed(self, jobs: int) -> None:
        """So many jobs were completed."""
        self._done += jobs
        elapsed = self._clock() - self._since
        if elapsed >= WINDOW or (elapsed > 0 and self._done >= LAPS * self._threads):
            self._rate, self._done, self._since = self._done / elapsed, 0, self._clock()

    def wanted(self, held: int) -> int:
        """How many more jobs to claim, with so many held already."""
        return max(self._threads, min(int(self._per_second() * SHARE), self._most)) - held

    def _per_second(self) -> float:
        """The rate lately; it falls when nothing is completed."""
        elapsed = self._clock() - self._since
        return self._rate if elapsed < WINDOW else min(self._rate, self._done / elapsed)
