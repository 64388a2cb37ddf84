"""Laravel's queue for Python, on Dramatiq: write a job once, keep the same promises on every broker.

Names are loaded at first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import backoff as backoff
    from . import errors as errors
    from .app import Gello as Gello
    from .broker import GelloBroker as GelloBroker
    from .current import current_job as current_job
    from .definition import Definition as Definition
    from .definition import PendingJob as PendingJob
    from .errors import GelloError as GelloError
    from .errors import InvalidDefinition as InvalidDefinition
    from .errors import InvalidPayload as InvalidPayload
    from .errors import JobTimeout as JobTimeout
    from .failed_jobs.failed_jobs import FailedJobs as FailedJobs
    from .failed_jobs.record import FailedJob as FailedJob
    from .job import Job as Job
    from .job import JobPriority as JobPriority
    from .job_class import Queueable as Queueable
    from .job_function import QueueableFunction as QueueableFunction
    from .job_function import queueable as queueable
    from .outcome import Fail as Fail
    from .outcome import Release as Release
    from .outcome import Retry as Retry
    from .queue import Queue as Queue
    from .registry import Registry as Registry
    from .worker import Worker as Worker
    from .worker import WorkerOptions as WorkerOptions
    from .worker import WorkerStatus as WorkerStatus

__version__ = "0.1.0"

_HOMES = {
    "Definition": "definition",
    "Fail": "outcome",
    "FailedJob": "failed_jobs.record",
    "FailedJobs": "failed_jobs.failed_jobs",
    "Gello": "app",
    "GelloBroker": "broker",
    "GelloError": "errors",
    "InvalidDefinition": "errors",
    "InvalidPayload": "errors",
    "Job": "job",
    "JobPriority": "job",
    "JobTimeout": "errors",
    "PendingJob": "definition",
    "Queue": "queue",
    "Queueable": "job_class",
    "QueueableFunction": "job_function",
    "Registry": "registry",
    "Release": "outcome",
    "Retry": "outcome",
    "Worker": "worker",
    "WorkerOptions": "worker",
    "WorkerStatus": "worker",
    "current_job": "current",
    "queueable": "job_function",
}
_MODULES = ("backoff", "errors")

__all__ = [
    "Definition",
    "Fail",
    "FailedJob",
    "FailedJobs",
    "Gello",
    "GelloBroker",
    "GelloError",
    "InvalidDefinition",
    "InvalidPayload",
    "Job",
    "JobPriority",
    "JobTimeout",
    "PendingJob",
    "Queue",
    "Queueable",
    "QueueableFunction",
    "Registry",
    "Release",
    "Retry",
    "Worker",
    "WorkerOptions",
    "WorkerStatus",
    "backoff",
    "current_job",
    "errors",
    "queueable",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
