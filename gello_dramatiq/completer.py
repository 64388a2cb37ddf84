"""Gathers what attempts came to, until it can be settled."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from dramatiq.errors import ActorNotFound, BrokerConnectionError
from dramatiq.middleware import SkipMessage

from .aside import Aside
from .broker import GelloBroker
from .claim import Claim
from .outcome import DONE, GIVEN_BACK, Kind, Outcome, Reason

log = logging.getLogger("gello.worker")

GATHER = 0.005
"""Seconds between two settles while the worker is busy; an outcome that comes alone is settled at once."""
BATCH = 4096
"""Outcomes settled together at most."""
MAX_WAITING = 1000
"""Failed jobs that may wait for their row before no more jobs are claimed."""
UNDECIDED = timedelta(seconds=5)
"""What a job waits that ended in an error about which nothing was decided: a hook of ours failed."""
PUT_OFF = Outcome(Kind.RELEASED, UNDECIDED)
"""For a job whose own outcome can't be settled."""


class Mark:
    """A thread's wish to note in the broker that it begins a job, and its wait for the answer."""

    __slots__ = ("answered", "claim", "granted")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.granted = False
        self.answered = threading.Event()


class Completer:
    """Takes outcomes from worker threads; one thread, the coordinator's, gathers and settles them.

    A failed job's row is written before the message is given up. Where that isn't part of settling and the failed
    jobs' database is away, the outcome waits here, unsettled, while others go on.

    Parameters:
      broker: Who settles.
      keep: Writes the row of a failed job; None where settling does.
      after_failure: Called once for each failed job after its row exists, in a thread of its own.
    """

    def __init__(
        self,
        broker: GelloBroker,
        keep: Callable[[Claim], None] | None,
        after_failure: Callable[[Claim], None],
    ) -> None:
        self.inbox: queue.SimpleQueue[Claim | Mark | None] = queue.SimpleQueue()
        self.stale = 0
        self.waiting: set[Claim] = set()
        self._closed = False
        self._broker = broker
        self._keep = keep
        self._after_failure = after_failure
        self._settled_at = 0.0
        self._marking = threading.Lock()
        self._unmarked: set[Claim] = set()
        # Apart, so that hooks which take long keep no row from being written.
        self._keepers, self._hooks = Aside("gello-failures"), Aside("gello-hooks")

    def add(self, claim: Any, outcome: Outcome | None = None) -> None:
        """Take a claim whose attempt has ended; a second time changes nothing.

        Parameters:
          outcome: What it came to, where the claim doesn't say so itself.
        """
        if claim.end():
            if outcome is not None:
                claim.outcome = outcome
            elif claim.outcome is None:
                claim.outcome = undecided(claim)
            self.inbox.put(claim)

    def give_back(self, claims: Iterable[Any]) -> None:
        """Put claims back as if they had never been claimed."""
        for claim in claims:
            self.add(claim, GIVEN_BACK)

    def mark(self, claim: Claim) -> bool:
        """Note that a job is about to run; False if it is no longer this worker's. Waits for the database."""
        mark = Mark(claim)
        with self._marking:
            self._unmarked.add(claim)
        self.inbox.put(mark)
        if self._closed:
            self.close_marks()
        mark.answered.wait()
        claim.lost = not mark.granted
        with self._marking:
            self._unmarked.discard(claim)
            return mark.granted and not claim.settled

    def give_back_unmarked(self) -> None:
        """Put back what still waits for its mark: it hasn't begun, and doesn't any more."""
        with self._marking:
            self.give_back(self._unmarked)

    def close_marks(self) -> None:
        """Refuse every start that still waits for its mark, and those that come: nobody settles here any more."""
        self._closed = True
        kept: list[Claim | None] = []
        try:
            while True:
                item = self.inbox.get_nowait()
                if isinstance(item, Mark):
                    item.answered.set()
                else:
                    kept.append(item)
        except queue.Empty:
            pass
        for each in kept:
            self.inbox.put(each)

    def wake(self) -> None:
        """Make the gathering thread look around."""
        self.inbox.put(None)

    def gather(self, timeout: float, *, watch: bool, hurry: bool) -> tuple[list[Claim], list[Mark]]:
        """Wait for something to do, then take all of it.

        Parameters:
          timeout: Seconds to wait at most.
          watch: Also end the wait when the broker sees work that came from elsewhere.
          hurry: Don't wait for more outcomes to settle with the first: threads are idle.
        """
        try:
            item = self._broker.wait(self.inbox, timeout) if watch else self.inbox.get(timeout=timeout)
        except queue.Empty:
            return [], []
        claims: list[Claim] = []
        marks: list[Mark] = []
        _sort(item, claims, marks)
        pause = GATHER - (time.monotonic() - self._settled_at)
        if claims and not marks and not hurry and pause > 0:
            time.sleep(pause)
        try:
            while len(claims) < BATCH:
                _sort(self.inbox.get_nowait(), claims, marks)
        except queue.Empty:
            pass
        self._settled_at = time.monotonic()
        return claims, marks

    def settleable(self, claims: Sequence[Claim]) -> list[Claim]:
        """The outcomes that may be settled now: all but those of failed jobs whose row must be written first."""
        ready = []
        for claim in claims:
            self.waiting.discard(claim)
            if claim.lost:
                continue
            if self._keep is not None and not claim.kept and _outcome(claim).kind is Kind.FAILED:
                self.waiting.add(claim)
                self._keepers.submit(self._keep_at_last, claim)
            else:
                ready.append(claim)
        return ready

    @property
    def full(self) -> bool:
        """Whether so many failed jobs wait for their row that no more should be claimed."""
        return len(self.waiting) >= MAX_WAITING

    def settled(self, claims: Sequence[Claim], stale: int) -> None:
        """Outcomes were performed: what follows from them happens now."""
        if stale:
            self.stale += stale
            log.warning(
                "%d outcome(s) came too late and changed nothing: another worker has or had the job, or they were "
                "settled before, by a commit whose answer was lost.",
                stale,
            )
        for claim in claims:
            if _outcome(claim).kind is Kind.FAILED and claim.kept and claim.actor_name in self._broker.actors:
                self._hooks.submit(self._after_failure, claim)

    def close(self, until: float) -> None:
        """End the helper threads, once what they do is done, or at this moment of the monotonic clock."""
        self._closed = True
        self._keepers.close(until)
        left = self._hooks.close(until)
        if left:
            log.warning("%d on_failure hook(s) didn't end within the grace, or never began.", left)

    def _keep_at_last(self, claim: Claim) -> None:
        """Write the row of a failed job, however long its database is away; then the outcome can be settled."""
        name, wait = f"{claim.actor_name} {claim.message_id}", 0.1
        while self._keep is not None and not self._closed:
            try:
                # What is another worker's by now is no failure. A rescue between this and settling is: rows first.
                claim.lost = not self._broker.mark([claim])
                if claim.lost:
                    self.stale += 1
                    log.warning("%s failed, and came too late: another worker has or had it.", name)
                else:
                    self._keep(claim)
                break
            except BrokerConnectionError as error:
                log.warning("%s failed, and its row can't be written yet: %s", name, error)
                time.sleep(wait)
                wait = min(wait * 2, 1)
            except Exception:
                log.exception("%s failed, and its row can't be written; it is given back.", name)
                claim.outcome = PUT_OFF
                break
        if not self._closed:
            claim.kept = not claim.lost
            self.inbox.put(claim)


def _sort(item: Claim | Mark | None, claims: list[Claim], marks: list[Mark]) -> None:
    if isinstance(item, Claim):
        claims.append(item)
    elif item is not None:
        marks.append(item)


def _outcome(claim: Claim) -> Outcome:
    return claim.outcome or DONE


def undecided(message: Any) -> Outcome:
    """The outcome of a message about which no middleware of ours decided.

    It was skipped, rejected by a middleware such as AgeLimit, unknown to the consumer of a stock broker, or our own
    hook failed: then it is given back, since an error that nobody judged must never be read as done.
    """
    error = message._exception
    if message.failed:
        return Outcome(Kind.FAILED, error=error, reason=_why_rejected(error))
    return DONE if error is None else Outcome(Kind.RELEASED, UNDECIDED, error)


def _why_rejected(error: BaseException | None) -> Reason:
    if isinstance(error, ActorNotFound):
        return Reason.UNKNOWN_JOB
    return Reason.EXPIRED if error is None or isinstance(error, SkipMessage) else Reason.ERROR
