"""The brokers under contract. A behaviour is written once; each broker runs what it promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dramatiq.brokers.stub import StubBroker

from gello_dramatiq import Gello
from gello_dramatiq.worker import Worker
from tests import servers

SERVERS = ("postgresql", "mariadb")
DURABLE = ("sqlite", *SERVERS)
"""Those whose jobs outlive a process, in a database."""
OURS = ("memory", *DURABLE, "redis")
"""Those that claim and settle as Gello does."""
QUEUED = (*OURS, "stub")
"""Those with a queue and a worker."""
ALL = ("sync", *QUEUED)


@dataclass
class Bench:
    """An app on one broker, and the means to work it."""

    broker: str
    url: str
    apps: list[Gello] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def app(self, *jobs: Any, **options: Any) -> Gello:
        if self.broker == "stub":
            app = Gello(broker=StubBroker(), jobs=jobs, default=True, **options)
        else:
            app = Gello(self.url, jobs=jobs, default=True, **{**self.options, **options})
        self.apps.append(app)
        return app

    def worker(self, app: Gello, **options: Any) -> Worker:
        worker = app.worker(**options)
        worker.worker_timeout = 50  # how long the threads of a stock broker sleep between two looks, in milliseconds
        return worker

    def work(self, app: Gello, until: Callable[[], bool], seconds: float = 10, **options: Any) -> None:
        """Work until something holds; fail if it doesn't in time. On sync everything has run by now."""
        if self.broker == "sync":
            assert until()
            return
        worker = self.worker(app, **{"concurrency": 4, **options})
        worker.start()
        try:
            wait_for(until, seconds)
        finally:
            worker.stop(timeout=5)


def wait_for(until: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.005)


def on(*brokers: str) -> pytest.MarkDecorator:
    """Run a test on these brokers."""
    return pytest.mark.parametrize("bench", brokers, indirect=True)


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    name: str = request.param
    urls = {
        "memory": "memory://",
        "sync": "sync://?sleep=all",
        "sqlite": f"sqlite:///{tmp_path / 'gello.db'}",
        "stub": "",
    }
    made = Bench(name, urls[name] if name in urls else servers.fresh(name))
    if name == "redis":
        made.options = {"prefix": servers.PREFIX, "database": f"sqlite:///{tmp_path / 'memory.db'}"}
    yield made
    for app in made.apps:
        coordinator = getattr(app.broker, "coordinator", None)
        if coordinator is not None:
            # A test that failed left its worker running; it would open connections during the tests that follow.
            coordinator.worker.stop(timeout=5)
        app.close()
