"""Which queues a worker serves, in order, and the gate before them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

FIND_EVERY = 1.0
"""Seconds between two looks for new queues, while jobs are at hand."""


class ServedQueues:
    """The queues of one worker: named ones in their order, or every one that there is, "default" first.

    Parameters:
      named: The queues to serve; None is every queue.
      find: Lists the queues that there are.
    """

    def __init__(self, named: list[str] | None, find: Callable[[], Iterable[str]]) -> None:
        self._named = named
        self._find = find
        self._found: list[str] = []
        self._found_at = float("-inf")
        self._paused: set[str] = set()
        self.open = True

    @property
    def paused(self) -> bool:
        """Whether anything may not be claimed."""
        return not self.open or bool(self._paused)

    def pause(self, *queues: str) -> None:
        """Close the gate before these queues, or before all."""
        if queues:
            self._paused |= set(queues)
        else:
            self.open = False

    def resume(self, *queues: str) -> None:
        """Open the gate before these queues, or before all."""
        if queues:
            self._paused -= set(queues)
        else:
            self.open = True
            self._paused.clear()

    def let(self, queue: str) -> bool:
        """Whether jobs of a queue may be claimed and started."""
        return self.open and queue not in self._paused

    def names(self, look: bool = False) -> list[str]:
        """The queues that are served now, in order.

        Parameters:
          look: Look for new ones, however short ago the last look was.
        """
        if self._named is not None:
            return self._named
        if look or time.monotonic() - self._found_at > FIND_EVERY:
            self._found_at = time.monotonic()
            self._found = sorted(self._find(), key=lambda name: (name != "default", name))
        return self._found
