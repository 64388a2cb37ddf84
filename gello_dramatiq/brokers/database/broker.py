"""The database broker: jobs are rows, a claim is a lease on them."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dramatiq import Message, Middleware
from dramatiq.errors import BrokerConnectionError, QueueJoinTimeout
from sqlalchemy import Connection

from ...backoff import exponential
from ...broker import Delayed, GelloBroker, State
from ...claim import Claim
from ...database.engine import Database
from ...database.tables import DELAYED, READY, RESERVED
from ...durations import Duration, duration
from ...errors import JobCrashed
from ...failed_jobs.record import FailedJob, record
from ...failed_jobs.sql import columns
from ...outcome import DONE, GIVEN_BACK, Kind
from .leases import Leases
from .sqlite import DataVersion, SQLite

if TYPE_CHECKING:
    from ...coordinator import Coordinator

POLL = 0.005
"""Seconds between two looks for commits of other processes, while idle; some 3 % of a core."""
PROMOTE_EVERY = 0.25
"""Seconds between two looks for delayed jobs whose time has come."""
AFTER_DEATH = exponential("1s", factor=2, max="1m")
"""What a job waits that was known to run when its worker died, so that it doesn't meet its bystanders again."""
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
        self._sql = SQLite(database.tables)
        self._leases: Leases | None = None
        self._watcher: DataVersion | None = None
        self._promoted_at = 0.0
        self._unsure = False

    def close(self) -> None:
        """Close the database's connections; they open again at the next use."""
        # A worker that still runs looks at its watcher, and closes it in the end.
        if self.coordinator is None:
            self._stop_watching()
        self.database.close()

    def after_fork(self) -> None:
        super().after_fork()
        self._leases = None
        self._stop_watching()

    def put(self, messages: Sequence[Delayed]) -> None:
        now = self._sql.now()
        rows = [self._row(message, delay, now) for message, delay in messages]
        with self.database.write() as connection:
            connection.exec_driver_sql(self._sql.insert, rows)

    def exchange(
        self, owner: str, claims: Sequence[Claim], queues: Sequence[str], limit: int
    ) -> tuple[int, list[Claim]]:
        promote = self._is_time_to_promote()
        if not claims and not self._unsure and not promote and not (limit > 0 and self._any_ready(queues)):
            return 0, []
        try:
            with self.database.write() as connection:
                if self._unsure:
                    self._reconcile(connection, owner)
                stale = self._settle(connection, claims)
                if promote:
                    connection.exec_driver_sql(self._sql.promote, (self._sql.now(),))
                rows = self._claim(connection, owner, queues, limit)
            claimed = [Claim(*row) for row in rows]
        except BaseException:
            # The commit may have happened although its reply was lost: then rows are ours that we don't know.
            self._unsure = True
            raise
        self._unsure = False
        return stale, claimed

    def claim(self, owner: str, queues: Sequence[str], limit: int) -> list[Claim]:
        return self.exchange(owner, [], queues, limit)[1]

    def settle(self, claims: Sequence[Claim]) -> int:
        with self.database.write() as connection:
            return self._settle(connection, claims)

    def mark(self, claims: Sequence[Claim]) -> list[Claim]:
        with self.database.write() as connection:
            return [
                claim
                for claim in claims
                if connection.exec_driver_sql(self._sql.mark, (claim.key, claim.lease)).rowcount == 1
            ]

    def wait(self, inbox: Any, timeout: float) -> Any:
        until = time.monotonic() + timeout
        while True:
            try:
                return inbox.get(timeout=POLL)
            except queue.Empty:
                if self._watch(DataVersion.changed) or self._is_time_to_promote():
                    return None
                if time.monotonic() >= until:
                    raise

    def attach(self, owner: str, coordinator: Coordinator) -> str:
        self._leases = Leases(
            self.database,
            self.lease,
            reap=self._reap,
            owners=lambda connection: list(connection.exec_driver_sql(self._sql.owners).scalars()),
            renamed=lambda name: setattr(coordinator, "owner", name),
        )
        self._leases.start(owner, ",".join(coordinator.serves()))
        return owner

    def detach(self, owner: str) -> None:
        self._stop_watching()
        if self._leases is not None:
            leases, self._leases = self._leases, None
            leases.stop()

    def size(self, queue: str, state: State = "ready") -> int:
        with self.database.read() as connection:
            counted: int = connection.exec_driver_sql(f"{self._sql.size}{_STATES[state]}", (queue,)).scalar_one()
        return counted

    def clear(self, queue: str) -> int:
        dropped = 0
        for state in (READY, DELAYED):
            gone = -1
            while gone:
                # A chunk a transaction: workers get their turn between two of them.
                with self.database.write() as connection:
                    gone = connection.exec_driver_sql(self._sql.clear % state, (queue,)).rowcount
                dropped += gone
        return dropped

    def queue_names(self) -> set[str]:
        with self.database.read() as connection:
            others = connection.exec_driver_sql(self._sql.other_queues).scalars().all()
        return self.ready_queues().union(others)

    def ready_queues(self) -> set[str]:
        with self.database.read() as connection:
            return {*self.queues, *connection.exec_driver_sql(self._sql.ready_queues).scalars()}

    def requeue(self, job: FailedJob, message: Message[Any]) -> bool:
        """Put a failed job back and drop its row, in one transaction; False if another process did so first."""
        self.emit_before("enqueue", message, None)
        with self.database.write() as connection:
            if not connection.exec_driver_sql(self._sql.drop_failed, (job.id, job.generation)).rowcount:
                return False
            connection.exec_driver_sql(self._sql.insert, [self._row(message, None, self._sql.now())])
        self.emit_after("enqueue", message, None)
        return True

    def free_dead_process(self, host: str, pid: int) -> int:
        """Free at once what a process held that is known to be dead; returns how many jobs."""
        workers = self.database.tables.workers
        with self.database.write() as connection:
            mine = (workers.c.host == host[:40]) & (workers.c.pid == pid) & workers.c.dead_at.is_(None)
            names = list(connection.execute(workers.select().where(mine)).scalars())
            connection.execute(workers.update().where(mine).values(dead_at=self._sql.now()))
            return sum(self._reap(connection, name) for name in names)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until a queue holds no job.

        Raises:
          QueueJoinTimeout: The time is over.
        """
        until = None if timeout is None else time.monotonic() + timeout / 1000
        while any(self.size(queue_name, state) for state in _STATES):
            if until is not None and time.monotonic() > until:
                raise QueueJoinTimeout(  # type: ignore[no-untyped-call]  # Dramatiq's error has no annotations
                    f"queue {queue_name!r} still holds jobs after {timeout} ms"
                )
            time.sleep(0.02)

    def _row(self, message: Message[Any], delay: int | None, now: int) -> tuple[Any, ...]:
        # One more for what the clock cut off: a delayed job is never early.
        state, due = (DELAYED, now + delay + 1) if delay else (READY, now)
        names = (message.message_id, message.queue_name, message.actor_name)
        return (*names, self.priority_of(message), state, due, message.encode(), now)

    def _claim(self, connection: Connection, owner: str, queues: Sequence[str], limit: int) -> list[Any]:
        rows: list[Any] = []
        for name in queues:
            if len(rows) >= limit:
                break
            rows += self._sql.claimed(connection, owner, name, limit - len(rows))
        return rows

    def _settle(self, connection: Connection, claims: Sequence[Claim]) -> int:
        """Perform outcomes under their fence: the row's number and lease, and nothing else."""
        now = self._sql.now()
        gone: list[tuple[Any, ...]] = []
        given_back: list[tuple[Any, ...]] = []
        put_back: list[tuple[Any, ...]] = []
        failed: list[tuple[Any, ...]] = []
        for claim in claims:
            outcome = claim.outcome or DONE
            fence = (claim.key, claim.lease)
            if outcome is GIVEN_BACK:
                given_back.append(fence)
            elif outcome.kind in (Kind.RELEASED, Kind.RETRIED):
                wait = outcome.delay // timedelta(milliseconds=1)
                state = DELAYED if wait else READY
                put_back.append((state, now + wait, claim.remembering(), *fence))
            else:
                gone.append(fence)
                if outcome.kind is Kind.FAILED and self.writes_failures:
                    failed.append((*_columns(claim), *fence))
        # First the rows of failed jobs: they are read from the job's own row, which is still there.
        if failed:
            self._sql.changed(connection, self._sql.keep_failed, failed)
        settled = self._sql.deleted(connection, gone)
        for statement, rows in ((self._sql.give_back, given_back), (self._sql.put_back, put_back)):
            if rows:
                settled += self._sql.changed(connection, statement, rows)
        return len(claims) - settled

    def _reap(self, connection: Connection, owner: str) -> int:
        """Free what a dead worker held. What was marked as running is charged one death, and waits."""
        now, freed = self._sql.now(), []
        for key, lease, marked, deaths in connection.exec_driver_sql(self._sql.owned, (owner,)):
            wait = AFTER_DEATH.delay(deaths + 1, JobCrashed()) // timedelta(milliseconds=1) if marked else 0
            freed.append((DELAYED if wait else READY, now + wait if wait else 0, deaths + bool(marked), key, lease))
        return self._sql.changed(connection, self._sql.lost, freed) if freed else 0

    def _reconcile(self, connection: Connection, owner: str) -> None:
        """Give back the rows that this worker owns and doesn't know."""
        known = self.coordinator.knows() if self.coordinator else set()
        rows = connection.exec_driver_sql(self._sql.owned, (owner,)).fetchall()
        unknown = [(row[0], row[1]) for row in rows if row[0] not in known]
        if unknown:
            self._sql.changed(connection, self._sql.give_back, unknown)

    def _any_ready(self, queues: Sequence[str]) -> bool:
        """Whether there is something to claim: asked without taking the write lock."""
        with self.database.read() as connection:
            return any(connection.exec_driver_sql(self._sql.any_ready, (name,)).first() for name in queues)

    def _watch(self, look: Callable[[DataVersion], bool]) -> bool:
        """Look at the database on the watcher's own connection; a broken one is replaced at the next look."""
        try:
            with self.database.gate:
                if self._watcher is None:
                    self._watcher = DataVersion(self.database, self._sql)
                return look(self._watcher)
        except BrokerConnectionError:
            self._stop_watching()
            raise

    def _stop_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            with self.database.gate:
                watcher.close()

    def _is_time_to_promote(self) -> bool:
        if time.monotonic() - self._promoted_at < PROMOTE_EVERY:
            return False
        due = self._watch(lambda watcher: watcher.due(self._sql.now()))
        if not due:
            self._promoted_at = time.monotonic()
        return due


def _columns(claim: Claim) -> tuple[Any, ...]:
    """A failed job's columns, but for those that are read from the job's own row."""
    row = columns(record(claim))
    return tuple(
        row[name] for name in ("generation", "reason", "exception", "traceback", "attempts", "payload", "failed_at")
    )
