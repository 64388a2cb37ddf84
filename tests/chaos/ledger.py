"""What became of every job: none is lost, none appears that nobody pushed, and twice ran only what a fault hit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dramatiq import Middleware

UNSETTLED = 0.5
"""Seconds before a fault in which a run may have ended and not have been settled."""


@dataclass
class Event:
    what: str
    key: str
    id: str
    pid: int
    at: float


@dataclass
class Fault:
    """Something was killed or stopped at a moment: a process, or, without one, the connections of all."""

    at: float
    pid: int | None = None


class Pushes(Middleware):
    """Notes each push of this process: tried before it happens, done when it has returned."""

    def __init__(self) -> None:
        self.tried, self.done = set[str](), set[str]()

    def before_enqueue(self, _broker: Any, message: Any, _delay: Any) -> None:
        self.tried.add(message.message_id)

    def after_enqueue(self, _broker: Any, message: Any, _delay: Any) -> None:
        self.done.add(message.message_id)


@dataclass
class Ledger:
    """Job ids: pushed, run, kept as failed, and still in the queue."""

    pushes: Pushes
    events: list[Event] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def check(self, again: int) -> None:
        """Every push has come to one end; of the runs at most so many were repetitions, each of what a fault hit."""
        started = Counter(event.id for event in self.events if event.what == "start")
        finished = Counter(event.id for event in self.events if event.what == "finish")
        failed, waiting = Counter(self.failed), Counter(self.waiting)
        ended = finished + failed
        assert self.pushes.done - (ended + waiting).keys() == set(), "lost"
        assert (started + ended + waiting).keys() - self.pushes.tried == set(), "never pushed"
        assert waiting <= Counter(waiting.keys()), "twice in the queue"
        assert waiting.keys() & ended.keys() == set(), "ended, and still in the queue"
        assert ended <= started, "ended more often than it began"
        assert started.total() - len(started) <= again, "ran again more often than faults explain"
        assert [job for job, runs in started.items() if runs > 1 and not self._explained(job)] == [], "no fault hit it"

    def _explained(self, job: str) -> bool:
        """Whether a fault hit each run of a job but the last."""
        *earlier, _last = sorted((e for e in self.events if (e.id, e.what) == (job, "start")), key=lambda e: e.at)
        return all(any(self._hit(fault, start) for fault in self.faults) for start in earlier)

    def _hit(self, fault: Fault, start: Event) -> bool:
        ends = [e.at for e in self.events if (e.id, e.what, e.pid) == (start.id, "finish", start.pid)]
        end = min((at for at in ends if at >= start.at), default=float("inf"))
        return fault.pid in (None, start.pid) and start.at <= fault.at <= end + UNSETTLED
