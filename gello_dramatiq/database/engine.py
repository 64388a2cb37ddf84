"""One database: connections, transactions, and its errors in words."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..deadline import calm
from ..errors import DatabaseUnavailable, InvalidSetting, TablesMissing, Unsupported
from ..forks import Gate, stand_still_in_forks
from ..masking import mask
from .tables import Tables, tables

BUSY = 3.0
"""Seconds to wait for SQLite's write lock before saying that the database is locked."""
LOOK = 0.0005
"""Seconds between two tries to take it."""
LATER = frozenset({"postgres", "postgresql", "mysql", "mariadb"})
"""URL schemes of databases that come next."""
BEFORE_FORK = 2 * BUSY
"""Seconds that a fork waits for transactions to end."""


class Database:
    """A SQL database with Gello's tables.

    Parameters:
      url: An SQLAlchemy URL, as in "sqlite:///gello.db".
      prefix: What table names begin with.
      schema: Where the tables stand.
      synchronous: SQLite only: "NORMAL" loses no committed job when a process is killed, and may lose the last ones
        when the power fails; "FULL" loses none, and writes more slowly.
    """

    def __init__(self, url: str, *, prefix: str = "", schema: str | None = None, synchronous: str = "NORMAL") -> None:
        self.url = read_url(url)
        self.tables: Tables = tables(prefix, schema)
        self.dialect = self.url.get_backend_name()
        self._synchronous = synchronous
        # One writer per process: SQLite has one anyway, and threads that wait here don't poll for its lock.
        self._writer = threading.Lock()
        self.gate = Gate()
        self._installed = False
        self.engine = self._open()
        stand_still_in_forks(self)

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return mask(self.url.render_as_string(hide_password=True))

    @property
    def exists(self) -> bool:
        """Whether there is a database to connect to: an SQLite file is made at the first use."""
        file = str(self.url.database)
        return self.dialect != "sqlite" or file.startswith("file:") or Path(file).exists()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading.

        Raises:
          DatabaseUnavailable: It can't be used; the message says why and what to do.
        """
        with calm(), self.explained():
            self._install_at_first_use()
            with self.reading() as connection:
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back by an error.

        Raises:
          DatabaseUnavailable: It can't be used; the message says why and what to do.
        """
        with calm(), self.explained():
            self._install_at_first_use()
            with self.writing() as connection:
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for reading, whether or not there are tables; errors stay the driver's."""
        with calm(), self.gate, self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, whether or not there are tables; errors stay the driver's."""
        until = time.monotonic() + BUSY
        with (
            calm(),
            self._write_lock(until),
            self.gate,
            self.engine.connect() as connection,
            connection.execution_options(gello_writes_until=until).begin(),
        ):
            yield connection

    @contextmanager
    def _write_lock(self, until: float) -> Iterator[None]:
        # Threads that wait here and then for SQLite's own lock wait no longer in all.
        if not self._writer.acquire(timeout=max(until - time.monotonic(), 0)):
            raise sqlite3.OperationalError("database is locked")
        try:
            yield
        finally:
            self._writer.release()

    def close(self) -> None:
        """Close all connections, once those in use are given back; they open again at the next use."""
        try:
            self.before_fork()
        finally:
            self.after_fork_in_parent()

    def before_fork(self) -> None:
        """Let transactions end, and close the connections.

        SQLite's locks belong to a process, but what it remembers of them is copied into a child. A child that inherits
        an open connection believes that it holds the parent's locks: what it writes may be lost, or it waits for ever.
        """
        self.gate.shut(BEFORE_FORK)
        self.engine.dispose()

    def after_fork_in_parent(self) -> None:
        """Open connections again when they are needed."""
        self.gate.open()

    def after_fork(self) -> None:
        """Begin afresh in a child: threads of the parent may have held the locks."""
        self.engine.dispose(close=False)
        self._writer = threading.Lock()
        self.gate = Gate()

    def _open(self) -> Engine:
        if self.dialect != "sqlite":
            raise InvalidSetting(f"{self.shown}: Gello's database can be SQLite for now: sqlite:///gello.db.")
        # No pool's timeout is waited for: a thread holds a connection for one short transaction.
        engine = create_engine(
            self.url,
            connect_args={"timeout": BUSY},
            pool_size=8,
            max_overflow=64,
            pool_timeout=BUSY,
        )
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "begin", _begin)
        return engine

    def _prepare(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        _insist(lambda: cursor.execute("PRAGMA journal_mode = WAL"), time.monotonic() + BUSY)
        cursor.execute(f"PRAGMA synchronous = {self._synchronous}")
        cursor.close()

    def _install_at_first_use(self) -> None:
        if not self._installed:
            from .migrations import Migrator

            Migrator(self).install()
            # Only now: other threads must not pass before there are tables.
            self._installed = True

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the errors of SQLAlchemy and of the driver into words.

        Raises:
          DatabaseUnavailable: The database can't be used.
        """
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise explain(error, self) from error


def read_url(url: str) -> URL:
    """Read a database URL.

    Raises:
      InvalidSetting: It is none, or names a driver or a folder that isn't there.
      Unsupported: It names a database of a later version.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme in LATER:
        raise Unsupported(
            f"{scheme}:// comes with the next version (postgresql+psycopg://… and MariaDB); "
            "use sqlite:///gello.db for now."
        )
    try:
        read = make_url(url)
        read.get_dialect()
    except ArgumentError:
        raise InvalidSetting(
            f"{mask(url)!r} is no database URL; one looks like sqlite:///gello.db or postgresql+psycopg://user@host/db."
        ) from None
    except (NoSuchModuleError, ImportError) as error:
        raise InvalidSetting(f"{mask(url)}: {error}") from None
    if read.get_backend_name() == "sqlite":
        if read.host:
            raise InvalidSetting(
                f"{url}: with two slashes this names a host, and SQLite has none; write three: sqlite:///{read.host}."
            )
        if read.database in (None, "", ":memory:"):
            raise InvalidSetting(
                f"{url}: an SQLite database in memory is lost with its process, and each connection would have its own;"
                " name a file (sqlite:///gello.db), or use memory://."
            )
        folder = Path(str(read.database).removeprefix("file:")).parent
        if not folder.is_dir():
            raise InvalidSetting(f"{url}: there is no folder {str(folder)!r}; create it, or name another file.")
    return read


def explain(error: Exception, database: Database) -> DatabaseUnavailable:
    """A database error in words: what happened, where, what to do."""
    where = database.shown
    cause = str(getattr(error, "orig", None) or error).strip()
    for sign, meaning in _MEANINGS.items():
        if sign in cause:
            if sign == "no such table":
                return TablesMissing(f"{where} has no Gello tables ({cause}); create them with `gello db install`.")
            return DatabaseUnavailable(f"{where} {meaning} ({cause})")
    if isinstance(error, PoolTimeout):
        return DatabaseUnavailable(f"{where}: no connection became free within {BUSY:g} s.")
    if isinstance(error, DBAPIError) and not error.connection_invalidated and not _is_outage(error):
        raise error
    return DatabaseUnavailable(f"{where} can't be used: {cause}")


_MEANINGS = {
    "no such table": "",
    "file is not a database": "is a file, but no SQLite database; name another file.",
    "readonly database": "can't be written: the file is read-only; change its permissions, or name another file.",
    "unable to open database file": "can't be opened; check that its folder exists and may be written.",
    "database is locked": f"was locked by another process for {BUSY:g} s; if that lasts, look for a program that keeps "
    "a transaction open.",
    "disk is full": "can't grow: the disk is full; make room.",
    "disk I/O error": "can't be read or written: the disk reports an error.",
    "database disk image is malformed": "is damaged; restore it from a backup.",
}


def _is_outage(error: DBAPIError) -> bool:
    return type(error).__name__ in ("OperationalError", "InterfaceError")


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
