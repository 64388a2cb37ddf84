"""A worker process for the chaos tests: `python -m tests.chaos.work URL CONCURRENCY`."""

from __future__ import annotations

import logging
import sys

from gello_dramatiq import Gello

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    gello = Gello(sys.argv[1], modules=["tests.chaos.jobs"], lease=sys.argv[3])
    sys.exit(gello.worker(concurrency=int(sys.argv[2]), queues=["default"], grace="5s").run())
