"""A clock for tests: it stands still, and jumps to when the next job is due."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from .. import actor, unknown
from ..broker import Encoded
from ..brokers.memory import MemoryBroker


class Clock:
    """A clock that stands still until it jumps.

    Parameters:
      start: What the broker's own clock shows.
    """

    def __init__(self, start: float) -> None:
        self._start = self._now = start
        self._epoch = round(time.time() * 1000)

    def __call__(self) -> float:
        return self._now

    @property
    def elapsed(self) -> float:
        """How far it has jumped, in seconds."""
        return self._now - self._start

    def millis(self) -> int:
        """The time of day in milliseconds, as messages carry it."""
        return self._epoch + round(self.elapsed * 1000)

    def jump(self, moment: float) -> None:
        """Go on to a moment of the broker's clock, exactly; never back."""
        self._now = max(self._now, moment)


@contextmanager
def travelling(broker: MemoryBroker) -> Iterator[Clock]:
    """Give a broker, and all that asks how old its jobs are, a clock that jumps."""
    clock = Clock(broker._clock())
    put = broker.put

    def stamped(messages: Sequence[Encoded]) -> None:
        now = clock.millis()
        moved = [(replace(message, message_timestamp=now), delay) for message, delay, _ in messages]
        put([(message, delay, message.encode()) for message, delay in moved])

    with (
        mock.patch.object(broker, "_clock", clock),
        mock.patch.object(broker, "put", stamped),
        mock.patch.object(actor, "current_millis", clock.millis),
        mock.patch.object(unknown, "current_millis", clock.millis),
    ):
        yield clock
