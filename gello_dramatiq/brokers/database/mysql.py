"""MySQL's and MariaDB's statements. MySQL's own were written for, but are tested on MariaDB alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from sqlalchemy import Connection

from ...database.tables import DELAYED, READY
from .statements import FIRST, PROMOTE, SOONEST, Row, Statements


class MySQL(Statements):
    """What the database broker asks, in MySQL's words.

    There is no UPDATE … RETURNING: a claim reads and locks its rows first, in the order of one index, so that two
    claims seldom wait for each other; where they do, one is tried again.
    """

    # Of no zone: a caller's own connection may have one, with an hour that comes twice.
    clock: ClassVar[str] = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)"

    def texts(self, jobs: str, failed: str, clock: str) -> dict[str, str]:
        shared = super().texts(jobs, failed, clock)
        return shared | {
            # The driver sends many rows as one statement only if nothing but parameters stands in VALUES.
            "insert_many": f"""
                INSERT INTO {jobs} (job_id, queue, name, precedence, state, available_at, message, created_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
            "first": f"""
                SELECT id, lease + 1, message, queue, job_id, deaths, suspect FROM {jobs}
                {FIRST} FOR UPDATE SKIP LOCKED""",
            "claim": f"UPDATE {jobs} SET state = 2, lease = lease + 1, owner = ? WHERE id IN ?",
            "done": f"DELETE FROM {jobs} WHERE lease = ? AND id IN ?",
            "keep_failed": f"{shared['keep_failed'].replace('INSERT', 'REPLACE')} FOR UPDATE",
            "promote": f"""
                UPDATE {jobs} SET state = 0 WHERE state = 1 AND available_at <= {clock}
                ORDER BY available_at LIMIT {PROMOTE}""",
            # Not by recursion, which ends at 1,000 names without a word, and reads all that is left for each.
            "ready_queues": f"SELECT queue FROM {jobs} WHERE state = 0 GROUP BY state, queue",
            # Read first, like a claim: a DELETE with ORDER BY reads and sorts all that is ready, in all queues.
            "clear_0": f"SELECT id FROM {jobs} {FIRST} FOR UPDATE SKIP LOCKED",
            "clear_1": f"SELECT id FROM {jobs} {SOONEST} FOR UPDATE SKIP LOCKED",
            "cleared": f"DELETE FROM {jobs} WHERE id IN ?",
        }

    def insert_many(self, connection: Connection, rows: Sequence[Row]) -> None:
        now = self.now(connection)
        self.run(connection, "insert_many", [self._timed(row, now) for row in rows])

    def claim(self, connection: Connection, owner: int, queues: Sequence[str], limit: int) -> list[Any]:
        rows: list[Any] = []
        for queue in queues:
            if len(rows) >= limit:
                break
            rows += self.ask(connection, "first", queue, limit - len(rows))
        if rows:
            self.run(connection, "claim", [(owner, sorted(row[0] for row in rows))])
        return rows

    def clear(self, connection: Connection, state: int, queue: str, limit: int) -> int:
        keys = sorted(row[0] for row in self.ask(connection, f"clear_{state}", queue, limit))
        return self.run(connection, "cleared", [(keys,)]) if keys else 0

    @staticmethod
    def _timed(row: Row, now: int) -> tuple[Any, ...]:
        job_id, queue, name, precedence, delay, message = row
        state, due = (DELAYED, now + delay + 1) if delay else (READY, now)
        return (job_id, queue, name, precedence, state, due, message, now)
