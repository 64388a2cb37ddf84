"""When the first handler of a process began."""

from __future__ import annotations

import time

_first: list[tuple[float, float]] = []


def note() -> None:
    """Called by every handler; only the first call counts."""
    if not _first:
        _first.append((time.monotonic(), time.process_time()))


def forget() -> None:
    """Let the next call of a handler be the first one again."""
    _first.clear()


def first() -> tuple[float, float] | None:
    """The moment by the machine's monotonic clock, and the CPU time that the process had used until then."""
    return _first[0] if _first else None


def since() -> dict[str, float]:
    """How long ago it was, by the wall clock and by CPU time: what a backlog took that is done now."""
    wall, cpu = _first[0]
    return {"seconds": time.monotonic() - wall, "cpu": time.process_time() - cpu}
