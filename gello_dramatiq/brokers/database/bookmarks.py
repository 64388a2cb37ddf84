"""Where the next claim of a queue begins to look, while looking from the front is slow: no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

SLOW = 0.002
"""Seconds that a look from the front may take to find its first job: from then on it is spared."""
SELDOM = 1.0
"""Seconds between two questions how long that takes, where it was not slow."""
SPARED = 30
"""How many times as long as a slow look none is made: with two questions before it, they take a tenth of the time."""

Position = tuple[int, int, int]
"""A job's place in its queue: precedence, when it was due, row number."""
FRONT: Position = (-32768, 0, 0)
"""Before every job."""


@dataclass
class _Bookmark:
    after: Position
    until: float


class Bookmarks:
    """Remembers how far each queue was claimed.

    A transaction that somebody holds open keeps a server from taking dead rows away, and each look from the front
    passes all that were claimed since. A look from a bookmark doesn't; but it doesn't see what stands before it, such
    as a job of a higher priority, or one that was put back. So there is one only while looks from the front are slow,
    and not for long.

    Parameters:
      clock: A monotonic one, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Bookmark] = {}

    def of(self, queue: str) -> Position:
        """After which job to look."""
        known = self._known.get(queue)
        return known.after if known is not None and self._clock() < known.until else FRONT

    def asks(self, queue: str) -> bool:
        """Whether it is time to ask how long a look from the front takes."""
        known = self._known.get(queue)
        return known is None or self._clock() >= known.until

    def measured(self, queue: str, last: Position, seconds: float) -> None:
        """A look from the front took so long to find its first job, once `last` was claimed."""
        slow = seconds > SLOW
        pause = SPARED * seconds if slow else SELDOM
        self._known[queue] = _Bookmark(last if slow else FRONT, self._clock() + pause)

    def move(self, queue: str, last: Position) -> None:
        """Jobs up to this one were claimed: a bookmark, if there is one, goes on to it."""
        known = self._known[queue]
        if known.after != FRONT:
            known.after = last
