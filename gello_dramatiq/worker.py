"""The worker: Dramatiq's, with an exact stop, a status, and no consumer threads on our brokers."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import dramatiq
from dramatiq import Broker

from . import envelope
from .actor import JobActor
from .backoff import AnyBackoff
from .broker import GelloBroker
from .coordinator import Coordinator
from .durations import Duration, duration
from .errors import InvalidSetting, Unsupported
from .job import Job
from .lanes import Lane, OneLane, WorkQueue
from .options import Options, queue_name, read_options
from .signals import stopped_by_signals
from .stock import Counts

log = logging.getLogger("gello.worker")


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
      queues: The queues to serve, in this order; None is every queue that there is.
      concurrency: How many jobs run at once, each in a thread of its own.
      stop_when_empty: End when nothing is ready and nothing runs.
      max_jobs: End after so many attempts.
      max_time: End after this time.
      grace: How long running jobs may take to end when the worker stops.
      tries: `max_attempts` of jobs that don't say it themselves.
      timeout: `timeout` of jobs that don't say it themselves.
      backoff: `backoff` of jobs that don't say it themselves.
    """

    queues: Sequence[str] | None = None
    concurrency: int = 8
    stop_when_empty: bool = False
    max_jobs: int | None = None
    max_time: Duration | None = None
    grace: Duration = "30s"
    tries: int | None = None
    timeout: Duration | None = None
    backoff: AnyBackoff | None = None

    def __post_init__(self) -> None:
        for name in ("concurrency", "max_jobs"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InvalidSetting(f"{name}={value!r}: give a whole number, 1 or more.")
        if isinstance(self.queues, str):
            raise InvalidSetting(f"queues={self.queues!r}: give a list, as in queues={self.queues.split(',')}.")
        if self.queues is not None and not self.queues:
            raise InvalidSetting("queues=[]: name at least one, or leave it out to serve all.")
        for name in self.queues or ():
            queue_name(name)
        duration(self.max_time or 0)

    def limits(self) -> Options:
        """What it says about jobs that say nothing themselves."""
        said = {"max_attempts": self.tries, "timeout": self.timeout, "backoff": self.backoff}
        return read_options("worker", {name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker is doing.

    Attributes:
      state: running, paused or stopped.
      processed: Attempts that ended, in success or in error.
      failed: Jobs that were given up.
      current_jobs: Those that run now.
      started_at: When it was started; None before that.
      uptime: How long it has run, or ran until it was stopped.
      memory: The resident memory of its process, in bytes.
    """

    state: Literal["running", "paused", "stopped"]
    processed: int
    failed: int
    current_jobs: tuple[Job, ...]
    started_at: datetime | None
    uptime: timedelta
    memory: int


class Worker(dramatiq.Worker):
    """Works the jobs of a broker, in threads of this process.

    Parameters:
      broker: Where the jobs are.
      options: How it works.

    Raises:
      Unsupported: The broker has nothing to work, or can't do what an option asks.
    """

    def __init__(self, broker: Broker, options: WorkerOptions) -> None:
        if getattr(broker, "name", "") == "sync":
            raise Unsupported("The sync broker runs every job inside `push`, so there is nothing for a worker to do.")
        if not isinstance(broker, GelloBroker):
            _refuse_on_stock(type(broker).__name__, options)
        queues = set(options.queues) if options.queues else None
        super().__init__(broker, queues=queues, worker_threads=options.concurrency)
        self.options = options
        self.limits = options.limits()
        self.queue_order = list(options.queues) if options.queues else None
        self._grace = duration(options.grace).total_seconds()
        self._state: Literal["running", "paused", "stopped"] = "stopped"
        self._started_at: datetime | None = None
        self._began = self._ended = 0.0
        self._stop_asked = threading.Event()
        self._stopping = threading.Lock()
        self._coordinator: Coordinator | None = None
        self._counts: Coordinator | Counts | None = None

    def start(self) -> None:
        """Begin to work, in threads; returns at once."""
        if self._state != "stopped":
            return
        for name in self.queue_order or ():
            self.broker.declare_queue(name)
        if not getattr(self.broker, "_booted", False):
            self.broker.emit_after("process_boot")
            # Brokers of ours know it themselves.
            vars(self.broker)["_booted"] = True
        if isinstance(self.broker, GelloBroker):
            self._start_on(self.broker)
        else:
            self._counts = Counts(self)
            self.broker.add_middleware(self._counts)
            super().start()
        self._state, self._started_at, self._began = "running", datetime.now(UTC), time.monotonic()

    def run(self) -> int:
        """Work until it is stopped, a limit is reached, or, with `stop_when_empty`, nothing is left.

        In the main thread SIGTERM and SIGINT stop it gracefully, and a second one at once. Returns the exit code: 0, or
        1 if a worker thread died.
        """
        self._stop_asked.clear()
        with stopped_by_signals(self._stop_asked.set):
            self.start()
            while not self._stop_asked.wait(0.05) and not self._is_over() and self._whole():
                pass
            if self._stop_asked.is_set() and (running := self.status().current_jobs):
                log.info("Stopping: %d job(s) run, and may end within %gs; a second signal gives them up.",
                         len(running), self._grace)  # fmt: skip
            died = not self._whole()
            self.stop()
        return int(died)

    def stop(self, timeout: float | None = None) -> None:
        """Stop claiming, give back what has not started, let running jobs end, settle.

        Parameters:
          timeout: Seconds that running jobs may take; the option `grace` when it is None.
        """
        self._stop_asked.set()
        with self._stopping:
            if self._state != "stopped":
                self._stop(timeout)

    def _stop(self, timeout: float | None) -> None:
        self.stop_by = until = time.monotonic() + (self._grace if timeout is None else timeout)
        if isinstance(self.broker, GelloBroker):
            self.broker.emit_before("worker_shutdown", self)
            self._join_threads(until)
            self.broker.emit_after("worker_shutdown", self)
        else:
            super().stop(int((until - time.monotonic()) * 1000))
            self.broker.middleware = [m for m in self.broker.middleware if getattr(m, "worker", None) is not self]
        self._state, self._ended = "stopped", time.monotonic()

    def pause(self) -> None:
        """Stop claiming, and give back what has not started; running jobs go on."""
        if isinstance(self.broker, GelloBroker):
            self._fed().pause()
        else:
            super().pause()
        self._state = "paused"

    def resume(self) -> None:
        """Claim again."""
        if isinstance(self.broker, GelloBroker):
            self._fed().resume()
        else:
            super().resume()
        self._state = "running"

    def status(self) -> WorkerStatus:
        """What it is doing now."""
        counts = self._counts
        running = counts.running() if counts and self._state != "stopped" else ()
        return WorkerStatus(
            state=self._state,
            processed=counts.processed if counts else 0,
            failed=counts.failed if counts else 0,
            current_jobs=tuple(self._job(message) for message in running),
            started_at=self._started_at,
            uptime=self._uptime(),
            memory=resident_memory(),
        )

    def join(self) -> None:
        """Wait until nothing is ready, held or unsettled, until `max_jobs` are done, or until the worker has ended."""
        if isinstance(self.broker, GelloBroker):
            self._fed().wait_until_drained()
        else:
            super().join()

    def _fed(self) -> Coordinator:
        if self._coordinator is None or self._state == "stopped":
            raise Unsupported("This worker isn't running; start() it first.")
        return self._coordinator

    def _start_on(self, broker: GelloBroker) -> None:
        self.work_queue = cast(Any, WorkQueue())
        self.workers.clear()
        broker.emit_before("worker_boot", self)
        self._coordinator = self._counts = coordinator = broker.coordinator
        if coordinator is None:
            raise Unsupported(
                "This broker has no FeedWorkers middleware; let Gello make it, or wire it by Gello(broker=…)."
            )
        self.consumers = cast(Any, OneLane(Lane(broker, coordinator.completer)))
        coordinator.max_jobs = self.options.max_jobs
        coordinator.hand_to(cast(WorkQueue, self.work_queue).put)
        try:
            coordinator.attach()
        except BaseException:
            broker.coordinator = None
            raise
        for _ in range(self.worker_threads):
            self._add_worker()
        broker.emit_after("worker_boot", self)

    def _uptime(self) -> timedelta:
        until = self._ended if self._state == "stopped" else time.monotonic()
        return timedelta(seconds=until - self._began)

    def _is_over(self) -> bool:
        options, coordinator = self.options, self._coordinator
        if options.max_time is not None and self._uptime() >= duration(options.max_time):
            return True
        if coordinator is None:
            return False
        if options.max_jobs is not None and coordinator.processed >= options.max_jobs:
            return True
        return options.stop_when_empty and bool(coordinator.drained)

    def _whole(self) -> bool:
        """Whether all threads live, unless they were asked to end; a dead one ends the process."""
        if self._stop_asked.is_set():
            return True
        dead = sum(not thread.is_alive() for thread in self.workers)
        if dead:
            log.critical("%d worker thread(s) died; the worker ends.", dead)
        return not dead and not (self._coordinator and self._coordinator.ended.is_set())

    def _join_threads(self, until: float) -> None:
        """Wait for the worker threads, telling them again and again: one that starts late overwrites its flag."""
        for thread in self.workers:
            thread.stop()
        cast(WorkQueue, self.work_queue).wake(len(self.workers))
        for thread in self.workers:
            while thread.is_alive() and time.monotonic() < until:
                thread.stop()
                thread.join(min(0.1, max(until - time.monotonic(), 0)))
        left = sum(thread.is_alive() for thread in self.workers)
        if left:
            log.warning("%d job(s) didn't end within the grace; they go back and run again elsewhere.", left)

    def _job(self, message: Any) -> Job:
        actor = self.broker.actors.get(message.actor_name)
        return actor.job_of(message) if isinstance(actor, JobActor) else envelope.job(message, None, 1)


def _refuse_on_stock(broker: str, options: WorkerOptions) -> None:
    for option, said, reason in (
        ("stop_when_empty", options.stop_when_empty, "can't tell when its queues are empty"),
        ("max_jobs", options.max_jobs is not None, "hands out more jobs than its worker has threads"),
    ):
        if said:
            raise Unsupported(
                f"{option} can't be kept on {broker}, a stock broker: it {reason}. "
                "Let Gello make a broker, from a URL, or drop the option."
            )


def resident_memory() -> int:
    """The resident memory of this process, in bytes; 0 where the system doesn't say."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
