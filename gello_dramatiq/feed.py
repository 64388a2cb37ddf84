"""The middleware that gives each Dramatiq worker its coordinator."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

from dramatiq import Broker, Middleware
from dramatiq.worker import Worker

from .broker import GelloBroker
from .claim import Claim
from .completer import Completer
from .coordinator import Coordinator
from .errors import WorkerRunning

log = logging.getLogger("gello.worker")

SETTLE = 2.0
"""Seconds for settling when a worker's grace is over."""


class FeedWorkers(Middleware):
    """Gives each Dramatiq worker on a broker of ours its coordinator, and ends it with the worker.

    Parameters:
      keep: Writes a failed job's row; unused where the broker does that itself.
      after_failure: Called once for each failed job after its row exists.
      grace: Seconds that outcomes may take to be settled at the end.
    """

    def __init__(
        self, keep: Callable[[Claim], None], after_failure: Callable[[Claim], None], grace: float = 10
    ) -> None:
        self.keep = keep
        self.after_failure = after_failure
        self._grace = grace

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        ours = cast(GelloBroker, broker)
        if ours.coordinator is not None:
            raise WorkerRunning
        completer = Completer(ours, None if ours.writes_failures else self.keep, self.after_failure)
        ours.coordinator = Coordinator(ours, worker, completer, getattr(worker, "queue_order", None))

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        coordinator = cast(GelloBroker, broker).coordinator
        if coordinator is not None:
            coordinator.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        coordinator = cast(GelloBroker, broker).coordinator
        if coordinator is not None:
            coordinator.pause()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        coordinator = cast(GelloBroker, broker).coordinator
        if coordinator is not None:
            coordinator.abandon()
            if not coordinator.finish(self._time_left(worker)):
                log.error("Not everything could be settled in time; what is left runs again when the lease is over.")
        cast(GelloBroker, broker).coordinator = None

    def _time_left(self, worker: Worker) -> float:
        """What is left of the worker's own grace, and two seconds at least: what has ended wants to be settled."""
        until: float | None = getattr(worker, "stop_by", None)
        return self._grace if until is None else max(until - time.monotonic(), SETTLE)
