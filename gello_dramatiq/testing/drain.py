"""Works everything that waits in memory, in this thread, under a clock that jumps."""

from __future__ import annotations

import queue
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from dramatiq.worker import ConsumerThread, WorkerThread

from .. import current
from ..app import Gello
from ..broker import GelloBroker
from ..brokers.memory import MemoryBroker
from ..claim import Claim
from ..completer import undecided
from ..errors import GelloError, NoCurrentApp, Unsupported
from ..feed import FeedWorkers
from ..outcome import GIVEN_BACK, Kind
from ..unknown import unknown_job
from .clock import Clock, travelling
from .stand_in import Recorder

LIMIT = 10_000
"""Attempts that one `drain` makes at most, unless it is told otherwise."""


@dataclass(frozen=True)
class Drained:
    """What `drain` did.

    Attributes:
      done: Jobs that succeeded.
      failed: Jobs that were given up.
      released: How often a job was put back without spending an attempt.
      retried: How often a job was put back after an error.
      waited: How far the clock was moved.
    """

    done: int
    failed: int
    released: int
    retried: int
    waited: timedelta


def drain(app: Gello | None = None, *, limit: int = LIMIT) -> Drained:
    """Work everything that waits, in this thread, until nothing is left.

    When nothing is ready, the queue's clock jumps to when the next job is due: delays, retries and `retry_until` pass
    without waiting. What a job itself reads from a clock is the real time.

    Parameters:
      app: An app on the memory broker; the current one by default.
      limit: How many attempts may be made.

    Raises:
      NoCurrentApp: There is none, as outside `with queued():`.
      Unsupported: The app isn't on the memory broker, or a worker works it already.
      GelloError: The limit is reached: a job releases, retries or pushes itself for ever.
    """
    try:
        broker = (current.queue() if app is None else app.queue)._ours("drain")
    except NoCurrentApp:
        raise NoCurrentApp(
            "drain() has no jobs to work, as no Gello app is in use: call it inside the `with queued():` in which they "
            "are pushed, or give it an app on memory://."
        ) from None
    if not isinstance(broker, MemoryBroker) or isinstance(broker, Recorder):
        raise Unsupported(
            f"drain() works jobs that wait in memory, and here is the {broker.name} broker; "
            "push them inside `with queued():`, or give drain an app on memory://."
        )
    if broker.coordinator is not None:
        raise Unsupported("drain() can't share the memory broker with a worker; stop the worker first.")
    with nullcontext(broker._clock) if isinstance(broker._clock, Clock) else travelling(broker) as clock:
        return _Drain(broker, clock).run(limit)


class _Drain:
    """One run of `drain`: what a coordinator and its worker threads do, one job after the other."""

    def __init__(self, broker: MemoryBroker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._kinds: Counter[Kind] = Counter()
        self._names: Counter[str] = Counter()
        self._feed = next(each for each in broker.middleware if isinstance(each, FeedWorkers))
        self._thread = WorkerThread(
            broker=broker,
            consumers=cast(Any, _Consumers(broker)),
            work_queue=cast(Any, queue.Queue()),
            worker_timeout=0,
        )

    def run(self, limit: int) -> Drained:
        if not self._broker._booted:
            self._broker.emit_after("process_boot")
        began = self._clock.elapsed
        while (claim := self._next()) is not None:
            if self._kinds.total() >= limit:
                claim.outcome = GIVEN_BACK
                self._broker.settle([claim])
                raise GelloError(self._endless(limit))
            self._settle(claim)
        waited = timedelta(seconds=round(self._clock.elapsed - began, 6))
        kinds = self._kinds
        return Drained(kinds[Kind.DONE], kinds[Kind.FAILED], kinds[Kind.RELEASED], kinds[Kind.RETRIED], waited)

    def _next(self) -> Claim | None:
        while True:
            # As a worker that serves every queue.
            queues = sorted(self._broker.ready_queues(), key=lambda name: (name != "default", name))
            if claims := self._broker.claim("drain", queues, 1):
                return claims[0]
            due = self._broker.next_due()
            if due is None:
                return None
            self._clock.jump(due)

    def _settle(self, claim: Claim) -> None:
        known = claim.actor_name in self._broker.actors
        if claim.outcome is None and not known:
            claim.outcome = unknown_job(claim)
        if claim.outcome is None:
            self._thread.work_queue.put(cast(Any, claim))
            self._thread.process_message(claim)
            claim.outcome = claim.outcome or undecided(claim)
        failed = claim.outcome.kind is Kind.FAILED
        if failed:
            self._feed.keep(claim)
        self._broker.settle([claim])
        if failed and known:
            self._feed.after_failure(claim)
        self._kinds[claim.outcome.kind] += 1
        self._names[claim.actor_name] += 1

    def _endless(self, limit: int) -> str:
        busiest = ", ".join(f"{name} ({count:,} ×)" for name, count in self._names.most_common(3))
        return (
            f"drain() made {limit:,} attempts and jobs still wait. Most often ran {busiest}: does it release, retry or "
            "push itself for ever? Mend it, or give drain(limit=…) more."
        )


class _Consumers(dict[str, ConsumerThread]):
    """Stands where Dramatiq's thread expects the consumers of its queues: the outcome is read from the claim."""

    def __init__(self, broker: GelloBroker) -> None:
        super().__init__()
        self._broker = broker

    def __missing__(self, queue_name: str) -> Any:
        return self

    def post_process_message(self, claim: Claim) -> None:
        signal = "nack" if claim.failed else "ack"
        self._broker.emit_before(signal, claim)
        self._broker.emit_after(signal, claim)
