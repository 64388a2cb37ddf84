"""One database: connections, transactions, and its errors in words."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..deadline import calm
from ..errors import DatabaseUnavailable, InvalidSetting
from ..forks import Gate, stand_still_in_forks
from ..masking import mask
from .backend import BUSY, POOL, Backend, Deadlock
from .tables import Tables, tables

T = TypeVar("T")

BEFORE_FORK = 2 * BUSY
"""Seconds that a fork waits for transactions to end."""
DEADLOCKS = 10
"""How often a transaction that lost a deadlock is tried."""
DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""The drivers that Gello speaks, by the scheme of a URL that names none."""
EXTRAS = {"postgres": "postgres", "postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}


class Database:
    """A SQL database with Gello's tables.

    Parameters:
      url: Where it is: "sqlite:///gello.db", "postgresql://user@host/db", "mysql://user@host/db", "mariadb://…".
        PostgreSQL only: "?notify=off" behind a pooler that doesn't keep a session.
      prefix: What table names begin with.
      schema: Where the tables stand.
      synchronous: SQLite only: "NORMAL" loses no committed job when a process is killed, and may lose the last ones
        when the power fails; "FULL" loses none, and writes more slowly.
    """

    def __init__(self, url: str, *, prefix: str = "", schema: str | None = None, synchronous: str = "NORMAL") -> None:
        read = read_url(url)
        self.url = read.difference_update_query(["notify"])
        self.notify = read.query.get("notify", "on") == "on"
        self.tables: Tables = tables(prefix, schema)
        self.dialect = self.url.get_backend_name()
        self.gate = Gate()
        self.backend = _backend(self.url, synchronous, self.notify)
        self.backend.check(self.url)
        self.engine = self._open()
        self._errors: tuple[type[Exception], ...] = (SQLAlchemyError, OSError, *self.backend.errors)
        self._checked = False
        stand_still_in_forks(self)

    def _open(self) -> Engine:
        try:
            engine = self.backend.open(self.url)
        except (ArgumentError, ValueError) as error:
            raise InvalidSetting(f"{self.shown}: {error}; mend the options after the '?'.") from error
        event.listen(engine, "do_connect", self._connect)
        return engine

    def _connect(self, dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except Exception as error:
            if self.explain(error) is not error:
                raise
            # A driver stumbles over an option of the URL that it doesn't know, or over the answer of another program.
            raise DatabaseUnavailable(
                f"{self.shown} can't be used: {error}; check what listens at this host and port, and the URL's options."
            ) from error

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return mask(self.url.set(drivername=self.dialect).render_as_string(hide_password=True))

    @property
    def exists(self) -> bool:
        """Whether there is a database to connect to: an SQLite file is made at the first use."""
        file = str(self.url.database)
        return self.dialect != "sqlite" or file.startswith("file:") or Path(file).exists()

    def is_at(self, url: str) -> bool:
        """Whether this is the database of a URL."""
        return read_url(url).difference_update_query(["notify"]) == self.url

    def is_of(self, connection: Connection) -> bool:
        """Whether somebody's connection is one to this database, by whatever driver, user or name of its host.

        Raises:
          DatabaseUnavailable: It can't be asked.
        """
        theirs = connection.engine.url
        if _kind(theirs) != _kind(self.url):
            return False
        if theirs.host and (theirs.host, theirs.port, theirs.database) == (
            self.url.host,
            self.url.port,
            self.url.database,
        ):
            return True
        with self.explained(), self.reading() as own:
            return bool(self.backend.identity(connection) == self.backend.identity(own))

    def read(self) -> AbstractContextManager[Connection]:
        """A connection for reading.

        Raises:
          DatabaseUnavailable: It can't be used; the message says why and what to do.
        """
        return self._use(Engine.connect)

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction: committed at the end, rolled back by an error.

        Raises:
          DatabaseUnavailable: It can't be used; the message says why and what to do.
        """
        return self._use(self.backend.transaction)

    def at_once(self) -> AbstractContextManager[Connection]:
        """A connection for one statement that writes: on a server it is committed by itself, in one round trip.

        Raises:
          DatabaseUnavailable: It can't be used; the message says why and what to do.
        """
        return self._use(self.backend.at_once)

    def transact(self, act: Callable[[Connection], T], *, at_once: bool = False) -> T:
        """Do something in a transaction, again if it was the one to give way in a deadlock; returns what `act` does.

        Parameters:
          at_once: It is one statement, which a server commits by itself: see `at_once`.

        Raises:
          DatabaseUnavailable: It can't be used; the message says why and what to do.
        """
        for left in reversed(range(DEADLOCKS)):
            try:
                with self.at_once() if at_once else self.write() as connection:
                    return act(connection)
            except Deadlock:
                if not left:
                    raise
                time.sleep(random.uniform(0, 0.02))  # noqa: S311 (so that the two don't meet again)
        raise AssertionError

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for reading, whether or not there are tables; errors stay the driver's."""
        with calm(), self.gate, self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, whether or not there are tables; errors stay the driver's."""
        with calm(), self.gate, self.backend.transaction(self.engine) as connection:
            yield connection

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
        self.backend.after_fork()
        self.gate = Gate()

    @contextmanager
    def _use(self, connect: Callable[[Engine], AbstractContextManager[Connection]]) -> Iterator[Connection]:
        with calm():
            # Not by `explained`: a context manager more would be a fiftieth of a push.
            try:
                self._check_at_first_use()
                with self.gate, connect(self.engine) as connection:
                    try:
                        yield connection
                    except BaseException as error:
                        self._let_go_of_broken(connection, error)
                        raise
            except self._errors as error:
                self._raise_explained(error)

    def _let_go_of_broken(self, connection: Connection, error: BaseException) -> None:
        """Never use a connection again that has died, or on which an answer may still be under way.

        SQLAlchemy sees to that for the statements that it runs itself; ours are run by the driver.
        """
        if connection.closed or connection.invalidated:
            return
        driver, died = connection.connection.dbapi_connection, self.engine.dialect.is_disconnect
        if not isinstance(error, Exception) or died(cast(Any, error), driver, None):
            connection.invalidate(error)

    def _check_at_first_use(self) -> None:
        """Refuse tables that are too new; make them where nobody else does."""
        if not self._checked:
            from .migrations import Migrator

            migrator = Migrator(self)
            if self.backend.installs_itself:
                migrator.install()
            else:
                migrator.status()
            # Only now: other threads must not pass before there are tables.
            self._checked = True

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the errors of SQLAlchemy and of the driver into words.

        Raises:
          DatabaseUnavailable: The database can't be used.
        """
        try:
            yield
        except self._errors as error:
            self._raise_explained(error)

    def _raise_explained(self, error: Exception) -> NoReturn:
        explained = self.explain(error)
        if explained is error:
            raise error
        raise explained from error

    def explain(self, error: Exception) -> Exception:
        """A database error in words, or the error itself where the database isn't at fault."""
        if isinstance(error, PoolTimeout):
            return DatabaseUnavailable(
                f"{self.shown}: none of this process's {POOL['pool_size'] + POOL['max_overflow']} connections became "
                f"free within {BUSY:g} s; use it from fewer threads at once, or look for a transaction that hangs."
            )
        cause = getattr(error, "orig", None) or error
        explained = self.backend.explain(cause, self.shown)
        if explained is None and (isinstance(error, OSError) or getattr(error, "connection_invalidated", False)):
            explained = DatabaseUnavailable(f"{self.shown} can't be used: {cause}")
        return explained or error


def read_url(url: str) -> URL:
    """Read a database URL; the driver may be left out.

    Raises:
      InvalidSetting: It is none, or names a driver that isn't there.
    """
    said, separator, rest = url.partition("://")
    scheme = said.partition("+")[0]
    try:
        read = make_url(f"{DRIVERS.get(said, said)}{separator}{rest}")
    except (ArgumentError, ValueError):  # no URL at all, or a port that is no number
        raise InvalidSetting(
            f"{mask(url)!r} is no database URL; one looks like sqlite:///gello.db or postgresql://user@host:5432/db."
        ) from None
    if "@" in (read.host or ""):
        raise InvalidSetting(f"{mask(url)}: what is before the host holds an '@'; write it as %40.")
    if (read.port or 0) > 65535:
        raise InvalidSetting(f"{mask(url)}: there is no port {read.port}; the last one is 65535.")
    if read.query.get("notify", "on") not in ("on", "off"):
        raise InvalidSetting(f"{mask(url)}: notify is on or off.")
    try:
        if read.drivername not in {*DRIVERS.values(), "sqlite+pysqlite"}:
            spoken = ", ".join(sorted({*DRIVERS.values()}))
            raise InvalidSetting(f"{mask(url)}: Gello doesn't speak {read.drivername}; it speaks {spoken}.")
        read.get_dialect().import_dbapi()
    except ImportError as error:
        install = f"pip install 'gello-dramatiq[{EXTRAS.get(scheme, 'all')}]'"
        raise InvalidSetting(f"{mask(url)}: {error}; install it: {install}.") from None
    return read


def _kind(url: URL) -> str:
    name = url.get_backend_name()
    return "mysql" if name == "mariadb" else name


def _backend(url: URL, synchronous: str, keeps_sessions: bool) -> Backend:
    """Loaded only now: each imports its driver."""
    if _kind(url) == "postgresql":
        from .postgresql import PostgreSQL

        return PostgreSQL(keeps_sessions)
    if _kind(url) == "mysql":
        from .mysql import MySQL

        return MySQL()
    from .sqlite import SQLite

    return SQLite(synchronous)
