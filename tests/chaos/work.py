"""A worker process for the chaos tests: `python -m tests.chaos.work URL CONCURRENCY LEASE QUEUES [FAULT]`.

A "deadly" one dies once it has claimed a job, before a thread begins it; a "patient" one gives nothing back before it
stops.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

from gello_dramatiq import Gello, coordinator
from gello_dramatiq.lanes import WorkQueue


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    url, concurrency, lease, queues, *faults = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    gello = Gello(url, modules=["tests.chaos.jobs"], lease=lease)
    if "deadly" in faults:
        WorkQueue.put = die  # type: ignore[method-assign]  # a fault on purpose
    if "patient" in faults:
        coordinator.PATIENCE = 60
    sys.exit(gello.worker(concurrency=int(concurrency), queues=queues.split(","), grace="5s").run())
