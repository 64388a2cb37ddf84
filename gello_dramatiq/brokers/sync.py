"""The broker that runs a job where it is pushed, through Dramatiq's own processing: the same hooks and retries."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Literal, cast

from dramatiq import Middleware
from dramatiq.worker import ConsumerThread, WorkerThread

from ..broker import Delayed, GelloBroker, State
from ..claim import Claim
from ..completer import undecided
from ..errors import JobUnknown, Unsupported
from ..outcome import Kind, Outcome, Reason

Sleep = Literal["none", "later", "all"]


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
        self._pending: ContextVar[deque[tuple[Claim, float]] | None] = ContextVar("gello_sync_pending", default=None)

    def put(self, messages: Sequence[Delayed]) -> None:
        if not self._booted:
            self.emit_after("process_boot")
        jobs = [
            (Claim(message.message_id, 1, message.encode(), queue=message.queue_name), (delay or 0) / 1000)
            for message, delay in messages
        ]
        pending = self._pending.get()
        if pending is not None:
            pending.extend(jobs)
            return
        token = self._pending.set(pending := deque(jobs))
        errors: list[BaseException] = []
        try:
            while pending:
                claim, delay = pending.popleft()
                if self.sleep != "none":
                    time.sleep(delay)
                errors += self._run_to_its_end(claim)
        finally:
            self._pending.reset(token)
        if errors:
            raise errors[0]

    def _run_to_its_end(self, claim: Claim) -> list[BaseException]:
        while True:
            outcome = self._attempt(claim)
            if outcome.kind is Kind.DONE:
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


class _Here:
    """Stands where Dramatiq expects a consumer: the outcome is read from the claim."""

    def __init__(self, broker: SyncBroker) -> None:
        self._broker = broker

    def post_process_message(self, claim: Claim) -> None:
        signal = "nack" if claim.failed else "ack"
        self._broker.emit_before(signal, claim)
        self._broker.emit_after(signal, claim)
