"""Keeps what runs in one process on one core, and its server with it: round trips then cost the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from .scenario import NotMeasured, Run
from .scratch import SERVERS, asked

PINNABLE = ("throughput", "claims", "pushes", "backlog", "queues")
"""Scenarios that run in one process."""


def pin(scenario: str) -> None:
    """Keep this process on one core, if the scenario runs in one."""
    if scenario in PINNABLE:
        os.sched_setaffinity(0, {_core()})


@contextmanager
def pinned(run: Run, scenario: str, case: str) -> Iterator[None]:
    """Keep the server of a case on that core for as long, where this user may; if not, it stays as it is."""
    kind = next((kind for kind in SERVERS if case.startswith(kind)), None)
    if case == "pgqueuer":
        kind = "postgresql"
    server = _server(kind) if run.pin and scenario in PINNABLE and kind is not None else None
    before: dict[int, set[int]] = {}
    if server is not None:
        with suppress(OSError):  # another user's: it stays where it is
            for thread in _threads(server):
                before[thread] = os.sched_getaffinity(thread)
                os.sched_setaffinity(thread, {_core()})
    try:
        yield
    finally:
        if server is not None and before:
            # What has started since was started by the pinned.
            for thread in _threads(server):
                with suppress(OSError):
                    os.sched_setaffinity(thread, before.get(thread, before[server.pid]))


def _server(kind: str) -> psutil.Process | None:
    """The process of a server, if it is one of this machine."""
    with suppress(NotMeasured, OSError, psutil.Error):
        if kind == "postgresql":
            server = psutil.Process(int(asked(kind, "SELECT pg_backend_pid()"))).parent()
        else:
            server = psutil.Process(int(Path(str(asked(kind, "SELECT @@pid_file"))).read_text()))
        # The number of a process on another machine names anything here.
        if server is not None and server.name().startswith(("postgres", "mariadbd", "mysqld")):
            return server
    return None


def _threads(server: psutil.Process) -> list[int]:
    """All threads of a server, and of its children; its own first one comes first."""
    return [thread.id for process in (server, *server.children()) for thread in process.threads()]


def _core() -> int:
    return max(os.sched_getaffinity(0))
