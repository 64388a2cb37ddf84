"""Huey's consumer on SQLite, with its own defaults: `python -m benchmarks.peer PATH`, told like `benchmarks.worker`."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

from .scenario import THREADS

latencies: list[float] = []


def tasks(path: str) -> tuple[Any, Any]:
    """Huey on a file, and its task that notes how long it was on its way."""
    from huey import SqliteHuey

    huey = SqliteHuey(filename=path)

    @huey.task(name="ping")
    def ping(sent_at: float) -> None:
        latencies.append(time.monotonic() - sent_at)

    return huey, ping


def main(path: str) -> None:
    logging.basicConfig(level=logging.WARNING)
    huey, _ = tasks(path)
    say("ready")
    for line in sys.stdin:
        match line.strip():
            case "go":
                huey.create_consumer(workers=THREADS, periodic=False).start()
                say("started")
            case "stop":
                say({"latencies": latencies})
                os._exit(0)


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    # Huey names a task after its module: the producer's name of it, not "__main__".
    from benchmarks import peer

    peer.main(sys.argv[1])
