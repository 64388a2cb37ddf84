"""PgQueuer on the same backlog, by the Python of an environment that has it: `python pgqueuer_peer.py URL JOBS BATCH`.

It gets asyncpg, uvloop where it is, and statistics of the backlog; with a batch of 1,000 it is fastest. The time
runs from the first handler's start until the queue is empty and everything is written down. The answer is JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from datetime import timedelta

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

began: list[tuple[float, float]] = []


async def main(url: str, jobs: int, batch: int) -> None:
    connection = await asyncpg.connect(url)
    driver = AsyncpgDriver(connection)
    queries = Queries(driver)
    await queries.install()
    for start in range(0, jobs, 1000):
        chunk = range(start, min(start + 1000, jobs))
        payloads = [json.dumps({"user_id": n, "email": "ann@example.com", "name": "Ann"}).encode() for n in chunk]
        await queries.enqueue(["nothing"] * len(chunk), payloads, [0] * len(chunk))
    await connection.execute("ANALYZE")
    manager = QueueManager(queries)

    @manager.entrypoint("nothing")
    async def nothing(job: object) -> None:
        if not began:
            began.append((time.monotonic(), time.process_time()))

    await manager.run(dequeue_timeout=timedelta(seconds=1), batch_size=batch, mode=QueueExecutionMode.drain)
    wall, cpu = began[0]
    print(json.dumps({"seconds": time.monotonic() - wall, "cpu": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    run = asyncio.run
    with suppress(ImportError):
        from uvloop import run
    run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
