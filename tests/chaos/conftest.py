"""Worker processes that can be killed, and the history of what they did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gello_dramatiq import Gello
from gello_dramatiq.errors import DatabaseUnavailable
from tests import servers
from tests.chaos import jobs
from tests.chaos.ledger import Event, Fault, Ledger, Pushes
from tests.contracts.conftest import DURABLE

LEASE = "1s"


@dataclass
class Rig:
    """A queue in a database, worker processes on it, and their history."""

    folder: Path
    url: str
    gello: Gello
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    pushes: Pushes = field(default_factory=Pushes)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gello.broker.add_middleware(self.pushes)

    def worker(
        self, concurrency: int = 4, lease: str = LEASE, *faults: str, queues: str = "default"
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"worker-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.work", self.url, str(concurrency), lease, queues, *faults],
                stderr=log,
                env={**os.environ, jobs.HISTORY: str(self.folder / "history")},
            )
        self.processes.append(process)
        return process

    def hit(self, process: subprocess.Popen[bytes], what: signal.Signals = signal.SIGKILL) -> None:
        """Kill or stop a process; the ledger then knows why jobs ran again."""
        process.send_signal(what)
        self.faults.append(Fault(time.time(), process.pid))

    def check(self, again: int = 0) -> None:
        """No job is lost or unheard of; at most so many runs were repetitions, each of what a fault hit."""
        events, failed = self.events(), [job.id for job in self.gello.failed.all(limit=None)]
        known = {fault.pid for fault in self.faults}
        # Whose death we didn't cause died of a job.
        dead = {process.pid for process in self.processes if process.poll()} - known
        deaths = [Fault(max((e.at for e in events if e.pid == pid), default=0), pid) for pid in dead]
        Ledger(self.pushes, events, failed, self.waiting(), self.faults + deaths).check(again)

    def waiting(self) -> list[str]:
        """The ids of the jobs in all queues."""
        if self.url.startswith("redis"):
            return [json.loads(raw)["message_id"] for raw in servers.redis_messages()]
        with self.gello.database.read() as connection:
            return list(connection.exec_driver_sql("SELECT job_id FROM queue_jobs").scalars())

    def events(self, wanted: str | None = None) -> list[Event]:
        try:
            lines = (self.folder / "history").read_text().splitlines()
        except FileNotFoundError:
            return []
        found = [Event(what, key, job, int(pid), float(at)) for what, key, job, pid, at in map(str.split, lines)]
        return [event for event in found if wanted in (None, event.what)]

    def count(self, what: str) -> Counter[str]:
        return Counter(event.key for event in self.events(what))

    def logs(self, *processes: subprocess.Popen[bytes]) -> str:
        """What these workers said, or all."""
        numbers = [self.processes.index(process) for process in processes or self.processes]
        return "\n".join((self.folder / f"worker-{number}.log").read_text() for number in numbers)

    def wait(self, until: Callable[[], bool], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, f"it didn't happen in time; the workers said:\n{self.logs()}"
            time.sleep(0.02)

    def wait_until_empty(self, seconds: float = 20) -> None:
        def is_empty() -> bool:
            try:
                return not self.waiting()
            except DatabaseUnavailable:  # a test may have killed our connection, too
                return False

        self.wait(is_empty, seconds)


@pytest.fixture(params=(*DURABLE, "redis"))
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    kind: str = request.param
    if kind == "redis":
        # So that worker processes know them, too.
        monkeypatch.setenv("QUEUE_PREFIX", servers.PREFIX)
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'memory.db'}")
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
