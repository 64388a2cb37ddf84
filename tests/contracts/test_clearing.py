"""A queue that is cleared beside running claims: in chunks, between and beside which workers get their turn."""

from __future__ import annotations

import threading
import time

import pytest

from gello_dramatiq import queueable
from gello_dramatiq.broker import GelloBroker
from gello_dramatiq.brokers.database import broker
from gello_dramatiq.claim import Claim

from .conftest import DURABLE, Bench, on

READY, DELAYED = 6000, 3000
CHUNK = 300
PATIENCE = 1.0
"""Seconds: a claim waits for one chunk at most, which takes some milliseconds; the rest is for a busy machine."""


@queueable
def work(n: int) -> None: ...


@pytest.mark.slow
@on(*DURABLE)
def test_a_queue_is_cleared_in_chunks_beside_claims_that_hardly_wait_and_each_job_is_cleared_or_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "CLEAR", CHUNK)
    app, clearing = bench.app(work), bench.app(work)
    app.queue.bulk([work.job(n) for n in range(READY)])
    app.queue.bulk([work.job(n) for n in range(DELAYED)], delay="1h")
    cleared: list[int] = []
    clear = threading.Thread(target=lambda: cleared.append(clearing.queue.clear("default")))
    done: list[Claim] = []
    waits: list[float] = []
    sizes: set[int] = set()
    assert isinstance(app.broker, GelloBroker)

    def watch() -> None:
        while clear.is_alive():
            sizes.add(app.queue.size(state="delayed"))

    watching = threading.Thread(target=watch)
    clear.start()
    watching.start()
    while clear.is_alive() or app.queue.size():
        asked = time.monotonic()
        claims = app.broker.claim("one", ["default"], 10)
        waits.append(time.monotonic() - asked)
        assert app.broker.settle(claims) == 0
        done += claims
    clear.join()
    watching.join()
    assert len({claim.key for claim in done}) == len(done) > 0
    assert len(done) + cleared[0] == READY + DELAYED
    assert [app.queue.size(state=state) for state in ("ready", "delayed", "reserved")] == [0, 0, 0]
    assert max(waits) < PATIENCE
    assert sizes - {0, DELAYED}, "other sizes are seen between two chunks"
