"""Jobs that write what happens to them into a history file, which outlives the processes that run them."""

from __future__ import annotations

import os
import signal
import time

from gello_dramatiq import current_job, queueable
from gello_dramatiq.errors import NoCurrentJob

HISTORY = "GELLO_TEST_HISTORY"


def note(event: str, key: object) -> None:
    """Append one line; a single write to a file opened for appending is never torn."""
    try:
        job = current_job().id
    except NoCurrentJob:  # in a hook
        job = "-"
    file = os.open(os.environ[HISTORY], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{event} {key} {job} {os.getpid()} {time.time():.6f}\n".encode())
    os.close(file)


@queueable(max_attempts=1)
def steady(n: int, seconds: float = 0.0) -> None:
    """Takes its time, and has one attempt only."""
    note("start", n)
    time.sleep(seconds)
    note("finish", n)


@queueable(max_attempts=2)
def poison() -> None:
    """Kills its worker each time."""
    note("start", "poison")
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


@queueable(rerun_after_crash=False)
def fragile(kill: bool) -> None:
    """Must not run again after its worker died in it."""
    note("start", f"fragile-{kill}")
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)
    note("finish", f"fragile-{kill}")


@poison.on_failure
def poisoned(error: BaseException) -> None:
    note("failed", f"poison {type(error).__name__}".replace(" ", "-"))


@queueable(max_attempts=1)
def attempt_number(n: int) -> None:
    note("start", n)
    note("attempt", current_job().attempt)
    note("finish", n)


@queueable(max_attempts=1)
def fails_in(pid: int, seconds: float) -> None:
    """Fails in one process only."""
    note("start", "fails_in")
    time.sleep(seconds)
    if os.getpid() == pid:
        raise ValueError(pid)
    note("finish", "fails_in")


@queueable
def stuck_in(pid: int) -> None:
    """Takes a minute in one process, and no time elsewhere."""
    note("start", "stuck")
    time.sleep(60 if os.getpid() == pid else 0)
    note("finish", "stuck")
