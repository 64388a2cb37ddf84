"""A failed job, as it is kept."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from dramatiq import Message
from dramatiq.errors import DecodeError

from .. import envelope
from ..claim import Claim
from ..completer import undecided
from ..errors import InvalidSetting, JobEnded
from ..job import new_job_id
from ..outcome import Outcome, Progress, Reason, describe

MAX_TRACEBACK = 64 * 1024
"""Characters of a traceback that are kept; of a longer one, its end, where the error is."""


@dataclass(frozen=True)
class FailedJob:
    """A job that was given up, with all that is known of it.

    Attributes:
      id: The job's id.
      queue: Where it was pushed.
      name: The definition's name; empty if the message couldn't be decoded.
      reason: error, timeout, crashed, invalid_payload, unknown_job or expired.
      exception: The last real error in one line.
      traceback: Its traceback.
      attempts: Each attempt: its number, error, start (milliseconds of the epoch) and seconds.
      failed_at: When it was given up.
      message: The message as it lay in the broker; retrying starts from it.
      generation: Names this failure: a job that was retried and failed again has another one.
    """

    id: str
    queue: str
    name: str
    reason: Reason
    exception: str
    traceback: str
    attempts: tuple[Mapping[str, Any], ...]
    failed_at: datetime
    message: bytes = field(repr=False)
    generation: str = field(default_factory=new_job_id)

    @property
    def payload(self) -> Mapping[str, Any] | None:
        """The payload as it was pushed; None if the message can't be decoded."""
        message = self._decoded()
        return None if message is None else message.kwargs

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the original push."""
        message = self._decoded()
        return {} if message is None else envelope.forget(message.options)

    def retried(self) -> Message[Any] | None:
        """The message that retries it: the original payload and options, no attempt spent; None if there is none."""
        message = self._decoded()
        if message is None:
            return None
        return Message(
            message.queue_name, message.actor_name, message.args, message.kwargs, dict(self.options), self.id
        )

    def _decoded(self) -> Message[Any] | None:
        try:
            message = Message.decode(self.message)
        except (DecodeError, TypeError):
            return None
        if not isinstance(message.kwargs, dict) or not isinstance(message.options, dict):
            return None
        try:
            envelope.check(message.options)
        except (TypeError, ValueError, OverflowError):
            # The payload is what counts; options that can't be read would bury it again.
            message.options.pop(envelope.OPTION)
        return message


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which failed jobs. What is None doesn't matter.

    Attributes:
      queue: Of this queue.
      name: Of this job.
      reason: For this reason.
      since: Failed at or after; without a zone, in local time.
      before: Failed before; as `since`.
      text: Somewhere in the name, the exception, the traceback or the payload, in any case.

    Raises:
      InvalidSetting: There is no such reason, or a moment is no datetime.
    """

    queue: str | None = None
    name: str | None = None
    reason: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if self.reason is not None and self.reason not in list(Reason):
            raise InvalidSetting(f"reason={self.reason!r}: give one of {', '.join(Reason)}.")
        for name in ("since", "before"):
            moment = getattr(self, name)
            if moment is not None and not isinstance(moment, datetime):
                raise InvalidSetting(f"{name}={moment!r}: give a datetime.")


EVERY = Filter()


class FailedJobStore(Protocol):
    """Where failed jobs are kept. It is dumb storage: retrying needs a queue and is not its business."""

    def add(self, job: FailedJob) -> None:
        """Keep a failed job; again for the same id replaces it."""

    def all(self, wanted: Filter, limit: int | None, offset: int) -> list[FailedJob]:
        """Those that match, newest first."""
        ...

    def find(self, id: str) -> FailedJob | None: ...

    def forget(self, id: str, generation: str | None = None) -> bool:
        """Drop one; with a generation only that failure of it. False if it wasn't there."""
        ...

    def prune(self, wanted: Filter) -> int:
        """Drop those that match; returns how many."""
        ...

    def count(self, wanted: Filter) -> int: ...


def record(message: Any) -> FailedJob:
    """A failed message as it is kept."""
    outcome: Outcome = getattr(message, "outcome", None) or undecided(message)
    error = outcome.error
    progress = outcome.progress or envelope.progress(message.options)
    claim = message if isinstance(message, Claim) else None
    return FailedJob(
        id=message.message_id,
        queue=message.queue_name,
        name=message.actor_name,
        reason=outcome.reason or Reason.ERROR,
        exception=_clean(_exception(error, progress) or str(outcome.reason)),
        traceback=_clean(progress.traceback if isinstance(error, JobEnded) else _traceback(error)),
        attempts=tuple(progress.history),
        failed_at=datetime.now(UTC),
        message=claim.raw if claim else message.encode(),
        generation=claim.generation if claim else new_job_id(),
    )


def matches(job: FailedJob, wanted: Filter) -> bool:
    """Whether a failed job is wanted."""
    if wanted.text is not None and wanted.text.lower() not in searchable(job).lower():
        return False
    return (
        wanted.queue in (None, job.queue)
        and wanted.name in (None, job.name)
        and wanted.reason in (None, job.reason)
        and (wanted.since is None or job.failed_at >= wanted.since.astimezone())
        and (wanted.before is None or job.failed_at < wanted.before.astimezone())
    )


def searchable(job: FailedJob) -> str:
    """What a text is looked for in."""
    return "\n".join((job.name, job.exception, job.traceback, shown_payload(job)))


def shown_payload(job: FailedJob) -> str:
    """The payload as text; the raw message where it can't be decoded."""
    payload = job.payload
    return _clean(job.message.decode(errors="replace") if payload is None else json.dumps(payload, ensure_ascii=False))


def _exception(error: BaseException | None, progress: Progress) -> str:
    """What went wrong: the newest error of the job's own, where it was set aside for another reason."""
    said = describe(error) if error else ""
    if isinstance(error, JobEnded) and progress.history:
        return f"{progress.history[-1].get('error')}; then {said}"
    return said


def _traceback(error: BaseException | None) -> str:
    if error is None:
        return ""
    return "".join(traceback.format_exception(error))[-MAX_TRACEBACK:]


def _clean(text: str) -> str:
    """Text that any database takes: no NUL, no lone surrogate."""
    return text.replace("\0", "�").encode(errors="replace").decode()
