"""The broker that runs a job where it is pushed, through Dramatiq's own processing: the same hooks and retries."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Literal, cast

from dramatiq import Middleware
from dramatiq.worker import ConsumerThread, WorkerThread

from ..broker import Encoded, GelloBroker, State
from ..claim import Claim
from ..completer import undecided
from ..deadline import calm
from ..errors import JobUnknown, Unsupported
from ..outcome import Kind, Outcome, Reason

Sleep = Literal["none", "later", "all"]
_Job = tuple[Claim, float]
"""A job and its delay in seconds."""


class SyncBroker(GelloBroker):
    """Runs a job inside `push`, with its retries; the error of the last attempt is raised there.

    A job that is pushed by a running job runs after it, not inside it, so that no chain of jobs is too deep.

    Parameters:
      middleware: Dramatiq's kind.
      sleep: What really waits: "later" (the default) jobs pushed with a delay, "all" also the waits between attempts,
        "none" nothing.
    """

    name = "sync"

    def __init__(self, middleware: list[Middleware] | None = None, *, sleep: Sleep = "later") -> None:
        super().__init__(middleware)
        self.sleep = sleep
        self.keep: Callable[[Claim], None] | None = None
        self.after_failure: Callable[[Claim], None] | None = None
        self.after_success: Callable[[Claim], None] | None = None
        self._round: ContextVar[_Round | None] = ContextVar("gello_sync_round", default=None)

    def put(self, messages: Sequence[Encoded]) -> None:
        if not self._booted:
            self.emit_after("process_boot")
        jobs = [
            (Claim(message.message_id, 1, raw, queue=message.queue_name), (delay or 0) / 1000)
            for message, delay, raw in messages
        ]
        running = self._round.get()
        if running is not None and running.take(jobs):
            return
        token = self._round.set(running := _Round(jobs))
        errors: list[BaseException] = []
        try:
            for claim, delay in running:
                if self.sleep != "none":
                    time.sleep(delay)
                try:
                    errors += self._run_to_its_end(claim)
                except Exception as error:  # noqa: BLE001 (a row that can't be kept must not lose the jobs that follow)
                    errors.append(error)
        finally:
            self._round.reset(token)
        if errors:
            raise errors[0]

    def _run_to_its_end(self, claim: Claim) -> list[BaseException]:
        while True:
            outcome = self._attempt(claim)
            if isinstance(outcome.error, KeyboardInterrupt):
                raise outcome.error
            if outcome.kind is Kind.DONE:
                if self.after_success is not None:
                    self.after_success(claim)
                return []
            if outcome.kind is Kind.FAILED:
                return [self._fail(claim, outcome)]
            if self.sleep == "all":
                time.sleep(outcome.delay.total_seconds())
            claim = Claim(claim.key, claim.lease + 1, claim.remembering(), queue=claim.queue_name)

    def _attempt(self, claim: Claim) -> Outcome:
        if claim.outcome is None and claim.actor_name not in self.actors:
            # Nobody else will know it later, as in a rolling deploy.
            reason = JobUnknown(f"No job is called {claim.actor_name!r} here.")
            claim.outcome = Outcome(Kind.FAILED, error=reason, reason=Reason.UNKNOWN_JOB)
            return claim.outcome
        thread = WorkerThread(
            broker=self,
            consumers={claim.queue_name: cast(ConsumerThread, _Here(self))},
            work_queue=cast(Any, queue.Queue()),
            worker_timeout=0,
        )
        thread.work_queue.put(cast(Any, claim))
        thread.process_message(claim)
        return claim.outcome or undecided(claim)

    def _fail(self, claim: Claim, outcome: Outcome) -> BaseException:
        if self.keep is not None:
            self.keep(claim)
        if self.after_failure is not None:
            self.after_failure(claim)
        return outcome.error or Exception(f"{claim.actor_name} failed: {outcome.reason}")

    def claim(self, owner: str, queues: Sequence[str], limit: int) -> list[Claim]:
        raise Unsupported("The sync broker has no queue to work: it runs every job inside `push`.")

    def settle(self, claims: Sequence[Claim]) -> int:
        raise Unsupported("The sync broker settles every job inside `push`.")

    def size(self, queue: str, state: State = "ready") -> int:
        return 0

    def clear(self, queue: str) -> int:
        return 0

    def queue_names(self) -> set[str]:
        return set(self.queues)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Nothing ever waits here."""


class _Round:
    """The jobs of one push, and those that they push while it lasts."""

    def __init__(self, jobs: Iterable[_Job]) -> None:
        self._jobs = deque(jobs)
        self._lock = threading.Lock()
        self._over = False

    def take(self, jobs: Iterable[_Job]) -> bool:
        """Run these too; False if it is over: what a job left behind, a task or a thread, pushes for itself."""
        with calm(), self._lock:
            if not self._over:
                self._jobs.extend(jobs)
            return not self._over

    def __iter__(self) -> Iterator[_Job]:
        while (job := self._next()) is not None:
            yield job

    def _next(self) -> _Job | None:
        with calm(), self._lock:
            self._over = not self._jobs
            return None if self._over else self._jobs.popleft()


class _Here:
    """Stands where Dramatiq expects a consumer: the outcome is read from the claim."""

    def __init__(self, broker: SyncBroker) -> None:
        self._broker = broker

    def post_process_message(self, claim: Claim) -> None:
        signal = "nack" if claim.failed else "ack"
        self._broker.emit_before(signal, claim)
        self._broker.emit_after(signal, claim)
