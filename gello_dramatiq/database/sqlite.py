"""SQLite: a file, with one writer at a time."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL

from ..errors import DatabaseUnavailable, InvalidSetting
from .backend import BUSY, POOL, tables_missing
from .tables import Tables

LOOK = 0.0005
"""Seconds between two tries to take the write lock."""
MEANINGS = {
    "file is not a database": "is a file, but no SQLite database; name another file.",
    "readonly database": "can't be written: the file is read-only; change its permissions, or name another file.",
    "unable to open database file": "can't be opened; check that its folder exists and may be written.",
    "database is locked": f"was locked by another process for {BUSY:g} s; if that lasts, look for a program that keeps "
    "a transaction open.",
    "disk is full": "can't grow: the disk is full; make room.",
    "disk I/O error": "can't be read or written: the disk reports an error.",
    "database disk image is malformed": "is damaged; restore it from a backup.",
}


class SQLite:
    """SQLite as a backend.

    Parameters:
      synchronous: "NORMAL" or "FULL", see `Database`.
    """

    installs_itself: ClassVar[bool] = True
    errors: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error,)

    def __init__(self, synchronous: str) -> None:
        self._synchronous = synchronous
        # One writer per process: SQLite has one anyway, and threads that wait here don't poll for its lock.
        self._writer = threading.Lock()

    def check(self, url: URL) -> None:
        if url.host:
            file = "/".join(part for part in (url.host, url.database) if part)
            raise InvalidSetting(
                f"{url}: with two slashes this names a host, and SQLite has none; write three: sqlite:///{file}."
            )
        if url.database in (None, "", ":memory:"):
            raise InvalidSetting(
                f"{url}: an SQLite database in memory is lost with its process, and each connection would have its own;"
                " name a file (sqlite:///gello.db), or use memory://."
            )
        folder = Path(str(url.database).removeprefix("file:")).parent
        if not folder.is_dir():
            raise InvalidSetting(f"{url}: there is no folder {str(folder)!r}; create it, or name another file.")

    def open(self, url: URL) -> Engine:
        # No pool's timeout is waited for: a thread holds a connection for one short transaction.
        engine = create_engine(url, connect_args={"timeout": BUSY}, **POOL)
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "begin", _begin)
        return engine

    @contextmanager
    def transaction(self, engine: Engine) -> Iterator[Connection]:
        until = time.monotonic() + BUSY
        with (
            self._write_lock(until),
            engine.connect() as connection,
            connection.execution_options(gello_writes_until=until).begin(),
        ):
            yield connection

    # One statement or many: the lock is taken before anything is read.
    at_once = transaction

    def migrating(self, connection: Connection, tables: Tables) -> nullcontext[None]:
        return nullcontext()  # a transaction is alone with the file

    def identity(self, connection: Connection) -> Any:
        return connection.execute(text("SELECT file FROM pragma_database_list WHERE name = 'main'")).scalar_one()

    def explain(self, cause: Exception, where: str) -> DatabaseUnavailable | None:
        said = str(cause).strip()
        if "no such table" in said:
            return tables_missing(where, said)
        for sign, meaning in MEANINGS.items():
            if sign in said:
                return DatabaseUnavailable(f"{where} {meaning} ({said})")
        if isinstance(cause, sqlite3.OperationalError | sqlite3.InterfaceError):
            return DatabaseUnavailable(f"{where} can't be used: {said}")
        return None

    def after_fork(self) -> None:
        self._writer = threading.Lock()

    @contextmanager
    def _write_lock(self, until: float) -> Iterator[None]:
        # Threads that wait here and then for SQLite's own lock wait no longer in all.
        if not self._writer.acquire(timeout=max(until - time.monotonic(), 0)):
            raise sqlite3.OperationalError("database is locked")
        try:
            yield
        finally:
            self._writer.release()

    def _prepare(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        _insist(lambda: cursor.execute("PRAGMA journal_mode = WAL"), time.monotonic() + BUSY)
        cursor.execute(f"PRAGMA synchronous = {self._synchronous}")
        cursor.close()


def _begin(connection: Connection) -> None:
    until = connection.get_execution_options().get("gello_writes_until")
    if until is None:
        connection.exec_driver_sql("BEGIN")
        return
    # A transaction that will write takes the lock at once: one that first reads could not upgrade.
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        _insist(lambda: cursor.execute("BEGIN IMMEDIATE"), until)
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY * 1000:.0f}")


def _insist(act: Callable[[], object], until: float) -> None:
    """Do what another process's lock may forbid, again until it is done or a moment of the monotonic clock has come.

    SQLite's own wait looks less and less often, in the end every 100 ms, while others take the lock in between; and it
    doesn't wait at all where a file changes to WAL.
    """
    while True:
        try:
            act()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(LOOK)
