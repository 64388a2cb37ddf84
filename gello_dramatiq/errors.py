"""Every error of Gello, in one tree.

::

    GelloError
    ├── InvalidDefinition        a job that is declared wrongly
    ├── InvalidDuration          a duration that can't be read
    ├── InvalidPayload           a payload that its job doesn't take
    │   └── PayloadTooLarge
    ├── InvalidQueueName
    ├── InvalidSetting           a setting, URL or argument that can't be used
    ├── NoCurrentApp, NoCurrentJob
    ├── UnknownJob, DuplicateJob
    ├── FailedJobNotFound
    ├── ImportFailed             a module or app that can't be loaded
    ├── Unsupported              something that this broker can't do
    │   └── WorkerRunning        (also Dramatiq's MiddlewareError, which it lets through)
    ├── DatabaseUnavailable      (also Dramatiq's BrokerConnectionError)
    │   └── TablesMissing
    └── JobEnded                 why a job was set aside without an error of its own
        ├── JobCrashed, JobExpired, JobUnloadable, JobUnknown

    Interrupt (Dramatiq)
    └── JobTimeout

    Retry (Dramatiq)
    └── Spoken                   what a handler raises to speak: Release, Retry, Fail (outcome.py)

An error's docstring is its message when there is nothing to add.
"""

from __future__ import annotations

from dramatiq.errors import BrokerConnectionError
from dramatiq.errors import Retry as DramatiqRetry
from dramatiq.middleware import MiddlewareError
from dramatiq.threading import Interrupt


class GelloError(Exception):
    """Something went wrong in Gello."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or "")


class InvalidDefinition(GelloError):
    """This job is declared in a way that can't work."""


class InvalidDuration(GelloError, ValueError):
    """A duration is a timedelta, a number of seconds, or a text such as "30s", "5m" or "1h30m"."""


class InvalidPayload(GelloError, ValueError):
    """The payload isn't what the job takes."""


class PayloadTooLarge(InvalidPayload):
    """The payload is larger than the limit; store the data elsewhere and push a reference to it."""


class InvalidQueueName(GelloError, ValueError):
    """A queue name starts with a letter or "_" and goes on with letters, digits, ".", "_" and "-"."""


class InvalidSetting(GelloError, ValueError):
    """A setting can't be used."""


class NoCurrentApp(GelloError):
    """No Gello app is in use, so there is no queue to push to.

    Create one first, `gello = Gello("sqlite:///gello.db", modules=["myapp.jobs"])`, import the module that
    does, or push through an app that you hold: `gello.queue.push(job, …)`. A test needs none: see
    `gello_dramatiq.testing`.
    """


class NoCurrentJob(GelloError):
    """current_job() only has an answer while a job runs, inside its handler, hooks and middleware."""


class UnknownJob(GelloError, LookupError):
    """No job of this name is registered."""


class DuplicateJob(GelloError):
    """Two jobs have the same name."""


class FailedJobNotFound(GelloError, LookupError):
    """No failed job has this id; `gello failed` lists those that are kept."""


class ImportFailed(GelloError):
    """A module or an app can't be loaded."""


class Unsupported(GelloError):
    """This broker can't do that."""


class WorkerRunning(Unsupported, MiddlewareError):
    """This app has a worker in this process already; stop it first, or give one worker more concurrency."""


class Unavailable(GelloError, BrokerConnectionError):
    """A server can't be reached or used just now."""


class BrokerUnavailable(Unavailable):
    """The broker can't be reached or used just now."""


class DatabaseUnavailable(Unavailable):
    """The database can't be reached or used just now."""


class TablesMissing(DatabaseUnavailable):
    """The database has no Gello tables; create them with `gello db install`."""


class JobEnded(GelloError):
    """A job was set aside for a reason that is no error of its handler."""

    reason = "error"


class JobCrashed(JobEnded):
    """The worker process died each time this job ran, so it isn't tried again."""

    reason = "crashed"


class JobExpired(JobEnded):
    """The job's `retry_until` had passed before it could run."""

    reason = "expired"


class JobUnloadable(JobEnded):
    """The message or its payload can't be loaded; its raw data is kept."""

    reason = "invalid_payload"


class JobUnknown(JobEnded):
    """No worker knew a job of this name for an hour."""

    reason = "unknown_job"


class JobTimeout(Interrupt):
    """The handler ran past its timeout."""


class Spoken(DramatiqRetry):
    """What a handler raises to speak; Dramatiq logs it quietly."""

    def __str__(self) -> str:
        return str(self.message)
