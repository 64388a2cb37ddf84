"""What an attempt came to, and the rule that decides it: no clock, no broker."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from .backoff import Backoff
from .durations import Duration, duration
from .errors import JobEnded, JobTimeout, Spoken

MAX_HISTORY = 100
"""How many attempts a message remembers; a job with more keeps the newest."""
MAX_TRACEBACK = 4096
"""How much of a traceback a message remembers, in characters; its end says most."""


class Release(Spoken):
    """Raise it in a handler to put the job back for later without spending an attempt.

    Parameters:
      delay: How long to wait before the job runs again; at once by default. No attempts are counted: a job that
        waits for something and releases itself at once does so as fast as the worker can, until it is there.
      message: Why, for the log.
    """

    def __init__(self, delay: Duration = 0, message: str = "") -> None:
        super().__init__(message)
        self.wait = duration(delay)


class Retry(Spoken):
    """Raise it in a handler to try again later; this spends an attempt.

    Parameters:
      delay: How long to wait; the job's own backoff decides when it is left out.
      message: Why; it is kept with the failed job when this was the last attempt.
    """

    def __init__(self, delay: Duration | None = None, message: str = "") -> None:
        super().__init__(message)
        self.wait = None if delay is None else duration(delay)


class Fail(Spoken):
    """Raise it in a handler to end the job as failed, whatever attempts are left.

    Parameters:
      reason: What a person should read in the list of failed jobs.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)


class Kind(StrEnum):
    """What becomes of a job after an attempt."""

    DONE = "done"
    RELEASED = "released"
    RETRIED = "retried"
    FAILED = "failed"


class Reason(StrEnum):
    """Why a job is kept as failed."""

    ERROR = "error"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_JOB = "unknown_job"
    EXPIRED = "expired"


ErrorTypes = tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one attempt, after every override.

    Attributes:
      max_attempts: None is without end.
      timeout: How long the handler may run.
      backoff: The wait after a failing attempt.
      retry_for: Only these errors are retried; None is every error.
      fail_for: These errors end the job at once.
      retry_until: How long after the push the job may still be tried.
    """

    max_attempts: int | None
    timeout: timedelta
    backoff: Backoff
    retry_for: ErrorTypes | None = None
    fail_for: ErrorTypes = ()
    retry_until: timedelta | None = None


@dataclass(slots=True)
class Progress:
    """What a message remembers of its attempts; it travels in the message's options.

    Attributes:
      attempts: Attempts that ended in an error or a timeout.
      deaths: Worker deaths while the job was known to run; the broker counts them.
      releases: How often the job was put back without spending an attempt.
      unknown_since: When a worker first didn't know its name, in milliseconds of the epoch.
      history: The attempts, oldest first.
      traceback: The end of the newest error's: should the job end without running again, it is all that is left.
    """

    attempts: int = 0
    deaths: int = 0
    releases: int = 0
    unknown_since: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    traceback: str = ""

    @property
    def spent(self) -> int:
        return self.attempts + self.deaths


@dataclass(slots=True)
class Outcome:
    """What to do with a job now that an attempt has ended.

    Attributes:
      kind: done, released, retried or failed.
      delay: How long it waits, when it is released or retried.
      error: What went wrong, when something did.
      reason: Why it is kept, when it failed.
      progress: What the message remembers from now on; None when nothing changed.
    """

    kind: Kind
    delay: timedelta = timedelta(0)
    error: BaseException | None = None
    reason: Reason | None = None
    progress: Progress | None = None


DONE = Outcome(Kind.DONE)
GIVEN_BACK = Outcome(Kind.RELEASED)
"""For a job that was claimed and not started: as if it had never been claimed."""


def decide(
    error: BaseException | None,
    progress: Progress,
    limits: Limits,
    age: Callable[[], timedelta],
    started_at: int,
    took: float,
) -> Outcome:
    """Decide what an attempt came to.

    Parameters:
      error: What the attempt raised.
      progress: What the message remembers; it isn't changed.
      limits: The job's limits.
      age: How long ago the job was pushed.
      started_at: When the attempt began, in milliseconds of the epoch.
      took: How long it ran, in seconds.
    """
    if error is None:
        return DONE
    if isinstance(error, Release):
        released = replace(progress, releases=progress.releases + 1, unknown_since=None)
        return Outcome(Kind.RELEASED, error.wait, error, progress=released)

    number, after = progress.spent, replace(progress, unknown_since=None)
    if not isinstance(error, JobEnded):
        number += 1
        after.attempts += 1
        after.history = [*progress.history[1 - MAX_HISTORY :], _entry(number, error, started_at, took)]
    reason = _terminal(error, limits)
    if reason is None and limits.max_attempts is not None and number >= limits.max_attempts:
        reason = _reason(error)
    if reason is not None:
        return Outcome(Kind.FAILED, error=error, reason=reason, progress=after)

    # A rule of the user's may return anything: what is no duration must be found before settling meets it.
    own = error.wait if isinstance(error, Retry) else None
    wait = duration(limits.backoff.delay(number, error)) if own is None else own
    if limits.retry_until is not None and age() + wait > limits.retry_until:
        return Outcome(Kind.FAILED, error=error, reason=_reason(error), progress=after)
    after.traceback = "".join(traceback.format_exception(error))[-MAX_TRACEBACK:]
    return Outcome(Kind.RETRIED, wait, error, progress=after)


def describe(error: BaseException) -> str:
    """An error in one line: its class and what it says."""
    try:
        text = "".join(char for char in " ".join(str(error).split()) if char.isprintable())
    except Exception as broken:  # noqa: BLE001 (deciding must not fail, or the job is run for ever)
        text = f"its text can't be read: {type(broken).__name__}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _terminal(error: BaseException, limits: Limits) -> Reason | None:
    """The reason, if this error ends the job whatever attempts are left."""
    if isinstance(error, (JobEnded, Fail, *limits.fail_for)):
        return _reason(error)
    spoken = isinstance(error, Retry | JobTimeout)
    if limits.retry_for is not None and not spoken and not isinstance(error, limits.retry_for):
        return _reason(error)
    return None


def _reason(error: BaseException) -> Reason:
    if isinstance(error, JobEnded):
        return Reason(error.reason)
    return Reason.TIMEOUT if isinstance(error, JobTimeout) else Reason.ERROR


def _entry(number: int, error: BaseException, started_at: int, took: float) -> dict[str, Any]:
    return {"attempt": number, "error": describe(error)[:500], "started_at": started_at, "seconds": round(took, 3)}
