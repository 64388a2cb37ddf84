"""Who lives: a worker beats for all that it holds, and every worker watches the others."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dramatiq.errors import BrokerConnectionError
from sqlalchemy import Connection, delete, insert, select, update

from ...database.engine import Database

log = logging.getLogger("gello.worker")

BEATS = 5
"""Beats in one lease."""


def owner_number(name: str) -> int:
    """What stands for a worker in the rows that it holds: 63 bits of a hash of its name, and never 0."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> 1 or 1


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
        self._seen: dict[int, tuple[int, float]] = {}
        self._read_at = float("-inf")

    def dead(self, beats: dict[int, int], now: float) -> list[int]:
        """The dead among those who were just read.

        Parameters:
          beats: Each worker's beat, by its number.
          now: A monotonic clock, in seconds.
        """
        if now - self._read_at > self._lease / 2:
            self._seen.clear()
        self._read_at = now
        self._seen = {owner: self._since(owner, beat, now) for owner, beat in beats.items()}
        return [owner for owner, (_, since) in self._seen.items() if now - since > self._lease]

    def _since(self, owner: int, beat: int, now: float) -> tuple[int, float]:
        known = self._seen.get(owner)
        return known if known is not None and known[0] == beat else (beat, now)


@dataclass
class Member:
    """One worker as the others see it."""

    name: str
    queues: str


class Leases:
    """Beats for one worker, from a thread of its own, and frees what the dead held.

    Parameters:
      database: Where workers stand.
      lease: In seconds.
      reap: Frees what a worker held; returns how many jobs.
      owners: The numbers of those who hold jobs.
      now: The database's clock, in milliseconds of the epoch.
      renamed: Told the worker's name at each beat: it has a new one after others took it for dead.
    """

    def __init__(
        self,
        database: Database,
        lease: float,
        *,
        reap: Callable[[Connection, int], int],
        owners: Callable[[Connection], list[int]],
        now: Callable[[Connection], int],
        renamed: Callable[[str], None],
    ) -> None:
        self._database = database
        self._workers = database.tables.workers
        self._lease = lease
        self._reap = reap
        self._owners = owners
        self._now = now
        self._renamed = renamed
        self._watch = Watch(lease)
        self._stopped = threading.Event()
        self._member = Member("", "")
        self._thread = threading.Thread(target=self._run, name="gello-leases", daemon=True)

    def start(self, name: str, queues: str) -> None:
        """Register a worker and begin to beat for it."""
        self._member = Member(name, queues)
        self._register()
        self._thread.start()

    def stop(self) -> None:
        """End the beat, and forget the worker: it holds nothing any more."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        with self._database.write() as connection:
            connection.execute(delete(self._workers).where(self._workers.c.id == self._member.name))

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
                    log.warning("No beat for %s: %s", self._member.name, error)
            except Exception:
                log.exception("The beat of %s met an error that it doesn't know; it goes on.", self._member.name)
            else:
                if missed:
                    log.warning("%s beats again.", self._member.name)
                missed = 0

    def beat(self) -> None:
        """Show that this worker lives. If others took it for dead, it goes on under a new name."""
        workers = self._workers
        alive = (workers.c.id == self._member.name) & workers.c.dead_at.is_(None)
        with self._database.write() as connection:
            now = self._now(connection)
            beat = connection.execute(update(workers).where(alive).values(beat=workers.c.beat + 1, beat_at=now))
        if beat.rowcount == 0:
            old = self._member.name
            self._member.name = f"{first_name(old)}~{secrets.token_hex(2)}"
            log.warning(
                "%s was taken for dead, and its jobs were given to others; it goes on as %s.", old, self._member.name
            )
            self._register()
        # At each beat, as the answer to the registration may have been lost: whoever claims under a dead name has its
        # jobs freed again and again while it runs them.
        self._renamed(self._member.name)

    def sweep(self) -> None:
        """Look at the others, and free what the dead held."""
        workers = self._workers
        with self._database.read() as connection:
            rows = connection.execute(select(workers.c.owner, workers.c.id, workers.c.beat, workers.c.dead_at)).all()
            # An owner without a row: its worker was forgotten before its claim was committed.
            beats = dict.fromkeys(self._owners(connection), -1) | {row.owner: row.beat for row in rows}
        beats.pop(owner_number(self._member.name), None)
        known = {row.owner: (row.id, row.dead_at) for row in rows}
        for owner in self._watch.dead(beats, time.monotonic()):
            self._bury(owner, *known.get(owner, ("that nobody knows", None)))

    def _bury(self, owner: int, name: str, dead_at: int | None) -> None:
        """Free what a dead worker held. Its row stays for a lease and is swept again: a late claim may still commit."""
        workers = self._workers

        def bury(connection: Connection) -> int:
            now, freed = self._now(connection), self._reap(connection, owner)
            if dead_at is None:
                connection.execute(update(workers).where(workers.c.owner == owner).values(dead_at=now))
            elif now - dead_at > self._lease * 1000:
                connection.execute(delete(workers).where(workers.c.owner == owner))
            return freed

        freed = self._database.transact(bury)
        if freed:
            log.warning("Worker %s is dead; %d job(s) that it held run again.", name, freed)

    def _register(self) -> None:
        row: dict[str, Any] = {
            "id": self._member.name,
            "owner": owner_number(self._member.name),
            "host": self._member.name.partition(":")[0],
            "pid": os.getpid(),
            "queues": self._member.queues,
            "beat": 0,
            "dead_at": None,
        }
        with self._database.write() as connection:
            now = self._now(connection)
            # It stands there already if the answer to the last try was lost.
            connection.execute(delete(self._workers).where(self._workers.c.id == self._member.name))
            connection.execute(insert(self._workers), row | {"started_at": now, "beat_at": now})
