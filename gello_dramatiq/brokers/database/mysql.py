"""MySQL's and MariaDB's statements. MySQL's own were written for, but are tested on MariaDB alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from sqlalchemy import Connection

from ...database.tables import DELAYED, READY
from .bookmarks import FRONT
from .statements import FIRST, PROMOTE, SOONEST, Row, Statements

IDS = ":ids"
# Not as a comparison of rows, for which no index is used.
AFTER = "(precedence > ? OR (precedence = ? AND available_at > ?) OR (precedence = ? AND available_at = ? AND id > ?))"
AFTER_PARTS = (0, 0, 1, 0, 1, 2)
"""Which part of a place stands for each parameter."""


class MySQL(Statements):
    """What the database broker asks, in MySQL's words.

    There is no UPDATE … RETURNING: a claim reads and locks its rows first, in the order of one index, so that two
    claims seldom wait for each other; where they do, one is tried again.
    """

    claim_size: ClassVar[int] = 2048  # a claim is five round trips
    # Of no zone: a caller's own connection may have one, with an hour that comes twice.
    clock: ClassVar[str] = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)"

    def texts(self, jobs: str, failed: str, clock: str) -> dict[str, str]:
        shared = super().texts(jobs, failed, clock)
        first = f"""
            SELECT id, (lease + 1) << 16 | deaths << 1 | suspect, message, job_id
            FROM {jobs} {{}} FOR UPDATE SKIP LOCKED"""
        return shared | {
            # The driver sends many rows as one statement only if nothing but parameters stands in VALUES.
            "insert_many": f"""
                INSERT INTO {jobs} (job_id, queue, name, precedence, state, available_at, message, created_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
            "first": first.format(FIRST),
            "first_after": first.format(FIRST.replace(" ORDER", f" AND {AFTER} ORDER")),
            "first_look": f"""
                SELECT TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)) / 1000000
                FROM (SELECT id FROM {jobs} {FIRST.replace("LIMIT ?", "LIMIT 1")}) AS found""",
            "place": f"SELECT precedence, available_at, id FROM {jobs} WHERE id = ?",
            "claim": f"UPDATE {jobs} SET state = 2, lease = lease + 1, owner = ? WHERE id IN ({IDS})",
            "done": f"DELETE FROM {jobs} WHERE lease = ? AND id IN ({IDS})",
            "keep_failed": f"{shared['keep_failed'].replace('INSERT', 'REPLACE')} FOR UPDATE",
            "promote": f"""
                UPDATE {jobs} SET state = 0 WHERE state = 1 AND available_at <= {clock}
                ORDER BY available_at LIMIT {PROMOTE}""",
            # Not by recursion, which ends at 1,000 names without a word, and reads all that is left for each.
            "ready_queues": f"SELECT queue FROM {jobs} WHERE state = 0 GROUP BY state, queue",
            # Read first, like a claim: a DELETE with ORDER BY reads and sorts all that is ready, in all queues.
            "clear_0": f"SELECT id FROM {jobs} {FIRST} FOR UPDATE SKIP LOCKED",
            "clear_1": f"SELECT id FROM {jobs} {SOONEST} FOR UPDATE SKIP LOCKED",
            "cleared": f"DELETE FROM {jobs} WHERE id IN ({IDS})",
        }

    def insert_many(self, connection: Connection, rows: Sequence[Row]) -> None:
        now = self.now(connection)
        self.run(connection, "insert_many", [self._timed(row, now) for row in rows])

    def claim(self, connection: Connection, owner: int, queues: Sequence[str], limit: int) -> list[Any]:
        rows: list[Any] = []
        for queue in queues:
            if len(rows) >= limit:
                break
            rows += self._first(connection, queue, limit - len(rows))
        if rows:
            self._run_for(connection, "claim", sorted(row[0] for row in rows), owner)
        return rows

    def _first(self, connection: Connection, queue: str, limit: int) -> list[Any]:
        after = self._bookmarks.of(queue)
        rows: list[Any] = []
        if after != FRONT:
            rows = self.ask(connection, "first_after", queue, *(after[part] for part in AFTER_PARTS), limit)
        rows = rows or self.ask(connection, "first", queue, limit)
        if len(rows) == limit and (after != FRONT or self._bookmarks.asks(queue)):
            (place,) = self.ask(connection, "place", rows[-1][0])
            self._look_ahead(connection, queue, place)
        # The driver reads each column in Python, so there are few.
        return [
            (key, packed >> 16, raw, queue, job_id, packed >> 1 & 0x7FFF, packed & 1)
            for key, packed, raw, job_id in rows
        ]

    def clear(self, connection: Connection, state: int, queue: str, limit: int) -> int:
        keys = sorted(row[0] for row in self.ask(connection, f"clear_{state}", queue, limit))
        return self._run_for(connection, "cleared", keys) if keys else 0

    def _delete(self, connection: Connection, lease: int, keys: list[int]) -> int:
        return self._run_for(connection, "done", keys, lease)

    def _run_for(self, connection: Connection, name: str, keys: Sequence[int], *parameters: Any) -> int:
        """Run a statement for these rows; as parameters each of their numbers would be quoted in Python."""
        with self._cursor(connection) as cursor:
            cursor.execute(self.sql[name].replace(IDS, ",".join(map(str, keys))), parameters)
            return int(cursor.rowcount)

    @staticmethod
    def _timed(row: Row, now: int) -> tuple[Any, ...]:
        job_id, queue, name, precedence, delay, message = row
        state, due = (DELAYED, now + delay + 1) if delay else (READY, now)
        return (job_id, queue, name, precedence, state, due, message, now)
