"""SQLite's statements."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from ...database.engine import Database, explain
from ...database.tables import Tables

PROMOTE = 1000
"""Delayed jobs that are promoted at once."""
CLEAR = 5000
"""Jobs that are dropped at once."""


class SQLite:
    """What the database broker asks, in SQLite's words. It needs JSON, which is built in since 3.38.

    Parameters:
      tables: The tables' names.
    """

    def __init__(self, tables: Tables) -> None:
        jobs, failed = tables.jobs.fullname, tables.failed.fullname
        self.insert = f"""
            INSERT INTO {jobs} (job_id, queue, name, priority, state, available_at, message, created_at,
                                lease, owner, marked, suspect, deaths)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, NULL, 0, 0, 0)"""
        first = "WHERE queue = ? AND state = 0 ORDER BY priority DESC, available_at, id LIMIT ?"
        self.first = f"SELECT id, lease + 1, message, queue, job_id, deaths, suspect FROM {jobs} {first}"
        self.claim = f"""
            UPDATE {jobs} SET state = 2, lease = lease + 1, owner = ? WHERE id IN (SELECT id FROM {jobs} {first})"""
        self.done = f"DELETE FROM {jobs} WHERE lease = ? AND id IN (SELECT value FROM json_each(?))"
        self.give_back = f"""
            UPDATE {jobs} SET state = 0, lease = lease + 1, owner = NULL, marked = 0 WHERE id = ? AND lease = ?"""
        self.put_back = f"""
            UPDATE {jobs} SET state = ?, available_at = ?, message = ?, lease = lease + 1, owner = NULL, marked = 0
            WHERE id = ? AND lease = ?"""
        self.keep_failed = f"""
            INSERT OR REPLACE INTO {failed} (id, queue, name, message, generation, reason, exception, traceback,
                                             attempts, payload, failed_at)
            SELECT job_id, queue, name, message, ?, ?, ?, ?, ?, ?, ? FROM {jobs} WHERE id = ? AND lease = ?"""
        self.drop_failed = f"DELETE FROM {failed} WHERE id = ? AND generation = ?"
        self.mark = f"UPDATE {jobs} SET marked = 1 WHERE id = ? AND lease = ?"
        self.owned = f"SELECT id, lease, marked, deaths FROM {jobs} WHERE state = 2 AND owner = ?"
        self.owners = f"SELECT DISTINCT owner FROM {jobs} WHERE state = 2 AND owner IS NOT NULL"
        self.lost = f"""
            UPDATE {jobs} SET state = ?, available_at = max(available_at, ?), deaths = ?, suspect = 1, marked = 0,
                              lease = lease + 1, owner = NULL
            WHERE id = ? AND lease = ?"""
        self.any_ready = f"SELECT 1 FROM {jobs} WHERE queue = ? AND state = 0 LIMIT 1"
        self.next_due = f"SELECT min(available_at) FROM {jobs} WHERE state = 1"
        self.promote = f"""
            UPDATE {jobs} SET state = 0
            WHERE id IN (SELECT id FROM {jobs} WHERE state = 1 AND available_at <= ?
                         ORDER BY available_at LIMIT {PROMOTE})"""
        self.size = f"SELECT count(*) FROM {jobs} WHERE queue = ? AND state = "
        self.clear = (
            f"DELETE FROM {jobs} WHERE id IN (SELECT id FROM {jobs} WHERE queue = ? AND state = %d LIMIT {CLEAR})"
        )
        self.ready_queues = f"""
            WITH RECURSIVE found(name) AS (
                SELECT min(queue) FROM {jobs} WHERE state = 0
                UNION ALL
                SELECT (SELECT min(queue) FROM {jobs} WHERE state = 0 AND queue > found.name)
                FROM found WHERE found.name IS NOT NULL)
            SELECT name FROM found WHERE name IS NOT NULL"""
        self.other_queues = f"SELECT DISTINCT queue FROM {jobs} WHERE state IN (1, 2)"

    @staticmethod
    def now() -> int:
        """Milliseconds of the epoch. SQLite's clock is this machine's."""
        return int(time.time() * 1000)

    def claimed(self, connection: Connection, owner: str, queue: str, limit: int) -> list[Any]:
        """Claim up to so many jobs of a queue, in order; a row is what a `Claim` is made of.

        It must hold the write lock from its begin: the update chooses what was read before.
        """
        # Not RETURNING, which has no order, and not SQLAlchemy's rows: each costs about a microsecond a job.
        cursor = connection.connection.cursor()
        rows: list[Any] = cursor.execute(self.first, (queue, limit)).fetchall()
        if rows:
            cursor.execute(self.claim, (owner, queue, limit))
        return rows

    def deleted(self, connection: Connection, fences: Iterable[tuple[int, int]]) -> int:
        """Delete jobs by number and lease; returns how many there were."""
        by_lease: defaultdict[int, list[int]] = defaultdict(list)
        for key, lease in fences:
            by_lease[lease].append(key)
        return sum(
            connection.exec_driver_sql(self.done, (lease, json.dumps(keys))).rowcount
            for lease, keys in by_lease.items()
        )

    def changed(self, connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a statement once for each row of parameters; returns how many rows of the table it changed in all."""
        return connection.exec_driver_sql(statement, list(rows)).rowcount


class DataVersion:
    """Sees, on a connection of its own that never writes, that somebody else has committed."""

    def __init__(self, database: Database, statements: SQLite) -> None:
        self._database = database
        with database.explained():
            self._connection = database.engine.raw_connection()
            # Kept for as long as this lives, it isn't the pool's: closing it closes it.
            self._connection.detach()
            self._cursor = self._connection.cursor()
        self._next_due = statements.next_due
        self._version: Any = None

    def changed(self) -> bool:
        """Whether anybody committed since the last look."""
        before, self._version = self._version, self._ask("PRAGMA data_version")
        return bool(before != self._version)

    def due(self, now: int) -> bool:
        """Whether a delayed job's time has come."""
        due = self._ask(self._next_due)
        return due is not None and due <= now

    def close(self) -> None:
        self._connection.close()

    def _ask(self, question: str) -> Any:
        # Asked two hundred times a second: a context manager would cost as much as the question.
        try:
            row = self._cursor.execute(question).fetchone()
        except sqlite3.Error as error:
            raise explain(error, self._database) from error
        return row[0] if row else None
