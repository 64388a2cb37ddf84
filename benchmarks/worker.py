"""A worker in a process of its own: `python -m benchmarks.worker URL [QUEUE]`, told by lines on its standard input.

It says "ready" once everything is imported, and starts at "go". It answers "drain" with what its backlog took, and once
it was told to "forget" that, with what the next one takes; "job" once it has run a job of its own; "cpu" with the CPU
time that it has used; "processed" with the number of attempts that have ended; "numbers" with those of the numbered
jobs that it ran; and "stop" with the latencies that it saw.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
from typing import Any

from gello_dramatiq import Gello

from . import began, jobs
from .scenario import THREADS


def main(url: str, *queues: str) -> None:
    logging.basicConfig(level=logging.WARNING)
    gello = Gello(url, modules=["benchmarks.jobs"])
    worker = gello.worker(concurrency=THREADS, queues=list(queues) or None)
    gc.collect()
    gc.freeze()
    say("ready")
    for line in sys.stdin:
        match line.strip():
            case "go":
                worker.start()
                say("started")
            case "drain":
                worker.join()
                ended = time.monotonic()
                first = began.first()
                # Others may have left it nothing.
                say(first and {"began": first[0], "ended": ended, "cpu": time.process_time() - first[1]})
            case "job":
                gello.queue.push(jobs.ping, sent_at=time.monotonic())
                worker.join()
                say("done")
            case "cpu":
                say(time.process_time())
            case "forget":
                began.forget()
                say("forgotten")
            case "processed":
                say(worker.status().processed)
            case "numbers":
                say(jobs.numbers)
            case "stop":
                say({"latencies": jobs.latencies})
                os._exit(0)


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
