"""MySQL 8 and MariaDB 10.6 or newer, by PyMySQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pymysql  # type: ignore[import-untyped]  # it brings no types
from pymysql.constants import SERVER_STATUS  # type: ignore[import-untyped]
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL

from ..errors import DatabaseUnavailable, InvalidSetting
from .backend import BUSY, Deadlock, tables_missing
from .server import Server, open_server
from .tables import Tables

CODES = {
    1045: "refuses the user or the password; check both in the URL.",
    1698: "refuses the user or the password; check both in the URL.",
    1044: "refuses it: this user has no right to the database; docs/mysql.md says which rights are needed.",
    1142: "refuses it: this user lacks a right; docs/mysql.md says which are needed.",
    1049: "isn't there: the server has no database of this name; create it, or mend the URL.",
    1054: "has tables of another version; bring them up to date with `gello db upgrade`.",
    1290: "can only be read: this is a replica, or the server is read-only; name the primary.",
    1836: "can only be read: the server is read-only; name the primary.",
    1040: "has no connection left; raise its max_connections, or put a pooler before it.",
    1114: "can't grow: the disk is full; make room.",
    2003: f"isn't there, or didn't answer within {BUSY:g} s; start the server, or check host and port in the URL.",
    2013: "closed the connection, or didn't answer in time; check the server, and what listens at this host and port.",
    1205: f"has held a lock that this waits for, for {BUSY:g} s: another program is changing the table or a row of it; "
    "try again, or look for its transaction in the server's process list.",
    2005: "has a host name that can't be found; mend the URL.",
}
ANSWER = 30
"""Seconds until a statement's answer is given up: longer than any of ours may take or wait for a lock."""
SESSION = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    f"SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES', innodb_lock_wait_timeout = {BUSY:.0f}, "
    f"lock_wait_timeout = {BUSY:.0f}",
)
"""READ COMMITTED locks no gaps, UTC has no hour that comes twice, and nothing is cut off to fit."""


class MySQL(Server):
    """MySQL or MariaDB as a backend."""

    installs_itself: ClassVar[bool] = False
    errors: ClassVar[tuple[type[Exception], ...]] = (pymysql.MySQLError,)

    def check(self, url: URL) -> None:
        if not url.database:
            raise InvalidSetting(f"{url.render_as_string()}: name the database: mysql://user@host/database.")

    def open(self, url: URL) -> Engine:
        engine = open_server(
            url,
            end=_end_transaction,
            autocommit=True,
            charset="utf8mb4",
            connect_timeout=int(BUSY),
            # For the greeting and the log-in: `connect_timeout` ends with TCP's own. See ANSWER.
            read_timeout=BUSY,
            write_timeout=ANSWER,
        )
        event.listen(engine, "connect", _prepare)
        return engine

    @contextmanager
    def migrating(self, connection: Connection, tables: Tables) -> Iterator[None]:
        # CREATE TABLE commits, so that a transaction is no lock here.
        lock = {"lock": f"gello {tables.migrations.fullname}"[:64], "wait": ANSWER - BUSY}
        if connection.execute(text("SELECT GET_LOCK(:lock, :wait)"), lock).scalar() != 1:
            raise DatabaseUnavailable("Another process has been changing the tables for too long; try again.")
        try:
            yield
        finally:
            connection.execute(text("SELECT RELEASE_LOCK(:lock)"), lock)

    def identity(self, connection: Connection) -> Any:
        # Not all of them exist everywhere.
        names = "('hostname', 'port', 'datadir', 'server_uid', 'server_uuid')"
        server = connection.execute(text(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN {names}")).all()
        return sorted(server), connection.execute(text("SELECT DATABASE()")).scalar_one()

    def explain(self, cause: Exception, where: str) -> DatabaseUnavailable | None:
        code = cause.args[0] if cause.args else None
        said = " ".join(str(cause.args[-1] if cause.args else cause).split())
        if code == 1146:
            return tables_missing(where, said)
        if code == 1213:
            return Deadlock(f"{where} ended a transaction that waited for another, again and again ({said})")
        if code in CODES:
            return DatabaseUnavailable(f"{where} {CODES[code]} ({said})")
        if isinstance(cause, pymysql.OperationalError | pymysql.InterfaceError):
            return DatabaseUnavailable(f"{where} can't be used: {said}")
        return None


def _end_transaction(connection: Any) -> None:
    # A closed one raises, so that the pool lets go of it.
    if not connection.open or connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
        connection.rollback()


def _prepare(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        for statement in SESSION:
            cursor.execute(statement)
    connection._read_timeout = ANSWER
