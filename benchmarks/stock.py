"""The same jobs on plain Dramatiq, with its default middleware: in memory, or on the broker that STOCK_URL names."""

from __future__ import annotations

import os
import time

import dramatiq
from dramatiq.brokers.stub import StubBroker

from . import began


def _broker() -> dramatiq.Broker:
    url = os.environ.get("STOCK_URL", "")
    if url.startswith("redis:"):
        from dramatiq.brokers.redis import RedisBroker

        return RedisBroker(url=url)
    return StubBroker()


broker = _broker()
broker.emit_after("process_boot")


@dramatiq.actor(broker=broker)
def nothing(user_id: int, email: str, name: str) -> None:
    began.note()


@dramatiq.actor(broker=broker)
def one_millisecond(user_id: int, email: str, name: str) -> None:
    began.note()
    time.sleep(0.001)
