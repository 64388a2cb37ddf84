"""PostgreSQL's statements, and how it tells of commits."""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Table, func, select

from ...database.engine import Database
from ...database.tables import Tables
from ...errors import DatabaseUnavailable
from .bookmarks import FRONT, Position
from .statements import FIRST, PROMOTE, SOONEST, Row, Statements
from .watch import SELDOM, Polling

log = logging.getLogger("gello.worker")

COALESCE = 0.02
"""Seconds in which a process announces a queue once: whoever was woken looks again before they are over twice."""
CLOSING = 0.2
"""Seconds until a listener notices that it is closed."""
LISTENING = 1.0
"""Seconds between two looks at the most, while announcements arrive."""


class PostgreSQL(Statements):
    """What the database broker asks, in PostgreSQL's words.

    Rows are found by `id = ANY(ARRAY(SELECT …))`: the inner query runs once, and the outer one can only use the primary
    key, whatever the statistics say. A join could be planned into a scan of the whole table.
    """

    # Of the statement, so that jobs which were pushed together are due together.
    clock: ClassVar[str] = "floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint"
    claims_at_once: ClassVar[bool] = True
    inserts_at_once: ClassVar[bool] = True

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self.channel = f"gello_{zlib.crc32(tables.jobs.fullname.encode()):08x}"
        self._announced: dict[str, float] = {}

    def texts(self, jobs: str, failed: str, clock: str) -> dict[str, str]:
        shared = super().texts(jobs, failed, clock)
        due = f"state = 1 AND available_at <= {clock} ORDER BY available_at LIMIT {PROMOTE}"
        after = "WHERE queue = asked.queue AND (precedence, available_at, id) > (asked.precedence, asked.due, asked.id)"
        kept = ("queue", "name", "message", "generation", "reason", "exception", "traceback", "attempts", "payload",
                "failed_at")  # fmt: skip
        return shared | {
            "insert_many": f"""
                INSERT INTO {jobs} (job_id, queue, name, precedence, state, available_at, message, created_at)
                SELECT job_id, queue, name, precedence, state, {clock} + delay, message, {clock}
                FROM unnest(?::text[], ?::text[], ?::text[], ?::smallint[], ?::smallint[], ?::bigint[], %b::bytea[])
                     AS pushed(job_id, queue, name, precedence, state, delay, message)""",
            # Queue by queue: the next one is looked at only if there are too few in those before it.
            "claim": f"""
                UPDATE {jobs} SET state = 2, lease = lease + 1, owner = ?
                WHERE id = ANY(ARRAY(
                    SELECT found.id
                    FROM unnest(?::text[], ?::smallint[], ?::bigint[], ?::bigint[])
                         AS asked(queue, precedence, due, id),
                         LATERAL (SELECT id FROM {jobs} {FIRST.replace("WHERE queue = ?", after)}
                                  FOR UPDATE SKIP LOCKED) AS found
                    LIMIT ?))
                RETURNING id, lease, message, queue, job_id, deaths, suspect, precedence, available_at""",
            # Of the server's clock, which no thread here can stop.
            "first_look": f"""
                SELECT extract(epoch FROM clock_timestamp() - statement_timestamp())::float8
                FROM (SELECT id FROM {jobs} {FIRST.replace("LIMIT ?", "LIMIT 1")}) AS found""",
            "notify": "SELECT pg_notify(?, ?)",
            "done": f"DELETE FROM {jobs} WHERE lease = ? AND id = ANY(?::bigint[])",
            "keep_failed": f"""{shared["keep_failed"]} FOR UPDATE
                ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in kept)}""",
            "promote": f"""
                UPDATE {jobs} SET state = 0
                WHERE id = ANY(ARRAY(SELECT id FROM {jobs} WHERE {due} FOR UPDATE SKIP LOCKED))""",
            "clear_0": f"""
                DELETE FROM {jobs} WHERE id = ANY(ARRAY(SELECT id FROM {jobs} {FIRST} FOR UPDATE SKIP LOCKED))""",
            "clear_1": f"""
                DELETE FROM {jobs} WHERE id = ANY(ARRAY(SELECT id FROM {jobs} {SOONEST} FOR UPDATE SKIP LOCKED))""",
        }

    def insert_many(self, connection: Connection, rows: Sequence[Row]) -> None:
        columns = map(list, zip(*map(self._inserted, rows), strict=True))
        self.run(connection, "insert_many", [tuple(columns)])

    def claim(self, connection: Connection, owner: int, queues: Sequence[str], limit: int) -> list[Any]:
        places = [self._bookmarks.of(queue) for queue in queues]
        rows = self._claim(connection, owner, queues, places, limit)
        if not rows and any(place != FRONT for place in places):
            rows = self._claim(connection, owner, queues, [FRONT] * len(queues), limit)
        if len(rows) == limit:
            self._look_ahead(connection, rows[-1][3], _place(rows[-1]))
        return [row[:7] for row in rows]

    def _claim(
        self, connection: Connection, owner: int, queues: Sequence[str], places: Sequence[Position], limit: int
    ) -> list[Any]:
        # Binary, so that a message isn't written in hexadecimal.
        with self._cursor(connection, binary=True) as cursor:
            asked = (list(column) for column in zip(*places, strict=True))
            cursor.execute(self.sql["claim"], (owner, list(queues), *asked, limit, limit))
            rows: list[Any] = cursor.fetchall()
        turn = {queue: number for number, queue in enumerate(queues)}
        rows.sort(key=lambda row: (turn[row[3]], *_place(row)))  # RETURNING has no order
        return rows

    def insert_within(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        super().insert_within(connection, table, rows)
        # Sent when the transaction commits, and never if it doesn't.
        for queue in {row[1] for row in rows}:
            connection.execute(select(func.pg_notify(self.channel, queue)))

    def announce(self, database: Database, queues: Iterable[str]) -> None:
        if not database.notify:
            return
        now = time.monotonic()
        quiet = [queue for queue in queues if now - self._announced.get(queue, 0.0) > COALESCE]
        if not quiet:
            return
        self._announced.update(dict.fromkeys(quiet, now))
        # After the commit and by itself: a NOTIFY inside a transaction holds a lock of the whole cluster until its end.
        with suppress(DatabaseUnavailable), database.at_once() as connection:
            for queue in quiet:
                self.ask(connection, "notify", self.channel, queue)

    def watch(self, database: Database, wake: Callable[[], None]) -> Polling:
        return (
            Listening(database, self.sql["due"], self.channel, wake)
            if database.notify
            else Polling(database, self.sql["due"])
        )


def _place(row: Any) -> Position:
    return row[7], row[8], row[0]


class Listening(Polling):
    """Hears announcements on a connection of its own; without one it polls, and tries again to listen."""

    def __init__(self, database: Database, due: str, channel: str, wake: Callable[[], None]) -> None:
        super().__init__(database, due, LISTENING)
        self._channel = channel
        self._wake = wake
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gello-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                with self._database.engine.connect() as lent:
                    connection: Any = lent.connection.driver_connection
                    # Not the pool's any more: it listens for as long as it lives.
                    lent.detach()
                    self._listen(connection)
            except Exception as error:  # noqa: BLE001 (a hint may fail in any way; work is found by polling meanwhile)
                if self._seldom != SELDOM:
                    told = self._database.explain(error)
                    log.warning("No announcements of new jobs; they are looked for every %g s: %s", SELDOM, told)
                    self._seldom = SELDOM
                    # The worker may be in a pause that counts on announcements.
                    self.busy()
                    self._wake()
                self._closed.wait(1.0)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(SQL("LISTEN {}").format(Identifier(self._channel)))
        self._seldom, heard = LISTENING, True  # what was announced while nobody listened is looked for, too
        while not self._closed.is_set():
            if heard:
                self.busy()
                self._wake()
            heard = any(True for _ in connection.notifies(timeout=CLOSING, stop_after=1))
