"""Gathers what attempts came to, until it can be settled."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from dramatiq.errors import BrokerConnectionError

from .broker import Claim, GelloBroker
from .outcome import DONE, GIVEN_BACK, Kind, Outcome, Reason

log = logging.getLogger("gello.worker")

GATHER = 0.005
"""Seconds between two settles while the worker is busy; an outcome that comes alone is settled at once."""
BATCH = 1024
"""Outcomes settled together at most."""
UNDECIDED = timedelta(seconds=5)
"""What a job waits that ended in an error about which nothing was decided: a hook of ours failed."""


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
        self.waiting: list[Claim] = []
        self._closed = False
        self._broker = broker
        self._keep = keep
        self._after_failure = after_failure
        self._settled_at = 0.0
        self._aftermath: ThreadPoolExecutor | None = None

    def add(self, claim: Any) -> None:
        """Take a claim whose attempt has ended; a second time changes nothing."""
        if not claim.settled:
            claim.settled = True
            if claim.outcome is None:
                claim.outcome = undecided(claim)
            self.inbox.put(claim)

    def give_back(self, claims: Iterable[Any]) -> None:
        """Put claims back as if they had never been claimed."""
        for claim in claims:
            claim.outcome = GIVEN_BACK
            self.add(claim)

    def mark(self, claim: Claim) -> bool:
        """Note that a job is about to run; False if it is no longer this worker's. Waits for the database."""
        mark = Mark(claim)
        self.inbox.put(mark)
        if self._closed:
            self.close_marks()
        mark.answered.wait()
        claim.lost = not mark.granted
        return mark.granted

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
        """The outcomes that may be settled now: all but those of failed jobs whose row can't be written yet."""
        claims = [claim for claim in (*self.waiting, *claims) if not claim.lost]
        if self._keep is None:
            return claims
        self.waiting = []
        away = False
        for claim in claims:
            if _outcome(claim).kind is Kind.FAILED:
                if not away:
                    away = not self._kept(claim)
                if away:
                    self.waiting.append(claim)
        return [claim for claim in claims if claim not in self.waiting] if self.waiting else claims

    def settled(self, claims: Sequence[Claim], stale: int) -> None:
        """Outcomes were performed: what follows from them happens now."""
        if stale:
            self.stale += stale
            log.warning("%d outcome(s) came too late: another worker has the job by now.", stale)
        for claim in claims:
            if _outcome(claim).kind is Kind.FAILED and claim.actor_name in self._broker.actors:
                if self._aftermath is None:
                    self._aftermath = ThreadPoolExecutor(4, "gello-after-failure")
                self._aftermath.submit(self._after_failure, claim)

    def close(self) -> None:
        """Wait for what follows failures."""
        if self._aftermath is not None:
            self._aftermath.shutdown(wait=True)

    def _kept(self, claim: Claim) -> bool:
        if claim.kept or self._keep is None:
            return True
        try:
            self._keep(claim)
            claim.kept = True
        except BrokerConnectionError as error:
            log.warning("%s %s failed, and its row can't be written yet: %s", claim.actor_name, claim.message_id, error)
            return False
        return True


def _sort(item: Claim | Mark | None, claims: list[Claim], marks: list[Mark]) -> None:
    if isinstance(item, Claim):
        claims.append(item)
    elif item is not None:
        marks.append(item)


def _outcome(claim: Claim) -> Outcome:
    return claim.outcome or DONE


def undecided(claim: Any) -> Outcome:
    """The outcome of a claim about which no middleware of ours decided.

    It was skipped, rejected by a middleware such as AgeLimit, or our own hook failed: then it is given back, since an
    error that nobody judged must never be read as done.
    """
    error = claim._exception
    if claim.failed:
        expired = error is None or type(error).__name__ == "SkipMessage"
        return Outcome(Kind.FAILED, error=error, reason=Reason.EXPIRED if expired else Reason.ERROR)
    return DONE if error is None else Outcome(Kind.RELEASED, UNDECIDED, error)
