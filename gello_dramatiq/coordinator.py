"""Claims jobs for all queues of a process, hands them to its worker threads, and settles what they came to.

One thread does it all: it is the only poller, it keeps the order of the queues, and where broker and database are one
it settles and claims in the same transaction.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from dramatiq.errors import BrokerConnectionError
from dramatiq.worker import Worker

from .appetite import Appetite
from .broker import GelloBroker
from .claim import Claim
from .completer import Completer, Mark
from .drained import Drained
from .errors import JobCrashed, TablesMissing
from .lanes import Lane, Unstarted
from .outcome import GIVEN_BACK, Kind, Outcome, Reason
from .served import ServedQueues
from .settler import Settler
from .unknown import unknown_job

log = logging.getLogger("gello.worker")

PATIENCE = 0.25
"""Seconds that a job may lie here unstarted; then it goes back to where another worker can have it."""
IDLE = 1.0
"""Seconds between two looks at the broker that nothing asked for."""
STOPPED = "The worker stopped while this job ran, and rerun_after_crash=False."


class Coordinator:
    """Feeds one Dramatiq worker from one broker of ours.

    Parameters:
      broker: Where the jobs are.
      worker: Whose threads run them.
      completer: Takes what they came to.
      queues: The queues to serve, in order; None is every queue that there is.

    Attributes:
      max_jobs: How many attempts it begins at most; None is without end.
    """

    def __init__(self, broker: GelloBroker, worker: Worker, completer: Completer, queues: list[str] | None) -> None:
        self.broker = broker
        self.worker = worker
        self.completer = completer
        self.owner = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.max_jobs: int | None = None
        self.held: set[Claim] = set()
        self.settler = Settler(broker, completer)
        self.drained = Drained()
        self._lanes: dict[str, Lane] = {}
        self._direct: Callable[[Claim], None] | None = None
        self._served = ServedQueues(queues, broker.ready_queues)
        self._stopping = False
        self._attached = False
        self._given_up = False
        self.ended = threading.Event()
        self._appetite = Appetite(worker.worker_threads, time.monotonic, broker.claim_size)
        self._unstarted = Unstarted(worker, self._lanes)
        self._trouble = 0
        self._thread = threading.Thread(target=self._run, name="gello-coordinator", daemon=True)

    def attach(self) -> None:
        """Make the worker known to its broker.

        Raises:
          BrokerConnectionError: The broker can't be reached.
        """
        if not self._attached:
            self.owner = self.broker.attach(self.owner, self)
            self._attached = True

    def start(self) -> None:
        """Begin to claim and settle."""
        self.completer.wake()
        self._thread.start()

    def hand_to(self, put: Callable[[Claim], None]) -> None:
        """Hand claims straight to a work queue, without Dramatiq's consumer threads between."""
        self._direct = put

    def lane(self, queue_name: str, timeout: float) -> Lane:
        """The road to one of Dramatiq's consumer threads."""
        lane = self._lanes[queue_name] = Lane(self.broker, self.completer, timeout)
        self.completer.wake()
        return lane

    def mark(self, claim: Claim) -> bool:
        """Note in the broker that a job begins; False if it isn't this worker's any more."""
        return self.completer.mark(claim)

    def pause(self, *queues: str) -> None:
        """Stop claiming from these queues, or from all, and give back what has not started."""
        self._served.pause(*queues)
        self.completer.wake()

    def resume(self, *queues: str) -> None:
        """Claim again, from these queues or from all."""
        self._served.resume(*queues)
        self.completer.wake()

    def finish(self, timeout: float) -> bool:
        """Give back what has not started, settle everything, and end; False if that took too long."""
        until = time.monotonic() + timeout
        self.pause()
        self._stopping = True
        self.completer.wake()
        ended = self.ended.wait(max(timeout, 0))
        self._given_up = not ended
        self.completer.close(until)
        return ended

    def abandon(self) -> None:
        """Give up on what still runs: it goes back to the broker, and a late outcome of it changes nothing.

        A job that must not rerun, and that has begun, is kept as failed instead.
        """
        self.completer.give_back_unmarked()
        for claim in self.held.copy():
            actor = self.broker.actors.get(claim.actor_name)
            if claim.started and getattr(actor, "runs_once", False):
                self.completer.add(claim, Outcome(Kind.FAILED, error=JobCrashed(STOPPED), reason=Reason.CRASHED))
            else:
                self.completer.add(claim, GIVEN_BACK)

    @property
    def processed(self) -> int:
        """How many attempts ended."""
        return self.settler.processed

    @property
    def failed(self) -> int:
        """How many jobs were given up."""
        return self.settler.failed

    def running(self) -> list[Claim]:
        """The claims that are being run now."""
        return [claim for claim in self.held.copy() if claim.started and not claim.settled]

    def wait_until_drained(self) -> None:
        """Wait until nothing is ready, held or unsettled, until `max_jobs` are done, or until this has ended."""
        self.drained.wait(self.completer.wake)

    def knows(self) -> set[Any]:
        """The keys of all claims that are held here or wait to be settled."""
        return {claim.key for claims in (self.held, self.settler.unsettled, self.completer.waiting) for claim in claims}

    def serves(self) -> list[str]:
        """The queues that are served now, in order."""
        # Dramatiq's launcher says which queues: it asks for a consumer of each.
        return list(self._lanes) if self._direct is None else self._served.names(look=not self.held)

    def _run(self) -> None:
        try:
            while not self._given_up and (not self._stopping or self._left()):
                self._try_a_turn()
        except TablesMissing as error:
            log.critical("The worker ends; what it holds runs again once there are tables: %s", error)
        except Exception:
            log.critical("The coordinator can't go on, and ends; what it holds runs again elsewhere.", exc_info=True)
        finally:
            self._end()

    def _try_a_turn(self) -> None:
        try:
            self.attach()
            self._turn()
            if self._trouble:
                log.warning("The %s broker is back.", self.broker.name)
                self._trouble = 0
        except TablesMissing:
            raise
        except BrokerConnectionError as error:
            self._wait_for_broker(error)
        except Exception:
            log.exception("The coordinator met an error that it doesn't know; it goes on.")
            self.settler.settle_one_by_one()
            time.sleep(PATIENCE)

    def _end(self) -> None:
        try:
            self.broker.detach(self.owner)
        except BrokerConnectionError as error:
            log.warning("The %s broker couldn't be told that this worker has ended: %s", self.broker.name, error)
        finally:
            self.ended.set()
            self.drained.end()
            self.completer.close_marks()
            self.settler.close()

    def _turn(self) -> None:
        """Gather, settle and claim, hand out."""
        want = self._want()
        claims, marks = self.completer.gather(self._patience(want), watch=want > 0, hurry=want > 0 and self._idle())
        self.held.difference_update(claims)
        self._appetite.completed(sum(claim.outcome is not GIVEN_BACK for claim in claims))
        self.settler.unsettled += claims
        self._answer(marks)
        self._take_back_what_must_not_stay()
        self._exchange()

    def _exchange(self) -> None:
        while True:
            # First, as what waits for its row counts against what is wanted.
            self.settler.sift()
            want = min(self._want(), self.broker.claim_size)
            queues = [name for name in self.serves() if self._served.let(name)] if want > 0 else []
            self.drained.look()
            claimed, sure = self.settler.exchange(self.owner, queues, want, self._hand_out)
            if not claimed and not self.held and not self.completer.waiting and (want > 0 or self._has_done_all()):
                if not sure:
                    continue
                self.drained.found_nothing()
            if claimed < want or self._want() < self.broker.claim_size:
                return

    def _want(self) -> int:
        if not self._served.open or self._stopping or self.completer.full:
            return 0
        wanted = self._appetite.wanted(len(self.held))
        if self.max_jobs is None:
            return wanted
        taken = self.processed + len(self.held) + len(self.settler.unsettled) + len(self.completer.waiting)
        return min(wanted, max(self.max_jobs - taken, 0))

    def _has_done_all(self) -> bool:
        return self.max_jobs is not None and self.processed >= self.max_jobs

    def _idle(self) -> bool:
        return len(self.held) < self.worker.worker_threads

    def _hand_out(self, claims: list[Claim]) -> None:
        if not claims:
            return
        # A pause may have come while the broker was asked.
        late = [claim for claim in claims if not self._served.let(claim.queue_name)]
        self.completer.give_back(late)
        runnable = [claim for claim in claims if not claim.settled and self._known(claim)]
        self.held.update(runnable)
        self._unstarted.add(runnable)
        for claim in runnable:
            if self._direct is not None:
                self._direct(claim)
            else:
                self._lanes[claim.queue_name].claims.put(claim)

    def _known(self, claim: Claim) -> bool:
        """Whether a claim can be run; if not, its outcome is on its way."""
        if claim.outcome is None and claim.actor_name not in self.broker.actors:
            claim.outcome = unknown_job(claim)
        if claim.outcome is None:
            return True
        claim.failed = claim.outcome.kind is Kind.FAILED
        self.completer.add(claim)
        return False

    def _answer(self, marks: list[Mark]) -> None:
        if not marks:
            return
        try:
            granted = self.broker.mark([mark.claim for mark in marks])
        except Exception:
            for mark in marks:
                self.completer.inbox.put(mark)
            raise
        for mark in marks:
            mark.granted = mark.claim in granted
            mark.answered.set()

    def _patience(self, want: int) -> float:
        """How long to wait for something to happen."""
        waiting = self._unstarted.since()
        if waiting is None:
            return IDLE
        return max(PATIENCE - (time.monotonic() - waiting), 0.001)

    def _take_back_what_must_not_stay(self) -> None:
        waiting = self._unstarted.since()
        if waiting is None:
            return
        if time.monotonic() - waiting > PATIENCE:
            self._appetite.forget()
            self.completer.give_back(self._unstarted.take(lambda claim: True))
        elif self._served.paused:
            self.completer.give_back(self._unstarted.take(lambda claim: not self._served.let(claim.queue_name)))

    def _left(self) -> bool:
        """Whether anything is still to be settled."""
        return self._attached and bool(
            self.settler.unsettled or self.completer.waiting or not self.completer.inbox.empty()
        )

    def _wait_for_broker(self, error: BaseException) -> None:
        wait = min(0.1 * 2**self._trouble, 1.0)
        if self._trouble == 0:
            log.warning("The %s broker can't be used; trying again until it can: %s", self.broker.name, error)
        self._trouble += 1
        time.sleep(wait)
