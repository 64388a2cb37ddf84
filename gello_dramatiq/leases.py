"""Who lives: a worker beats for all that it holds, and every worker watches the others."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dramatiq.errors import BrokerConnectionError

from .backoff import exponential

if TYPE_CHECKING:
    from .coordinator import Coordinator

log = logging.getLogger("gello.worker")

BEATS = 5
"""Beats in one lease."""
AFTER_DEATH = exponential("1s", factor=2, max="1m")
"""What a job waits that was known to run when its worker died, so that it doesn't meet its bystanders again."""


def first_name(name: str) -> str:
    """The name under which a worker began, before others took it for dead."""
    return name.partition("~")[0]


class Watch:
    """Decides who is dead, from what one reader saw: no clock but its own, no I/O.

    Dead is who showed the same beat through a whole lease of successful reads. A gap between two reads, as after an
    outage of the database or a pause of the reader, restarts the wait.

    Parameters:
      lease: In seconds.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._seen: dict[Any, tuple[int, float]] = {}
        self._read_at = float("-inf")

    def dead(self, beats: Mapping[Any, int], now: float) -> list[Any]:
        """The dead among those who were just read.

        Parameters:
          beats: Each worker's beat, by what stands for it.
          now: A monotonic clock, in seconds.
        """
        if now - self._read_at > self._lease / 2:
            self._seen.clear()
        self._read_at = now
        self._seen = {owner: self._since(owner, beat, now) for owner, beat in beats.items()}
        return [owner for owner, (_, since) in self._seen.items() if now - since > self._lease]

    def _since(self, owner: Any, beat: int, now: float) -> tuple[int, float]:
        known = self._seen.get(owner)
        return known if known is not None and known[0] == beat else (beat, now)


class Member(NamedTuple):
    """A worker as the others see it."""

    name: str
    beat: int


class Roster(Protocol):
    """Where a broker's workers stand, each under its name.

    Its methods raise BrokerConnectionError where the broker can't be used.
    """

    def register(self, name: str, queues: str) -> None:
        """Note a worker; it may stand there already, as the answer to the last try may have been lost."""
        ...

    def beat(self, name: str) -> bool:
        """Show that a worker lives; False if others took it for dead."""
        ...

    def others(self, name: str) -> dict[Any, Member]:
        """All who stand there or hold jobs but this one, by what stands for them in the broker."""
        ...

    def bury(self, owner: Any) -> int:
        """Free what a dead worker held; returns how many jobs.

        It stands there for a lease more, and is buried again: a late claim may still be made.
        """
        ...

    def forget(self, name: str) -> None:
        """A worker holds nothing any more."""
        ...


class Leases:
    """Beats for one worker, from a thread of its own, and frees what the dead held.

    Parameters:
      roster: Where workers stand.
      lease: In seconds.
      renamed: Told the worker's name at each beat: it has a new one after others took it for dead.
    """

    def __init__(self, roster: Roster, lease: float, renamed: Callable[[str], None]) -> None:
        self._roster = roster
        self._lease = lease
        self._renamed = renamed
        self._watch = Watch(lease)
        self._stopped = threading.Event()
        self._name = self._queues = ""
        self._thread = threading.Thread(target=self._run, name="gello-leases", daemon=True)

    def start(self, name: str, queues: str) -> None:
        """Register a worker and begin to beat for it."""
        self._name, self._queues = name, queues
        self._roster.register(name, queues)
        self._thread.start()

    def stop(self) -> None:
        """End the beat, and forget the worker: it holds nothing any more."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._roster.forget(self._name)

    def beat(self) -> None:
        """Show that this worker lives. If others took it for dead, it goes on under a new name."""
        if not self._roster.beat(self._name):
            old = self._name
            self._name = f"{first_name(old)}~{secrets.token_hex(2)}"
            log.warning("%s was taken for dead, and its jobs were given to others; it goes on as %s.", old, self._name)
            self._roster.register(self._name, self._queues)
        # At each beat, as the answer to the registration may have been lost: whoever claims under a dead name has its
        # jobs freed again and again while it runs them.
        self._renamed(self._name)

    def sweep(self) -> None:
        """Look at the others, and free what the dead held."""
        others = self._roster.others(self._name)
        beats = {owner: member.beat for owner, member in others.items()}
        for owner in self._watch.dead(beats, time.monotonic()):
            freed = self._roster.bury(owner)
            if freed:
                log.warning("Worker %s is dead; %d job(s) that it held run again.", others[owner].name, freed)

    def _run(self) -> None:
        pause = self._lease / BEATS
        missed = 0
        while not self._stopped.wait(pause):
            pause = self._lease / BEATS
            try:
                self.beat()
                self.sweep()
            except BrokerConnectionError as error:
                # Soon: a connection that died says nothing about the database, and others may see no beat of ours.
                pause /= BEATS
                missed += 1
                if missed == 1:
                    log.warning("No beat for %s: %s", self._name, error)
            except Exception:
                log.exception("The beat of %s met an error that it doesn't know; it goes on.", self._name)
            else:
                if missed:
                    log.warning("%s beats again.", self._name)
                missed = 0


class Beats:
    """The beats of a broker's workers, by the name under which each began.

    There may be two: one that couldn't end in time may still stand beside the next.

    Parameters:
      roster: Where workers stand.
      lease: In seconds.
    """

    def __init__(self, roster: Roster, lease: float) -> None:
        self._roster = roster
        self._lease = lease
        self._of: dict[str, Leases] = {}

    def start(self, owner: str, coordinator: Coordinator) -> None:
        """Begin to beat for a worker, whose owner gets a new name if others take it for dead."""
        leases = Leases(self._roster, self._lease, lambda name: setattr(coordinator, "owner", name))
        leases.start(owner, ",".join(coordinator.serves()))
        self._of[owner] = leases

    def stop(self, owner: str) -> None:
        """End a worker's beat, under whatever name it goes by now."""
        leases = self._of.pop(first_name(owner), None)
        if leases is not None:
            leases.stop()

    def afresh(self) -> Beats:
        """The same for a child process, whose parent's threads do not live in it."""
        return Beats(self._roster, self._lease)
