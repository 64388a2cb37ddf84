"""A worker of the mailer, as a process: `python -m examples.mailer.worker`."""

from __future__ import annotations

import logging
import sys

from examples.mailer.app import gello

CONCURRENCY = 4


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It ends by itself, should the demo that started it be killed.
    worker = gello.worker(queues=["emails", "reports"], concurrency=CONCURRENCY, max_time="2m")
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
