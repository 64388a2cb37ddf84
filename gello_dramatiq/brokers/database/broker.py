"""The database broker: jobs are rows, a claim is a lease on them."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from dramatiq import Message, Middleware
from dramatiq.errors import BrokerConnectionError
from sqlalchemy import Connection, select

from ...broker import Encoded, GelloBroker, State
from ...claim import Claim
from ...database.engine import Database
from ...database.tables import DELAYED, READY, RESERVED
from ...durations import Duration, duration
from ...errors import InvalidSetting
from ...failed_jobs.record import FailedJob
from ...leases import Beats
from ...masking import mask
from ...outcome import DONE
from .roster import SqlRoster, owner_number
from .settling import free, give_back_unknown, settle
from .statements import CLEAR, Row, Statements, connection_of
from .watch import Watcher

if TYPE_CHECKING:
    from ...coordinator import Coordinator

T = TypeVar("T")
Run = Callable[[Callable[[Connection], Any]], Any]

PROMOTE_EVERY = 0.25
"""Seconds between two looks for delayed jobs whose time has come."""
_STATES: dict[State, int] = {"ready": READY, "delayed": DELAYED, "reserved": RESERVED}


class DatabaseBroker(GelloBroker):
    """Keeps jobs in a SQL database.

    Parameters:
      database: Where.
      lease: How long a worker's silence must last before its jobs are given to others.
      writes_failures: Whether failed jobs are kept in the same database: then their row is written in the transaction
        that gives the job up.
      middleware: Dramatiq's kind.
    """

    name = "database"

    def __init__(
        self,
        database: Database,
        *,
        lease: Duration = "10s",
        writes_failures: bool = True,
        middleware: list[Middleware] | None = None,
    ) -> None:
        super().__init__(middleware)
        self.database = database
        self.lease = duration(lease).total_seconds()
        self.writes_failures = writes_failures
        self._sql = _statements(database)
        self.settles_as_it_claims = self._sql.claims_as_it_settles
        self.claim_size = self._sql.claim_size
        # By worker: one that couldn't end in time may still stand beside the next.
        self._beats = Beats(SqlRoster(database, self._sql, self.lease), self.lease)
        self._watcher: Watcher | None = None
        self._promoted_at = 0.0
        self._unsure = False
        self._backlog = False

    @property
    def shown(self) -> str:
        """The database's URL without its password."""
        return self.database.shown

    def close(self) -> None:
        """Close the database's connections; they open again at the next use."""
        # A worker that still runs looks at its watcher, and closes it in the end.
        if self.coordinator is None:
            self._stop_watching()
        self.database.close()

    def after_fork(self) -> None:
        super().after_fork()
        self._beats = self._beats.afresh()
        self._stop_watching()

    def put(self, messages: Sequence[Encoded]) -> None:
        rows = [self._row(*each) for each in messages]
        at_once = len(rows) == 1 or self._sql.inserts_at_once
        self.database.transact(lambda connection: self._sql.insert(connection, rows), at_once=at_once)
        self._sql.announce(self.database, {message.queue_name for message, delay, _ in messages if not delay})

    def put_within(self, transaction: Any, messages: Sequence[Encoded]) -> None:
        connection = connection_of(transaction)
        if not self.database.is_of(connection):
            raise InvalidSetting(
                f"This transaction is one of {mask(connection.engine.url.render_as_string())}, and the jobs are in "
                f"{self.database.shown}: they can't commit together; push without the transaction, or name its "
                "database to Gello."
            )
        rows = [self._row(*each) for each in messages]
        with self.database.explained():
            self._sql.insert_within(connection, self.database.tables.jobs, rows)

    def exchange(
        self, owner: str, claims: Sequence[Claim], queues: Sequence[str], limit: int
    ) -> tuple[int, list[Claim]]:
        promote = self._is_time_to_promote()
        if not claims and not self._unsure and not promote and not self._worth_a_claim(queues, limit):
            return 0, []
        try:
            if self._unsure:
                self._reconcile(owner)
            if self._sql.claims_as_it_settles:
                with self.database.write() as connection:
                    stale = settle(self._sql, connection, claims, self.writes_failures)
                    rows = self._take(lambda act: act(connection), owner, queues, limit, promote)
            else:
                stale = self.settle(claims)
                run = partial(self.database.transact, at_once=self._sql.claims_at_once)
                rows = self._take(run, owner, queues, limit, promote)
        except BaseException:
            # The commit may have happened although its reply was lost: then rows are ours that we don't know.
            self._unsure = True
            raise
        if rows and self._watcher is not None:
            self._watcher.busy()
        return stale, [Claim(*row) for row in rows]

    def claim(self, owner: str, queues: Sequence[str], limit: int) -> list[Claim]:
        return self.exchange(owner, [], queues, limit)[1]

    def settle(self, claims: Sequence[Claim]) -> int:
        if not claims:
            return 0
        act = partial(settle, self._sql, claims=claims, writes_failures=self.writes_failures)
        # Jobs that are done are deleted: by one statement, if they have one lease.
        one = all(claim.outcome in (None, DONE) for claim in claims) and len({claim.lease for claim in claims}) == 1
        return self.database.transact(act, at_once=one)

    def mark(self, claims: Sequence[Claim]) -> list[Claim]:
        def begun(connection: Connection) -> list[Claim]:
            return [claim for claim in claims if self._sql.run(connection, "begun", [(claim.key, claim.lease)]) == 1]

        return self.database.transact(begun)

    def wait(self, inbox: Any, timeout: float) -> Any:
        until = time.monotonic() + timeout
        while True:
            pause = min(self._watch(lambda watcher: watcher.pause), max(until - time.monotonic(), 0))
            try:
                return inbox.get(timeout=pause)
            except queue.Empty:
                if self._watch(lambda watcher: watcher.changed()) or self._is_time_to_promote():
                    return None
                if time.monotonic() >= until:
                    raise

    def attach(self, owner: str, coordinator: Coordinator) -> str:
        self._beats.start(owner, coordinator)
        return owner

    def detach(self, owner: str) -> None:
        self._stop_watching()
        self._beats.stop(owner)

    def size(self, queue: str, state: State = "ready") -> int:
        with self.database.read() as connection:
            return int(self._sql.ask(connection, f"size_{_STATES[state]}", queue)[0][0])

    def clear(self, queue: str) -> int:
        dropped = 0
        # What comes due meanwhile goes from the one to the other, and is found there.
        for state in (DELAYED, READY):
            gone = CLEAR
            # A chunk a transaction: workers get their turn between two. What is pushed meanwhile doesn't fill one.
            while gone == CLEAR:
                gone = self.database.transact(partial(self._sql.clear, state=state, queue=queue, limit=CLEAR))
                dropped += gone
        return dropped

    def queue_names(self) -> set[str]:
        with self.database.read() as connection:
            others = self._sql.ask(connection, "other_queues")
        return self.ready_queues().union(name for (name,) in others)

    def ready_queues(self) -> set[str]:
        with self.database.read() as connection:
            return {*self.queues, *(name for (name,) in self._sql.ask(connection, "ready_queues"))}

    def requeue(self, job: FailedJob, message: Message[Any]) -> bool:
        """Put a failed job back and drop its row, in one transaction; False if another process did so first."""

        def put_back(connection: Connection) -> bool:
            if not self._sql.run(connection, "drop_failed", [(job.id, job.generation)]):
                return False
            self._sql.insert(connection, [self._row(message, None, message.encode())])
            return True

        self.emit_before("enqueue", message, None)
        if not self.database.transact(put_back):
            return False
        self._sql.announce(self.database, [message.queue_name])
        self.emit_after("enqueue", message, None)
        return True

    def free_dead_process(self, host: str, pid: int) -> int:
        """Free at once what a process held that is known to be dead; returns how many jobs."""
        workers = self.database.tables.workers
        mine = (workers.c.host == host[:40]) & (workers.c.pid == pid) & workers.c.dead_at.is_(None)

        def bury(connection: Connection) -> int:
            owners = list(connection.execute(select(workers.c.owner).where(mine)).scalars())
            connection.execute(workers.update().where(mine).values(dead_at=self._sql.now(connection)))
            return sum(free(self._sql, connection, owner) for owner in owners)

        return self.database.transact(bury)

    def _row(self, message: Message[Any], delay: int | None, raw: bytes) -> Row:
        names = (message.message_id, message.queue_name, message.actor_name)
        return (*names, -self.priority_of(message), delay or 0, raw)

    def _take(self, run: Run, owner: str, queues: Sequence[str], limit: int, promote: bool) -> list[Any]:
        """Promote what is due, and claim: each is tried again by itself after a deadlock."""
        if promote:
            run(lambda connection: self._sql.run(connection, "promote", [()]))
        if limit <= 0 or not queues:
            return []
        rows: list[Any] = run(partial(self._sql.claim, owner=owner_number(owner), queues=queues, limit=limit))
        self._backlog = len(rows) == limit
        return rows

    def _reconcile(self, owner: str) -> None:
        """Give back the rows that this worker owns and doesn't know."""
        known = self.coordinator.knows() if self.coordinator else set()
        self.database.transact(partial(give_back_unknown, self._sql, owner=owner_number(owner), known=known))
        self._unsure = False

    def holds_any(self, queue: str) -> bool:
        with self.database.read() as connection:
            return bool(self._sql.ask(connection, "any", queue, queue, queue))

    def _worth_a_claim(self, queues: Sequence[str], limit: int) -> bool:
        """Whether there is something to claim: asked without a lock, where a claim that finds nothing costs more."""
        if limit <= 0 or self._backlog or self._sql.claims_at_once:
            return limit > 0 and bool(queues)
        with self.database.read() as connection:
            return any(self._sql.ask(connection, "any_ready", name) for name in queues)

    def _watch(self, look: Callable[[Watcher], T]) -> T:
        """Look at the database; a watcher that can't is replaced at the next look."""
        try:
            if self._watcher is None:
                self._watcher = self._sql.watch(self.database, self._wake)
            return look(self._watcher)
        except BrokerConnectionError:
            self._stop_watching()
            raise

    def _stop_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()

    def _wake(self) -> None:
        if self.coordinator is not None:
            self.coordinator.completer.wake()

    def _is_time_to_promote(self) -> bool:
        if time.monotonic() - self._promoted_at < PROMOTE_EVERY:
            return False
        due = self._watch(lambda watcher: watcher.due())
        if not due:
            self._promoted_at = time.monotonic()
        return due


def _statements(database: Database) -> Statements:
    """Loaded only now: each imports its driver."""
    if database.dialect == "postgresql":
        from .postgresql import PostgreSQL

        return PostgreSQL(database.tables)
    if database.dialect in ("mysql", "mariadb"):
        from .mysql import MySQL

        return MySQL(database.tables)
    from .sqlite import SQLite

    return SQLite(database.tables)
