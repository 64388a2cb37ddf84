"""PostgreSQL 13 or newer, by psycopg 3."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg
from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.schema import CreateSchema

from ..errors import DatabaseUnavailable
from .backend import BUSY, Deadlock, tables_missing
from .server import Server, open_server
from .tables import Tables

MEANINGS = {
    "password authentication failed": "refuses the user or the password; check both in the URL.",
    'FATAL: role "': "refuses the user; check it in the URL.",
    "no password supplied": "asks for a password; put one into the URL.",
    "Connection refused": "isn't there: nothing listens at this host and port; start the server, or mend the URL.",
    "failed to resolve host": "has a host name that can't be found; mend the URL.",
    "could not translate host name": "has a host name that can't be found; mend the URL.",
    "invalid response to SSL negotiation": "is no PostgreSQL: another program listens at this host and port; mend the "
    "URL.",
    "invalid connection option": "has an option in its URL that PostgreSQL doesn't know; mend it.",
    "timeout expired": f"didn't answer within {BUSY:g} s; check the host, the port and the network.",
    "no pg_hba.conf entry": "refuses this user from this host; see its pg_hba.conf.",
}
"""What a failed connection says: it has no code."""
CODES = {
    "28P01": MEANINGS["password authentication failed"],
    "28000": "refuses this user; check the user in the URL, and the server's pg_hba.conf.",
    "3D000": "isn't there: the server has no database of this name; create it, or mend the URL.",
    "42501": "refuses it: this user lacks a right; docs/postgresql.md says which are needed.",
    "25006": "can only be read: this is a standby, or its transactions are read-only; name the primary.",
    "53300": "has no connection left; raise its max_connections, or put a pooler before it.",
    "53100": "can't grow: the disk is full; make room.",
    "42703": "has tables of another version; bring them up to date with `gello db upgrade`.",
    "57P03": "is starting or stopping.",
    "55P03": f"has held a lock that this waits for, for {BUSY:g} s: another program is changing the table or a row of "
    "it; try again, or look for its transaction in pg_stat_activity.",
}
SESSION = (
    # Who set another limit, for the role, the database or in the URL, meant it.
    f"SELECT set_config('lock_timeout', '{BUSY * 1000:.0f}', false) WHERE current_setting('lock_timeout') = '0'",
    # Where statistics see few ready jobs, a claim would read and sort all of them; an index has their order.
    "SELECT set_config('enable_sort', 'off', false), set_config('jit', 'off', false)",
)


class PostgreSQL(Server):
    """PostgreSQL as a backend.

    Parameters:
      keeps_sessions: Whether a connection is one session. A pooler may hand a session to the next program, which then
        has what was set in it: nothing is.
    """

    installs_itself: ClassVar[bool] = False
    errors: ClassVar[tuple[type[Exception], ...]] = (psycopg.Error,)

    def __init__(self, keeps_sessions: bool) -> None:
        self._keeps_sessions = keeps_sessions

    def check(self, url: URL) -> None:
        """Every URL can work."""

    def open(self, url: URL) -> Engine:
        engine = open_server(
            url,
            end=psycopg.Connection.rollback,
            autocommit=True,
            connect_timeout=int(BUSY),
            # A server that vanished without a word is noticed by the system, not by a query that waits for ever.
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
            application_name="gello",
            # Statements are prepared in a session, which a pooler may hand to another program.
            **({} if self._keeps_sessions else {"prepare_threshold": None}),
        )
        if self._keeps_sessions:
            event.listen(engine, "connect", _prepare)
        return engine

    @contextmanager
    def migrating(self, connection: Connection, tables: Tables) -> Iterator[None]:
        lock = zlib.crc32(f"gello {tables.migrations.fullname}".encode())
        limit = connection.execute(text("SHOW lock_timeout")).scalar_one()
        connection.execute(text("SET LOCAL lock_timeout = 0"))  # whoever migrates may take long
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
        # While a change of a table waits for its lock, everything that comes after it waits, too.
        connection.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": limit})
        schema = tables.metadata.schema
        # IF NOT EXISTS would need the right to create one, although it is there.
        if schema is not None and not inspect(connection).has_schema(schema):
            connection.execute(CreateSchema(schema))
        yield

    def identity(self, connection: Connection) -> Any:
        return connection.execute(text("SELECT system_identifier, current_database() FROM pg_control_system()")).one()

    def explain(self, cause: Exception, where: str) -> DatabaseUnavailable | None:
        code = getattr(cause, "sqlstate", None) or ""
        said = " ".join(str(cause).split())
        if code in ("42P01", "3F000"):
            return tables_missing(where, said)
        if code in ("40P01", "40001"):
            return Deadlock(f"{where} ended a transaction that waited for another, again and again ({said})")
        meaning = CODES.get(code) or next((words for sign, words in MEANINGS.items() if sign in said), None)
        if meaning is None and 'database "' in said and "does not exist" in said:
            meaning = CODES["3D000"]
        if meaning is not None:
            return DatabaseUnavailable(f"{where} {meaning} ({said})")
        if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
            return DatabaseUnavailable(f"{where} can't be used: {said}")
        return None


def _prepare(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        for statement in SESSION:
            cursor.execute(statement)
