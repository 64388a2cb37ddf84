"""Worker processes that can be killed, and the history of what they did."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gello_dramatiq import Gello
from gello_dramatiq.brokers.database.broker import DatabaseBroker
from gello_dramatiq.errors import DatabaseUnavailable
from tests import servers
from tests.chaos import jobs
from tests.contracts.conftest import DURABLE

LEASE = "1s"


@dataclass
class Event:
    what: str
    key: str
    pid: int
    at: float


@dataclass
class Rig:
    """A queue in a database, worker processes on it, and their history."""

    folder: Path
    url: str
    gello: Gello
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def worker(self, concurrency: int = 4, lease: str = LEASE, *faults: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"worker-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.work", self.url, str(concurrency), lease, *faults],
                stderr=log,
                env={**os.environ, jobs.HISTORY: str(self.folder / "history")},
            )
        self.processes.append(process)
        return process

    def events(self, what: str | None = None) -> list[Event]:
        try:
            lines = (self.folder / "history").read_text().splitlines()
        except FileNotFoundError:
            return []
        found = [Event(parts[0], parts[1], int(parts[2]), float(parts[3])) for parts in map(str.split, lines)]
        return [event for event in found if what in (None, event.what)]

    def count(self, what: str) -> Counter[str]:
        return Counter(event.key for event in self.events(what))

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("worker-*.log")))

    def wait(self, until: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, f"it didn't happen in time; the workers said:\n{self.logs()}"
            time.sleep(0.02)

    def wait_until_empty(self, seconds: float = 20) -> None:
        broker = self.gello.broker
        assert isinstance(broker, DatabaseBroker)

        def is_empty() -> bool:
            try:
                return not broker._holds_any("default")
            except DatabaseUnavailable:  # a test may have killed our connection, too
                return False

        self.wait(is_empty, seconds)


@pytest.fixture(params=DURABLE)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    kind: str = request.param
    url = f"sqlite:///{tmp_path / 'gello.db'}" if kind == "sqlite" else servers.fresh(kind)
    gello = Gello(url, modules=["tests.chaos.jobs"], default=True)
    made = Rig(tmp_path, url, gello)
    gello.queue.size()
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.wait()
    gello.close()
