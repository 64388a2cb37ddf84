"""The jobs that are measured."""

from __future__ import annotations

import time

from gello_dramatiq import queueable

from . import began

latencies: list[float] = []
numbers: list[int] = []


@queueable
def nothing(user_id: int, email: str, name: str) -> None:
    began.note()


@queueable
def one_millisecond(user_id: int, email: str, name: str) -> None:
    began.note()
    time.sleep(0.001)


@queueable
def ping(sent_at: float) -> None:
    # The monotonic clock is the machine's: all its processes read the same.
    latencies.append(time.monotonic() - sent_at)


@queueable
def numbered(user_id: int, email: str, name: str) -> None:
    began.note()
    numbers.append(user_id)
