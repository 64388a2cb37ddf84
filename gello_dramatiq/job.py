"""A job: one push of a definition."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any


class JobPriority(IntEnum):
    """How urgent a job is: 0 to 5, higher is more urgent."""

    NORMAL = 0
    RAISED = 1
    HIGH = 2
    HIGHER = 3
    URGENT = 4
    CRITICAL = 5


@dataclass(frozen=True, slots=True)
class Job:
    """One push of a definition, as `push` returns it and `current_job()` shows it.

    Attributes:
      id: A UUIDv7; it stays the same over retries, releases and crashes.
      name: The definition's name.
      queue: The queue that it was pushed to.
      payload: The payload as it travels, JSON-safe.
      priority: 0 to 5, higher is more urgent.
      attempt: 1 while it runs for the first time; 0 for a job that was just pushed.
      max_attempts: How many attempts it has in all; None is without end, until `retry_until`.
      created_at: When it was pushed.
    """

    id: str
    name: str
    queue: str
    payload: Mapping[str, Any]
    priority: int
    attempt: int
    max_attempts: int | None
    created_at: datetime


def new_job_id() -> str:
    """A UUIDv7 with 12 bits of the clock below the millisecond, so that ids sort by time (RFC 9562, method 3)."""
    ticks = time.time_ns() * 4096 // 1_000_000
    value = (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64
    value |= 0b10 << 62 | int.from_bytes(os.urandom(8), "big") >> 2
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
