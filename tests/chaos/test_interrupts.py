"""Deadlines that fire while a handler pushes: what it held there is free again."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gello_dramatiq import Gello, deadline, queueable
from tests.contracts.conftest import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def no_garbage_of_other_tests() -> Iterator[None]:
    """Python drops an interrupt that arrives in a finalizer, and the collector runs those of others in our threads."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("no_garbage_of_other_tests")
@pytest.mark.parametrize("url", ["memory://", "sqlite:///gello.db"])
def test_a_handler_interrupted_while_it_pushes_leaves_no_lock_held(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []
    enough = threading.Event()

    @queueable(timeout="20ms", max_attempts=100_000, retry_after=0)
    def fan_out() -> None:
        attempts.append(1)
        while not enough.is_set():
            leaf.later("1h")

    @queueable
    def leaf() -> None: ...

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deadline, "TICK", 0.005)
    gello = Gello(url, jobs=[fan_out, leaf])
    gello.queue.bulk([fan_out.job(), fan_out.job()])
    worker = gello.worker(concurrency=2, queues=["default"])
    worker.start()
    until = time.monotonic() + 6
    while time.monotonic() < until:
        before = len(attempts)
        wait_for(lambda before=before: len(attempts) > before)  # type: ignore[misc]
    enough.set()
    wait_for(lambda: gello.queue.size(state="reserved") == 0)
    worker.stop()
    assert len(attempts) > 50
    gello.close()


def test_a_deadline_that_fires_inside_a_calm_stretch_fires_after_it() -> None:
    watchdog = deadline.Watchdog()
    ended: list[str] = []

    def handler(_: object) -> None:
        with deadline.calm():
            with deadline.calm():
                time.sleep(0.3)
            for _number in range(1000):
                pass
            ended.append("calm")
        while True:
            time.sleep(0.001)

    with pytest.raises(deadline.JobTimeout):
        watchdog.call(0.05, handler, None)
    assert ended == ["calm"]
    assert watchdog.call(5, str, 7) == "7"
    watchdog.stop()
