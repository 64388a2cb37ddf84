"""The in-process broker, for tests, development and single processes: nothing outlives the process."""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dramatiq import Message, Middleware
from dramatiq.errors import QueueJoinTimeout

from ..broker import Encoded, GelloBroker, State
from ..claim import Claim
from ..deadline import calm
from ..outcome import DONE, Kind


@dataclass(slots=True, eq=False)
class _Entry:
    """A job in memory: encoded, as on every other broker."""

    queue: str
    priority: int
    raw: bytes
    lease: int = 0
    state: State = "ready"
    dropped: bool = False


class MemoryBroker(GelloBroker):
    """Keeps jobs in this process.

    Parameters:
      middleware: Dramatiq's kind.
      clock: The time in seconds; another one lets tests travel.

    Attributes:
      dead_letters: The last 1,000 messages that were given up.
    """

    name = "memory"

    def __init__(
        self, middleware: list[Middleware] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(middleware)
        self.dead_letters: deque[Message[Any]] = deque(maxlen=1000)
        self._clock = clock
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._ready: dict[str, list[tuple[int, int, _Entry]]] = defaultdict(list)
        self._delayed: list[tuple[float, int, _Entry]] = []
        self._sizes: dict[str, dict[State, int]] = defaultdict(lambda: {"ready": 0, "delayed": 0, "reserved": 0})

    def put(self, messages: Sequence[Encoded]) -> None:
        entries = [
            (_Entry(message.queue_name, self.priority_of(message), raw), (delay or 0) / 1000)
            for message, delay, raw in messages
        ]
        with calm(), self._changed:
            for entry, delay in entries:
                self._place(entry, delay)

    def claim(self, owner: str, queues: Sequence[str], limit: int) -> list[Claim]:
        claims: list[Claim] = []
        with calm(), self._changed:
            self._promote()
            for name in queues:
                waiting = self._ready[name]
                while waiting and len(claims) < limit:
                    entry = heapq.heappop(waiting)[2]
                    if not entry.dropped:
                        self._move(entry, "reserved")
                        entry.lease += 1
                        claims.append(Claim(entry, entry.lease, entry.raw, queue=name))
        return claims

    def settle(self, claims: Sequence[Claim]) -> int:
        stale = 0
        # First, as it is all that can fail: one outcome that can't be encoded must not leave half of them settled.
        put_back = {
            claim: claim.remembering()
            for claim in claims
            if claim.outcome and claim.outcome.kind not in (Kind.DONE, Kind.FAILED)
        }
        with calm(), self._changed:
            for claim in claims:
                entry: _Entry = claim.key
                outcome = claim.outcome or DONE
                if entry.lease != claim.lease or entry.state != "reserved":
                    stale += 1
                    continue
                entry.lease += 1
                self._sizes[entry.queue]["reserved"] -= 1
                if outcome.kind is Kind.FAILED:
                    self.dead_letters.append(claim._message)
                elif claim in put_back:
                    entry.raw = put_back[claim]
                    self._place(entry, outcome.delay.total_seconds())
            self._changed.notify_all()
        return stale

    def wait(self, inbox: Any, timeout: float) -> Any:
        with calm(), self._changed:
            due = self._delayed[0][0] - self._clock() if self._delayed else timeout
        try:
            return inbox.get(timeout=max(min(due, timeout), 0))
        except queue.Empty:
            if due < timeout:
                return None
            raise

    def next_due(self) -> float | None:
        """When the next delayed job is due, by the clock; None if none is delayed."""
        with calm(), self._changed:
            while self._delayed and self._delayed[0][2].dropped:
                heapq.heappop(self._delayed)
            return self._delayed[0][0] if self._delayed else None

    def size(self, queue: str, state: State = "ready") -> int:
        with calm(), self._changed:
            self._promote()
            return self._sizes[queue][state]

    def clear(self, queue: str) -> int:
        with calm(), self._changed:
            found = [item[2] for item in (*self._ready.pop(queue, ()), *self._delayed)]
            dropped = [entry for entry in found if entry.queue == queue and not entry.dropped]
            for entry in dropped:
                entry.dropped = True
                self._sizes[queue][entry.state] -= 1
            self._changed.notify_all()
        return len(dropped)

    def queue_names(self) -> set[str]:
        with calm(), self._changed:
            return {*self.queues, *(name for name, sizes in self._sizes.items() if any(sizes.values()))}

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until a queue holds no job: ready, delayed or reserved.

        Parameters:
          queue_name: The queue.
          timeout: In milliseconds; None waits for ever.

        Raises:
          QueueJoinTimeout: The time is over.
        """
        with calm(), self._changed:
            seconds = None if timeout is None else timeout / 1000
            if not self._changed.wait_for(lambda: not any(self._sizes[queue_name].values()), seconds):
                raise QueueJoinTimeout(  # type: ignore[no-untyped-call]  # Dramatiq's error has no annotations
                    f"queue {queue_name!r} still holds jobs after {timeout} ms"
                )

    def _place(self, entry: _Entry, delay: float) -> None:
        if delay > 0:
            entry.state = "delayed"
            heapq.heappush(self._delayed, (self._clock() + delay, next(self._order), entry))
        else:
            entry.state = "ready"
            heapq.heappush(self._ready[entry.queue], (-entry.priority, next(self._order), entry))
        self._sizes[entry.queue][entry.state] += 1

    def _promote(self) -> None:
        now = self._clock()
        while self._delayed and self._delayed[0][0] <= now:
            entry = heapq.heappop(self._delayed)[2]
            if not entry.dropped:
                self._sizes[entry.queue]["delayed"] -= 1
                self._place(entry, 0)

    def _move(self, entry: _Entry, state: State) -> None:
        self._sizes[entry.queue][entry.state] -= 1
        entry.state = state
        self._sizes[entry.queue][state] += 1
