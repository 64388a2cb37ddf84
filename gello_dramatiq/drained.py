"""Whether a worker has nothing left to do, and the wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Drained:
    """Whether the last look at the broker found nothing.

    A wait is ended only by a look that began after it: an earlier one may have missed what was pushed since.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._looks = self._empty = 0
        self._ended = False

    def __bool__(self) -> bool:
        return 0 < self._empty == self._looks

    def look(self) -> None:
        """A look at the broker begins."""
        self._looks += 1

    def found_nothing(self) -> None:
        """This look found nothing, and nothing is held or unsettled either."""
        with self._changed:
            self._empty = self._looks
            self._changed.notify_all()

    def end(self) -> None:
        """Nobody looks any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, wake: Callable[[], object]) -> None:
        """Wake whoever looks, and wait until a look that begins from now on finds nothing, or nobody looks any more."""
        with self._changed:
            asked = self._looks
            wake()
            self._changed.wait_for(lambda: self._ended or self._empty > asked)
