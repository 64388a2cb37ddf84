"""What our brokers and their coordinator do, and a handed stock broker doesn't."""

from __future__ import annotations

import logging
import threading
from typing import Any

from dramatiq import Broker, Middleware
from dramatiq.worker import Worker

from . import envelope
from .completer import PUT_OFF
from .outcome import Kind

log = logging.getLogger("gello.worker")


class WarnOfPriorities(Middleware):
    """Says at the first push of a job with a priority that a stock broker ignores it."""

    def __init__(self) -> None:
        self._warned = False

    def before_enqueue(self, broker: Broker, message: Any, delay: Any) -> None:
        if not self._warned and envelope.priority(message, broker.actors.get(message.actor_name)):
            self._warned = True
            log.warning(
                "%s has a priority, and %s, a stock broker, ignores it: jobs run in the order of their push.",
                message.actor_name, type(broker).__name__,
            )  # fmt: skip


class Counts(Middleware):
    """Counts what a worker does, as the coordinator does on our brokers.

    Attributes:
      worker: Whose they are; they leave the broker with it.
      processed: Attempts that ended, in success or in error.
      failed: Jobs that were given up.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.processed = self.failed = 0
        self._running: dict[int, Any] = {}
        self._lock = threading.Lock()

    def running(self) -> list[Any]:
        """The messages that are being run now."""
        return list(self._running.copy().values())

    def before_process_message(self, broker: Broker, message: Any) -> None:
        self._running[id(message)] = message

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        self._running.pop(id(message), None)

    after_skip_message = after_process_message

    def after_ack(self, broker: Broker, message: Any) -> None:
        # A message that was only moved on from a delay queue has no outcome.
        outcome = getattr(message, "outcome", None)
        if outcome is not None and outcome.kind is not Kind.RELEASED:
            with self._lock:
                self.processed += 1

    def after_nack(self, broker: Broker, message: Any) -> None:
        with self._lock:
            self.processed += 1
            self.failed += getattr(message, "outcome", None) is not PUT_OFF
