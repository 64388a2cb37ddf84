"""Keeps failed jobs of a handed stock broker."""

from __future__ import annotations

from typing import Any

from dramatiq import Broker, Middleware
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware import MiddlewareError

from ..actor import JobActor
from ..claim import Claim
from .record import FailedJobStore, record


class NotKept(MiddlewareError, BrokerConnectionError):
    """A failed job's row can't be written yet.

    It is both, so that Dramatiq lets it out of a hook and tries the rejection again until the row is written.
    """


class KeepFailedJobs(Middleware):
    """Writes a failed job's row before a stock broker gives the message up.

    It acts where every way to fail ends, also an unknown name and an expired message.

    Parameters:
      store: Where failed jobs are kept.
    """

    def __init__(self, store: FailedJobStore) -> None:
        self._store = store

    def before_nack(self, broker: Broker, message: Any) -> None:
        if isinstance(message, Claim):
            return
        try:
            self._store.add(record(message))
        except BrokerConnectionError as error:
            raise NotKept(str(error)) from error  # type: ignore[no-untyped-call]  # Dramatiq's has no annotations

    def after_nack(self, broker: Broker, message: Any) -> None:
        actor = broker.actors.get(message.actor_name)
        outcome = getattr(message, "outcome", None)
        if not isinstance(message, Claim) and outcome is not None and isinstance(actor, JobActor):
            actor.on_failure(message, outcome.error)
