"""The same jobs on plain Dramatiq: its in-memory broker, with its default middleware."""

from __future__ import annotations

import time

import dramatiq
from dramatiq.brokers.stub import StubBroker

from . import began

broker = StubBroker()
broker.emit_after("process_boot")


@dramatiq.actor(broker=broker)
def nothing(user_id: int, email: str, name: str) -> None:
    began.note()


@dramatiq.actor(broker=broker)
def one_millisecond(user_id: int, email: str, name: str) -> None:
    began.note()
    time.sleep(0.001)
