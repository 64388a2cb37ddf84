"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from .errors import InvalidDuration

Duration = timedelta | int | float | str
"""A length of time: a timedelta, a number of seconds, or a text such as "30s", "5m" or "1h30m"."""

Delay = Duration | datetime
"""A length of time from now, or the moment itself (a datetime without a zone is local time)."""

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])\s*", re.ASCII)


def duration(value: Duration) -> timedelta:
    """Read a duration.

    Raises:
      InvalidDuration: It can't be read, is negative, or is longer than a timedelta holds.
    """
    try:
        read = value if isinstance(value, timedelta) else _read(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidDuration(
            f"{value!r} is no duration: give a timedelta, a number of seconds, or a text such as "
            '"30s", "5m" or "1h30m" (units: ms, s, m, h, d, w).'
        ) from None
    if read < timedelta(0):
        raise InvalidDuration(f"{value!r} is negative; a duration is zero or longer.")
    return read


def delay(value: Delay, *, now: datetime | None = None) -> timedelta:
    """Read a delay; a moment that has passed is no delay.

    Raises:
      InvalidDuration: As `duration`.
    """
    if not isinstance(value, datetime):
        return duration(value)
    try:
        # A moment with a zone isn't converted: near the ends of the calendar that overflows.
        moment = value if value.tzinfo else value.astimezone()
        return max(moment - (now or datetime.now(UTC)), timedelta(0))
    except (OverflowError, ValueError, OSError):
        raise InvalidDuration(f"{value!r} can't be told in this machine's time zone; give it a zone.") from None


def spell(length: timedelta) -> str:
    """Write a duration with its two largest units, as in "2h 34m"; below a minute, as in "4.2s"."""
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{round(seconds, 3):.3g}s"
    whole = int(seconds)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, whole = divmod(whole, int(_SECONDS[unit]))
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0"))


def _read(value: int | float | str) -> timedelta:
    if isinstance(value, bool):
        raise TypeError
    if not isinstance(value, str):
        return timedelta(seconds=float(value))
    try:
        return timedelta(seconds=float(value))
    except ValueError:
        pass
    text, total, at = value.strip(), timedelta(0), 0
    while match := _PART.match(text, at):
        # Part by part: a sum of floats loses the milliseconds beside the weeks.
        total += timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
        at = match.end()
    if not text or at != len(text):
        raise ValueError
    return total
