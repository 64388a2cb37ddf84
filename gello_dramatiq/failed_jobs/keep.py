"""Keeps failed jobs of a handed stock broker."""

from __future__ import annotations

import logging
from typing import Any

from dramatiq import Broker, Middleware
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware import MiddlewareError

from .. import envelope
from ..actor import JobActor
from ..claim import Claim
from ..completer import PUT_OFF
from .record import FailedJobStore, record

log = logging.getLogger("gello.worker")


class NotKept(MiddlewareError, BrokerConnectionError):
    """A failed job's row can't be written yet.

    It is both, so that Dramatiq lets it out of a hook and tries the rejection again until the row is written.
    """


class KeepFailedJobs(Middleware):
    """Writes a failed job's row before a stock broker gives the message up.

    It acts where every way to fail ends, also an unknown name and an expired message. While the store is away the
    message waits; if the store refuses the row, the message is put back for five seconds, as on our brokers.

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
        except Exception:
            name = f"{message.actor_name} {message.message_id}"
            log.exception("%s failed, and its row can't be written; it is put back.", name)
            _put_back(broker, message)

    def after_nack(self, broker: Broker, message: Any) -> None:
        actor = broker.actors.get(message.actor_name)
        outcome = getattr(message, "outcome", None)
        if not isinstance(message, Claim) and outcome not in (None, PUT_OFF) and isinstance(actor, JobActor):
            actor.on_failure(message, outcome.error)


def _put_back(broker: Broker, message: Any) -> None:
    """Queue a message again, before Dramatiq gives it up."""
    try:
        broker.enqueue(message.copy(), delay=envelope.millis(PUT_OFF.delay))
    except Exception as error:
        raise NotKept(str(error)) from error  # type: ignore[no-untyped-call]  # Dramatiq's has no annotations
    message.outcome = PUT_OFF
