"""The database broker's statements: what all databases share; each has a file for what it says in its own words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Connection, Table, bindparam, literal_column

from ...database.engine import Database
from ...database.tables import DELAYED, READY, Tables
from ...errors import InvalidSetting
from .bookmarks import FRONT, Bookmarks, Position
from .watch import Polling, Watcher

PROMOTE = 1000
"""Delayed jobs that are promoted at once."""
CLEAR = 5000
"""Jobs that are dropped at once."""
FIRST = "WHERE queue = ? AND state = 0 ORDER BY precedence, available_at, id LIMIT ?"
"""The next jobs of a queue, in order."""
SOONEST = "WHERE queue = ? AND state = 1 ORDER BY available_at LIMIT ?"
"""The delayed jobs of a queue; in order, as otherwise PostgreSQL may look for them in the whole table."""

Fence = tuple[int, int]
"""A job's row number and lease: what settling matches, and nothing else."""
Row = tuple[str, str, str, int, int, bytes]
"""A job to insert: its id, queue, name, precedence, delay in milliseconds, message."""


class Statements:
    """What the database broker asks.

    Time is the server's clock, in milliseconds of the epoch. Where a statement changes rows, it returns how many.

    Parameters:
      tables: The tables' names.
    """

    clock: ClassVar[str]
    """The time, as an expression."""
    mark: ClassVar[str] = "%s"
    """What stands for a parameter."""
    claims_as_it_settles: ClassVar[bool] = False
    """Whether settling and claiming are one transaction: worth it where a commit is what costs."""
    claim_size: ClassVar[int] = 1024
    """How many jobs are claimed at once at most: a server's round trips are few, and its rows are locked one by one."""
    claims_at_once: ClassVar[bool] = False
    """Whether a claim is one statement."""
    inserts_at_once: ClassVar[bool] = False
    """Whether any number of jobs is one statement."""

    def __init__(self, tables: Tables) -> None:
        self._bookmarks = Bookmarks()
        texts = self.texts(tables.jobs.fullname, tables.failed.fullname, self.clock)
        self.sql = {name: text.replace("?", self.mark) for name, text in texts.items()}

    def texts(self, jobs: str, failed: str, clock: str) -> dict[str, str]:
        """The statements by name, with "?" for each parameter."""
        first = f"SELECT id FROM {jobs} {FIRST}"
        return {
            "now": f"SELECT {clock}",
            "insert": f"""
                INSERT INTO {jobs} (job_id, queue, name, precedence, state, available_at, message, created_at)
                VALUES (?, ?, ?, ?, ?, {clock} + ?, ?, {clock})""",
            "give_back": f"""
                UPDATE {jobs} SET state = 0, lease = lease + 1, owner = 0, marked = 0 WHERE id = ? AND lease = ?""",
            # One more, as for a push.
            "put_back": f"""
                UPDATE {jobs} SET state = ?, available_at = {clock} + ? + 1, message = ?, lease = lease + 1,
                                  owner = 0, marked = 0
                WHERE id = ? AND lease = ?""",
            # Servers lock the job's row: a reaper between this and the row's deletion would let a failed job run again.
            "keep_failed": f"""
                INSERT INTO {failed} (id, queue, name, message, generation, reason, exception, traceback, attempts,
                                      payload, failed_at)
                SELECT job_id, queue, name, message, ?, ?, ?, ?, ?, ?, ? FROM {jobs} WHERE id = ? AND lease = ?""",
            "kept": f"SELECT 1 FROM {failed} WHERE id = ? AND generation = ?",
            "drop_failed": f"DELETE FROM {failed} WHERE id = ? AND generation = ?",
            "begun": f"UPDATE {jobs} SET marked = 1 WHERE id = ? AND lease = ?",
            "owned": f"SELECT id, lease, marked, deaths FROM {jobs} WHERE state = 2 AND owner = ?",
            "owners": f"SELECT DISTINCT owner FROM {jobs} WHERE state = 2 AND owner <> 0",
            "lost": f"""
                UPDATE {jobs} SET state = ?, available_at = CASE WHEN ? > 0 THEN {clock} + ? ELSE available_at END,
                                  deaths = ?, suspect = 1, marked = 0, lease = lease + 1, owner = 0
                WHERE id = ? AND lease = ?""",
            # In order, as if it were a claim: without, PostgreSQL may look for one in the whole table.
            "any_ready": f"SELECT 1 FROM {jobs} {FIRST.replace('LIMIT ?', 'LIMIT 1')}",
            # At one moment: a job that changes its state between two questions would be in neither answer.
            "any": " UNION ALL ".join(
                f"SELECT 1 FROM {jobs} WHERE queue = ? AND state = {state}" for state in (0, 1, 2)
            ),
            "due": f"SELECT 1 FROM {jobs} WHERE state = 1 AND available_at <= {clock} ORDER BY available_at LIMIT 1",
            "promote": f"""
                UPDATE {jobs} SET state = 0 WHERE id IN (
                    SELECT id FROM {jobs} WHERE state = 1 AND available_at <= {clock}
                    ORDER BY available_at LIMIT {PROMOTE})""",
            # The state in words, not as a parameter: only so is a partial index used.
            "size_0": f"SELECT count(*) FROM {jobs} WHERE queue = ? AND state = 0",
            "size_1": f"SELECT count(*) FROM {jobs} WHERE queue = ? AND state = 1",
            "size_2": f"SELECT count(*) FROM {jobs} WHERE queue = ? AND state = 2",
            "clear_0": f"DELETE FROM {jobs} WHERE id IN ({first})",
            "clear_1": f"DELETE FROM {jobs} WHERE id IN (SELECT id FROM {jobs} {SOONEST})",
            # An index is asked for the next name again and again, as DISTINCT would read all of it.
            "ready_queues": f"""
                WITH RECURSIVE found(name) AS (
                    SELECT min(queue) FROM {jobs} WHERE state = 0
                    UNION ALL
                    SELECT (SELECT min(queue) FROM {jobs} WHERE state = 0 AND queue > found.name)
                    FROM found WHERE found.name IS NOT NULL)
                SELECT name FROM found WHERE name IS NOT NULL""",
            "other_queues": f"SELECT DISTINCT queue FROM {jobs} WHERE state IN (1, 2)",
        }

    def now(self, connection: Connection) -> int:
        """The time."""
        return int(self.ask(connection, "now")[0][0])

    def insert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Add jobs, in their order."""
        if len(rows) == 1:
            self.run(connection, "insert", [self._inserted(rows[0])])
        else:
            self.insert_many(connection, rows)

    def insert_many(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Add more than one job, in their order."""
        self.run(connection, "insert", [self._inserted(row) for row in rows])

    def insert_within(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """Add jobs by somebody else's connection, whose driver may not be ours: in SQLAlchemy's words."""
        clock: ColumnElement[int] = literal_column(self.clock)
        statement = table.insert().values(available_at=clock + bindparam("wait"), created_at=clock)
        names = ("job_id", "queue", "name", "precedence", "state", "wait", "message")
        connection.execute(statement, [dict(zip(names, self._inserted(row), strict=True)) for row in rows])

    def claim(self, connection: Connection, owner: int, queues: Sequence[str], limit: int) -> list[Any]:
        """Claim up to so many jobs, queue by queue, each in its order; a row is what a `Claim` is made of.

        Where `claims_at_once`, nothing that could lose a deadlock follows a statement that has claimed: tried again, it
        would forget what the first one committed.
        """
        raise NotImplementedError

    def _look_ahead(self, connection: Connection, queue: str, place: Position) -> None:
        """Remember how far a queue was claimed, where looks from its front are slow."""
        if not self._bookmarks.asks(queue):
            self._bookmarks.move(queue, place)
            return
        # Twice, as anything may keep a server from an answer once.
        for _ in range(2):
            for (seconds,) in self.ask(connection, "first_look", queue):
                self._bookmarks.measured(queue, place, float(seconds))
            if self._bookmarks.of(queue) == FRONT:
                return

    def done(self, connection: Connection, fences: Iterable[Fence]) -> int:
        """Delete jobs."""
        by_lease: defaultdict[int, list[int]] = defaultdict(list)
        for key, lease in fences:
            by_lease[lease].append(key)
        return sum(self._delete(connection, lease, sorted(keys)) for lease, keys in by_lease.items())

    def clear(self, connection: Connection, state: int, queue: str, limit: int) -> int:
        """Delete up to so many jobs of a queue that are in a state."""
        return self.run(connection, f"clear_{state}", [(queue, limit)])

    def run(self, connection: Connection, name: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a statement once for each row of parameters; returns how many rows it changed."""
        if not rows:
            return 0
        with self._cursor(connection) as cursor:
            if len(rows) == 1:
                cursor.execute(self.sql[name], rows[0])
            else:
                cursor.executemany(self.sql[name], rows)
            return int(cursor.rowcount)

    def ask(self, connection: Connection, name: str, *parameters: Any) -> list[Any]:
        """Run a question; returns its rows."""
        with self._cursor(connection) as cursor:
            cursor.execute(self.sql[name], parameters)
            return list(cursor.fetchall())

    def announce(self, database: Database, queues: Iterable[str]) -> None:
        """Tell workers, if there is a way, that these queues have got jobs: a hint, which may be lost."""

    def watch(self, database: Database, wake: Callable[[], None]) -> Watcher:
        """What an idle worker looks at.

        Parameters:
          database: Where it looks.
          wake: Ends the worker's wait, from any thread.
        """
        return Polling(database, self.sql["due"])

    def _delete(self, connection: Connection, lease: int, keys: list[int]) -> int:
        return self.run(connection, "done", [(lease, keys)])

    @staticmethod
    def _cursor(connection: Connection, **options: Any) -> Any:
        """The driver's own cursor: SQLAlchemy's execution takes as long as all the rest of a push."""
        driver: Any = connection.connection
        return closing(driver.cursor(**options))

    @staticmethod
    def _inserted(row: Row) -> tuple[Any, ...]:
        *names, delay, message = row
        # One more for what the clock cut off: a delayed job is never early.
        return (*names, DELAYED if delay else READY, delay + 1 if delay else 0, message)


def connection_of(transaction: Any) -> Connection:
    """The connection of a caller's transaction.

    Raises:
      InvalidSetting: It is neither a Connection nor a Session, or it commits each statement by itself.
    """
    # Whoever has a Session has loaded this already.
    from sqlalchemy.orm import Session, scoped_session

    if not isinstance(transaction, Connection | Session | scoped_session):
        raise InvalidSetting(
            f"within(…) takes a SQLAlchemy Connection or Session, not {type(transaction).__name__}; of an async one "
            "give what run_sync gives: await session.run_sync(lambda sync: gello.queue.within(sync).push(…))."
        )
    connection = transaction if isinstance(transaction, Connection) else transaction.connection()
    if connection.get_execution_options().get("gello_transaction"):
        return connection  # ours, begun in words
    with suppress(NotImplementedError):  # not every driver can tell
        driver: Any = connection.connection.dbapi_connection
        if connection.dialect.detect_autocommit_setting(driver):
            raise InvalidSetting("This connection is set to AUTOCOMMIT: it has no transaction that a push could be in.")
    return connection
