"""SQLite's statements, and how it tells of commits. They need JSON, which is built in since 3.38."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sqlalchemy import Connection

from ...database.engine import Database
from .statements import FIRST, Statements


class SQLite(Statements):
    """What the database broker asks, in SQLite's words."""

    # SQLite's clock is this machine's, in whole milliseconds; a fraction of days is only near them, so it is rounded.
    # `unixepoch('subsec')` is newer than what we support.
    clock: ClassVar[str] = "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
    mark: ClassVar[str] = "?"
    claims_as_it_settles: ClassVar[bool] = True
    claim_size: ClassVar[int] = 256  # the whole file is locked meanwhile

    def texts(self, jobs: str, failed: str, clock: str) -> dict[str, str]:
        shared = super().texts(jobs, failed, clock)
        return shared | {
            "first": f"SELECT id, lease + 1, message, queue, job_id, deaths, suspect FROM {jobs} {FIRST}",
            "claim": f"""
                UPDATE {jobs} SET state = 2, lease = lease + 1, owner = ?
                WHERE id IN (SELECT id FROM {jobs} {FIRST})""",
            "done": f"DELETE FROM {jobs} WHERE lease = ? AND id IN (SELECT value FROM json_each(?))",
            "keep_failed": shared["keep_failed"].replace("INSERT", "INSERT OR REPLACE"),
        }

    def claim(self, connection: Connection, owner: int, queues: Sequence[str], limit: int) -> list[Any]:
        rows: list[Any] = []
        for queue in queues:
            if len(rows) >= limit:
                break
            rows += self._claim(connection, owner, queue, limit - len(rows))
        return rows

    def _claim(self, connection: Connection, owner: int, queue: str, limit: int) -> list[Any]:
        # It holds the write lock from its begin: the update chooses what was read before. Not RETURNING, which has no
        # order, and costs about a microsecond a job.
        rows = self.ask(connection, "first", queue, limit)
        if rows:
            self.run(connection, "claim", [(owner, queue, limit)])
        return rows

    def _delete(self, connection: Connection, lease: int, keys: list[int]) -> int:
        return self.run(connection, "done", [(lease, json.dumps(keys))])

    def watch(self, database: Database, wake: Callable[[], None]) -> DataVersion:
        return DataVersion(database, self.sql["due"])


class DataVersion:
    """Sees, on a connection of its own that never writes, that somebody else has committed."""

    pause = 0.004
    """Seconds between two looks, while idle; they cost some 4 % of a core."""

    def __init__(self, database: Database, due: str) -> None:
        self._database = database
        with database.explained(), database.gate:
            self._connection = database.engine.raw_connection()
            # Kept for as long as this lives, it isn't the pool's: closing it closes it.
            self._connection.detach()
            self._cursor = self._connection.cursor()
        self._due = due
        self._version: Any = None

    def changed(self) -> bool:
        """Whether anybody committed since the last look."""
        before, self._version = self._version, self._ask("PRAGMA data_version")
        return bool(before != self._version)

    def due(self) -> bool:
        """Whether a delayed job's time has come."""
        return self._ask(self._due) is not None

    def busy(self) -> None:
        """Each look costs the same."""

    def close(self) -> None:
        with self._database.gate:
            self._connection.close()

    def _ask(self, question: str) -> Any:
        # Asked two hundred times a second: a context manager would cost as much as the question.
        try:
            with self._database.gate:
                row = self._cursor.execute(question).fetchone()
        except sqlite3.Error as error:
            raise self._database.explain(error) from error
        return row[0] if row else None
